"""The weights that a segmentation model starts from, and whose classes they know."""

import dataclasses
from types import SimpleNamespace

import keras
import numpy as np
import pytest
import tensorflow as tf

from gcn_keras.inference.legend import Legend
from gcn_keras.recipes.catalogue import RECIPES
from gcn_keras.recipes.recipe import LOSSES
from gcn_keras.training.segmentation import Segmentation
from pipelines.base.errors import UserError
from pipelines.base.labels import palette

NAMES = ("sky", "road", "car")


@pytest.fixture
def weights(tmp_path):
    path = tmp_path / "best.keras"
    x = keras.Input((None, None, 3))
    keras.Model(x, keras.layers.Conv2D(3, 1)(x)).save(path)
    return path


def takes_head(weights, *names) -> bool:
    data_set = SimpleNamespace(
        name="street",
        class_names=names,
        num_classes=len(names),
        validation_split=lambda split: "val",
    )
    recipe = dataclasses.replace(RECIPES["shapes"], weights=str(weights))
    return Segmentation(recipe, data_set).takes_head()


@pytest.mark.parametrize("is_inside", [True, False])
def test_weights_of_classes_in_another_order(weights, is_inside):
    legend = Legend(NAMES, palette())
    if is_inside:
        legend.write_into(weights)
    else:
        legend.write(weights.with_name("labels.json"))
    with pytest.raises(UserError) as caught:
        takes_head(weights, "road", "sky", "car")
    assert str(caught.value) == (
        f"{weights} knows the classes sky, road, car, and 'street' has the same in another order: "
        "road, sky, car; they do not belong together"
    )


def test_the_head_is_of_the_same_classes(weights):
    assert takes_head(weights, "road", "sky", "car")  # of unknown names
    Legend(NAMES, palette()).write_into(weights)
    assert takes_head(weights, *NAMES)
    assert not takes_head(weights, "sky", "road", "tree")
    assert not takes_head(weights, "cat", "dog")


@pytest.mark.parametrize("name", LOSSES)
def test_every_loss_that_a_recipe_may_name_is_made(name):
    val = {"validation_split": lambda split: "val", "num_classes": 2}
    data_set = SimpleNamespace(name="street", class_names=("a", "b"), **val)
    recipe = dataclasses.replace(RECIPES["shapes"], loss=name, class_weights=(1.0, 2.0))
    made = Segmentation(recipe, data_set).loss()
    config = type(made).from_config(made.get_config()).get_config()
    assert isinstance(made, keras.losses.Loss) and config == made.get_config()


def test_pixels_without_a_score_are_no_class():
    """Neither the first class, to TensorFlow's argmax, nor any: a run says so, and stops."""
    data_set = SimpleNamespace(
        name="street", class_names=NAMES, num_classes=3, validation_split=lambda split: "val"
    )
    task = Segmentation(RECIPES["shapes"], data_set)
    scores = np.zeros((1, 32, 32, 3), np.float32)
    scores[0, :, :, 2] = 1
    scores[0, 3, 4, 1] = np.nan

    def model(images, training):
        return tf.constant(scores)

    team = SimpleNamespace(
        strategy=tf.distribute.get_strategy(), local_replicas=1, deal=lambda batches: batches[0]
    )
    predict = task.predictor(team, model)
    with pytest.raises(UserError, match="^the model gives NaN instead of scores: "):
        predict([np.zeros((1, 8, 8, 3), np.uint8)])
    [labels] = predict([np.zeros((1, 3, 8, 3), np.uint8)])  # padding is not asked
    assert labels.tolist() == [[[2] * 8] * 3]

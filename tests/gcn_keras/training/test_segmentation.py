"""The weights that a segmentation model starts from, and whose classes they know."""

import dataclasses
from types import SimpleNamespace

import keras
import pytest

from gcn_keras.inference.legend import Legend
from gcn_keras.recipes.catalogue import RECIPES
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


def check_start(weights, *names) -> None:
    data_set = SimpleNamespace(
        name="street",
        class_names=names,
        num_classes=len(names),
        validation_split=lambda split: "val",
    )
    recipe = dataclasses.replace(RECIPES["shapes"], weights=str(weights))
    Segmentation(recipe, data_set).check_start()


@pytest.mark.parametrize(
    "names, relation",
    [
        (("road", "sky", "car"), "the same in another order: road, sky, car"),
        (("sky", "road", "tree"), "others: sky, road, tree"),
    ],
)
@pytest.mark.parametrize("is_inside", [True, False])
def test_weights_of_other_classes(weights, names, relation, is_inside):
    """As many as the data set has, so that the head would be taken over, too."""
    legend = Legend(NAMES, palette(3))
    if is_inside:
        legend.write_into(weights)
    else:
        legend.write(weights.with_name("labels.json"))
    with pytest.raises(UserError) as caught:
        check_start(weights, *names)
    assert str(caught.value) == (
        f"{weights} knows the classes sky, road, car, and 'street' has {relation}; "
        "they do not belong together"
    )


def test_weights_that_fit(weights):
    check_start(weights, "road", "sky", "car")  # of unknown names
    Legend(NAMES, palette(3)).write_into(weights)
    check_start(weights, *NAMES)
    check_start(weights, "cat", "dog")  # of another number: the backbone alone is taken

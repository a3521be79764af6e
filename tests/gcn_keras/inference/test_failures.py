"""What is said of a layer that fails."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import gcn_keras
from gcn_keras.deployment.deployable import Deployable
from gcn_keras.inference.failures import naming_failed_model
from gcn_keras.inference.legend import Legend
from pipelines.base.errors import UserError


class Refusing(keras.layers.Layer):
    def call(self, x):
        raise ValueError("the moon is full,\nand the tide is high")

    def compute_output_spec(self, x):
        return keras.KerasTensor(x.shape, x.dtype)


def refusing(inside=False) -> keras.Model:
    x = keras.Input((None, None, 3))
    model = keras.Model(x, keras.layers.Conv2D(2, 1)(Refusing(name="tide")(x)), name="sea")
    return keras.Model(x, model(x), name="world") if inside else model


@pytest.mark.parametrize("inside", [False, True])
def test_a_layer_by_name_with_its_reason(inside):
    model = refusing(inside)
    with pytest.raises(UserError) as caught:
        gcn_keras.segment(model, np.zeros((32, 64, 3), np.uint8))
    assert str(caught.value) == (
        f"{model.name} fails on an image of 32x64: Refusing.call says the moon is full, and the "
        "tide is high"
    )


def test_a_layer_in_a_graph():
    with pytest.raises(UserError) as caught, naming_failed_model("sea.keras", 32, 64):
        Deployable(refusing(), Legend.unnamed(2)).graph  # noqa: B018
    assert str(caught.value) == (
        "sea.keras fails on an image of 32x64: Refusing.call says the moon is full, and the tide "
        "is high"
    )


def test_a_layer_that_asks_for_sizes_in_a_graph():
    """In Keras itself it takes images of any size, and is not exported either."""
    x = keras.Input((None, None, 3))
    y = keras.layers.UpSampling2D(2, interpolation="bilinear")(keras.layers.Conv2D(2, 1, 2)(x))
    with pytest.raises(UserError) as caught, naming_failed_model("sea.keras", 32, 64):
        Deployable(keras.Model(x, y), Legend.unnamed(2)).graph  # noqa: B018
    assert str(caught.value) == (
        "sea.keras fails on an image of 32x64: UpSampling2D.call needs to know sizes beforehand: "
        "build the model on a keras.Input with a height and a width"
    )


def test_what_comes_from_no_layer():
    with pytest.raises(UserError) as caught, naming_failed_model("sea.keras", 1, 2):
        raise tf.errors.InvalidArgumentError(None, None, "no\n water")
    assert str(caught.value) == "sea.keras fails on an image of 1x2: no water"

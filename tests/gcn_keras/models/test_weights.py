"""Weights that other values hang on: those of an adapted `Normalization`."""

import keras
import numpy as np
import pytest
from keras import layers
from marks import needs_tensorflow

from gcn_keras.models.backbones.from_keras_model import on_image
from gcn_keras.models.weights import set_weights


def adapted() -> layers.Normalization:
    """Mean 100 and standard deviation 50, which it divides by."""
    layer = layers.Normalization()
    layer.adapt(np.float32([[[[50] * 3, [150] * 3]]]))
    return layer


def network() -> keras.Model:
    x = keras.Input((None, None, 3))
    return keras.Model(x, layers.Conv2D(2, 1, name="scores")(adapted()(x)))


def image() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (1, 64, 64, 3)).astype("float32")


def outputs(model) -> np.ndarray:
    return keras.ops.convert_to_numpy(model(image()))


@pytest.mark.parametrize("nested", [False, True])
def test_a_copy_computes_the_same(nested):
    x = keras.Input((None, None, 3))
    model = keras.Model(x, network()(x)) if nested else network()
    copy = keras.models.clone_model(model)
    set_weights(copy, model.get_weights())
    assert np.array_equal(outputs(copy), outputs(model))


@needs_tensorflow
def test_a_folded_model_computes_the_same():
    from gcn_keras.deployment.batch_norm_folding import fold_batch_norm

    model = network()
    assert np.array_equal(outputs(fold_batch_norm(model)), outputs(model))


def test_a_model_as_backbone_keeps_its_statistics():
    x = keras.Input((64, 64, 3))
    maps = [layers.AveragePooling2D(4, name="p2")(adapted()(x))]
    for level in ("p3", "p4", "p5"):
        maps.append(layers.AveragePooling2D(2, name=level)(maps[-1]))
    image_input = keras.Input((64, 64, 3))
    pyramid, _ = on_image(keras.Model(x, maps), image_input)
    found = keras.Model(image_input, pyramid["P2"])(image())
    expected = image().reshape(1, 16, 4, 16, 4, 3).mean((2, 4))
    assert np.allclose(keras.ops.convert_to_numpy(found), (expected - 100) / 50, atol=1e-5)

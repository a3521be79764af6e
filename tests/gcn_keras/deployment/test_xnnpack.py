"""The operations that XNNPACK is fast at: the same function, and only while it is exported."""

import keras
import numpy as np
import pytest
from keras import layers

from gcn_keras.deployment import tflite, tflite_file
from gcn_keras.deployment.xnnpack import for_xnnpack


def image(*shape) -> np.ndarray:
    return np.random.default_rng(0).normal(0, 4, (1, *shape)).astype(np.float32)


def model_of(layer, *shape) -> keras.Model:
    x = keras.Input(shape)
    return keras.Model(x, layer(x))


def changed(model) -> list[str]:
    return [layer.name for layer in model.layers if "call" in vars(layer)]


@pytest.mark.parametrize(
    "kernel, stride, options",
    [
        (4, 2, {}),
        (3, 2, {}),
        (1, 2, {}),
        (5, 3, {"use_bias": False}),
        ((4, 2), 2, {"activation": "relu"}),
    ],
)
def test_transposed_convolutions(kernel, stride, options):
    layer = layers.Conv2DTranspose(
        2, kernel, stride, padding="same", bias_initializer="random_normal", **options
    )
    model, given = model_of(layer, 5, 7, 3), image(5, 7, 3)
    expected = model(given)
    with for_xnnpack(model, integers=False):
        assert changed(model) == [layer.name]
        found = model(given)
    assert changed(model) == []
    assert found.shape == expected.shape == (1, 5 * stride, 7 * stride, 2)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


def test_one_pixel_by_hand():
    """With stride 2 a pixel writes its kernel of 4x4 from one pixel before its block on."""
    layer = layers.Conv2DTranspose(1, 4, 2, padding="same")
    model = model_of(layer, 3, 3, 1)
    kernel = np.arange(1, 17).reshape(4, 4)
    layer.set_weights([kernel[..., None, None], np.array([100])])
    given = np.zeros((1, 3, 3, 1), np.float32)
    given[0, 1, 1] = 1
    expected = np.full((6, 6), 100)
    expected[1:5, 1:5] += kernel
    with for_xnnpack(model, integers=True):
        np.testing.assert_array_equal(model(given)[0, ..., 0], expected)


@pytest.mark.parametrize(
    "layer",
    [
        layers.Conv2DTranspose(2, 4, 2, padding="valid"),
        layers.Conv2DTranspose(2, 4, (1, 2), padding="same"),
        layers.Conv2DTranspose(2, 3, 1, padding="same"),
        layers.Conv2DTranspose(2, 3, 2, padding="same", output_padding=1),
        layers.Normalization(mean=[1, 2, 3], variance=[4, 4, 4]),
        layers.Normalization(mean=[1, 1, 1], variance=[4, 4, 5]),
        layers.Normalization(mean=[1, 1, 1], variance=[4, 4, 4], invert=True),
        layers.Activation("silu"),
    ],
)
def test_others_stay(layer):
    model = model_of(layer, 4, 4, 3)
    with for_xnnpack(model, integers=True):
        assert changed(model) == []


def test_one_mean_for_all_channels():
    model = model_of(layers.Normalization(mean=[3, 3, 3], variance=[4, 4, 4]), 2, 2, 3)
    with for_xnnpack(model, integers=False):
        assert len(changed(model)) == 1
        assert np.unique(model(np.full((1, 2, 2, 3), 8.0))).tolist() == [2.5]


def test_hard_swish_in_integers_alone():
    """x relu6(x + 3) / 6."""
    model = model_of(layers.Activation("hard_swish"), 1, 1, 5)
    given = np.array([-4, -1, 0, 1, 6], np.float32).reshape(1, 1, 1, 5)
    with for_xnnpack(model, integers=False):
        assert changed(model) == []
    with for_xnnpack(model, integers=True):
        assert len(changed(model)) == 1
        found = np.ravel(model(given))
    np.testing.assert_allclose(found, [0, -1 / 3, 0, 2 / 3, 6], rtol=1e-6)


def test_the_model_is_as_before_after_a_failure():
    model = model_of(layers.Activation("hard_swish"), 1, 1, 5)
    with pytest.raises(RuntimeError), for_xnnpack(model, integers=True):
        raise RuntimeError
    assert changed(model) == []


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["tflite", "tflite-int8"])
def test_xnnpack_takes_all_of_them(kind):
    """The converter does not put hard swish or a transposed convolution together again."""
    x = keras.Input((None, None, 3))
    y = layers.Normalization(mean=[127.5] * 3, variance=[127.5**2] * 3, name="normalization")(x)
    y = layers.Activation("hard_swish")(layers.Conv2D(4, 1)(y))
    y = layers.Conv2DTranspose(3, 4, 2, padding="same")(layers.MaxPooling2D()(y))
    given = [np.random.default_rng(0).integers(0, 256, (1, 32, 32, 3)).astype(np.uint8)]
    content = tflite.convert(keras.Model(x, y), kind, (32, 32), given)
    found = {name for name, _, _ in tflite_file.operations(tflite_file.read(content))}
    assert "TRANSPOSE_CONV" not in found and "DEPTH_TO_SPACE" in found
    assert ("HARD_SWISH" in found) == (kind == "tflite")

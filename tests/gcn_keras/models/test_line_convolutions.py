"""Convolutions line by line are the same convolutions."""

import keras
import numpy as np
import pytest

from gcn_keras import gcn
from gcn_keras.models.line_convolutions import by_lines, convolve_along_lines

tf = pytest.importorskip("tensorflow")  # whose ways of computing these are


def model_of(kernel_size, channels=128, **options):
    x = keras.Input((None, None, channels))
    convolution = keras.layers.Conv2D(5, kernel_size, **{"padding": "same", **options})
    return keras.Model(x, convolution(x))


def outputs_and_gradients(model, images):
    @tf.function
    def compute(images):
        with tf.GradientTape() as tape:
            tape.watch(images)
            outputs = model(images)
            value = tf.reduce_sum(outputs * tf.sin(outputs))
        return outputs, *tape.gradient(value, [images, *model.trainable_weights])

    return [tensor.numpy() for tensor in compute(tf.constant(images))]


@pytest.mark.parametrize("kernel_size", [(1, 7), (7, 1), (1, 15), (15, 1)])
@pytest.mark.parametrize("size", [(9, 13), (13, 9), (1, 20), (4, 4)])
def test_outputs_and_gradients_are_the_same(kernel_size, size):
    """Kernels longer than the map, too; the layer, and what is saved of it, stay as they are."""
    keras.utils.set_random_seed(0)
    model = model_of(kernel_size, activation="relu")
    images = np.random.default_rng(0).normal(size=(3, *size, 128)).astype("float32")
    expected, config = outputs_and_gradients(model, images), model.get_config()
    assert convolve_along_lines(model) == 1
    for ours, theirs in zip(outputs_and_gradients(model, images), expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-5 * np.abs(theirs).max())
    assert model.get_config() == config


@pytest.mark.parametrize(
    ("kernel_size", "options"),
    [
        ((3, 3), {}),
        ((1, 1), {}),
        ((1, 7), {"channels": 64}),
        ((1, 7), {"strides": 2}),
        ((1, 7), {"padding": "valid"}),
        ((7, 1), {"dilation_rate": 2}),
        ((7, 1), {"groups": 5, "channels": 640}),
    ],
)
def test_others_are_left_alone(kernel_size, options):
    model = model_of(kernel_size, **options)
    assert convolve_along_lines(model) == 0
    assert "convolution_op" not in vars(model.layers[-1])


def test_mixed_precision():
    x = keras.Input((None, None, 128))
    model = keras.Model(
        x, keras.layers.Conv2D(5, (1, 7), padding="same", dtype="mixed_bfloat16")(x)
    )
    images = np.random.default_rng(0).normal(size=(1, 6, 8, 128)).astype("float32")
    expected = model(images)
    assert convolve_along_lines(model) == 1 and expected.dtype == "bfloat16"
    ours, theirs = (np.asarray(keras.ops.cast(y, "float32")) for y in (model(images), expected))
    np.testing.assert_allclose(ours, theirs, rtol=0.02, atol=0.02)


def test_only_within_a_block():
    model = model_of((1, 7))
    with by_lines(model):
        assert "convolution_op" in vars(model.layers[-1])
    assert "convolution_op" not in vars(model.layers[-1])


def test_a_block_leaves_what_was_so_before():
    model = model_of((1, 7))
    convolve_along_lines(model)
    with by_lines(model):
        pass
    assert "convolution_op" in vars(model.layers[-1])


@pytest.mark.jax
@pytest.mark.slow
def test_a_network_has_two_at_each_stage():
    """Those that read the backbone's maps; P2 of ResNet-18 has 64 channels."""
    assert convolve_along_lines(gcn(5, "resnet18", kernel_size=3)) == 6
    assert convolve_along_lines(gcn(5, "resnet14_tiny", kernel_size=3)) == 0

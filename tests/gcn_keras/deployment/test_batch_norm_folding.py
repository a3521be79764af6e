"""Batch norms folded into convolutions: nothing is lost, and nothing else is touched."""

import os
import subprocess
import sys

import keras
import numpy as np
import pytest
from keras import layers

from gcn_keras import gcn
from gcn_keras.deployment.batch_norm_folding import fold_batch_norm, is_float32


def give_trained_statistics(model, seed=0) -> None:
    """Random scales and shifts, some scales negative or zero, and the statistics that follow."""
    random = np.random.default_rng(seed)
    batch_norms = [layer for layer in model.layers if "BatchNorm" in type(layer).__name__]
    momenta = [layer.momentum for layer in batch_norms]
    for layer in batch_norms:
        channels = layer.moving_mean.shape
        scale = random.uniform(0.5, 1.5, channels) * random.choice([-1, 0, 1, 1, 1], channels)
        layer.set_weights(
            [scale, random.normal(0, 0.5, channels), np.zeros(channels), np.ones(channels)]
        )
        layer.momentum = 0
    model(random.integers(0, 256, (4, 64, 64, 3)).astype("float32"), training=True)
    for layer, momentum in zip(batch_norms, momenta, strict=True):
        scale, shift, mean, variance = layer.get_weights()
        # As if gathered elsewhere, and never below what 2×2 maps can give by chance.
        mean += random.normal(0, 0.2, mean.shape) * np.sqrt(variance)
        layer.set_weights([scale, shift, mean, variance * random.uniform(0.7, 1.4, mean.shape)])
        layer.momentum = momentum


def outputs(model, images) -> np.ndarray:
    return keras.ops.convert_to_numpy(model(images, training=False))


def batch_norms(model) -> list[str]:
    return [layer.name for layer in model.layers if "BatchNorm" in type(layer).__name__]


def image(*shape, seed=1) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (*shape, 3)).astype("float32")


@pytest.mark.slow
@pytest.mark.parametrize(
    "backbone",
    [
        "resnet14_tiny",
        "resnet_nearsighted",
        pytest.param("resnet18_slim", marks=pytest.mark.slow),
        pytest.param("resnet18", marks=pytest.mark.slow),  # keras-cv
        pytest.param("resnet34", marks=pytest.mark.slow),
        pytest.param("resnet50", marks=pytest.mark.slow),  # keras.applications
        pytest.param("mobilenet_v2", marks=pytest.mark.slow),
        pytest.param("mobilenet_v3_small", marks=pytest.mark.slow),
        pytest.param("mobilenet_v3_large", marks=pytest.mark.slow),
    ],
)
def test_every_backbone_folds_completely(backbone):
    keras.utils.set_random_seed(0)
    model = gcn(5, backbone, kernel_size=3)
    give_trained_statistics(model)
    before = model.get_weights()
    folded = fold_batch_norm(model)
    assert batch_norms(model) and not batch_norms(folded)
    # Four numbers a channel are gone, and one, the bias, has come where there was none.
    assert folded.count_params() < model.count_params()
    kept = {layer.name for layer in folded.layers}
    assert kept == {layer.name for layer in model.layers} - set(batch_norms(model))
    assert (folded.name, folded.output_shape) == (model.name, model.output_shape)
    images = image(2, 64, 96)
    expected = outputs(model, images)
    assert expected.std() > 0.1
    # Rounding adds up with depth, and processors differ: the logits of resnet50, up to 19, are
    # themselves 2e-4 away from those that it computes in float64.
    tolerance = 1e-4 * np.abs(expected).max()
    np.testing.assert_allclose(outputs(folded, images), expected, rtol=0, atol=tolerance)
    for was, now in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(was, now)


def test_by_hand():
    """y = 6 (2x + 1 - 5) / √9 + 4 = 4x - 4."""
    x = keras.Input((1, 1, 1))
    convolution = layers.Conv2D(1, 1, name="convolution")
    batch_norm = layers.BatchNormalization(epsilon=0.5, name="batch_norm")
    model = keras.Model(x, batch_norm(convolution(x)))
    convolution.set_weights([np.full((1, 1, 1, 1), 2), np.array([1])])
    batch_norm.set_weights(np.array([[6], [4], [5], [8.5]]))
    folded = fold_batch_norm(model)
    assert [layer.name for layer in folded.layers[1:]] == ["convolution"]
    kernel, bias = folded.layers[1].get_weights()
    assert (kernel.item(), bias.item()) == (4, -4)
    assert outputs(folded, np.full((1, 1, 1, 1), 3)).item() == 8


def test_depthwise_by_hand():
    """Two inputs with two outputs each: y = γ (w x + b - μ) / √(σ² + ε) + β, with a root of 3."""
    x = keras.Input((1, 1, 2))
    convolution = layers.DepthwiseConv2D(1, depth_multiplier=2, name="convolution")
    batch_norm = layers.BatchNormalization(epsilon=0.5, name="batch_norm")
    model = keras.Model(x, batch_norm(convolution(x)))
    convolution.set_weights([np.array([[[[1, 2], [3, 4]]]]), np.array([0, 1, 2, 3])])
    batch_norm.set_weights(np.array([[3, 6, 9, 12], [1, 1, 1, 1], [0, 1, 1, 0], [8.5] * 4]))
    folded = fold_batch_norm(model)
    assert [layer.name for layer in folded.layers[1:]] == ["convolution"]
    kernel, bias = folded.layers[1].get_weights()
    assert kernel.tolist() == [[[[1, 4], [9, 16]]]]
    assert bias.tolist() == [1, 1, 4, 13]
    images = np.array([10, 100]).reshape(1, 1, 1, 2)
    assert outputs(folded, images).ravel().tolist() == [11, 41, 904, 1613]


@pytest.mark.parametrize("scale, center, bias", [(False, True, False), (True, False, True)])
def test_batch_norms_without_scale_or_shift(scale, center, bias):
    x = keras.Input((None, None, 3))
    y = layers.Conv2D(4, 3, use_bias=bias, bias_initializer="random_normal")(x)
    batch_norm = layers.BatchNormalization(scale=scale, center=center)
    model = keras.Model(x, batch_norm(y))
    random = np.random.default_rng(0)
    batch_norm.set_weights([random.uniform(1, 2, 4) for _ in batch_norm.get_weights()])
    folded = fold_batch_norm(model)
    assert not batch_norms(folded) and folded.layers[1].use_bias
    images = image(1, 5, 6) / 255
    np.testing.assert_allclose(outputs(folded, images), outputs(model, images), atol=1e-5)


def conv(**options):
    return layers.Conv2D(3, 3, padding="same", **options)


def norm(**options):
    random = keras.initializers.RandomUniform(0.5, 2)
    return layers.BatchNormalization(
        gamma_initializer=random,
        beta_initializer=random,
        moving_mean_initializer=random,
        moving_variance_initializer=random,
        **options,
    )


def activated(x):
    return norm()(conv(activation="relu")(x))


def after_a_sum(x):
    return norm()(layers.Add()([conv()(x), x]))


def read_twice(x):
    y = conv()(x)
    return layers.Add()([norm()(y), y])


def normalised_twice(x):
    y = conv()(x)
    return layers.Add()([norm()(y), norm()(y)])


def shared_convolution(x):
    shared = conv()
    return norm()(shared(shared(x)))


def shared_norm(x):
    shared = norm()
    return layers.Add()([shared(conv()(x)), shared(conv()(x))])


def depthwise_activated(x):
    return norm()(layers.DepthwiseConv2D(3, padding="same", activation="relu")(x))


def separable(x):
    return norm()(layers.SeparableConv2D(3, 3, padding="same")(x))


def after_an_operation(x):
    return norm()(conv()(x) + 1)


def of_rows(x):
    return norm(axis=1)(conv()(x))


def in_training(x):
    return norm()(conv()(x), training=True)


def without_convolution(x):
    return norm()(x)


@pytest.mark.parametrize(
    "function",
    [
        activated,
        after_a_sum,
        read_twice,
        normalised_twice,
        shared_convolution,
        shared_norm,
        depthwise_activated,
        separable,
        after_an_operation,
        of_rows,
        in_training,
        without_convolution,
    ],
)
def test_other_batch_norms_stay(function):
    x = keras.Input((6, 6, 3))
    model = keras.Model(x, function(x))
    folded = fold_batch_norm(model)
    assert batch_norms(folded) == batch_norms(model) != []
    images = image(2, 6, 6) / 255
    expected = outputs(model, images)
    np.testing.assert_allclose(outputs(folded, images), expected, rtol=1e-6, atol=1e-6)


def test_a_convolution_that_is_an_output_stays():
    x = keras.Input((6, 6, 3))
    y = conv()(x)
    model = keras.Model(x, [y, norm()(y)])
    folded = fold_batch_norm(model)
    assert len(batch_norms(folded)) == 1
    images = image(1, 6, 6) / 255
    for now, was in zip(folded(images), model(images), strict=True):
        np.testing.assert_allclose(now, was, rtol=1e-6, atol=1e-6)


def test_only_calls_of_this_model_count():
    """The convolution is read by another model, too; in this one the batch norm reads it alone."""
    x = keras.Input((6, 6, 3))
    y = conv()(x)
    model = keras.Model(x, norm()(y))
    other = keras.Model(x, layers.Add()([norm()(y), y]))
    again = keras.models.clone_model(other, clone_function=lambda layer: layer)
    assert len(again.layers) == len(other.layers)
    assert batch_norms(fold_batch_norm(model)) == []
    assert batch_norms(fold_batch_norm(other)) == batch_norms(other)


def test_folding_twice_changes_nothing_more():
    x = keras.Input((6, 6, 3))
    model = keras.Model(x, layers.ReLU()(norm()(conv()(x))))
    model.compile("sgd", "mse")
    once = fold_batch_norm(model)
    twice = fold_batch_norm(once)
    assert not batch_norms(once) and not once.compiled
    for a, b in zip(once.get_weights(), twice.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.slow
@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_mixed_precision_is_deployed_in_float32(policy):
    keras.mixed_precision.set_global_policy(policy)
    try:
        keras.utils.set_random_seed(0)
        model = gcn(4, "small", kernel_size=3)
    finally:
        keras.mixed_precision.set_global_policy("float32")
    plain = gcn(4, "small", kernel_size=3)
    give_trained_statistics(plain)
    model.set_weights(plain.get_weights())
    assert {layer.compute_dtype for layer in model.layers} > {"float32"}
    folded = fold_batch_norm(model)
    assert {layer.compute_dtype for layer in folded.layers} == {"float32"}
    assert not batch_norms(folded)
    images = image(1, 64, 64)
    np.testing.assert_allclose(outputs(folded, images), outputs(plain, images), atol=1e-4)


@pytest.mark.slow
def test_needs_no_tensorflow():
    pytest.importorskip("jax")
    code = (
        "import sys; sys.modules['tensorflow'] = None; from gcn_keras import gcn; "
        "from gcn_keras.deployment.batch_norm_folding import fold_batch_norm; "
        "folded = fold_batch_norm(gcn(3, 'resnet14_tiny', kernel_size=3)); "
        "print(any('BatchNorm' in type(layer).__name__ for layer in folded.layers))"
    )
    environment = {**os.environ, "KERAS_BACKEND": "jax"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True
    )
    assert done.stdout == "False\n", done.stderr


@pytest.mark.parametrize("kind", ["functional", "sequential"])
def test_a_model_that_is_a_layer_is_folded_too(kind):
    """A convolution with its batch norm, twice: inside and outside."""
    parts = [layers.Conv2D(4, 3, padding="same", use_bias=False), layers.BatchNormalization()]
    if kind == "sequential":
        inner = keras.Sequential([keras.Input((None, None, 3)), *parts])
    else:
        x = keras.Input((None, None, 3))
        inner = keras.Model(x, parts[1](parts[0](x)))
    x = keras.Input((None, None, 3))
    model = keras.Model(x, layers.BatchNormalization()(layers.Conv2D(2, 1)(inner(x))))
    statistics = np.random.default_rng(0).uniform(0.5, 1.5, (4, 4))
    parts[1].set_weights(statistics)
    model.layers[-1].set_weights(statistics[:, :2])
    folded = fold_batch_norm(model)
    [copy] = [layer for layer in folded.layers if isinstance(layer, keras.Model)]
    assert batch_norms(folded) == batch_norms(copy) == []
    np.testing.assert_allclose(
        outputs(folded, image(1, 8, 8)), outputs(model, image(1, 8, 8)), rtol=1e-4, atol=1e-3
    )
    shorter = fold_batch_norm(model, "bfloat16")
    assert {weight.dtype for weight in shorter.weights} == {"bfloat16"}
    assert is_float32(model) and is_float32(folded) and not is_float32(shorter)


def test_the_number_type_of_a_model_within_counts():
    x = keras.Input((None, None, 3))
    inner = keras.Model(x, layers.Conv2D(2, 1, dtype="mixed_bfloat16")(x))
    assert not is_float32(keras.Model(x, layers.Conv2D(2, 1)(inner(x))))

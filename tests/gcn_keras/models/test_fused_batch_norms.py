"""Batch norms in one operation are the same batch norms."""

import keras
import numpy as np
import pytest

from gcn_keras import gcn
from gcn_keras.models.fused_batch_norms import fuse_batch_norms

tf = pytest.importorskip("tensorflow")  # whose ways of computing these are


def model_of(dtype="float32", **options):
    """A batch norm with weights and statistics of its own."""
    keras.utils.set_random_seed(0)
    x = keras.Input((None, None, 3))
    norm = keras.layers.BatchNormalization(
        **{"momentum": 0.75, "epsilon": 1e-3, "dtype": dtype, **options}
    )
    model = keras.Model(x, norm(x))
    random = np.random.default_rng(1)
    for variable in norm.variables:
        variable.assign(random.uniform(0.5, 1.5, variable.shape))
    return model


def images(*shape, seed=0):
    return np.random.default_rng(seed).normal(3, 2, (*shape, 3)).astype("float32")


def step(model, given, training=True):
    """Outputs, gradients, and the moving statistics after it, as float32."""

    @tf.function
    def compute(given):
        with tf.GradientTape() as tape:
            tape.watch(given)
            outputs = model(given, training=training)
            value = tf.reduce_sum(tf.cast(outputs, tf.float32) ** 3)
        return outputs, *tape.gradient(value, [given, *model.trainable_weights])

    found = [*compute(tf.constant(given)), *model.non_trainable_weights]
    return [np.asarray(keras.ops.cast(tensor, "float32")) for tensor in found]


def assert_same(ours, theirs, share):
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=share * np.abs(other).max())


@pytest.mark.parametrize("shape", [(2, 5, 7), (1, 2, 3), (1, 16, 16), (1, 1, 1)])
def test_outputs_gradients_and_statistics_are_the_same(shape):
    """And the layer, and what is saved of it, stay as they are."""
    model, fused = model_of(), model_of()
    assert fuse_batch_norms(fused) == 1
    assert_same(step(fused, images(*shape)), step(model, images(*shape)), 1e-5)
    configs = [each.layers[-1].get_config() | {"name": ""} for each in (model, fused)]
    assert configs[0] == configs[1]


def test_statistics_by_hand():
    """Of 1, 3, 5 and 7 the mean is 4 and the variance 5, and not 20 / 3."""
    model = model_of()
    fuse_batch_norms(model)
    mean, variance = (v.numpy() for v in model.layers[-1].non_trainable_variables)
    given = np.array([1, 3, 5, 7], "float32").reshape(1, 2, 2, 1) * np.ones(3, "float32")
    *_, new_mean, new_variance = step(model, given)
    np.testing.assert_allclose(new_mean, 0.75 * mean + 0.25 * 4, rtol=1e-6)
    np.testing.assert_allclose(new_variance, 0.75 * variance + 0.25 * 5, rtol=1e-6)


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_mixed_precision(policy):
    model, fused = model_of(policy), model_of(policy)
    fuse_batch_norms(fused)
    given = images(2, 6, 6)
    assert fused(given, training=True).dtype == model(given, training=True).dtype
    assert_same(step(fused, given), step(model, given), 0.02)


def test_frozen_ones_keep_their_statistics():
    for freeze in (True, False):
        model, fused = model_of(), model_of()
        fuse_batch_norms(fused)
        for each in (model, fused):
            each.layers[-1].trainable = not freeze
        # Frozen, or asked to infer: to the bit, as Keras computes both.
        ours = step(fused, images(1, 4, 4), training=freeze)
        for one, other in zip(ours, step(model, images(1, 4, 4), training=freeze), strict=True):
            np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    "options", [{"scale": False}, {"center": False}, {"axis": 1}, {"renorm": True}]
)
def test_others_are_left_alone(options):
    x = keras.Input((4, 4, 3))
    model = keras.Model(x, keras.layers.BatchNormalization(**options)(x))
    assert fuse_batch_norms(model) == 0
    assert "call" not in vars(model.layers[-1])


def test_statistics_of_several_replicas_are_left_to_keras():
    model, fused = model_of(), model_of()
    fuse_batch_norms(fused)
    for each in (model, fused):
        each.layers[-1].synchronized = True
    ours, theirs = step(fused, images(1, 4, 4)), step(model, images(1, 4, 4))
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.jax
@pytest.mark.slow
def test_models_of_this_project():
    model = gcn(5, "resnet14_tiny", kernel_size=3)
    norms = [x for x in model.layers if isinstance(x, keras.layers.BatchNormalization)]
    assert fuse_batch_norms(model) == len(norms) > 10

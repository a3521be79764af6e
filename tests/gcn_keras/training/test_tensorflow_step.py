"""Steps whose loss or gradients are not finite change nothing; JAX takes the same, in a process."""

import dataclasses
import importlib.util
import os
import subprocess
import sys

import keras
import numpy as np
import pytest
from keras import ops
from places import REPOSITORY

from gcn_keras import RECIPES
from gcn_keras.training.losses import PixelCrossentropy
from gcn_keras.training.optimizers import compile_model

RECIPE = dataclasses.replace(
    RECIPES["shapes"], warmup_steps=0, learning_rate=0.01, optimizer="sgd", momentum=0.5
)


class BrokenGradient(PixelCrossentropy):
    """A finite loss whose gradient is not: that of a root at 0."""

    def weighted_sum(self, y_true, y_pred):
        return super().weighted_sum(y_true, y_pred) + ops.sqrt(0 * ops.sum(y_pred))


def make_step(accumulate: int = 1, loss=None, freeze: bool = False, **fields):
    keras.utils.set_random_seed(0)
    x = keras.Input((None, None, 3))
    y = keras.layers.Conv2D(4, 3, padding="same")(x)
    y = keras.layers.BatchNormalization(momentum=0.5, trainable=not freeze)(y)
    model = keras.Model(x, keras.layers.Conv2D(3, 1)(y))
    compile_model(model, dataclasses.replace(RECIPE, **fields), 100, loss)
    if keras.backend.backend() == "jax":
        from gcn_keras.training.jax_step import JaxStep

        return JaxStep(model, accumulate)
    import tensorflow as tf

    from gcn_keras.training.devices import Team
    from gcn_keras.training.tensorflow_step import TensorFlowStep

    return TensorFlowStep(model, Team(tf.distribute.get_strategy()), accumulate)


def batch(broken: bool = False):
    random = np.random.default_rng(0)
    images = random.uniform(0, 255, (2, 8, 8, 3)).astype(np.float32)
    if broken:
        images[0, 3, 3, 1] = np.inf
    return ops.convert_to_tensor(images), ops.convert_to_tensor(random.integers(0, 3, (2, 8, 8)))


def state(step) -> list[np.ndarray]:
    step.push()
    variables = [*step.model.weights, *step.model.optimizer.variables]
    return [np.array(ops.convert_to_numpy(variable)) for variable in variables]


def take(step, *given) -> tuple[float, float, float]:
    return tuple(map(float, ops.convert_to_numpy(step(*batch(*given)))))


def assert_left_out(accumulate: int, broken: bool, loss: PixelCrossentropy | None):
    """Moving statistics among the rest; and the step before and after it is one of any run."""
    step, other = make_step(accumulate, loss), make_step(accumulate)
    if loss is None:  # so that the moving statistics are not those of the beginning
        assert take(step)[1:] == take(other)[1:] == (1, 0)
    before = state(step)
    found, taken, stops = take(step, broken)
    assert (np.isfinite(found), taken, stops) == (loss is not None, 0, 0)
    for ours, theirs in zip(state(step), before, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    if loss is None:
        assert take(step) == take(other)
        for ours, theirs in zip(state(step), state(other), strict=True):
            np.testing.assert_array_equal(ours, theirs)
        assert not any(np.array_equal(a, b) for a, b in zip(state(step)[:6], before, strict=False))


@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_loss_that_is_not_finite(accumulate):
    assert_left_out(accumulate, True, None)


@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_gradient_that_is_not_finite(accumulate):
    assert_left_out(accumulate, False, BrokenGradient())


def assert_parts_are_one_batch():
    """Weight decay is a part of the loss that counts once; batch norm, frozen, sees no parts."""
    states = []
    for accumulate in (1, 2):
        step = make_step(accumulate, freeze=True, weight_decay=0.5)
        loss, taken, _ = take(step)
        assert taken == 1
        states.append([np.float32(loss), *state(step)])
    for whole, parts in zip(*states, strict=True):
        np.testing.assert_allclose(parts, whole, rtol=1e-5, atol=1e-6)


def test_parts_one_after_another_are_one_batch():
    assert_parts_are_one_batch()


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("jax") is None, reason="needs JAX")
def test_on_jax():
    program = "import test_tensorflow_step as t\n" + "\n".join(
        f"t.assert_left_out({accumulate}, {broken}, {loss})"
        for accumulate in (1, 2)
        for broken, loss in ((True, None), (False, "t.BrokenGradient()"))
    )
    program += "\nt.assert_parts_are_one_batch()"
    folders = (REPOSITORY, REPOSITORY / "tests/support", REPOSITORY / "tests/gcn_keras/training")
    path = os.pathsep.join(map(str, folders))
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "KERAS_BACKEND": "jax", "PYTHONPATH": path},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr

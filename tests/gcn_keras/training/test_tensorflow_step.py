"""Steps that change nothing, in parts, and clipped; JAX takes the same, in a process."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
from keras import ops
from small_steps import arrays, make_step, run_alone, state, take

from gcn_keras.training.losses import PixelCrossentropy


class BrokenGradient(PixelCrossentropy):
    """A finite loss whose gradient is not: that of a root at 0."""

    def weighted_sum(self, y_true, y_pred):
        return super().weighted_sum(y_true, y_pred) + ops.sqrt(0 * ops.sum(y_pred))


class Steep(PixelCrossentropy):
    """A loss whose gradient is finite, and the sum of its squares is not."""

    def weighted_sum(self, y_true, y_pred):
        return super().weighted_sum(y_true, y_pred) + 1e25 * ops.sum(y_pred)


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


@pytest.mark.slow
@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_loss_that_is_not_finite(accumulate):
    assert_left_out(accumulate, True, None)


@pytest.mark.slow
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


@pytest.mark.slow
def test_parts_one_after_another_are_one_batch():
    assert_parts_are_one_batch()


def assert_clipped(accumulate: int = 1, replicas: int = 1):
    """To a quarter of the whole batch's gradient, in which weight decay is; however it is divided.

    The rate is 1, so a first step is the gradient.
    """
    options = {"freeze": True, "learning_rate": 1.0, "weight_decay": 0.5}
    whole = make_step(**options)
    before = arrays(whole.model.weights)
    take(whole, size=8)
    gradients = [b - after for b, after in zip(before, state(whole), strict=False)]
    norm = float(np.sqrt(sum((gradient**2).sum() for gradient in gradients)))
    step = make_step(accumulate, replicas=replicas, gradient_clip=norm / 4, **options)
    assert take(step, size=8)[1] == 1
    for b, after, gradient in zip(before, state(step), gradients, strict=False):
        np.testing.assert_allclose(b - after, gradient / 4, rtol=1e-4, atol=1e-5 * norm)


@pytest.mark.slow
@pytest.mark.parametrize("accumulate", [1, 2])
def test_the_gradient_of_the_whole_batch_is_clipped(accumulate):
    assert_clipped(accumulate)


@pytest.mark.slow
@pytest.mark.parametrize("accumulate", [1, 2])
def test_the_gradient_of_all_replicas_is_clipped(accumulate):
    run_alone(Path(__file__), f"t.assert_clipped({accumulate}, 2)", devices=2)


@pytest.mark.slow
def test_a_gradient_whose_norm_is_not_finite():
    """Each of its numbers is."""
    step = make_step(gradient_clip=1.0, loss=Steep())
    before = state(step)
    assert take(step)[1:] == (0, 0)
    for ours, theirs in zip(state(step), before, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def assert_slow_backbone(optimizer: str, replicas: int = 1):
    """The first step, decay included, is a quarter as long, and the head's as it was."""
    steps = {"optimizer": optimizer, "learning_rate": 0.5, "weight_decay": 0.1, "ema": 0.9}
    whole = make_step(**steps)
    slow = make_step(replicas=replicas, backbone_learning_rate_factor=0.25, **steps)
    before = arrays(whole.model.trainable_weights)
    moved = []
    for step in (whole, slow):
        assert take(step)[1] == 1
        step.push()
        after = arrays(step.model.trainable_weights)
        moved.append([a - b for a, b in zip(after, before, strict=True)])
    for place, (own, slower) in enumerate(zip(*moved, strict=True)):
        if place == 1:  # before a batch norm a bias has no gradient but what rounding leaves
            continue
        expected = (0.25 if place < 4 else 1) * own
        np.testing.assert_allclose(slower, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_the_backbone_learns_at_its_own_rate(optimizer):
    assert_slow_backbone(optimizer)


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_the_backbones_rate_on_two_replicas(optimizer):
    run_alone(Path(__file__), f"t.assert_slow_backbone({optimizer!r}, 2)", devices=2)


@pytest.mark.slow
def test_a_backbone_that_does_not_learn():
    """Its batch norms do not, either."""
    step = make_step(backbone_learning_rate_factor=0, weight_decay=0.1, ema=0.9)
    before = arrays(step.model.weights)
    assert take(step)[1] == 1
    same = [np.array_equal(*pair) for pair in zip(before, state(step), strict=False)]
    assert same == [True] * 6 + [False] * 2


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("jax") is None, reason="needs JAX")
def test_on_jax():
    program = "\n".join(
        f"t.assert_left_out({accumulate}, {broken}, {loss})"
        for accumulate in (1, 2)
        for broken, loss in ((True, None), (False, "t.BrokenGradient()"))
    )
    program += "\nt.assert_parts_are_one_batch()\nt.assert_clipped()\nt.assert_clipped(2)"
    program += "\nt.test_a_gradient_whose_norm_is_not_finite()"
    program += "\nt.assert_slow_backbone('sgd')\nt.assert_slow_backbone('adamw')"
    program += "\nt.test_a_backbone_that_does_not_learn()"
    run_alone(Path(__file__), program, "jax")

"""Averages against sums done by hand, on every kind of device; what has them, and what has not."""

import dataclasses
import importlib.util
import itertools
import signal
import types
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops
from small_steps import RECIPE, arrays, batch, make_step, run_alone, state, take

from gcn_keras.training.devices import Team
from gcn_keras.training.loop import Loop
from gcn_keras.training.run_folder import RunFolder
from gcn_keras.training.training_state import TrainingState
from gcn_keras.training.weight_averages import averaged_weights, moving_statistics
from pipelines.base.errors import Interrupted

same = np.testing.assert_array_equal


def averages(step) -> list[np.ndarray]:
    step.push()
    with averaged_weights(step.model):
        return arrays(step.model.weights)


def assert_averages(accumulate: int = 1, replicas: int = 1, **fields):
    """Of 0.2: after the first step its weights; then 2/11, which is less; 3/12 would be more."""
    step = make_step(accumulate, replicas=replicas, ema=0.2, learning_rate=0.1, **fields)
    seen = []
    for number in range(4):
        assert take(step, seed=number, size=4)[1] == 1
        step.push()
        seen.append(arrays(step.model.weights))
    names = [weight.name for weight in step.model.weights]
    assert names == "kernel bias gamma beta moving_mean moving_variance kernel bias".split()
    found = averages(step)
    for place, (average, *weights) in enumerate(zip(found, *seen, strict=True)):
        first, second, third, fourth = weights
        # Before a batch norm a bias has no gradient.
        assert place == 1 or not np.allclose(third, fourth, rtol=1e-3)
        expected = 2 / 11 * first + 9 / 11 * second
        expected = 0.2 * (0.2 * expected + 0.8 * third) + 0.8 * fourth
        np.testing.assert_allclose(average, expected, rtol=1e-5, atol=1e-6)
    step.push()
    for own, expected in zip(arrays(step.model.weights), seen[-1], strict=True):
        same(own, expected)


def test_statistics_of_models_within_the_model():
    norm, frozen = (keras.layers.BatchNormalization(trainable=bool(i)) for i in (1, 0))
    inner = keras.Sequential([keras.Input((4, 4, 3)), norm, frozen])
    x = keras.Input((4, 4, 3))
    model = keras.Model(x, [inner(x), norm(x)])  # which is called twice
    assert moving_statistics(model) == [norm.moving_mean, norm.moving_variance]


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
@pytest.mark.parametrize("accumulate", [1, 2])
def test_by_hand(optimizer, accumulate):
    assert_averages(accumulate, optimizer=optimizer, weight_decay=0.1)


@pytest.mark.slow
@pytest.mark.parametrize("case", ["2, 2", "1, 2, optimizer='adamw'"])
def test_of_two_replicas(case):
    run_alone(Path(__file__), f"t.assert_averages({case})", devices=2)


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("jax") is None, reason="needs JAX")
def test_on_jax():
    program = (
        "t.assert_averages()\nt.assert_averages(2, optimizer='adamw')\n"
        "t.test_before_the_first_step()\nt.test_a_step_that_is_left_out_counts_for_nothing()\n"
        "t.test_under_float16()\nt.test_frozen_statistics_stay_what_they_are()"
    )
    run_alone(Path(__file__), program, "jax")


def test_the_momentum_ends_as_it_was_asked_for():
    """(1 + n) / (10 + n) reaches 0.9 at n = 80."""
    optimizer = make_step(ema=0.9).model.optimizer
    for steps, expected in ((1, 2 / 11), (79, 80 / 89), (80, 0.9), (10_000, 0.9)):
        optimizer.iterations.assign(steps)
        assert float(optimizer.ema_momentum) == pytest.approx(expected)


@pytest.mark.slow
def test_training_goes_on_as_without():
    plain, averaged = make_step(), make_step(ema=0.99)
    for seed in range(3):
        assert take(plain, seed=seed) == take(averaged, seed=seed)
        averages(averaged)
    for ours, theirs in zip(arrays(averaged.model.weights), plain.model.weights, strict=True):
        same(ours, theirs.numpy())


def test_before_the_first_step():
    """Averages are zeros then."""
    step = make_step(ema=0.9)
    for ours, theirs in zip(averages(step), arrays(step.model.weights), strict=True):
        same(ours, theirs)


@pytest.mark.slow
def test_a_step_that_is_left_out_counts_for_nothing():
    step, other = make_step(ema=0.9), make_step(ema=0.9)
    for broken in (False, True, False):
        assert take(step, broken)[1] == (not broken)
    for _ in range(2):
        take(other)
    for ours, theirs in zip(averages(step), averages(other), strict=True):
        same(ours, theirs)


@pytest.mark.slow
def test_under_float16():
    """Steps that overflow count for nothing; here all, until the scale has fallen."""
    keras.mixed_precision.set_global_policy("mixed_float16")
    try:
        step = make_step(ema=0.2, learning_rate=0.1)
    finally:
        keras.mixed_precision.set_global_policy("float32")
    step.model.optimizer.dynamic_scale.assign(2.0**30)
    if keras.backend.backend() == "jax":
        step.pull()
    seen = [state(step)]
    while len(seen) < 4:
        take(step, seed=len(seen))
        step.push()
        if int(ops.convert_to_numpy(step.model.optimizer.iterations)) == len(seen):
            seen.append(arrays(step.model.weights))
    assert float(ops.convert_to_numpy(step.model.optimizer.dynamic_scale)) < 2.0**30
    trained = range(4)  # statistics move in a step that overflows, too
    for place in trained:
        expected = 0.2 * (2 / 11 * seen[1][place] + 9 / 11 * seen[2][place]) + 0.8 * seen[3][place]
        np.testing.assert_allclose(averages(step)[place], expected, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_frozen_statistics_stay_what_they_are():
    """To the last bit, which a sum of 0.1 × and 0.9 × a number may lose."""
    step = make_step(freeze=True, ema=0.1)
    for variable in step.model.layers[2].non_trainable_variables:
        variable.assign([0.1, 0.7, 1.3, 2.9])
    if keras.backend.backend() == "jax":
        step.pull()
    names = [weight.name for weight in step.model.weights]
    before = dict(zip(names, arrays(step.model.weights), strict=True))
    for _ in range(3):
        take(step)
    after = dict(zip(names, averages(step), strict=True))
    for name in ("moving_mean", "moving_variance"):
        same(after[name], before[name])


# === In a run ===


def make_loop(folder, stop_at=None, validate=None, **fields) -> Loop:
    """Three epochs of three steps; the second one's model is the best."""
    recipe = dataclasses.replace(
        RECIPE,
        **{"epochs": 3, "checkpoint_steps": 1, "learning_rate": 0.1, "ema": 0.9, **fields},
    )
    step = make_step(**{key: getattr(recipe, key) for key in ("ema", "learning_rate", "optimizer")})
    folder.mkdir(exist_ok=True)

    def stream(start):
        for number in itertools.count(start + 1):
            if number == stop_at:
                signal.raise_signal(signal.SIGTERM)
            yield *batch(seed=number), None

    def measure(check_stop):
        check_stop()
        seen.append(arrays(step.model.weights))
        return types.SimpleNamespace(score=(0.1, 0.3, 0.2)[loop.progress.epoch])

    state = TrainingState(recipe, RunFolder(folder), step.model, step, 3)
    team = Team(tf.distribute.get_strategy())
    loop = Loop(state, stream, validate or measure, team, scores=("score",))
    loop.seen = seen = []
    return loop


def weights(path) -> list[np.ndarray]:
    return keras.models.load_model(path, compile=False).get_weights()


@pytest.mark.slow
def test_models_have_averages_and_checkpoints_have_weights(tmp_path):
    loop = make_loop(tmp_path / "run")
    loop()
    # Sums by hand, of the weights after each step.
    step, expected = make_step(ema=0.0, learning_rate=0.1), []
    for number in range(9):
        take(step, seed=number + 1)
        kept = (1 + number) / (10 + number) if number else 0
        new = arrays(step.model.weights)
        last = expected[-1] if expected else new
        expected.append([kept * a + (1 - kept) * b for a, b in zip(last, new, strict=True)])
    for name, validation, number in (("best", 1, 5), ("model", 2, 8)):
        found = weights(tmp_path / "run" / f"{name}.keras")
        for ours, validated, by_hand in zip(
            found, loop.seen[validation], expected[number], strict=True
        ):
            same(ours, validated)
            np.testing.assert_allclose(ours, by_hand, rtol=1e-4, atol=1e-5)
    again = make_loop(tmp_path / "run")
    assert again.state.restore() == 9
    for ours, theirs in zip(arrays(again.model.weights), arrays(step.model.weights), strict=True):
        same(ours, theirs)


@pytest.fixture(scope="module", params=["sgd", "adamw"])
def whole(request, tmp_path_factory):
    """An optimizer, and a run with it that was not stopped: its folder and its state."""
    folder = tmp_path_factory.mktemp("whole")
    loop = make_loop(folder, optimizer=request.param)
    loop()
    return request.param, folder, state(loop.step)


@pytest.mark.slow
@pytest.mark.parametrize("stop_at", [1, 3, 5])
def test_a_run_that_goes_on_ends_as_one_that_was_not_stopped(tmp_path, stop_at, whole):
    """To the last bit."""
    optimizer, whole_folder, whole_state = whole
    run = make_loop(tmp_path / "run", stop_at, optimizer=optimizer)
    with pytest.raises(Interrupted):
        run()
    again = make_loop(tmp_path / "run", optimizer=optimizer)
    taken = again.state.restore()
    assert stop_at <= taken <= stop_at + 2
    for ours, theirs in zip(
        weights(tmp_path / "run" / "model.keras"), averages(again.step), strict=True
    ):
        same(ours, theirs)
    again()
    for ours, theirs in zip(state(again.step), whole_state, strict=True):
        same(ours, theirs)
    for name in ("best.keras", "model.keras"):
        for ours, theirs in zip(
            weights(tmp_path / "run" / name), weights(whole_folder / name), strict=True
        ):
            same(ours, theirs)


@pytest.mark.slow
def test_after_a_validation_that_fails_training_has_its_weights(tmp_path):
    def validate(check_stop):
        raise MemoryError

    loop, other = make_loop(tmp_path / "run", validate=validate), make_step(learning_rate=0.1)
    with pytest.raises(MemoryError):
        loop()
    for number in range(3):
        take(other, seed=number + 1)
    for ours, theirs in zip(arrays(loop.model.weights), arrays(other.model.weights), strict=True):
        same(ours, theirs)

"""When the loop calls callbacks, with what, and what they may change."""

import dataclasses
import math
import os
import signal

import keras
import numpy as np
import pytest
import tensorflow as tf
from counting_loop import RECIPE, STEPS, bias_of, history, make_loop

from gcn_keras.training.loop import Loop
from pipelines.base.errors import Interrupted

HOOKS = ("set_model", "set_params", "on_train_begin", "on_train_end", "on_epoch_begin")
HOOKS += ("on_epoch_end", "on_train_batch_begin", "on_train_batch_end")
HOOKS += ("on_test_begin", "on_test_end")


def _noting(name):
    def hook(self, *given, **named):
        getattr(keras.callbacks.Callback, name)(self, *given, **named)
        self.calls.append((name, *given, *named.values()))

    return hook


class Recorder(keras.callbacks.Callback):
    """Notes every call: its name and what it was given."""

    def __init__(self):
        super().__init__()
        self.calls = []


for hook_name in HOOKS:
    setattr(Recorder, hook_name, _noting(hook_name))


def with_callbacks(folder, *callbacks, recipe=RECIPE, **options) -> Loop:
    loop = make_loop(folder, recipe, **options)
    loop.callbacks = list(callbacks)
    return loop


def steps_of(losses):
    """The calls for steps whose results are read at once, with the mean of the losses so far."""
    for step in range(len(losses)):
        yield ("on_train_batch_begin", step, {})
        yield ("on_train_batch_end", step, {"loss": sum(losses[: step + 1]) / (step + 1)})


def test_callbacks_are_called_as_by_keras(tmp_path):
    recorder = Recorder()
    recipe = dataclasses.replace(RECIPE, epochs=2, checkpoint_steps=1)
    loop = with_callbacks(tmp_path / "run", recorder, recipe=recipe)
    loop()
    first, second = ({"mean_iou": iou / 2, "pixel_accuracy": iou} for iou in (0.5, 0.6))
    ends = [
        {"loss": loss, "learning_rate": 0.25} | {f"val_{key}": v for key, v in scores.items()}
        for loss, scores in ((3.0, first), (8.0, second))
    ]
    assert recorder.calls == [
        ("set_model", loop.model),
        ("set_params", {"verbose": 2, "epochs": 2, "steps": STEPS}),
        ("on_train_begin", {}),
        ("on_epoch_begin", 0, {}),
        *steps_of([1, 2, 3, 4, 5]),
        ("on_test_begin", {}),
        ("on_test_end", first),
        ("on_epoch_end", 0, ends[0]),
        ("on_epoch_begin", 1, {}),
        *steps_of([6, 7, 8, 9, 10]),
        ("on_test_begin", {}),
        ("on_test_end", second),
        ("on_epoch_end", 1, ends[1]),
        ("on_train_end", ends[1]),
    ]


@pytest.mark.slow
def test_keras_itself_calls_them_so():
    """But for the batches of a validation, of which a run has none."""
    x = keras.Input((1,))
    model = keras.Model(x, keras.layers.Dense(1)(x))
    model.compile("sgd", "mse")
    recorder, data = Recorder(), np.zeros((STEPS, 1))
    model.fit(
        *(data, data), batch_size=1, epochs=2, verbose=2, validation_data=(data, data),
        callbacks=[recorder],
    )  # fmt: skip
    names = [(call[0], *call[1:2]) if "batch" in call[0] else call[:1] for call in recorder.calls]
    steps = [call[:2] for call in steps_of([0] * STEPS)]
    epoch = [("on_epoch_begin",), *steps, ("on_test_begin",), ("on_test_end",), ("on_epoch_end",)]
    begin = [("set_model",), ("set_params",), ("on_train_begin",)]
    assert names == [*begin, *epoch, *epoch, ("on_train_end",)]
    assert recorder.calls[1] == ("set_params", {"verbose": 2, "epochs": 2, "steps": STEPS})


def test_a_result_comes_while_the_next_step_is_on_its_way(tmp_path):
    recorder = Recorder()
    recipe = dataclasses.replace(RECIPE, epochs=1, checkpoint_steps=100)
    with_callbacks(tmp_path / "run", recorder, recipe=recipe)()
    words = {"on_train_batch_begin": "+", "on_train_batch_end": "-"}
    calls = [f"{words[call[0]]}{call[1]}" for call in recorder.calls if call[0] in words]
    assert calls == "+0 +1 -0 +2 -1 +3 -2 +4 -3 -4".split()


def test_callbacks_are_told_of_an_interruption(tmp_path):
    recorder = Recorder()
    loop = with_callbacks(tmp_path / "run", recorder, signals={7: signal.SIGTERM})
    with pytest.raises(Interrupted):
        loop()
    names = [call[0] for call in recorder.calls]
    assert names[-1] == "on_train_end" and names.count("on_epoch_end") == 1
    assert recorder.calls[-1][1]["loss"] == 3  # of the last whole epoch
    again = Recorder()
    resumed = with_callbacks(tmp_path / "run", again)
    taken = resumed.state.restore()
    resumed()
    assert again.calls[2:5] == [
        ("on_train_begin", {}),
        ("on_epoch_begin", 1, {}),
        ("on_train_batch_begin", taken - STEPS, {}),
    ]


def test_only_the_chief_has_callbacks(tmp_path):
    recorder = Recorder()
    loop = with_callbacks(tmp_path / "run", recorder)
    loop.worker, loop.is_chief = 1, False
    loop()
    assert recorder.calls == []


class TestEndedByACallback:
    def stopper(self, hook, number):
        def stop(at, logs=None):
            if at == number:
                callback.model.stop_training = True

        callback = keras.callbacks.LambdaCallback(**{hook: stop})
        return callback

    @pytest.mark.parametrize(
        "hook, number", [("on_epoch_end", 0), ("on_train_batch_end", 3), ("on_epoch_begin", 0)]
    )
    @pytest.mark.parametrize("every", [1, 3])
    def test_after_the_epoch_with_a_validation(self, tmp_path, hook, number, every):
        recipe = dataclasses.replace(RECIPE, validate_every=every)
        stopper = self.stopper(hook, number)
        progress = with_callbacks(tmp_path / "run", stopper, recipe=recipe)()
        assert (progress.epoch, progress.step, progress.ended) == (1, 0, True)
        (row,) = history(tmp_path / "run")
        assert (row["loss"], row["val_mean_iou"]) == (3, 0.25)
        assert (progress.best_epoch, progress.best_score) == (1, 0.25)
        for name in ("model.keras", "best.keras"):
            assert bias_of(tmp_path / "run" / name) == STEPS

    def test_it_stays_ended(self, tmp_path):
        with_callbacks(tmp_path / "run", self.stopper("on_epoch_end", 1))()
        again = make_loop(tmp_path / "run")
        assert again.state.restore() == 2 * STEPS
        again()
        assert len(history(tmp_path / "run")) == 2

    def test_an_interruption_of_its_validation_loses_no_epoch(self, tmp_path):
        recipe = dataclasses.replace(RECIPE, validate_every=3)
        loop = with_callbacks(tmp_path / "run", self.stopper("on_epoch_end", 0), recipe=recipe)
        measure = loop.validate

        def validate(check_stop):
            os.kill(os.getpid(), signal.SIGTERM)
            return measure(check_stop)

        loop.validate = validate
        with pytest.raises(Interrupted):
            loop()
        again = with_callbacks(tmp_path / "run", self.stopper("on_epoch_end", 0), recipe=recipe)
        assert again.state.restore() == STEPS and not again.progress.ended
        progress = again()
        assert (progress.epoch, progress.best_epoch, progress.ended) == (1, 1, True)
        assert [row["val_mean_iou"] for row in history(tmp_path / "run")] == [0.25]

    def test_early_stopping(self, tmp_path):
        early = keras.callbacks.EarlyStopping("val_mean_iou", mode="max", patience=1)
        progress = with_callbacks(tmp_path / "run", early, ious=(0.6, 0.5, 0.7))()
        assert (progress.epoch, progress.best_epoch) == (2, 1)

    def test_terminate_on_nan(self, tmp_path):
        """Which with on_nan = stop nobody needs."""
        recipe = dataclasses.replace(RECIPE, on_nan="skip")
        terminate = keras.callbacks.TerminateOnNaN()
        loop = with_callbacks(tmp_path / "run", terminate, recipe=recipe, losses={3: math.nan})
        progress = loop()
        assert (progress.epoch, progress.ended, progress.skipped) == (1, True, 1)
        (row,) = history(tmp_path / "run")
        assert (row["loss"], row["val_mean_iou"]) == (3, 0.25)  # of 1, 2, 4 and 5

    def test_a_gradient_that_overflows_terminates_nothing(self, tmp_path):
        """As with a loss scale that is found by trying: the loss is finite."""
        recipe = dataclasses.replace(RECIPE, on_nan="skip")
        terminate = keras.callbacks.TerminateOnNaN()
        loop = with_callbacks(tmp_path / "run", terminate, recipe=recipe)
        step = loop.step
        loop.step = lambda *batch: step(*batch) * tf.constant([1.0, float(batch[0][0] != 3), 1.0])
        loop.step.push, loop.step.pull = step.push, step.pull
        progress = loop()
        assert (progress.epoch, progress.ended, progress.skipped) == (3, False, 1)

    def test_all_workers_end_together(self, tmp_path):
        """The one that has no callback of its own asks the others."""
        loop = make_loop(tmp_path / "run")
        loop.worker, loop.workers, loop.is_chief = 1, 2, False
        asked = []
        loop.any_of = lambda own: asked.append(own) or loop.progress.epoch == 1
        progress = loop()
        assert asked == [False, False] and (progress.epoch, progress.ended) == (2, True)


def test_what_a_callback_sets_is_kept(tmp_path):
    """A learning rate of an epoch's end: a checkpoint has it, and a step that holds its own."""
    pulled = []

    def lower(epoch, logs=None):
        halve.model.optimizer.learning_rate = 0.25 / 2 ** (epoch + 1)

    halve = keras.callbacks.LambdaCallback(on_epoch_end=lower)
    loop = with_callbacks(tmp_path / "run", halve)
    loop.step.pull = lambda: pulled.append(float(loop.model.optimizer.learning_rate.numpy()))
    loop()
    assert [row["learning_rate"] for row in history(tmp_path / "run")] == [0.25, 0.125, 0.0625]
    # At the beginning and the end of each epoch.
    assert pulled == [0.25, 0.125, 0.125, 0.0625, 0.0625, 0.03125]
    again = make_loop(tmp_path / "run")
    again.state.restore()
    assert float(again.model.optimizer.learning_rate.numpy()) == 0.03125

"""The loop with a step that answers what a test wants."""

import csv
import dataclasses
import itertools
import json
import math
import os
import signal
import sys
import types

import keras
import numpy as np
import pytest
import tensorflow as tf

from gcn_keras import RECIPES
from gcn_keras.evaluation.metrics import ConfusionMatrix
from gcn_keras.plots.curves import curves_figure
from gcn_keras.recipes.recipe import configuration
from gcn_keras.training import checkpoints
from gcn_keras.training.devices import Team
from gcn_keras.training.loop import MOST_SKIPPED_IN_A_ROW, Loop
from gcn_keras.training.optimizers import compile_model
from gcn_keras.training.run_folder import RunFolder
from gcn_keras.training.training_state import TrainingState
from pipelines.base.errors import Interrupted, UserError, in_options

STEPS = 5
RECIPE = dataclasses.replace(
    RECIPES["shapes"], epochs=3, checkpoint_steps=2, schedule="constant", learning_rate=0.25
)


class Step:
    """Adds one to the model's bias, and answers with losses of a list (1, 2, 3, … without one)."""

    def __init__(self, model, losses=None, signals=None):
        self.model, self.bias = model, model.layers[-1].bias
        self.losses, self.signals = losses or {}, signals or {}
        self.pushed = 0

    def __call__(self, images, labels, stop=False):
        number = int(images[0])
        loss = self.losses.get(number, float(number))
        if number in self.signals:
            os.kill(os.getpid(), self.signals[number])
        if math.isfinite(loss):
            self.bias.assign_add([1.0])
        return tf.constant([loss, float(math.isfinite(loss)), float(stop)])

    def push(self):
        self.pushed += 1

    def pull(self):
        pass


def make_loop(folder, recipe=RECIPE, ious=(0.5, 0.6, 0.55), validate=None, **answers) -> Loop:
    x = keras.Input((None, None, 3))
    model = keras.Model(x, keras.layers.Conv2D(1, 1)(x))
    compile_model(model, recipe, 100)
    model.optimizer.build(model.trainable_variables)
    folder.mkdir(exist_ok=True)

    def stream(start):
        for number in itertools.count(start + 1):
            yield [number], None, tf.constant([f"image {number}"])

    def measure(check_stop):
        check_stop()
        matrix = ConfusionMatrix(2)
        iou = ious[loop.progress.epoch]
        matrix.counts[:] = [[round(1000 * iou), 1000 - round(1000 * iou)], [0, 0]]
        return matrix

    state = TrainingState(recipe, RunFolder(folder), model, Step(model, **answers), STEPS)
    team, scores = Team(tf.distribute.get_strategy()), ("mean_iou", "pixel_accuracy")
    loop = Loop(state, stream, validate or measure, team, scores)
    return loop


def bias_of(path) -> float:
    return float(keras.models.load_model(path, compile=False).layers[-1].bias.numpy()[0])


def history(folder) -> list[dict]:
    with open(folder / "history.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    return [{key: float(value) if value else None for key, value in row.items()} for row in rows]


def test_a_run(tmp_path):
    progress = make_loop(tmp_path / "run")()
    assert (progress.epoch, progress.step, progress.skipped) == (3, 0, 0)
    assert (progress.best_epoch, progress.best_score) == (2, pytest.approx(0.3))
    rows = history(tmp_path / "run")
    # The means of 1…5, 6…10 and 11…15.
    assert [(row["epoch"], row["loss"]) for row in rows] == [(1, 3), (2, 8), (3, 13)]
    assert [row["learning_rate"] for row in rows] == [0.25] * 3
    # One class of two is right half of the time: (0.5 + 0) / 2.
    assert rows[0]["val_mean_iou"] == pytest.approx(0.25)
    assert rows[0]["val_pixel_accuracy"] == 0.5
    assert bias_of(tmp_path / "run" / "model.keras") == 15
    assert bias_of(tmp_path / "run" / "best.keras") == 10


@pytest.mark.parametrize(
    ("every", "steps"),
    [
        # Every second step of an epoch, its last one, and once more after its validation.
        (1, [2, 4, 5, 5, 7, 9, 10, 10, 12, 14, 15, 15]),
        # Without a validation nothing lies between the two.
        (2, [2, 4, 5, 7, 9, 10, 10, 12, 14, 15, 15]),
    ],
)
def test_checkpoints_come_within_epochs_and_after_them(tmp_path, monkeypatch, every, steps):
    written = []
    monkeypatch.setattr(
        checkpoints, "write", lambda _, checkpoint, keep: written.append((checkpoint.step, keep))
    )
    make_loop(tmp_path / "run", dataclasses.replace(RECIPE, validate_every=every))()
    assert written == [(step, 2) for step in steps]


@pytest.mark.parametrize("epoch", [1, 2, 3])
def test_a_validation_that_fails_costs_nothing(tmp_path, epoch):
    """It runs out of memory; the next start validates that epoch, and takes none of its steps."""
    whole = make_loop(tmp_path / "whole")()
    loop = make_loop(tmp_path / "run")
    measure = loop.validate

    def validate(check_stop):
        if loop.progress.epoch == epoch - 1:
            raise MemoryError("no 3 GiB")
        return measure(check_stop)

    loop.validate = validate
    with pytest.raises(MemoryError):
        loop()
    again = make_loop(tmp_path / "run")
    assert again.state.restore() == epoch * STEPS
    assert (again.progress.epoch, again.progress.step) == (epoch - 1, STEPS)
    taken, step = [], again.step

    def counted(images, *others):
        taken.append(images[0])
        return step(images, *others)

    counted.push, counted.pull = step.push, step.pull
    again.step = counted
    progress = again()
    assert taken == list(range(epoch * STEPS + 1, 3 * STEPS + 1))
    assert dataclasses.replace(progress, seconds=whole.seconds) == whole
    for name in ("model.keras", "best.keras"):
        assert bias_of(tmp_path / "run" / name) == bias_of(tmp_path / "whole" / name)
    tables = [(tmp_path / name / "history.csv").read_bytes() for name in ("run", "whole")]
    assert tables[0] == tables[1]


@pytest.mark.parametrize(
    "error", [MemoryError(), tf.errors.ResourceExhaustedError(None, None, "OOM when allocating")]
)
def test_a_step_that_runs_out_of_memory(tmp_path, error):
    def step(images, labels, stop):
        raise error

    loop = make_loop(tmp_path / "run")
    step.push, step.pull, loop.step = loop.step.push, loop.step.pull, step
    with pytest.raises(UserError) as caught:
        loop()
    assert in_options(caught.value.template) == (
        "training stopped: too little memory for a step: lower --batch or --crop, or raise "
        "--accumulate"
    )


class TestOutput:
    RECIPE = dataclasses.replace(RECIPE, validate_every=3, on_nan="skip")

    def test_one_line_an_epoch_where_there_is_no_terminal(self, tmp_path, capsys):
        make_loop(tmp_path / "run", self.RECIPE, losses={7: math.nan})()
        assert capsys.readouterr().out.splitlines() == [
            "epoch 1/3: loss 3, learning_rate 0.25",
            "the loss became nan in epoch 2, step 2, at learning rate 0.25: step skipped",
            "epoch 2/3: loss 8.25, learning_rate 0.25",
            "epoch 3/3: loss 13, learning_rate 0.25, val_mean_iou 0.275, val_pixel_accuracy 0.55",
        ]

    def test_each_step_shows_the_mean_so_far(self, tmp_path, monkeypatch):
        shown = []
        monkeypatch.setattr(
            keras.callbacks.CallbackList,
            "on_train_batch_end",
            lambda _, batch, logs: shown.append((batch, logs["loss"])),
        )
        make_loop(tmp_path / "run", self.RECIPE, losses={6: math.nan})()
        assert shown[:5] == [(0, 1), (1, 1.5), (2, 2), (3, 2.5), (4, 3)]
        # A step that was not taken has its own; then 7, 8, 9 and 10.
        np.testing.assert_equal(shown[5:10], [(0, math.nan), (1, 7), (2, 7.5), (3, 8), (4, 8.5)])

    def test_a_bar_in_a_terminal(self, tmp_path, capsys, monkeypatch):
        monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
        make_loop(tmp_path / "run", self.RECIPE)()
        out = capsys.readouterr().out
        first, second, third = out.split("Epoch ")[1:]
        assert first.startswith("1/3\n") and "loss: 3.0000" in first
        assert "val" not in first + second and "nan" not in out and "epoch 1/3:" not in out
        assert "val_mean_iou: 0.2750" in third

    def test_an_epoch_without_validation_has_empty_cells(self, tmp_path):
        progress = make_loop(tmp_path / "run", self.RECIPE)()
        assert (tmp_path / "run" / "history.csv").read_text().splitlines() == [
            "epoch,loss,learning_rate,val_mean_iou,val_pixel_accuracy",
            "1,3.0,0.25,,",
            "2,8.0,0.25,,",
            "3,13.0,0.25,0.275,0.55",
        ]
        assert progress.history["val_mean_iou"] == [None, None, 0.275]
        with open(tmp_path / "run" / "history.csv", newline="") as file:
            rows = list(csv.DictReader(file))
        cells = {key: [row[key] for row in rows] for key in rows[0]}
        for columns in (progress.history, cells):
            lines = [
                list(line.get_ydata())
                for axes in curves_figure(columns).get_axes()
                for line in axes.get_lines()
            ]
            assert [3, 8, 13] in lines and [0.275] in lines

    def test_only_the_chief_speaks(self, tmp_path, capsys):
        loop = make_loop(tmp_path / "run", self.RECIPE)
        loop.worker, loop.is_chief = 1, False
        loop()
        assert capsys.readouterr().out == ""


@pytest.mark.parametrize("every", [1, 2])
@pytest.mark.parametrize("at", range(1, 15))
def test_an_interrupted_run_ends_as_one_that_was_not(tmp_path, at, every):
    recipe = dataclasses.replace(RECIPE, validate_every=every)
    make_loop(tmp_path / "whole", recipe)()
    loop = make_loop(tmp_path / "run", recipe, signals={at: signal.SIGTERM})
    with pytest.raises(Interrupted) as caught:
        loop()
    # The step after the one in which the signal came is on its way already.
    assert caught.value.exit_status == 143
    run = tmp_path / "run"
    assert str(caught.value).endswith(f"steps: {run}/model.keras is saved")
    again = make_loop(run, recipe)
    taken = again.state.restore()
    assert bias_of(run / "model.keras") == taken == again.model.layers[-1].bias.numpy()[0]
    assert at <= taken <= at + 2
    again()
    np.testing.assert_equal(history(run), history(tmp_path / "whole"))
    assert bias_of(run / "best.keras") == bias_of(tmp_path / "whole" / "best.keras")


def test_a_signal_during_validation_comes_before_the_epoch_ends(tmp_path):
    def validate(check_stop):
        os.kill(os.getpid(), signal.SIGINT)
        check_stop()
        raise AssertionError("the validation went on")

    with pytest.raises(Interrupted) as caught:
        make_loop(tmp_path / "run", validate=validate)()
    assert caught.value.exit_status == 130
    loop = make_loop(tmp_path / "run")
    assert loop.state.restore() == STEPS
    assert (loop.progress.epoch, loop.progress.step, loop.progress.history) == (0, STEPS, {})
    loop()
    assert [row["loss"] for row in history(tmp_path / "run")] == [3, 8, 13]


def test_of_equal_scores_the_first_one_is_the_best(tmp_path):
    progress = make_loop(tmp_path / "run", ious=(0.5, 0.6, 0.6))()
    assert (progress.best_epoch, progress.best_score) == (2, pytest.approx(0.3))
    assert bias_of(tmp_path / "run" / "best.keras") == 10


def test_several_workers_stop_after_a_step_that_all_take(tmp_path):
    """Not within a validation, which they would leave at different places."""
    loop = make_loop(tmp_path / "run")
    loop.workers, measure, validated = 2, loop.validate, []

    def validate(check_stop):
        os.kill(os.getpid(), signal.SIGINT)
        check_stop()
        validated.append(loop.progress.epoch)
        return measure(check_stop)

    loop.validate = validate
    with pytest.raises(Interrupted) as caught:
        loop()
    assert validated == [0] and caught.value.exit_status == 130
    # The answer to the first step of epoch 2 was read when the second one was on its way.
    assert (loop.progress.epoch, loop.progress.step) == (1, 2)


def test_a_worker_stops_when_another_was_asked_to(tmp_path):
    loop = make_loop(tmp_path / "run")
    step = loop.step
    loop.step = lambda *batch: step(*batch) + tf.constant([0.0, 0.0, 1.0])
    loop.step.push, loop.step.pull = step.push, step.pull
    with pytest.raises(Interrupted) as caught:
        loop()
    assert caught.value.exit_status == 143
    assert (loop.progress.epoch, loop.progress.step) == (0, 2)


def test_only_the_chief_writes(tmp_path):
    loop = make_loop(tmp_path / "run")
    loop.worker, loop.is_chief = 1, False
    progress = loop()
    assert progress.best_epoch == 2
    assert list((tmp_path / "run").iterdir()) == []


class TestPatience:
    IOUS = (0.5, 0.6, 0.6, 0.55, 0.7, 0.8)
    RECIPE = dataclasses.replace(RECIPE, epochs=6, patience=2)

    def test_ends_the_run_after_so_many_validations(self, tmp_path, capsys):
        loop = make_loop(tmp_path / "run", self.RECIPE, self.IOUS)
        progress = loop()
        assert (progress.epoch, progress.best_epoch, progress.ended) == (4, 2, True)
        assert len(history(tmp_path / "run")) == 4
        assert bias_of(tmp_path / "run" / "model.keras") == 20
        assert bias_of(tmp_path / "run" / "best.keras") == 10
        assert capsys.readouterr().out.splitlines()[-1] == (
            "ends after epoch 4: none of 2 validations was better than that of epoch 2"
        )

    def test_of_three_lasts(self, tmp_path):
        recipe = dataclasses.replace(self.RECIPE, patience=3)
        progress = make_loop(tmp_path / "run", recipe, self.IOUS)()
        assert (progress.epoch, progress.best_epoch, progress.ended) == (6, 6, False)

    def test_counts_validations(self, tmp_path):
        """Of epochs 2, 4 and 6."""
        recipe = dataclasses.replace(self.RECIPE, epochs=9, validate_every=2)
        ious = (0.0, 0.6, 0.0, 0.5, 0.9, 0.4, 0.9, 0.9, 0.9)
        progress = make_loop(tmp_path / "run", recipe, ious)()
        assert (progress.epoch, progress.best_epoch) == (6, 2)

    def test_without_any_score(self, tmp_path, capsys):
        nothing = types.SimpleNamespace(mean_iou=math.nan, pixel_accuracy=math.nan)
        loop = make_loop(tmp_path / "run", self.RECIPE, validate=lambda check_stop: nothing)
        assert loop().epoch == 2
        assert capsys.readouterr().out.endswith("epoch 2: none of 2 validations had a score\n")

    @pytest.mark.parametrize("at", [11, 16, 19])
    def test_a_run_that_goes_on_counts_on(self, tmp_path, at):
        interrupted = make_loop(
            tmp_path / "run", self.RECIPE, self.IOUS, signals={at: signal.SIGTERM}
        )
        with pytest.raises(Interrupted):
            interrupted()
        again = make_loop(tmp_path / "run", self.RECIPE, self.IOUS)
        again.state.restore()
        assert again().epoch == 4

    def test_a_run_that_has_ended_takes_no_more_steps(self, tmp_path):
        make_loop(tmp_path / "run", self.RECIPE, self.IOUS)()
        again = make_loop(tmp_path / "run", self.RECIPE, self.IOUS)
        assert again.state.restore() == 20
        assert again().epoch == 4 and bias_of(tmp_path / "run" / "model.keras") == 20

    def test_more_epochs_take_up_a_run_that_has_ended(self, tmp_path):
        """It has as much patience again: epochs 5 and 6, neither of them as good as epoch 2."""
        ious = (*self.IOUS[:4], 0.5, 0.4, 0.9)

        def go_on(epochs):
            recipe = dataclasses.replace(self.RECIPE, epochs=epochs, resume=True)
            loop = make_loop(tmp_path / "run", recipe, ious)
            loop.run.origin = {"configuration": configuration(recipe)}
            loop.run.origin |= {"class_names": [], "data_sha256": {}}
            loop.state.restore()
            return loop()

        assert go_on(6).epoch == 4
        progress = go_on(7)
        assert (progress.epoch, progress.best_epoch, progress.ended) == (6, 2, True)
        assert len(history(tmp_path / "run")) == 6
        assert go_on(7).epoch == 6  # it has ended again


class TestLostBestModel:
    @pytest.mark.parametrize("how", ["damaged", "removed"])
    def test_at_the_end_of_an_epoch_its_model_is_the_best(self, tmp_path, capsys, how):
        """Also after the last one."""
        make_loop(tmp_path / "run")()
        best = tmp_path / "run" / "best.keras"
        assert bias_of(best) == 10
        best.write_bytes(best.read_bytes()[:-100]) if how == "damaged" else best.unlink()
        loop = make_loop(tmp_path / "run")
        loop.state.restore()
        [line] = capsys.readouterr().out.splitlines()[3:]
        assert line.startswith(f"{best} cannot be read (")
        assert line.endswith("); the run makes another one")
        loop()
        assert bias_of(best) == 15
        again = make_loop(tmp_path / "run")
        again.state.restore()
        assert (again.progress.best_epoch, again.progress.best_score) == (3, 0.275)

    def test_within_an_epoch_its_validation_makes_one(self, tmp_path):
        """However low its score, and with patience anew."""
        recipe = dataclasses.replace(RECIPE, epochs=9, patience=1)
        ious = (0.5, 0.6, 0.3, 0.2, 0.9, 0.9)
        interrupted = make_loop(tmp_path / "run", recipe, ious, signals={12: signal.SIGTERM})
        with pytest.raises(Interrupted):
            interrupted()
        best = tmp_path / "run" / "best.keras"
        assert bias_of(best) == 10
        best.unlink()
        again = make_loop(tmp_path / "run", recipe, ious)
        again.state.restore()
        progress = again()
        assert (progress.epoch, progress.best_epoch, progress.best_score) == (4, 3, 0.15)
        assert bias_of(best) == 15


def test_scores_of_another_kind(tmp_path):
    """The first one decides."""
    measured = iter([(0.2, 0.9), (0.4, 0.5), (0.3, 0.8)])
    loop = make_loop(
        tmp_path / "run",
        validate=lambda check_stop: types.SimpleNamespace(
            **dict(zip(("first", "second"), next(measured), strict=True))
        ),
    )
    loop.scores = ("first", "second")
    progress = loop()
    assert (progress.best_epoch, progress.best_score) == (2, 0.4)
    rows = history(tmp_path / "run")
    assert [(row["val_first"], row["val_second"]) for row in rows] == [
        (0.2, 0.9),
        (0.4, 0.5),
        (0.3, 0.8),
    ]
    assert bias_of(tmp_path / "run" / "best.keras") == 10


# === Callbacks ===

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


# === A loss that is not finite ===


def records(folder) -> list[dict]:
    lines = (folder / "not_finite.jsonl").read_text().splitlines()
    return [json.loads(line, parse_constant=pytest.fail) for line in lines]


def test_nan_stops(tmp_path):
    run = tmp_path / "run"
    with pytest.raises(UserError) as caught:
        make_loop(run, losses={8: math.nan})()
    assert in_options(caught.value.template) == (
        "the loss became nan in epoch 2, step 3, at learning rate 0.25: lower --learning-rate or "
        f"raise --warmup-steps, or leave such steps out with --on-nan skip; its images are named "
        f"in {run}/not_finite.jsonl; models of finished epochs are kept"
    )
    assert "--" not in str(caught.value)
    (record,) = records(run)
    assert record.pop("loss") == "nan"  # JSON has no word for it
    assert record == {"epoch": 2, "step": 3, "learning_rate": 0.25, "images": ["image 8"]}
    assert bias_of(run / "model.keras") == 5
    assert checkpoints.read(checkpoints.paths(run / "checkpoints")[0]).step == 7


def test_nan_is_skipped(tmp_path, capsys):
    run, recipe = tmp_path / "run", dataclasses.replace(RECIPE, on_nan="skip")
    progress = make_loop(run, recipe, losses={7: math.inf, 8: math.nan})()
    assert progress.skipped == 2
    assert [record["images"] for record in records(run)] == [["image 7"], ["image 8"]]
    # Of epoch 2, 6, 9 and 10 are left.
    assert [row["loss"] for row in history(run)] == [3, pytest.approx(25 / 3), 13]
    assert bias_of(run / "model.keras") == 13
    out = capsys.readouterr().out
    assert "the loss became inf in epoch 2, step 2, at learning rate 0.25: step skipped" in out


def test_a_gradient_that_overflows_is_told_from_a_loss(tmp_path):
    loop = make_loop(tmp_path / "run")
    finite = loop.step
    loop.step = lambda *batch: tf.constant([1.5, 0.0, 0.0])
    loop.step.push, loop.step.pull = finite.push, finite.pull
    with pytest.raises(UserError, match="^a gradient overflowed in epoch 1, step 1, "):
        loop()


def test_a_model_that_is_lost_is_not_skipped_for_ever(tmp_path):
    recipe = dataclasses.replace(RECIPE, on_nan="skip", epochs=1000)
    losses = {number: math.nan for number in range(4, 1000) if number != 50}
    with pytest.raises(UserError, match=f", as in the {MOST_SKIPPED_IN_A_ROW - 1} before"):
        make_loop(tmp_path / "run", recipe, ious=[0.5] * 1000, losses=losses)()
    assert len(records(tmp_path / "run")) == 50 - 4 + MOST_SKIPPED_IN_A_ROW


def test_an_epoch_without_a_loss(tmp_path):
    recipe = dataclasses.replace(RECIPE, on_nan="skip", epochs=2)
    make_loop(tmp_path / "run", recipe, losses=dict.fromkeys(range(1, 6), math.nan))()
    first, second = history(tmp_path / "run")
    assert math.isnan(first["loss"]) and second["loss"] == 8

"""The loop with a step that answers what a test wants."""

import csv
import dataclasses
import math
import os
import signal
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from counting_loop import RECIPE, STEPS, bias_of, history, make_loop

from gcn_keras.plots.curves import curves_figure
from gcn_keras.training import checkpoints
from pipelines.base.errors import Interrupted, UserError, in_options


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

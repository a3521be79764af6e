"""Losses and gradients that are not finite."""

import dataclasses
import json
import math

import pytest
import tensorflow as tf
from counting_loop import RECIPE, bias_of, history, make_loop

from gcn_keras.training import checkpoints
from gcn_keras.training.loop import MOST_SKIPPED_IN_A_ROW
from pipelines.base.errors import UserError, in_options


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


@pytest.mark.slow
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

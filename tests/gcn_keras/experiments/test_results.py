"""runs.csv and curves.csv, written and read; and whether a curve still rises at its end."""

import math
import re

import pytest

from gcn_keras.experiments.results import COLUMNS, Results, last_quarter, read_curve
from pipelines.base.errors import UserError

KEY = ("base", "0", "0123456789ab")
RESULT = dict.fromkeys(COLUMNS) | {
    "run": KEY[0], "seed": KEY[1], "configuration": KEY[2], "mean_iou": 0.25, "pixel_accuracy": 0.5,
    "parameters": 1000, "training_seconds": 60.5,
}  # fmt: skip


def test_a_round_trip(tmp_path):
    path = tmp_path / "runs.csv"
    results = Results(path)
    assert (results.known, results.curves) == ({}, {})
    results.add(KEY, RESULT, {5: 0.125, 10: 0.25})
    results.add(("gcn3", *KEY[1:]), RESULT | {"run": "gcn3"}, {})
    again = Results(path)
    assert again.known == {KEY: RESULT, ("gcn3", *KEY[1:]): RESULT | {"run": "gcn3"}}
    assert again.curves == {KEY: {5: 0.125, 10: 0.25}}
    assert (tmp_path / "curves.csv").read_text() == (
        "run,seed,configuration,epoch,mean_iou\n"
        "base,0,0123456789ab,5,0.125\n"
        "base,0,0123456789ab,10,0.25\n"
    )


def test_what_others_have_written_meanwhile_stays(tmp_path):
    one, other = (Results(tmp_path / "runs.csv") for _ in range(2))
    one.add(KEY, RESULT, {1: 0.25})
    other.add(("gcn3", *KEY[1:]), RESULT, {1: 0.5})
    assert list(Results(tmp_path / "runs.csv").curves.values()) == [{1: 0.25}, {1: 0.5}]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("epoch\n1\n", "its columns are epoch, not run, seed, configuration, epoch, mean_iou"),
        ("run,seed,configuration,epoch,mean_iou\nbase,0,a,1\n", "line 2 is cut off"),
        (
            "run,seed,configuration,epoch,mean_iou\nbase,0,a,1,0.5,\n",
            "line 2 has more cells than there are columns",
        ),
        (
            "run,seed,configuration,epoch,mean_iou\nbase,0,a,,0.5\n",
            "line 2: epoch is '', no number",
        ),
        (
            "run,seed,configuration,epoch,mean_iou\nbase,0,a,1,x\n",
            "line 2: mean_iou is 'x', no number",
        ),
        (
            "run,seed,configuration,epoch,mean_iou\nbase,0,a,1,0.5\nbase,0,a,2,90\n",
            "line 3: mean_iou is '90', no share in 0…1",
        ),
        (
            "run,seed,configuration,epoch,mean_iou\nbase,0,a,1,0.5\nbase,0,a,2,0.5\nbase,0,a,1,0\n",
            "line 4: mean_iou is 0, and 0.5 in line 2 of the same run: keep one of them",
        ),
    ],
)
def test_damaged_curves(tmp_path, content, reason):
    path = tmp_path / "curves.csv"
    path.write_text(content)
    with pytest.raises(UserError, match=f"^{re.escape(f'{path} cannot be read: {reason}')}$"):
        Results(tmp_path / "runs.csv")


@pytest.mark.parametrize(
    ("cells", "reason"),
    [
        ({"mean_iou": 90}, "line 2: mean_iou is '90', no share in 0…1"),
        ({"pixel_accuracy": 1.0001}, "line 2: pixel_accuracy is '1.0001', no share in 0…1"),
        ({"mean_boundary_iou": -math.inf}, "line 2: mean_boundary_iou is '-inf', no share in 0…1"),
    ],
)
def test_what_is_no_share(tmp_path, cells, reason):
    path = tmp_path / "runs.csv"
    Results(path).add(KEY, RESULT | cells, {})
    with pytest.raises(UserError) as caught:
        Results(path)
    assert str(caught.value) == f"{path} cannot be read: {reason}"


def test_a_run_that_is_there_twice(tmp_path):
    """As files that were merged by hand have it."""
    path = tmp_path / "runs.csv"
    same = RESULT | {"mean_iou": math.nan, "pixel_accuracy": 1}
    Results(path).add(KEY, same, {})
    text = path.read_text()
    line = text.splitlines(keepends=True)[1]
    path.write_text(text + line)
    [found] = Results(path).known.values()
    assert math.isnan(found["mean_iou"]) and found["pixel_accuracy"] == 1
    path.write_text(text + line + line.replace(",1000,", ",1001,"))
    with pytest.raises(UserError) as caught:
        Results(path)
    assert str(caught.value) == (
        f"{path} cannot be read: line 4: parameters is 1001, and 1000 in line 2 of the same run: "
        "keep one of them"
    )


def test_the_curve_of_a_run(tmp_path):
    history = tmp_path / "history.csv"
    assert read_curve(history) == {}
    history.write_text("epoch,loss,val_mean_iou\n1,0.5,\n2,0.25,0.75\n")
    assert read_curve(history) == {2: 0.75}
    history.write_text("epoch,loss\n1,0.5\n")
    with pytest.raises(UserError, match="history.csv cannot be read: 'val_mean_iou'$"):
        read_curve(history)


@pytest.mark.parametrize("read", [read_curve, Results])
def test_what_the_system_says_comes_without_its_number(tmp_path, read):
    path = tmp_path / "a.csv"
    path.mkdir()
    with pytest.raises(UserError) as caught:
        read(path)
    assert str(caught.value) == f"{path} cannot be read: Is a directory"


@pytest.mark.parametrize(
    ("curve", "gain"),
    [
        ({1: 0.1, 2: 0.3, 3: 0.4, 4: 0.5}, 0.1),
        ({5: 0.1, 10: 0.3, 15: 0.2, 20: 0.25}, 0.0),  # the best one stays that of epoch 10
        ({10: 0.25, 20: 0.5}, 0.25),
        ({16: 0.25, 20: 0.5}, None),
        ({1: 0.25}, None),
    ],
)
def test_the_last_quarter(curve, gain):
    assert last_quarter(curve) == (None if gain is None else pytest.approx(gain))

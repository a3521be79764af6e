"""runs.csv and curves.csv, written and read; and whether a curve still rises at its end."""

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
        ("run,seed,configuration,epoch,mean_iou\nbase,0,a,,0.5\n", "epoch is '', no number"),
        ("run,seed,configuration,epoch,mean_iou\nbase,0,a,1,x\n", "mean_iou is 'x', no number"),
    ],
)
def test_damaged_curves(tmp_path, content, reason):
    path = tmp_path / "curves.csv"
    path.write_text(content)
    with pytest.raises(UserError, match=f"^{re.escape(f'{path} cannot be read: {reason}')}$"):
        Results(tmp_path / "runs.csv")


def test_the_curve_of_a_run(tmp_path):
    history = tmp_path / "history.csv"
    assert read_curve(history) == {}
    history.write_text("epoch,loss,val_mean_iou\n1,0.5,\n2,0.25,0.75\n")
    assert read_curve(history) == {2: 0.75}
    history.write_text("epoch,loss\n1,0.5\n")
    with pytest.raises(UserError, match="history.csv cannot be read: 'val_mean_iou'$"):
        read_curve(history)


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

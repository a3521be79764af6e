"""Tables of the paper from runs that are already there, and what ends a table early."""

import csv
import json
import sys

import pytest

from gcn_keras import ablate, recipes
from gcn_keras.run_folder import RunFolder, begin_run
from pipelines.errors import UsageError, UserError


def finish(folder, mean_iou):
    """A finished run of the recipe: its config.json and metrics.json."""
    name, _, seed = folder.name.rpartition("-seed")
    block, _, k = name.partition("-kernel-size-")
    options = ["--block", block, "--seed", seed, *(["--kernel-size", k] if k else [])]
    begin_run(RunFolder(folder), recipes.parse(["--recipe", "shapes-ablation", *options]))
    metrics = {
        "mean_iou": mean_iou,
        "pixel_accuracy": 0.9,
        "parameters": 1000,
        "wall_seconds": 60.0,
    }
    (folder / "metrics.json").write_text(json.dumps(metrics))


def test_every_row_of_table_1_is_there():
    assert [(row.label, row.paper) for row in ablate.rows_of("table1", None)] == [
        ("base (1×1)", 69.0),
        ("GCN k = 3", 70.1),
        ("GCN k = 5", 71.1),
        ("GCN k = 7", 72.8),
        ("GCN k = 9", 73.4),
        ("GCN k = 11", 73.7),
        ("GCN k = 13", 74.0),
        ("GCN k = 15", 74.5),
    ]


def test_rows_of_some_kernels_in_the_order_given():
    assert [row.paper for row in ablate.rows_of("table1", (15, 1))] == [74.5, 69.0]
    with pytest.raises(UsageError, match="^table1 has no row for k = 4; it has 1, 3, 5, 7"):
        ablate.rows_of("table1", (4,))


def test_finished_runs_are_read_and_not_trained_again(tmp_path, capsys):
    for name, scores in (("conv1x1", (0.2, 0.3)), ("gcn-kernel-size-15", (0.5, 0.6))):
        for seed, score in enumerate(scores):
            finish(tmp_path / f"{name}-seed{seed}", score)
    ablate.ablate("table1", kernels=(1, 15), seeds=2, out=tmp_path)
    table = (tmp_path / "table1.md").read_text()
    assert table.splitlines() == [
        "| | mean IoU % | seeds | paper (VOC, ResNet-152) |",
        "|---|---|---|---|",
        "| base (1×1) | 25.0 ± 7.1 | 20.0, 30.0 | 69.0 |",  # sqrt(2 · 5²) = 7.07
        "| GCN k = 15 | 55.0 ± 7.1 | 50.0, 60.0 | 74.5 |",
    ]
    assert capsys.readouterr().out.endswith(table)
    with open(tmp_path / "table1.csv", newline="") as file:
        rows = [tuple(row.values()) for row in csv.DictReader(file)]
    assert rows == [
        ("base (1×1)", "0", "0.2", "0.9", "1000", "60.0", "0.69"),
        ("base (1×1)", "1", "0.3", "0.9", "1000", "60.0", "0.69"),
        ("GCN k = 15", "0", "0.5", "0.9", "1000", "60.0", "0.745"),
        ("GCN k = 15", "1", "0.6", "0.9", "1000", "60.0", "0.745"),
    ]


def test_one_seed_has_no_spread(tmp_path):
    finish(tmp_path / "conv1x1-seed0", 0.25)
    ablate.ablate("table1", kernels=(1,), seeds=1, out=tmp_path)
    assert "| base (1×1) | 25.0 | 25.0 | 69.0 |" in (tmp_path / "table1.md").read_text()


def test_options_are_refused_before_the_first_run(tmp_path):
    with pytest.raises(UsageError, match="--epochs must be at least 1, got 0"):
        ablate.ablate("table1", out=tmp_path / "out", options="--epochs 0")
    assert not (tmp_path / "out").exists()


def test_runs_with_other_options_are_not_taken_for_this_table(tmp_path):
    folder = tmp_path / "conv1x1-seed0"
    options = ["--recipe", "shapes-ablation", "--block", "conv1x1", "--epochs", "77"]
    begin_run(RunFolder(folder), recipes.parse(options))
    with pytest.raises(UsageError, match=f"{folder} holds a run with epochs = 77"):
        ablate.ablate("table1", kernels=(1,), seeds=1, out=tmp_path)


def test_a_run_that_fails_names_its_log(tmp_path, monkeypatch):
    program = tmp_path / "python"
    program.write_text("#!/bin/sh\necho trained nothing\nexit 1\n")
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program))
    with pytest.raises(UserError, match=f"see {tmp_path}/conv1x1-seed0.log"):
        ablate.ablate("table1", kernels=(1,), out=tmp_path)
    assert (tmp_path / "conv1x1-seed0.log").read_text() == "trained nothing\n"
    assert not (tmp_path / "table1.md").exists()

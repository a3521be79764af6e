"""The paper's stages from end to end, on miniature trees and with a small backbone."""

import csv
import sys

import forks
import pytest
from coco_trees import write_coco
from miniatures import write_cityscapes, write_sbd, write_voc

from gcn_keras import reproduce
from gcn_keras.recipes.catalogue import RECIPES
from gcn_keras.training.run_folder import read_json
from pipelines import datasets
from pipelines.base.errors import UsageError, UserError, as_options

SMALL = (
    "--backbone small --weights None --kernel-size 3 --crop 64 64 --epochs 1 "
    "--steps-per-epoch 2 --learning-rate 1e-3 --tensorboard-samples 0"
)


@pytest.fixture(autouse=True)
def commands_in_forks(monkeypatch):
    """Commands start at once, from a process that has imported TensorFlow."""
    monkeypatch.setattr(sys, "executable", forks.python())


def results(folder) -> dict[str, dict]:
    with open(folder / "runs.csv", newline="") as file:
        return {line["run"]: line for line in csv.DictReader(file)}


def test_data_that_are_named_twice(tmp_path):
    with pytest.raises(UsageError) as caught:
        reproduce.reproduce("voc", tmp_path / "a", options=f"--data-dir {tmp_path / 'b'}")
    assert str(caught.value) == "--options cannot hold --data-dir, which is given by itself"


@pytest.mark.slow
def test_voc(tmp_path, capsys):
    pytest.importorskip("pydensecrf")
    data, out = tmp_path / "data", tmp_path / "out"
    write_voc(tmp_path / "voc")
    write_sbd(tmp_path / "voc")
    datasets.prepare("voc2012_sbd", tmp_path / "voc", data)
    datasets.prepare("coco_voc", write_coco(tmp_path / "coco"), data)
    reproduce.reproduce("voc", data, out, options=SMALL)
    lines = (out / "table7.md").read_text().splitlines()
    assert [line.split(" | ")[0].lstrip("| ") for line in lines[2:7]] == [
        "GCN + BR, Stage-1", "GCN + BR, Stage-2", "GCN + BR, Stage-3", "GCN + BR + MS",
        "GCN + BR + MS + CRF",
    ]  # fmt: skip
    assert [line.split(" | ")[2] for line in lines[2:7]] == ["75.0", "78.6", "80.3", "80.4", "81.0"]
    # Each stage starts from the best model of the last one.
    for stage in (2, 3):
        config = read_json(out / f"voc-gcn-br-stage{stage}-seed0" / "config.json")
        assert config["weights"] == str(out / f"voc-gcn-br-stage{stage - 1}-seed0" / "best.keras")
        assert config["dataset"] == "voc2012_sbd"
    log = (out / "voc-gcn-br-stage3-seed0.log").read_text()
    assert f"layers start from {out}/voc-gcn-br-stage2-seed0/best.keras" in log
    # What is there is not done again: a lost result is measured, and nothing else happens.
    before = results(out)
    with open(out / "runs.csv") as file:
        kept = [line for line in file if not line.startswith("voc-gcn-br-ms,")]
    (out / "runs.csv").write_text("".join(kept))
    capsys.readouterr()
    reproduce.reproduce("voc", data, out, options=SMALL)
    assert results(out) == before
    assert [line.endswith("(was there)") for line in capsys.readouterr().out.splitlines()[:5]] == [
        True, True, True, False, True
    ]  # fmt: skip


@pytest.mark.slow
def test_cityscapes(tmp_path):
    pytest.importorskip("pydensecrf")
    data, out = tmp_path / "data", tmp_path / "out"
    datasets.prepare("cityscapes19", write_cityscapes(tmp_path / "cityscapes"), data)
    # The miniatures are 64×32: two tiles, as the paper's four crops are of 1024×2048.
    reproduce.reproduce(
        "cityscapes", data, out, options=SMALL, evaluation="--tile 32 32 --overlap 0"
    )
    lines = (out / "table9.md").read_text().splitlines()
    assert [line.split(" | ")[2] for line in lines[2:6]] == ["73.0", "76.9", "77.2", "77.4"]
    config = read_json(out / "cityscapes-stage1-seed0" / "config.json")
    assert (config["dataset"], config["train_split"]) == ("cityscapes_stage1", "train")
    config = read_json(out / "cityscapes-stage2-seed0" / "config.json")
    assert config["weights"] == str(out / "cityscapes-stage1-seed0" / "best.keras")
    assert (config["dataset"], config["train_split"]) == ("cityscapes19", "train")


def test_a_missing_crf_is_told_of_first(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pydensecrf", None)
    with pytest.raises(UserError) as caught:
        reproduce.reproduce("voc", tmp_path, tmp_path / "out")
    assert str(caught.value) == (
        'a dense CRF needs pydensecrf2, which is not installed: pip install "gcn_keras[crf]"'
    )
    assert not (tmp_path / "out").exists()


def test_stages_are_the_papers():
    for name, (_, rows) in reproduce._CHAINS.items():
        stages = [row.recipe for row in rows if not row.measures_only]
        expected = {"voc": 3, "cityscapes": 2}[name]
        assert stages == [f"{name}-stage{i + 1}" for i in range(expected)]
        assert all(stage in RECIPES for stage in stages)


def test_a_seed_that_no_table_counts(tmp_path):
    with pytest.raises(UsageError) as caught, as_options():
        reproduce.reproduce("cityscapes", tmp_path, tmp_path / "out", seed=1000)
    assert str(caught.value) == (
        "--seed: 1000 is kept for the runs that choose a learning rate, which no table counts; "
        "take another"
    )
    assert not (tmp_path / "out").exists()

"""Tables of the paper from runs that are already there, and what ends a table early."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from executables import write_executable
from miniatures import empty_archive, write_cityscapes
from places import REPOSITORY

from gcn_keras import ablate
from gcn_keras.experiments import paper_tables
from gcn_keras.experiments.runs import COLUMNS, Experiments
from gcn_keras.recipes import catalogue, command_line
from gcn_keras.training.run_folder import RunFolder, begin_run
from pipelines import datasets
from pipelines.base.errors import UsageError, UserError, as_options

OWN_WEIGHTS = f"resnet_nearsighted={REPOSITORY}/saved_models/shapes/shapes.keras"
PYTHON = sys.executable  # for which `commands` puts a stand-in
RECIPE = catalogue.RECIPES["shapes-ablation"]


def table(name):
    return paper_tables.table(name, RECIPE)


def row(name, of="table1"):
    return next(row for row in table(of).rows if row.name == name)


def finish(folder, mean_iou, of="table1", extra=(), rate=None, curve=None):
    """A finished run of the recipe: its config.json, metrics.json, best.keras and history.csv."""
    name, _, seed = folder.name.rpartition("-seed")
    if rate:
        name, extra = name.removesuffix(f"-{rate}"), (*extra, "--learning-rate", rate)
    options = ["--recipe", "shapes-ablation", *row(name, of).options, *extra, "--seed", seed]
    begin_run(RunFolder(folder), command_line.parse(options))
    metrics = {
        "mean_iou": mean_iou,
        "p5_weights": 2709,
        "parameters": 1000,
        "train_images": 12000,
        "training_seconds": 60.5,
    }
    (folder / "metrics.json").write_text(json.dumps(metrics))
    empty_archive(folder / "best.keras")
    curve = curve or {5: mean_iou}
    history = {"epoch": list(curve), "val_mean_iou": list(curve.values())}
    RunFolder(folder).write_history(history)


@pytest.fixture
def commands(tmp_path, monkeypatch):
    """Stands in for `python -m gcn_keras.…`: notes its arguments; what it measures are shares that
    follow from the run's own."""
    program, calls = tmp_path / "python.py", tmp_path / "calls.jsonl"
    program.write_text(
        "import json, pathlib, sys\n"
        f"with open({str(calls)!r}, 'a') as file:\n"
        "    print(json.dumps(sys.argv[2:]), file=file)\n"
        "if sys.argv[2] == 'gcn_keras.fit':\n"
        "    sys.exit('trained nothing')\n"
        "run = pathlib.Path(sys.argv[3]).parent\n"
        "score = json.loads((run / 'metrics.json').read_text())['mean_iou']\n"
        "measured = {'mean_iou': score, 'pixel_accuracy': 0.9, 'boundaries': {\n"
        "    'boundary_accuracy': score / 2, 'internal_accuracy': 1.5 * score,\n"
        "    'mean_boundary_iou': None}}\n"
        "pathlib.Path(sys.argv[sys.argv.index('--json') + 1]).write_text(json.dumps(measured))\n"
    )
    python = write_executable(tmp_path / "python", program)
    monkeypatch.setattr(sys, "executable", str(python))
    return lambda: [json.loads(line) for line in calls.read_text().splitlines()]


@pytest.mark.slow
def test_finished_runs_are_measured_and_not_trained_again(tmp_path, capsys, commands):
    runs, out = tmp_path / "runs", tmp_path / "docs"
    for name, scores in (("base", (0.2, 0.3)), ("gcn15", (0.5, 0.6))):
        for seed, score in enumerate(scores):
            finish(runs / f"{name}-seed{seed}", score)
    ablate.ablate("table1", rows=("base", "gcn15"), seeds=2, runs=runs, out=out)
    text = (out / "table1.md").read_text()
    assert text.splitlines() == [
        "| | mean IoU % | paper | seeds |",
        "|---|---:|---:|---:|",
        "| base (1×1) | 25.0 ± 7.1 | 69.0 | 2 |",  # sqrt(2 · 5²) = 7.07
        "| GCN k = 15 | 55.0 ± 7.1 | 74.5 | 2 |",
        "",
        "Paper: VOC 2012 val, ResNet-152.",
    ]
    printed = capsys.readouterr().out
    assert printed.endswith(text)
    assert "[2/4] GCN k = 15, seed 0: mean IoU 50.0 %, 60 s of training\n" in printed
    assert (out / "table1.png").read_bytes().startswith(b"\x89PNG")
    with open(out / "runs.csv", newline="") as file:
        lines = list(csv.DictReader(file))
    assert tuple(lines[0]) == COLUMNS
    assert [(line["run"], line["seed"], line["mean_iou"]) for line in lines] == [
        ("base", "0", "0.2"), ("gcn15", "0", "0.5"), ("base", "1", "0.3"), ("gcn15", "1", "0.6")
    ]  # fmt: skip
    assert [call[0] for call in commands()] == ["gcn_keras.evaluate"] * 4
    assert commands()[0][1:] == [
        str(runs / "base-seed0" / "best.keras"), "--dataset", "shapes", "--data-dir", "data",
        "--boundaries", "--json", commands()[0][-1],
    ]  # fmt: skip


def test_a_recipe_for_rows_that_have_their_own(tmp_path):
    with pytest.raises(UsageError) as caught:
        ablate.ablate("table7", recipe="camvid-ablation", runs=tmp_path)
    assert str(caught.value) == (
        "--recipe means nothing for table7, whose rows have recipes of their own: leave it out, "
        "got camvid-ablation"
    )


def test_a_table_says_with_what_options_it_was_made(tmp_path, commands):
    """One of a few steps and images must not look like a result."""
    options = ("--epochs", "1", "--data-dir", str(tmp_path), "--learning-rate", "0.1")
    finish(tmp_path / "runs" / "base-seed0", 0.2, extra=options)
    ablate.ablate(
        "table1", rows=("base",), seeds=1, runs=tmp_path / "runs", options=" ".join(options),
        evaluation="--limit 20",
    )  # fmt: skip
    lines = (tmp_path / "runs" / "table1.md").read_text().splitlines()
    assert lines[-3:] == [
        "Paper: VOC 2012 val, ResNet-152.",
        "",
        "Here: fit --epochs 1 --learning-rate 0.1; evaluate --limit 20.",
    ]


@pytest.mark.slow
def test_a_table_in_a_locale_without_its_letters(tmp_path, commands):
    """As ± is none of ASCII, which is the locale's where Python does not take UTF-8 for it."""
    runs = tmp_path / "runs"
    for seed in range(2):
        finish(runs / f"base-seed{seed}", 0.2)
    ablate.ablate("table1", rows=("base",), runs=runs)
    expected = (runs / "table1.md").read_bytes()
    (runs / "table1.md").unlink()
    words = ["-X", "utf8=0", "-m", "gcn_keras.ablate", "table1", "--rows", "base", "--runs", runs]
    environment = {**os.environ, "LC_ALL": "C", "PYTHONCOERCECLOCALE": "0"}
    subprocess.run([PYTHON, *words], check=True, capture_output=True, env=environment)
    assert (runs / "table1.md").read_bytes() == expected
    assert " ± 0.0" in expected.decode()


@pytest.mark.slow
def test_results_serve_other_tables_without_the_runs(tmp_path, capsys, commands):
    """Table 5 has two rows in common with Table 1, and more columns."""
    finish(tmp_path / "runs" / "base-seed0", 0.2)
    finish(tmp_path / "runs" / "gcn15-seed0", 0.4)
    rows = {"rows": ("base", "gcn15"), "seeds": 1, "out": tmp_path}
    ablate.ablate("table1", runs=tmp_path / "runs", **rows)
    ablate.ablate("table5", runs=tmp_path / "nowhere", **rows)
    assert len(commands()) == 2
    assert "[2/2] GCN, seed 0: mean IoU 40.0 %, 60 s of training (was there)\n" in (
        capsys.readouterr().out
    )
    assert (tmp_path / "table5.md").read_text().splitlines()[2:4] == [
        "| base (1×1) | 10.0 | 71.3 | 30.0 | 93.9 | 20.0 | 69.0 | 1 |",
        "| GCN | 20.0 | 71.5 | 60.0 | 95.0 | 40.0 | 74.5 | 1 |",
    ]


@pytest.mark.slow
def test_models_are_wanted_too(tmp_path, commands):
    finish(tmp_path / "runs" / "base-seed0", 0.2)
    rows = {"rows": ("base",), "seeds": 1, "out": tmp_path}
    ablate.ablate("table1", runs=tmp_path / "runs", **rows)
    ablate.ablate("table1", runs=tmp_path / "runs", models=True, **rows)
    assert [call[0] for call in commands()] == ["gcn_keras.evaluate"]
    with pytest.raises(UserError, match="^fit --recipe shapes-ablation .* failed with status 1"):
        ablate.ablate("table1", runs=tmp_path / "nowhere", models=True, **rows)


@pytest.mark.slow
def test_results_of_other_settings_are_not_taken(tmp_path, commands):
    finish(tmp_path / "runs" / "base-seed0", 0.2)
    finish(tmp_path / "longer" / "base-seed0", 0.3, extra=("--epochs", "9"))
    rows = {"rows": ("base",), "seeds": 1, "out": tmp_path}
    ablate.ablate("table1", runs=tmp_path / "runs", **rows)
    ablate.ablate("table1", runs=tmp_path / "longer", options="--epochs 9", **rows)
    ablate.ablate("table1", runs=tmp_path / "runs", evaluation="--limit 5", **rows)
    assert len(commands()) == 3
    assert commands()[2][-4:-2] == ["--limit", "5"]
    assert "| base (1×1) | 20.0 | 69.0 | 1 |" in (tmp_path / "table1.md").read_text()
    with open(tmp_path / "runs.csv") as file:
        assert len({line["configuration"] for line in csv.DictReader(file)}) == 3


def test_weights_are_counted_beside_the_papers(tmp_path, commands):
    finish(tmp_path / "conv3-seed0", 0.2, of="table2")
    ablate.ablate("table2", rows=("conv3",), seeds=1, runs=tmp_path)
    assert "| 3×3 convolution | 20.0 | 69.8 | 2,709 | 387K | 1 |" in (
        (tmp_path / "table2.md").read_text()
    )


def test_a_later_stage_needs_the_model_of_the_one_before(tmp_path, monkeypatch):
    stage1, stage2 = table("table7").rows[:2]
    (tmp_path / "a.keras").touch()
    experiments = Experiments("voc-stage1", tmp_path, tmp_path / "runs.csv", ("--epochs", "2"))
    options = experiments.options_of_fit(stage2, 3, tmp_path / "a.keras")
    assert stage1.recipe == "voc-stage1" and stage2.start == stage1
    recipe = command_line.parse(options)
    assert (recipe.name, recipe.weights, recipe.epochs, recipe.seed) == (
        "voc-stage2", str(tmp_path / "a.keras"), 2, 3
    )  # fmt: skip
    assert (recipe.block, recipe.resume, recipe.export) == ("conv1x1", True, False)
    assert recipe.out == str(tmp_path / "voc-base-stage2-seed3")


def test_backbones_start_from_their_own_files(tmp_path):
    (tmp_path / "a.keras").touch()
    weights = ablate.parse_weights((f"resnet50={tmp_path / 'a.keras'}", "resnet101=imagenet"))
    experiments = Experiments("paper", tmp_path, tmp_path / "runs.csv", weights=weights)
    first = table("table6").rows[0]
    recipe = command_line.parse(experiments.options_of_fit(first, 0, None))
    assert (recipe.backbone, recipe.weights) == ("resnet50", str(tmp_path / "a.keras"))
    for wrong in ("resnet50", "resnet51=a.keras"):
        with pytest.raises(UsageError) as caught:
            ablate.parse_weights((wrong,))
        assert str(caught.value) == (
            f"--weights takes BACKBONE=FILE, such as resnet50=FILE, got {wrong!r}"
        )


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"options": "--epochs 0"}, "--epochs must be at least 1, got 0"),
        (
            {"options": "--epochs '2"},
            "--options cannot be read: No closing quotation, got \"--epochs '2\"",
        ),
        (
            {"options": "--kernel_size=5"},
            "--options cannot hold --kernel-size, by which row gcn3 is made",
        ),
        (
            {"options": "--boundary-refinement"},
            "--options cannot hold --boundary-refinement, by which row base is made",
        ),
        ({"options": "--seed 3"}, "--options cannot hold --seed, which is given for every run"),
        (
            {"evaluation": "--json a.json"},
            "--evaluation cannot hold --json, which is given for every row",
        ),
        (
            {"options": "--show-batch first.png"},
            "--options cannot hold --show-batch, which is given for every run",
        ),
        (
            {"evaluation": "--submission a.tgz"},
            "--evaluation cannot hold --submission, which is given for every row",
        ),
        (
            {"learning_rates": (0.01,)},
            "--learning-rates must be two or more, none twice, got 0.01",
        ),
        (
            {"learning_rates": (0.1, 0.1, 0.01)},
            "--learning-rates must be two or more, none twice, got 0.1 0.1 0.01",
        ),
        (
            {"learning_rates": (0.1, -0.1)},
            "--learning-rate must be a finite number above 0, got -0.1",
        ),
        (
            {"learning_rates": (0.1, 0.2), "options": "--learning-rate 0.3"},
            "--options cannot hold --learning-rate, by which row base-0.1 is made",
        ),
        (
            {"learning_rates": (0.1, 0.2), "tuning": "--seed 3"},
            "--tuning cannot hold --seed, which is given for every run",
        ),
        (
            {"learning_rates": (0.1, 0.2), "tuning": "--learning-rate 0.3"},
            "--tuning cannot hold --learning-rate, by which row base-0.1 is made",
        ),
        ({"seeds": 0}, "--seeds must be in 1…1000, got 0"),
        ({"seeds": 1001}, "--seeds must be in 1…1000, got 1001"),
        (
            {"rows": ()},
            "--rows needs at least one name; there are: base, gcn3, gcn5, gcn7, gcn9, gcn11, "
            "gcn13, gcn15",
        ),
        (
            {"tuning": "--epochs 2"},
            "--tuning is about --learning-rates, which is not given; got '--epochs 2'",
        ),
        ({"evaluation": "--limit 0"}, "--limit must be at least 1, got 0"),
        ({"evaluation": "--overlap 2"}, "--overlap needs --tile H W, got --overlap 2 alone"),
        (
            {"weights": ("resnet50=none.h5",)},
            "--weights resnet50=none.h5: there is no such file",
        ),
        (
            {"options": "--weights none.keras"},
            "--weights none.keras: there is no such file",
        ),
        (
            {"weights": (OWN_WEIGHTS,), "options": "--weights None"},
            "--options cannot hold --weights, which is given by itself",
        ),
        (
            {
                "weights": (OWN_WEIGHTS,),
                "learning_rates": (0.1, 0.2),
                "tuning": "--weights None",
            },
            "--tuning cannot hold --weights, which is given by itself",
        ),
        (
            {"weights": ("resnet50=imagenet",), "rows": ("base",)},
            "--weights resnet50=imagenet: no row trains that backbone; they train "
            "resnet_nearsighted",
        ),
        (
            {"weights": ("resnet50=imagenet", "resnet50=imagenet")},
            "--weights names resnet50 twice, got resnet50=imagenet resnet50=imagenet",
        ),
        ({"recipe": "shape"},
         f"there is no recipe 'shape'; there are: {', '.join(catalogue.RECIPES)}"),
    ],
)  # fmt: skip
def test_options_are_refused_before_the_first_run(tmp_path, given, message):
    with pytest.raises(UsageError) as caught, as_options():  # as the command does
        ablate.ablate("table1", out=tmp_path / "out", **given)
    assert str(caught.value) == message
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_kernels_of_other_rows_are_not_judged(tmp_path, commands):
    """On crops of 96, P5 is too small for the recipe's k of 15, but not for 3."""
    small = ("--crop", "96", "96")
    finish(tmp_path / "gcn15-seed0", 0.5)
    finish(tmp_path / "gcn3-seed0", 0.2, extra=small)
    rows = {"seeds": 1, "runs": tmp_path}
    ablate.ablate("table1", rows=("gcn15",), **rows)
    ablate.ablate("table1", rows=("gcn3",), options=" ".join(small), **rows)
    assert "| GCN k = 3 | 20.0 | 70.1 | 1 |" in (tmp_path / "table1.md").read_text()
    with pytest.raises(UsageError, match="^--kernel-size 15 is too large for P5"), as_options():
        ablate.ablate("table1", rows=("gcn15",), options=" ".join(small), **rows)


@pytest.fixture(scope="module")
def cityscapes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cityscapes")
    datasets.prepare("cityscapes19", write_cityscapes(folder / "source"), folder / "data")
    return folder / "data"


@pytest.mark.parametrize(
    ("split", "message"),
    [
        (
            "nosuch",
            "'cityscapes19' has no split 'nosuch'; it has: train, val, test, coarse, train_coarse",
        ),
        (
            "test",
            "--boundaries and --trimap measure by labels, and 'cityscapes19' has none for split "
            "'test'",
        ),
    ],
)
def test_a_split_that_cannot_be_measured_on(cityscapes, tmp_path, split, message):
    options = f"--dataset cityscapes19 --data-dir {cityscapes}"
    with pytest.raises(UsageError) as caught, as_options():
        ablate.ablate(
            "table1", out=tmp_path / "out", options=options, evaluation=f"--split {split}"
        )
    assert str(caught.value) == message
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("table", "folder"),
    [
        ("table1", "shapes-ablation-tables"),
        ("table6", "voc-ablation-tables"),
        ("table7", "table7"),
        ("table9", "table9"),
    ],
)
def test_where_runs_lie(table, folder, monkeypatch):
    """Those of other data sets not among those of shapes."""
    found = []
    monkeypatch.setattr(ablate, "run_table", lambda *arguments: found.extend(arguments))
    ablate.ablate(table)
    experiments, out = found[2], found[5]
    assert experiments.runs == out == Path("runs", folder)


def test_stages_have_the_papers_learning_rates(tmp_path):
    with pytest.raises(UsageError) as caught, as_options():
        ablate.ablate("table7", out=tmp_path / "out", learning_rates=(0.1, 0.2))
    assert str(caught.value) == (
        "--learning-rates cannot be had for row voc-base-stage1: its stage has a learning rate of "
        "the paper's"
    )


def test_an_unknown_option_of_evaluate_is_refused_before_the_first_run(tmp_path, capsys):
    with pytest.raises(SystemExit) as caught:
        ablate.ablate("table1", out=tmp_path / "out", evaluation="--nonsense 1")
    assert caught.value.code == 2 and "--nonsense" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_table_6_has_a_recipe_of_its_own(tmp_path, commands):
    """The backbones are too deep for the kernels of the small recipe."""
    with pytest.raises(UserError, match="^fit --recipe voc-ablation --backbone resnet50 "):
        ablate.ablate("table6", out=tmp_path, runs=tmp_path, options="--weights None")


def test_a_folder_that_cannot_be_made(tmp_path, commands):
    for out in ("/proc/none", "/proc"):
        with pytest.raises(UserError, match=f"^cannot write to {out}: /proc: No such file"):
            ablate.ablate("table1", runs=tmp_path / "runs", out=Path(out))
    assert not (tmp_path / "calls.jsonl").exists()


@pytest.mark.slow
def test_the_table_shows_all_that_is_known(tmp_path, commands):
    """Rows and seeds that another command has added, too."""
    for name in ("base-seed0", "gcn15-seed0", "gcn15-seed1"):
        finish(tmp_path / name, 0.2)
    ablate.ablate("table1", rows=("gcn15",), seeds=2, runs=tmp_path)
    ablate.ablate("table1", rows=("base",), seeds=1, runs=tmp_path)
    assert (tmp_path / "table1.md").read_text().splitlines()[2:5] == [
        "| base (1×1) | 20.0 | 69.0 | 1 |",
        "| GCN k = 15 | 20.0 ± 0.0 | 74.5 | 2 |",
        "",
    ]


@pytest.mark.slow
def test_a_score_that_is_no_number(tmp_path, commands):
    """Of a split that is void everywhere."""
    finish(tmp_path / "base-seed0", float("nan"))
    for _ in range(2):
        ablate.ablate("table1", rows=("base",), seeds=1, runs=tmp_path)
        assert "| base (1×1) | nan | 69.0 | 1 |" in (tmp_path / "table1.md").read_text()
    assert len(commands()) == 1


@pytest.mark.slow
def test_learning_curves_travel_with_the_results(tmp_path, commands):
    """By how much the last quarter of the epochs raised the best score so far."""
    finish(tmp_path / "runs" / "base-seed0", 0.2, curve={1: 0.1, 2: "", 3: 0.15, 4: 0.2})
    finish(tmp_path / "runs" / "base-seed1", 0.3, curve={1: 0.1, 3: 0.3, 4: 0.25})
    finish(tmp_path / "runs" / "gcn3-seed0", 0.2, curve={4: 0.2})
    for runs in ("runs", "nowhere"):
        ablate.ablate("table1", rows=("base",), seeds=2, runs=tmp_path / runs, out=tmp_path / "out")
    ablate.ablate("table1", rows=("gcn3",), seeds=1, runs=tmp_path / "runs", out=tmp_path / "out")
    assert (tmp_path / "out" / "table1.md").read_text().splitlines()[:4] == [
        "| | mean IoU % | paper | last quarter | seeds |",
        "|---|---:|---:|---:|---:|",
        "| base (1×1) | 25.0 ± 7.1 | 69.0 | +2.5 | 2 |",  # 5 and 0
        "| GCN k = 3 | 20.0 | 70.1 | – | 1 |",
    ]
    with open(tmp_path / "out" / "curves.csv", newline="") as file:
        lines = [(line["run"], line["seed"], line["epoch"], line["mean_iou"])
                 for line in csv.DictReader(file)]  # fmt: skip
    assert lines == [
        ("base", "0", "1", "0.1"), ("base", "0", "3", "0.15"), ("base", "0", "4", "0.2"),
        ("base", "1", "1", "0.1"), ("base", "1", "3", "0.3"), ("base", "1", "4", "0.25"),
        ("gcn3", "0", "4", "0.2"),
    ]  # fmt: skip
    assert (tmp_path / "out" / "table1-curves.png").read_bytes().startswith(b"\x89PNG")


class TestLearningRates:
    """Each row takes the one that was best with seed 1000, on a schedule of its own."""

    ARGUMENTS = {"learning_rates": (0.001, 0.01), "tuning": "--epochs 2", "rows": ("base", "gcn3")}

    def finish(self, runs):
        for name, scores in (("base", (0.3, 0.2)), ("gcn3", (0.1, 0.2))):
            for rate, score in zip(("0.001", "0.01"), scores, strict=True):
                folder = runs / f"{name}-{rate}-seed1000"
                finish(folder, score, extra=("--epochs", "2"), rate=rate)

    @pytest.mark.slow
    def test_the_best_one_is_taken(self, tmp_path, capsys, commands):
        self.finish(tmp_path)
        finish(tmp_path / "base-0.001-seed0", 0.5, rate="0.001")
        finish(tmp_path / "gcn3-0.01-seed0", 0.6, rate="0.01")
        finish(tmp_path / "gcn5-seed0", 0.65)  # of another rate: no row of this table
        ablate.ablate("table1", rows=("gcn5",), seeds=1, runs=tmp_path)
        capsys.readouterr()
        for _ in range(2):
            ablate.ablate("table1", **self.ARGUMENTS, seeds=1, runs=tmp_path)
            assert capsys.readouterr().out.splitlines()[:2] == [
                "learning rate of base (1×1), by mean IoU %: 30.0 with 0.001, 20.0 with 0.01; a "
                "smaller one may be better still",
                "learning rate of GCN k = 3, by mean IoU %: 10.0 with 0.001, 20.0 with 0.01; a "
                "larger one may be better still",
            ]
        assert len(commands()) == 7
        assert (tmp_path / "table1.md").read_text().splitlines()[2:5] == [
            "| base (1×1), learning rate 0.001 | 50.0 | 69.0 | 1 |",
            "| GCN k = 3, learning rate 0.01 | 60.0 | 70.1 | 1 |",
            "",
        ]

    @pytest.mark.slow
    def test_a_rate_between_others(self, tmp_path, capsys, commands):
        for rate, score in (("0.001", 0.1), ("0.003", 0.3), ("0.01", 0.2)):
            finish(tmp_path / f"base-{rate}-seed1000", score, rate=rate)
        finish(tmp_path / "base-0.003-seed0", 0.5, rate="0.003")
        rates = {"learning_rates": (0.001, 0.003, 0.01), "rows": ("base",)}
        ablate.ablate("table1", **rates, seeds=1, runs=tmp_path)
        told = "10.0 with 0.001, 30.0 with 0.003, 20.0 with 0.01"
        assert capsys.readouterr().out.splitlines()[0] == (
            f"learning rate of base (1×1), by mean IoU %: {told}"
        )

    def test_each_run_has_logs_of_its_own(self, tmp_path, commands):
        """Though their names have dots."""
        finish(tmp_path / "base-0.001-seed1000", 0.2, rate="0.001", extra=("--epochs", "2"))
        log = tmp_path / "base-0.01-seed1000.log"
        with pytest.raises(UserError, match=f" failed with status 1: see {log}$"):
            ablate.ablate("table1", **self.ARGUMENTS, runs=tmp_path)
        assert log.read_text() == "trained nothing\n"
        assert (tmp_path / "base-0.001-seed1000.evaluation.log").exists()
        assert len(list(tmp_path.glob("*.log"))) == 2

    @pytest.mark.slow
    def test_the_seed_that_chose_does_not_count(self, tmp_path, commands):
        """Not even with the schedule of the others."""
        for rate, score in (("0.001", 0.2), ("0.01", float("nan"))):
            finish(tmp_path / f"base-{rate}-seed1000", score, rate=rate)
        finish(tmp_path / "base-0.001-seed0", 0.5, rate="0.001")
        rates = {"learning_rates": (0.01, 0.001), "rows": ("base",)}
        ablate.ablate("table1", **rates, seeds=1, runs=tmp_path)
        line = "| base (1×1), learning rate 0.001 | 50.0 | 69.0 | 1 |"
        assert (tmp_path / "table1.md").read_text().splitlines()[2] == line


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_command_that_is_stopped_waits_for_its_training(tmp_path, number):
    """Which may take its time to save, and does not outlive the command."""
    training = write_executable(tmp_path / "training", tmp_path / "training.py")
    (tmp_path / "training.py").write_text(
        "import pathlib, signal, sys, time\n"
        "def save(number, frame):\n"
        "    time.sleep(1)\n"
        "    print('saved', flush=True)\n"
        "    sys.exit(143)\n"
        "signal.signal(signal.SIGTERM, save)\n"
        f"pathlib.Path({str(tmp_path / 'began')!r}).touch()\n"
        "time.sleep(60)\n"
    )
    program = (
        "import sys\n"
        "from gcn_keras import ablate\n"
        "from pipelines.base.errors import run_command\n"
        f"arguments = ['table1', '--rows', 'base', '--out', {str(tmp_path)!r}]\n"
        f"sys.argv[1:], sys.executable = [*arguments, '--runs', {str(tmp_path)!r}], "
        f"{str(training)!r}\n"
        "run_command(ablate.main)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        start_new_session=True,
    ) as command:  # fmt: skip
        deadline = time.monotonic() + 60
        while not (tmp_path / "began").exists() and time.monotonic() < deadline:
            time.sleep(0.02)
        os.kill(command.pid, number)
        stdout, stderr = command.communicate(timeout=60)
    assert (command.returncode, stderr) == (128 + number, "interrupted\n")
    assert stdout.endswith("the same command goes on where this one was stopped\n")
    assert (tmp_path / "base-seed0.log").read_text() == "saved\n"


def test_runs_with_other_options_are_not_taken_for_this_table(tmp_path):
    finish(tmp_path / "base-seed0", 0.2, extra=("--epochs", "77"))
    with pytest.raises(UsageError) as caught, as_options():  # as the command does
        ablate.ablate("table1", rows=("base",), seeds=1, runs=tmp_path)
    # What fit advises, its --out and --weights, would be no row of the table.
    assert str(caught.value) == (
        f"{tmp_path}/base-seed0 holds a run with epochs = 77, and this one has 5: give the options "
        "that it was made with, or name another folder for the runs"
    )


def test_texts_of_options_may_stand_behind_a_space(tmp_path, monkeypatch, commands):
    finish(tmp_path / "base-seed0", 0.2, extra=("--epochs", "77"))
    words = "ablate table1 --rows base --seeds 1 --runs".split()
    texts = ["--options", "--epochs 77", "--evaluation", "--limit 3"]
    monkeypatch.setattr(sys, "argv", [*words, str(tmp_path), *texts])
    ablate.main()
    assert "| base (1×1) |" in (tmp_path / "table1.md").read_text()
    (measured,) = commands()
    assert measured[-4:-2] == ["--limit", "3"]


def test_a_run_that_fails_names_its_log(tmp_path, capsys, commands):
    with pytest.raises(UserError, match=f" failed with status 1: see {tmp_path}/base-seed0.log$"):
        ablate.ablate("table1", rows=("base",), runs=tmp_path)
    log = tmp_path / "base-seed0.log"
    assert log.read_text() == "trained nothing\n"
    printed = capsys.readouterr().out
    assert printed == f"trains base (1×1), seed 0: {log} shows how it goes on\n"
    assert not (tmp_path / "table1.md").exists()


def test_a_run_that_fails_says_why(tmp_path, commands):
    """What it printed this time, not in an earlier attempt."""
    (tmp_path / "base-seed0.log").write_text("error: of an earlier attempt\n")
    with pytest.raises(UserError, match=f" failed with status 1: see {tmp_path}/base-seed0.log$"):
        ablate.ablate("table1", rows=("base",), runs=tmp_path)
    program = tmp_path / "python.py"
    program.write_text(program.read_text().replace("trained nothing", "error: no data"))
    with pytest.raises(UserError, match=" failed with status 1: no data; see .*base-seed0.log$"):
        ablate.ablate("table1", rows=("base",), runs=tmp_path)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("run,seed\na,b\n", "its columns are run, seed, not run, seed, configuration, "),
        (
            f"{','.join(COLUMNS)}\na,0,c,much,1,1,1,1,1,1,1,1\n",
            "line 2: mean_iou is 'much', no number",
        ),
        (f"{','.join(COLUMNS)}\na,0,c,,1,1,1,1,1,1,1,1\n", "line 2: mean_iou is '', no number"),
        (f"{','.join(COLUMNS)}\na,0,c,0.5\n", "line 2 is cut off"),
        (f"{','.join(COLUMNS)}\na,0,c,1,1,1,1,1,1,1,1,1", "its last line is cut off"),
        ("", "it is empty"),
        (f"{','.join(COLUMNS)}\na,x,c,1,1,1,1,1,1,1,1,1\n", "line 2: seed is 'x', no number"),
    ],
)
def test_results_that_are_none(tmp_path, content, reason):
    (tmp_path / "runs.csv").write_text(content)
    with pytest.raises(UserError, match=f"^{tmp_path}/runs.csv cannot be read: {reason}"):
        ablate.ablate("table1", runs=tmp_path)

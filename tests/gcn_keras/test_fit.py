"""What `fit` does before and after training; runs from end to end are in training/test_run.py."""

import dataclasses
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from miniatures import empty_archive
from small_runs import fit_options, prepare_halves

from gcn_keras import RECIPES, fit
from gcn_keras.inference.legend import Legend
from gcn_keras.recipes import command_line
from gcn_keras.training.run_folder import (
    RunFolder,
    begin_run,
    find_run,
    read_json,
    recipe_to_resume,
)
from pipelines.base.errors import Interrupted, UsageError, UserError, as_options
from pipelines.base.files import write_json

IN_TIME = """
import sys
from gcn_keras import fit
from pipelines.base.errors import run_command
try:
    run_command(fit.main)
finally:
    print({"keras", "tensorflow"} & sys.modules.keys())
"""


@pytest.mark.parametrize(
    "backend", ["tensorflow", pytest.param("jax", marks=pytest.mark.slow)], ids=["here", "spawned"]
)
def test_a_failed_export_says_how_to_do_it_alone(tmp_path, backend):
    recipe = dataclasses.replace(RECIPES["shapes"], backend=backend, saved_model=str(tmp_path))
    with pytest.raises(UserError) as caught:
        fit._export(recipe, RunFolder(tmp_path))
    best = tmp_path / "best.keras"
    assert str(caught.value) == (
        f"there is no model at {best}: expected a .keras file, as `fit` writes; the run is "
        f"finished and kept, so export its model alone: python -m gcn_keras.export {best} --out DIR"
    )


@pytest.mark.slow
@pytest.mark.parametrize("option", ["--out", "--data-dir", "--saved-model", "--cache"])
def test_folders_that_cannot_be_made_are_refused_in_time(tmp_path, option):
    file = tmp_path / "file"
    file.touch()
    options = {"--out": tmp_path / "run", "--data-dir": tmp_path / "data"}
    options |= {"--saved-model": tmp_path / "saved", option: file / "deep"}
    words = [str(word) for pair in options.items() for word in pair]
    done = subprocess.run(
        [sys.executable, "-c", IN_TIME, *words], capture_output=True, text=True, check=False
    )
    assert done.stdout == "set()\n" and done.returncode == 1
    folder = file / "deep" / "shapes" if option == "--data-dir" else file / "deep"
    assert done.stderr == f"error: cannot write to {folder}: {file}: Not a directory\n"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize(
    ("name", "fault"), [("no.keras", "there is no such file"), ("folder.keras", "is no file")]
)
def test_starting_weights_that_are_not_there(tmp_path, monkeypatch, name, fault):
    (tmp_path / "folder.keras").mkdir()
    weights, out = tmp_path / name, tmp_path / "run"
    monkeypatch.setenv("KERAS_BACKEND", "tensorflow")
    monkeypatch.setattr(sys, "argv", ["fit", "--weights", str(weights), "--out", str(out)])
    with pytest.raises(UsageError) as caught:
        fit.main()
    assert str(caught.value) == f"--weights {weights}: {fault}"
    assert not out.exists()


def test_another_backend_than_the_environments_is_noted(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    monkeypatch.setattr(sys, "argv", ["fit", "--weights", str(tmp_path / "no.keras")])
    with pytest.raises(UsageError):
        fit.main()
    assert capsys.readouterr().err == (
        "trains on tensorflow, as --backend says, not on KERAS_BACKEND's jax\n"
    )
    assert os.environ["KERAS_BACKEND"] == "tensorflow"


@pytest.mark.parametrize(
    ("content", "value"), [("{}", "None"), ('{"mean_iou": "a"}', "'a'"), ('{"mean_iou": 3.5}', 3.5)]
)
def test_damaged_metrics_are_named(tmp_path, monkeypatch, content, value):
    recipe = dataclasses.replace(RECIPES["shapes"], out=str(tmp_path / "run"))
    run = RunFolder(recipe.out)
    begin_run(run, recipe)
    empty_archive(run.best)
    run.metrics.write_text(content)
    options = ["--out", recipe.out, "--data-dir", str(tmp_path / "data")]
    monkeypatch.setattr(sys, "argv", ["fit", *options])
    with pytest.raises(UserError) as caught:
        fit.main()
    assert str(caught.value) == (f"{run.metrics} cannot be read: mean_iou is {value}, not in 0…1")


def test_a_run_stopped_in_its_export_exports_when_it_goes_on(tmp_path, monkeypatch, capsys):
    """The command that is said is taken word for word."""
    out, exports = tmp_path / "my run", []
    metrics = {"mean_iou": 0.5, "best_epoch": 1, "parameters": 1, "peak_memory_mib": 1}
    metrics |= {"training_seconds": 1, "wall_seconds": 1}

    def train(recipe, run, check):
        begin_run(run, recipe)
        run.unfinished.touch()
        empty_archive(run.best)
        write_json(run.metrics, metrics)
        run.release()
        return metrics

    def export_file(model, out):
        exports.append((model, out))
        if len(exports) == 1:
            raise KeyboardInterrupt
        (out / "3").mkdir(parents=True)
        (out / "3" / "saved_model.pb").touch()
        return ["written"]

    monkeypatch.setattr("gcn_keras.training.run.train", train)
    monkeypatch.setattr("gcn_keras.deployment.run_export.export_file", export_file)
    monkeypatch.setenv("KERAS_BACKEND", "tensorflow")
    saved = tmp_path / "it's saved"
    (saved / "2").mkdir(parents=True)  # of another run
    (saved / "2" / "saved_model.pb").touch()
    begun = ["--out", str(out), "--data-dir", str(tmp_path / "data")]
    begun += ["--saved-model", str(saved)]
    monkeypatch.setattr(sys, "argv", ["fit", *begun])
    with pytest.raises(Interrupted) as caught:
        fit.main()
    assert caught.value.exit_status == 130
    said, _, command = str(caught.value).partition("; go on with: ")
    assert said == "stopped"
    words = shlex.split(command)
    assert words[:4] == ["python", "-m", "gcn_keras.fit", "--resume"]
    monkeypatch.setattr(sys, "argv", words[2:])
    assert fit.main() == 0
    assert exports == [(out / "best.keras", saved)] * 2
    assert read_json(out / "metrics.json")["saved_model"] == str(saved / "3")
    capsys.readouterr()
    assert fit.main() == 0
    assert capsys.readouterr().out == f"{out} is finished: mean IoU 0.5000; nothing to do\n"
    assert len(exports) == 2
    # Finished it was also before there was a note of what is left to do.
    shutil.rmtree(saved / "3")
    assert fit.main() == 0
    said = f"{out} is finished: mean IoU 0.5000; its model is exported now\n"
    assert capsys.readouterr().out.startswith(said) and len(exports) == 3


def test_an_export_over_other_classes_is_refused_before_training(tmp_path, monkeypatch):
    data_dir, saved = prepare_halves(tmp_path), tmp_path / "saved"
    (saved / "1" / "assets").mkdir(parents=True)
    (saved / "1" / "saved_model.pb").touch()
    Legend.unnamed(3).write(saved / "1" / "assets" / "labels.json")
    options = fit_options(data_dir, tmp_path / "run", **{"saved-model": saved})
    monkeypatch.setenv("KERAS_BACKEND", "tensorflow")
    monkeypatch.setattr(sys, "argv", ["fit", *map(str, options)])
    with pytest.raises(UserError) as caught:
        fit.main()
    assert str(caught.value) == (
        f"{saved}/1 knows the classes class 0, class 1, class 2, and 'image_folder' has others: "
        "left, right; they do not belong together; give another --saved-model"
    )
    assert not (tmp_path / "run").exists()


def test_a_run_stopped_before_its_folder_knows_it(tmp_path, monkeypatch):
    """While data are read; by the command that is said it begins as it was meant."""

    def train(recipe, run, check):
        raise KeyboardInterrupt

    monkeypatch.setattr("gcn_keras.training.run.train", train)
    monkeypatch.setitem(fit._BY_TASK, "segmentation", (lambda *which: None, "mean_iou", "mean IoU"))
    monkeypatch.setenv("KERAS_BACKEND", "tensorflow")
    options = ["--recipe", "camvid", "--batch", "4", "--out", str(tmp_path / "my run")]
    monkeypatch.setattr(sys, "argv", ["fit", *options])
    with pytest.raises(Interrupted) as caught:
        fit.main()
    words = shlex.split(str(caught.value).partition("; go on with: ")[2])
    assert words[:3] == ["python", "-m", "gcn_keras.fit"]
    assert command_line.parse(words[3:]) == command_line.parse(options)


@pytest.mark.parametrize(
    ("name", "known"),
    [
        ("finetune", {"dataset": "image_folder/mine", "from_data": ()}),
        ("camvid-long", {"weights": "best.keras"}),
    ],
)
def test_resuming_needs_nothing_that_the_run_knows(tmp_path, monkeypatch, capsys, name, known):
    monkeypatch.chdir(tmp_path)
    Path("best.keras").touch()
    recipe = dataclasses.replace(RECIPES[name], **known)
    run = RunFolder(Path("runs", name))
    begin_run(run, recipe)
    empty_archive(run.best)
    write_json(run.metrics, {"mean_iou": 0.5})
    run.release()
    monkeypatch.setenv("KERAS_BACKEND", "tensorflow")
    monkeypatch.setattr(sys, "argv", ["fit", "--recipe", name, "--resume", "--no-export"])
    assert fit.main() == 0
    assert capsys.readouterr().out == f"runs/{name} is finished: mean IoU 0.5000; nothing to do\n"
    monkeypatch.setattr(sys, "argv", ["fit", "--recipe", name, "--resume", "--out", "elsewhere"])
    with pytest.raises(UserError, match="^--(dataset|weights) must name "), as_options():
        fit.main()


@pytest.mark.parametrize(
    ("recipe", "changes", "advice"),
    [
        ("shapes", {}, "; --skip-errors trains without it"),
        ("shapes", {"skip_errors": True}, ""),
        ("camvid", {}, "; --skip-errors --mix none trains without it"),
    ],
)
def test_what_is_advised_of_damaged_data_can_be_done(recipe, changes, advice):
    recipe = dataclasses.replace(RECIPES[recipe], **changes)
    said = fit._advice(recipe)
    doctor = f"python -m pipelines.doctor {recipe.dataset} --data-dir data names what is damaged"
    assert said == doctor + advice
    if advice:
        options = advice.removeprefix("; ").removesuffix(" trains without it").split()
        assert command_line.parse(["--recipe", recipe.name, *options]).skip_errors


def test_what_is_advised_of_data_that_break_a_begun_run_can_be_done(tmp_path):
    recipe = dataclasses.replace(RECIPES["shapes"], data_dir="my data")
    run = RunFolder(tmp_path / "run")
    begin_run(run, recipe)
    run.model.touch()
    said, _, command = fit._advice(recipe, run).partition("go on without it by: ")
    assert said.endswith(" --data-dir 'my data' names what is damaged; ")
    words = shlex.split(command)
    assert words[:3] == ["python", "-m", "gcn_keras.fit"]
    known = recipe_to_resume(command_line.parse(words[3:], unchecked=True))
    found = command_line.parse(words[3:], base=known)
    assert found.skip_errors and found.data_dir == "my data"
    assert find_run(found).path == run.path


def test_a_begun_run_that_mixes_images_cannot_leave_out_damaged_ones(tmp_path):
    recipe, run = RECIPES["camvid"], RunFolder(tmp_path)
    run.checkpoints.mkdir()
    (run.checkpoints / "step-00000001.npz").touch()
    assert fit._advice(recipe, run).endswith(
        "; a new run with --skip-errors --mix none trains without it"
    )

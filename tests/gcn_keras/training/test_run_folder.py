"""Which folder a run gets, and that what lies in it is complete or absent."""

import dataclasses
import json

import pytest

from gcn_keras import RECIPES
from gcn_keras.recipes import command_line
from gcn_keras.training.run_folder import RunFolder, begin_run, find_run, recipe_to_resume
from pipelines.base.errors import ArgumentError, UserError, in_options

SHAPES = RECIPES["shapes"]


def open_run(recipe):
    run = find_run(recipe)
    begin_run(run, recipe)
    return run


def test_without_out_an_earlier_run_is_never_written_over(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    paths = [str(open_run(recipe).path) for recipe in (SHAPES, SHAPES, RECIPES["camvid"], SHAPES)]
    assert paths == ["runs/shapes", "runs/shapes-2", "runs/camvid", "runs/shapes-3"]


def test_config_holds_what_is_computed_and_not_where_it_goes(tmp_path):
    recipe = dataclasses.replace(SHAPES, out=str(tmp_path / "run"))
    run = open_run(recipe)
    fields = dataclasses.asdict(recipe)
    # Of the other task, from when there was one dataclass for both.
    fields |= {"area": (0.08, 1.0), "label_smoothing": 0.0, "task": "segmentation"}
    elsewhere = ("out", "saved_model", "export", "data_dir")
    for name in (
        *elsewhere,
        "strategy",
        "resume",
        "checkpoint_steps",
        "keep_checkpoints",
        "on_nan",
    ):
        del fields[name]
    assert json.loads(run.config.read_text()) == json.loads(json.dumps(fields))
    assert sorted(path.name for path in run.path.iterdir()) == [".lock", "config.json"]


def test_a_folder_is_taken_up_by_the_same_configuration_only(tmp_path):
    recipe = dataclasses.replace(SHAPES, out=str(tmp_path / "deep" / "run"))
    run = open_run(recipe)
    run.release()
    elsewhere = dataclasses.replace(recipe, data_dir="elsewhere", export=False, on_nan="skip")
    with pytest.raises(ArgumentError, match="a run that is not finished: resume goes on") as caught:
        find_run(elsewhere)
    assert "not finished: --resume goes on with it" in in_options(caught.value.template)
    resumed = dataclasses.replace(elsewhere, resume=True)
    assert open_run(resumed).path == run.path and not run.finished
    with pytest.raises(ArgumentError) as caught:
        open_run(dataclasses.replace(recipe, kernel_size=(3, 5, 5, 7)))
    assert in_options(caught.value.template) == (
        f"--out {run.path} holds a run with kernel_size = [7], and this one has [3, 5, 5, 7]: "
        f"name another folder"
    )
    run.write_json(run.metrics, {"mean_iou": 0.5})
    assert find_run(recipe).finished
    # A run from before there was an option has the option's default.
    content = json.loads(run.config.read_text())
    del content["jitter"]
    run.write_json(run.config, content)
    assert find_run(recipe).finished
    with pytest.raises(ArgumentError, match="a run with jitter = 0.0, and this one has 0.1"):
        find_run(dataclasses.replace(recipe, jitter=0.1))


def test_resume_without_out_takes_the_last_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    resumed = dataclasses.replace(SHAPES, resume=True)
    assert recipe_to_resume(resumed) is None
    assert [str(open_run(r).path) for r in (resumed, SHAPES)] == ["runs/shapes", "runs/shapes-2"]
    assert str(find_run(resumed).path) == "runs/shapes-2"


def test_the_options_of_a_run_come_back(tmp_path):
    recipe = dataclasses.replace(
        SHAPES, out=str(tmp_path / "run"), kernel_size=(3, 5, 7, 7), scale=(0.5, 2.0), epochs=9
    )
    open_run(dataclasses.replace(recipe, data_dir="elsewhere", strategy="one"))
    found = recipe_to_resume(dataclasses.replace(RECIPES["camvid"], out=recipe.out, resume=True))
    assert found == dataclasses.replace(recipe, out=None)
    assert command_line.parse(["--epochs", "9"], base=found) == found
    content = json.loads((tmp_path / "run" / "config.json").read_text())
    (tmp_path / "run" / "config.json").write_text(json.dumps(content | {"dropout": 0.5}))
    with pytest.raises(UserError, match="was written by another version of this package"):
        recipe_to_resume(dataclasses.replace(recipe, resume=True))


def test_looking_for_a_folder_writes_nothing(tmp_path):
    run = find_run(dataclasses.replace(SHAPES, out=str(tmp_path / "run")))
    assert not run.path.exists()


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_what_is_no_run_folder_is_left_alone(tmp_path, kind):
    out = tmp_path / "mine"
    kept = out if kind == "file" else out / "thesis.txt"
    kept.parent.mkdir(exist_ok=True)
    kept.write_text("mine")
    with pytest.raises(ArgumentError) as caught:
        open_run(dataclasses.replace(SHAPES, out=str(out)))
    assert (
        in_options(caught.value.template)
        == f"--out {out} exists and is no run folder: name another one"
    )
    assert kept.read_text() == "mine"


def test_where_no_folder_can_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    out = tmp_path / "file" / "run"
    with pytest.raises(UserError) as caught:
        open_run(dataclasses.replace(SHAPES, out=str(out)))
    assert str(caught.value) == f"cannot make the run folder {out}: Not a directory"
    assert caught.value.exit_status == 1


def test_a_damaged_config_is_named(tmp_path):
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(UserError, match=f"^{tmp_path}/config.json cannot be read: "):
        open_run(dataclasses.replace(SHAPES, out=str(tmp_path)))


def test_history(tmp_path):
    run = RunFolder(tmp_path)
    run.write_history({"epoch": [1], "loss": [0.5]})
    run.write_history({"epoch": [1, 2], "loss": [0.5, 0.25]})
    assert run.history.read_text().splitlines() == ["epoch,loss", "1,0.5", "2,0.25"]
    assert [path.name for path in tmp_path.iterdir()] == ["history.csv"]

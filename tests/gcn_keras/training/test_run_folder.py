"""Which folder a run gets, and that what lies in it is complete or absent."""

import dataclasses
import itertools
import json
import shlex
import shutil
import socket
from pathlib import Path

import pytest
from miniatures import empty_archive

from gcn_keras import RECIPES
from gcn_keras.recipes import command_line
from gcn_keras.training.run_folder import (
    RunFolder,
    begin_run,
    find_run,
    read_json,
    recipe_to_resume,
)
from pipelines.base.errors import ArgumentError, UsageError, UserError, in_options
from pipelines.base.files import write_json
from pipelines.base.locks import locked

HOST = socket.gethostname().replace(".", "_")
SHAPES = RECIPES["shapes"]


def open_run(recipe):
    run = find_run(recipe)
    begin_run(run, recipe)
    return run


def begun_run(recipe):
    """One that has a model already."""
    run = open_run(recipe)
    run.model.touch()
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
    elsewhere = ("out", "saved_model", "export", "data_dir", "validation_tile")
    for name in (
        *elsewhere,
        "strategy",
        "resume",
        "accept_changes",
        "checkpoint_steps",
        "keep_checkpoints",
        "on_nan",
        "show_batch",
        "tensorboard_samples",
    ):
        del fields[name]
    assert json.loads(run.config.read_text()) == json.loads(json.dumps(fields))
    assert sorted(path.name for path in run.path.iterdir()) == [".lock", "config.json"]


def test_nobody_trains_in_a_folder_where_another_does(tmp_path):
    with locked(tmp_path), pytest.raises(UserError) as caught:
        begin_run(RunFolder(tmp_path), SHAPES)
    assert str(caught.value) == f"another process trains in {tmp_path}: wait for it, or stop it"
    assert not (tmp_path / "config.json").exists()


def test_a_folder_is_taken_up_by_the_same_configuration_only(tmp_path):
    recipe = dataclasses.replace(SHAPES, out=str(tmp_path / "deep" / "run"))
    run = begun_run(recipe)
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
    empty_archive(run.best)
    write_json(run.metrics, {"mean_iou": 0.5})
    assert find_run(recipe).finished
    # A run from before there was an option has the option's default.
    content = json.loads(run.config.read_text())
    del content["jitter"]
    write_json(run.config, content)
    assert find_run(recipe).finished
    with pytest.raises(ArgumentError, match="a run with jitter = 0.0, and this one has 0.1"):
        find_run(dataclasses.replace(recipe, jitter=0.1))


@pytest.mark.parametrize("left", [(), ("labels.json", "logs/train", "not_finite.jsonl")])
def test_a_refused_run_leaves_its_folder_to_a_corrected_one(tmp_path, left):
    recipe = dataclasses.replace(SHAPES, out=str(tmp_path / "run"), crop=(32, 32))
    open_run(recipe).release()
    for name in left:
        (tmp_path / "run" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "run" / name).touch()
    run = open_run(dataclasses.replace(recipe, crop=(64, 64)))
    assert json.loads(run.config.read_text())["crop"] == [64, 64]


@pytest.mark.parametrize(
    "result", ["checkpoints/step-00000001.npz", "best.keras", "model.keras", "metrics.json"]
)
def test_a_folder_with_results_is_left_to_its_run(tmp_path, result):
    recipe = dataclasses.replace(SHAPES, out=str(tmp_path / "run"))
    run = open_run(recipe)
    run.release()
    (run.path / result).parent.mkdir(exist_ok=True)
    (run.path / result).write_text("{}")
    with pytest.raises(ArgumentError, match="a run with crop = .* name another folder"):
        find_run(dataclasses.replace(recipe, crop=(64, 64)))
    # Nor is one that came there since the folder was looked at.
    with pytest.raises(UserError, match="^another process has trained in .*: name another folder"):
        begin_run(run, recipe)


def test_a_config_json_of_something_else_is_left_alone(tmp_path):
    (tmp_path / "config.json").write_text('{"name": "web"}')
    with pytest.raises(ArgumentError, match="holds a run with "):
        open_run(dataclasses.replace(SHAPES, out=str(tmp_path)))
    assert (tmp_path / "config.json").read_text() == '{"name": "web"}'


def test_resume_without_out_takes_the_last_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    resumed = dataclasses.replace(SHAPES, resume=True)
    assert recipe_to_resume(resumed) is None
    assert [str(open_run(r).path) for r in (resumed, SHAPES)] == ["runs/shapes", "runs/shapes-2"]
    assert str(find_run(resumed).path) == "runs/shapes-2"
    # Also where an earlier one was removed; and no new one takes that one's place.
    shutil.rmtree("runs/shapes")
    assert str(find_run(resumed).path) == "runs/shapes-2"
    for beside in ("runs/shapes-wide", "runs/shapes-03", "runs/camvid-7"):
        Path(beside).mkdir()
    assert str(find_run(SHAPES).path) == "runs/shapes-3"


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


def test_a_run_without_its_configuration(tmp_path):
    run = begun_run(dataclasses.replace(SHAPES, out=str(tmp_path / "run")))
    run.release()
    run.config.unlink()
    for resume in (False, True):
        with pytest.raises(ArgumentError) as caught:
            find_run(dataclasses.replace(SHAPES, out=str(run.path), resume=resume))
        assert in_options(caught.value.template) == (
            f"--out {run.path} lacks its config.json, without which nobody knows what was trained: "
            "put it back, or name another folder; a new run may start from its model by --weights"
        )


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
    assert str(caught.value) == f"cannot make the folder {out}: Not a directory"
    assert caught.value.exit_status == 1


def test_a_damaged_config_is_named(tmp_path):
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(UserError, match=f"^{tmp_path}/config.json cannot be read: "):
        open_run(dataclasses.replace(SHAPES, out=str(tmp_path)))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("epochs", "3"),
        ("epochs", 2.5),
        ("epochs", True),
        ("crop", 64),
        ("crop", [64]),
        ("crop", [64, None]),
        ("schedule", "polly"),
        ("learning_rate", [0.1]),
        ("flip", 1),
        ("dataset", None),
    ],
)
def test_a_config_with_values_of_another_type_is_named(tmp_path, key, value):
    recipe = dataclasses.replace(SHAPES, out=str(tmp_path / "run"))
    run = open_run(recipe)
    write_json(run.config, json.loads(run.config.read_text()) | {key: value})
    with pytest.raises(UserError) as caught:
        recipe_to_resume(dataclasses.replace(recipe, resume=True))
    assert str(caught.value) == f"{run.config} cannot be read: {key} cannot be {value!r}"
    assert caught.value.exit_status == 1


@pytest.mark.parametrize(
    ("key", "value", "reason"),
    [
        ("learning_rate", -1.0, "learning_rate must be a finite number above 0, got -1.0"),
        ("epochs", 0, "epochs must be at least 1, got 0"),
        ("dataset", "shapex", "there is no data set 'shapex' (did you mean 'shapes'?)"),
    ],
)
def test_a_config_with_values_that_cannot_be_is_named(tmp_path, key, value, reason):
    recipe = dataclasses.replace(SHAPES, out=str(tmp_path / "run"), resume=True)
    run = open_run(recipe)
    write_json(run.config, json.loads(run.config.read_text()) | {key: value})
    with pytest.raises(UserError) as caught:
        recipe_to_resume(recipe)
    assert str(caught.value).startswith(f"the run in {run.path} cannot go on: {reason}")
    assert caught.value.exit_status == 1


@pytest.mark.parametrize("content", ["[" * 100_000, "\udcff", "null", ""])
def test_what_is_no_json_object_is_named(tmp_path, content):
    path = tmp_path / "metrics.json"
    path.write_text(content, errors="surrogateescape")
    with pytest.raises(UserError, match=f"^{path} cannot be read: [^\n]+$"):
        read_json(path)


def test_what_a_config_lacks_is_the_options_default(tmp_path):
    """And not what the recipe has by now: the run was made before there was the option."""
    recipe = dataclasses.replace(SHAPES, out=str(tmp_path / "run"), resume=True)
    run = open_run(recipe)
    content = json.loads(run.config.read_text())
    assert content.pop("optimizer") == "adamw"
    write_json(run.config, content)
    found = recipe_to_resume(recipe)
    assert found.optimizer == "sgd"
    assert find_run(dataclasses.replace(found, out=recipe.out, resume=True)).path == run.path
    del content["dataset"]
    write_json(run.config, content)
    with pytest.raises(UserError, match="was written by another version of this package"):
        recipe_to_resume(recipe)


def test_a_run_from_before_options_without_effect_were_refused(tmp_path):
    """It goes on, and is the run of a recipe without them."""
    recipe = dataclasses.replace(SHAPES, out=str(tmp_path / "run"), resume=True)
    run = begun_run(recipe)
    idle = {"stack_width": 64, "momentum": 0.5}
    write_json(run.config, json.loads(run.config.read_text()) | idle)
    assert recipe_to_resume(recipe) == SHAPES
    assert find_run(recipe).path == run.path
    stack = dataclasses.replace(recipe, block="stack", stack_width=32)
    with pytest.raises(ArgumentError, match="with block = 'gcn', and this one has 'stack'"):
        find_run(stack)
    write_json(run.config, json.loads(run.config.read_text()) | {"block": "stack"})
    assert recipe_to_resume(recipe).stack_width == 64
    with pytest.raises(ArgumentError, match="with stack_width = 64, and this one has 32"):
        find_run(stack)


def test_what_a_run_knows_and_an_option_makes_idle_is_its_own_again(tmp_path):
    """Nobody has given it, so nobody could leave it out."""
    recipe = dataclasses.replace(SHAPES, out=str(tmp_path / "run"), shuffle_mib=256)
    open_run(recipe)
    known = recipe_to_resume(dataclasses.replace(recipe, resume=True))
    given = ["--resume", "--cache", "memory"]
    found = command_line.parse(given, base=known)
    assert (found.cache, found.shuffle_mib) == ("memory", SHAPES.shuffle_mib)
    with pytest.raises(UsageError, match="--shuffle-mib means nothing for --cache memory"):
        command_line.parse([*given, "--shuffle-mib", "128"], base=known)


def test_values_that_fit_a_type_are_taken(tmp_path):
    """Integers for numbers, None for what may be none."""
    recipe = dataclasses.replace(SHAPES, out=str(tmp_path / "run"), resume=True)
    run = open_run(recipe)
    given = {"learning_rate": 1, "steps_per_epoch": None, "scale": [1, 2], "kernel_size": [3] * 4}
    write_json(run.config, json.loads(run.config.read_text()) | given)
    found = recipe_to_resume(recipe)
    assert (found.learning_rate, found.scale, found.kernel_size) == (1, (1, 2), (3, 3, 3, 3))


def test_a_writer_killed_before_config_json_blocks_nothing(tmp_path):
    recipe = dataclasses.replace(SHAPES, out=str(tmp_path / "run"))
    (tmp_path / "run").mkdir()
    for name in (".lock", f".config.{HOST}-4194305.part.json"):
        (tmp_path / "run" / name).write_text("{")
    run = open_run(recipe)
    assert sorted(path.name for path in run.path.iterdir()) == [".lock", "config.json"]


@pytest.mark.parametrize("writer", [f"{HOST}-4194305", "another_machine-1"])
def test_what_a_killed_writer_left_is_removed(tmp_path, writer):
    recipe = dataclasses.replace(SHAPES, out=str(tmp_path / "run"), resume=True)
    run = open_run(recipe)
    run.release()
    run.checkpoints.mkdir()
    for path in (run.path / f".model.{writer}.part.keras", run.checkpoints / "step-1.npz"):
        path.write_text("half")
    (run.checkpoints / f".step-00000009.{writer}.part.npz").write_text("half")
    open_run(recipe)
    assert {path.name for path in run.path.iterdir()} == {".lock", "checkpoints", "config.json"}
    assert [path.name for path in run.checkpoints.iterdir()] == ["step-1.npz"]


def test_a_run_is_finished_when_its_figures_and_export_are_there(tmp_path):
    recipe = dataclasses.replace(SHAPES, out=str(tmp_path / "run"))
    run = open_run(recipe)
    run.release()
    empty_archive(run.best)
    write_json(run.metrics, {"mean_iou": 0.5})
    run.unfinished.touch()
    with pytest.raises(ArgumentError, match="a run that is not finished: resume goes on"):
        find_run(recipe)
    resumed = dataclasses.replace(recipe, resume=True)
    assert not find_run(resumed).finished
    run.unfinished.unlink()
    assert find_run(resumed).finished
    run.best.write_bytes(run.best.read_bytes()[:-1])  # damaged
    assert not find_run(resumed).finished
    run.best.unlink()
    assert not find_run(resumed).finished


def test_metrics_of_fewer_epochs_make_no_finished_run(tmp_path):
    """Nor in a copy that lacks the hidden file."""
    recipe = dataclasses.replace(SHAPES, out=str(tmp_path / "run"), schedule="constant")
    recipe = dataclasses.replace(recipe, warmup_steps=0, epochs=1, resume=True)
    run = begun_run(recipe)
    empty_archive(run.best)
    write_json(run.metrics, {"mean_iou": 0.5, "configuration": read_json(run.config)})
    assert find_run(recipe).finished
    run.release()
    more = dataclasses.replace(recipe, epochs=4)
    begin_run(find_run(more), more)
    run.release()
    run.unfinished.unlink()
    assert not find_run(more).finished


def test_more_epochs_of_a_constant_learning_rate(tmp_path):
    out = tmp_path / "my run"
    recipe = dataclasses.replace(SHAPES, out=str(out), schedule="constant", warmup_steps=0)
    recipe = dataclasses.replace(recipe, epochs=3)
    run = open_run(recipe)
    run.release()
    empty_archive(run.best)
    write_json(run.metrics, {"mean_iou": 0.5})
    more = dataclasses.replace(recipe, resume=True, epochs=5)
    run = find_run(more)
    assert not run.finished
    begin_run(run, more)
    assert json.loads(run.config.read_text())["epochs"] == 5
    run.release()
    # Killed now, it is not taken for finished.
    assert not find_run(more).finished
    for refused in (
        dataclasses.replace(more, epochs=4),
        dataclasses.replace(more, epochs=7, resume=False),
    ):
        with pytest.raises(ArgumentError, match="has [47]: name another folder$"):
            find_run(refused)


def test_a_begun_run_may_leave_out_damaged_examples(tmp_path):
    recipe = dataclasses.replace(SHAPES, out=str(tmp_path / "run"), resume=True)
    run = begun_run(recipe)
    skipping = dataclasses.replace(recipe, skip_errors=True)
    assert find_run(skipping).path == run.path
    begin_run(run, skipping)
    assert recipe_to_resume(recipe).skip_errors
    with pytest.raises(ArgumentError, match="with skip_errors = True, and this one has False"):
        find_run(recipe)
    begin_run(run, recipe)
    with pytest.raises(ArgumentError, match="with skip_errors = False, and this one has True"):
        find_run(dataclasses.replace(skipping, resume=False))


@pytest.mark.parametrize(
    ("field", "values", "other"),
    [
        ("data_service", ("a:5050", "b:5051"), None),
        ("cache", ("/scratch/1", "/scratch/2", None), "memory"),
    ],
)
def test_where_data_lie_may_change(tmp_path, field, values, other):
    for value, wanted in itertools.permutations((*values, other), 2):
        out = tmp_path / f"{value} {wanted}".replace("/", "-")
        recipe = dataclasses.replace(SHAPES, out=str(out), resume=True, **{field: value})
        run = begun_run(recipe)
        elsewhere = dataclasses.replace(recipe, **{field: wanted})
        if other in (value, wanted):
            with pytest.raises(ArgumentError, match=f"holds a run with {field} = "):
                find_run(elsewhere)
        else:
            assert find_run(elsewhere).path == run.path


@pytest.mark.parametrize("best", [True, False])
def test_more_epochs_of_a_schedule_need_the_command_that_is_given(tmp_path, best):
    recipe = dataclasses.replace(SHAPES, out=str(tmp_path / "my run"), kernel_size=(3, 5, 5, 7))
    run = begun_run(recipe)
    run.release()
    if best:
        empty_archive(run.best)
    with pytest.raises(ArgumentError) as caught:
        find_run(dataclasses.replace(recipe, resume=True, accept_changes=True, epochs=99))
    said, _, command = str(caught.value).partition(": python -m gcn_keras.fit ")
    assert said.endswith(
        f"holds a run with epochs = {SHAPES.epochs}, and this one has 99: begin a new run"
        f"{' with its best model' * best}, as schedule {SHAPES.schedule} is made for the length of "
        "a run"
    )
    assert command_line.parse(shlex.split(command)) == dataclasses.replace(
        recipe, epochs=99, weights=str(run.best) if best else None, out=f"{run.path}-99-epochs"
    )


def test_history(tmp_path):
    run = RunFolder(tmp_path)
    run.write_history({"epoch": [1], "loss": [0.5]})
    run.write_history({"epoch": [1, 2], "loss": [0.5, 0.25]})
    assert run.history.read_text().splitlines() == ["epoch,loss", "1,0.5", "2,0.25"]
    assert [path.name for path in tmp_path.iterdir()] == ["history.csv"]

"""What a resumed run is compared with."""

import dataclasses
import json
import shlex

import pytest

from gcn_keras import RECIPES
from gcn_keras.inference.legend import Legend
from gcn_keras.recipes import command_line
from gcn_keras.training import provenance
from gcn_keras.training.run_folder import RunFolder
from pipelines.base.errors import UserError, in_options
from pipelines.base.labels import palette

RECIPE = dataclasses.replace(RECIPES["shapes"], resume=True, val_split="val")


class Dataset:
    """Stands in for a prepared one with a file a split."""

    def __init__(self, folder, names=("sky", "road"), train=b"1", test=b"3"):
        self.class_names, self.files = names, {}
        self.num_bytes = {"train": 1, "val": 1, "test": 2**40}
        for split, content in (("train", train), ("val", b"2"), ("test", test)):
            (folder / split).write_bytes(content)
            self.files[split] = (str(folder / split),)

    def validation_split(self, name):
        return name


@pytest.fixture
def former(tmp_path):
    return provenance.origin(RECIPE, Dataset(tmp_path), 40)


def test_a_package_under_another_name(tmp_path, monkeypatch):
    """Such as tensorflow-cpu: the end of a training is no place to fail."""
    monkeypatch.setattr(provenance, "_PACKAGES", ("numpy", "no-such-package"))
    run = RunFolder(tmp_path / "run")
    run.config.parent.mkdir()
    run.config.write_text("{}")
    versions = provenance.of_run(run, Dataset(tmp_path))["versions"]
    assert versions["no-such-package"] == "not installed" and versions["numpy"][0].isdecimal()


def check(folder, former, recipe=RECIPE, steps=40, **data) -> str:
    """What is said; runs of this folder begin with other data or recipes."""
    run = RunFolder(folder)
    run.origin = provenance.origin(recipe, Dataset(folder, **data), steps)
    try:
        provenance.check_origin(run, former, recipe)
    except UserError as error:
        assert error.exit_status == 1
        return in_options(error.template)
    return ""


def test_the_same(tmp_path, former, capsys):
    assert check(tmp_path, former) == check(tmp_path, {}) == ""
    # What is not trained or measured on may change.
    assert check(tmp_path, former, test=b"4") == ""
    assert capsys.readouterr().out == ""


def test_what_takes_long_is_said(tmp_path, capsys):
    large = Dataset(tmp_path)
    large.num_bytes["train"] = 3 * 2**29
    provenance.origin(RECIPE, large, 40)
    assert capsys.readouterr().out == "reads 1.5 GiB of records for their checksums\n"


@pytest.mark.parametrize("accept_changes", [False, True])
@pytest.mark.parametrize("kept_in", ["checkpoint", "labels.json"])
def test_other_classes_are_refused(tmp_path, former, kept_in, accept_changes):
    if kept_in == "labels.json":
        former = {}
        Legend(("sky", "road"), palette()).write(tmp_path / "labels.json")
    recipe = dataclasses.replace(RECIPE, accept_changes=accept_changes)
    assert check(tmp_path, former, recipe, names=("road", "sky")) == (
        f"{tmp_path} knows the classes sky, road, and 'shapes' has the same in another order: "
        "road, sky; they do not belong together"
    )


def test_a_damaged_legend_is_not_asked_where_the_checkpoint_knows_the_names(tmp_path, former):
    (tmp_path / "labels.json").write_text("{")
    assert check(tmp_path, former) == ""
    assert check(tmp_path, {}).startswith(f"{tmp_path}/labels.json is no file of class names")


def test_other_records_are_refused_unless_accepted(tmp_path, former, capsys):
    said = (
        f"since its last checkpoint the run in {tmp_path} has changed: split 'train' of 'shapes' "
        "has other records"
    )
    assert check(tmp_path, former, train=b"0") == (
        f"{said}; undo that, or go on all the same with --accept-changes"
    )
    accepted = dataclasses.replace(RECIPE, accept_changes=True)
    assert check(tmp_path, former, accepted, train=b"0") == ""
    assert capsys.readouterr().out == f"{said}; it goes on all the same\n"


def test_what_was_accepted_is_kept(tmp_path, former):
    accepted = dataclasses.replace(RECIPE, accept_changes=True)
    run, found = RunFolder(tmp_path), []
    for train in (b"0", b"0", b"4"):
        run.origin = provenance.origin(RECIPE, Dataset(tmp_path, train=train), 40)
        provenance.check_origin(run, former, accepted)
        former = json.loads(json.dumps(run.origin))
        found.append(len(run.origin["accepted_changes"]))
    assert found == [1, 1, 2]
    run.config.write_text("{}")
    said = "split 'train' of 'shapes' has other records"
    assert provenance.of_run(run, Dataset(tmp_path))["accepted_changes"] == [said, said]


@pytest.mark.parametrize("accept_changes", [False, True])
def test_epochs_of_another_length_need_a_new_run_where_a_schedule_is_made_for_them(
    tmp_path, former, accept_changes
):
    (tmp_path / "best.keras").touch()
    recipe = dataclasses.replace(RECIPE, accept_changes=accept_changes)
    said, _, command = check(tmp_path, former, recipe, 20, train=b"0").partition(": python -m ")
    assert said == (
        f"since its last checkpoint the run in {tmp_path} has changed: split 'train' of 'shapes' "
        "has other records, and an epoch has 20 steps instead of 40; undo that, or begin a new run "
        f"with its best model, as schedule {RECIPE.schedule} is made for the length of a run"
    )
    best, out = str(tmp_path / "best.keras"), f"{tmp_path}-again"
    new = dataclasses.replace(RECIPE, resume=False, weights=best, out=out)
    assert command_line.parse(shlex.split(command)[1:]) == new


@pytest.mark.parametrize("kept", [True, False])
def test_epochs_of_another_length_that_are_accepted(tmp_path, former, kept):
    """With a constant rate; and of a run from before their length was kept."""
    recipe = dataclasses.replace(RECIPE, accept_changes=True)
    if kept:
        constant = {"schedule": "constant", "warmup_steps": 0}
        recipe = dataclasses.replace(recipe, **constant)
        former["configuration"] |= constant
    else:
        del former["steps_per_epoch"]
    assert check(tmp_path, former, recipe, 20, train=b"0") == ""


def test_another_configuration_is_refused(tmp_path, former):
    changed = dataclasses.replace(RECIPE, jitter=0.5, batch=1)
    assert check(tmp_path, former, changed) == (
        f"since its last checkpoint the run in {tmp_path} has changed: batch is 1 in "
        f"{tmp_path}/config.json and was {RECIPE.batch}; jitter is 0.5 in {tmp_path}/config.json "
        "and was 0.0; undo that, or go on all the same with --accept-changes"
    )


def test_a_missing_file_is_the_streams_to_tell(tmp_path, former):
    run, data = RunFolder(tmp_path), Dataset(tmp_path)
    (tmp_path / "train").unlink()
    run.origin = provenance.origin(RECIPE, data, 40)
    assert run.origin["data_sha256"]["train"] is None
    provenance.check_origin(run, former, RECIPE)

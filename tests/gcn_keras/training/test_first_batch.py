"""`--show-batch`: the batch that is drawn is the one that is trained on."""

import dataclasses
import os
import sys

import numpy as np
import pytest
from small_runs import prepare_halves

from gcn_keras import RECIPES, fit
from gcn_keras.recipes.command_line import parse
from gcn_keras.training import first_batch, run
from gcn_keras.training.run_folder import RunFolder
from gcn_keras.training.step import Step
from gcn_keras.training.task import Task
from pipelines import datasets
from pipelines.base.errors import UsageError


class _Taken(Exception):
    """The first step was asked for."""


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    return prepare_halves(tmp_path_factory.mktemp("batch"))


def recipe_of(data_dir, **fields):
    return dataclasses.replace(
        RECIPES["shapes"], dataset="image_folder", data_dir=str(data_dir), crop=(64, 64), **fields
    )


@pytest.mark.slow
@pytest.mark.parametrize("fields", [{"seed": 3}, {"mix": "cutmix", "erase": 0.5, "rotate": 20.0}])
def test_it_is_that_of_the_first_step(data_dir, tmp_path, monkeypatch, fields):
    taken = []

    class First(Step):
        def __call__(self, images, labels, stop=False):
            taken.append((images.numpy(), labels.numpy()))
            raise _Taken

    recipe = recipe_of(
        data_dir, batch=4, scale=(0.5, 2.0), jitter=0.3, out=str(tmp_path / "run"),
        backbone="small", block="conv1x1", boundary_refinement=False, **fields,
    )  # fmt: skip
    monkeypatch.setattr(run, "make_step", lambda *_: First())
    with pytest.raises(_Taken):
        run.train(recipe, RunFolder(recipe.out))
    dataset = datasets.load("image_folder", data_dir)
    images, labels, image_ids = first_batch.first_batch(recipe, dataset)
    np.testing.assert_array_equal(images, taken[0][0])
    np.testing.assert_array_equal(labels, taken[0][1])
    assert len(set(image_ids)) == 4 and set(image_ids) <= set("01234567")
    others = first_batch.first_batch(dataclasses.replace(recipe, seed=7), dataset)
    assert (others[0] != images).any()


@pytest.mark.slow
def test_it_is_drawn_without_a_model(data_dir, tmp_path, monkeypatch, capsys):
    """So no weights are read, and no run folder is looked at."""
    drawn = []

    def noted(*arguments):
        drawn.append(arguments)
        return draw(*arguments)

    def build(*_):
        raise AssertionError("a model is built")

    draw = first_batch.batch_figure
    monkeypatch.setattr(first_batch, "batch_figure", noted)
    monkeypatch.setattr(Task, "build", build)
    monkeypatch.setenv("KERAS_BACKEND", "tensorflow")
    monkeypatch.chdir(tmp_path)
    options = ["--dataset", "image_folder", "--data-dir", str(data_dir), "--crop", "64", "64"]
    options += ["--backbone", "resnet50", "--weights", "imagenet", "--batch", "4"]
    options += ["--kernel-size", "3"]
    monkeypatch.setattr(sys, "argv", ["fit", *options, "--show-batch", "b.png"])
    assert fit.main() == 0
    assert [path.name for path in tmp_path.iterdir()] == ["b.png"]
    assert (tmp_path / "b.png").read_bytes().startswith(b"\x89PNG")
    said = "b.png shows the first training batch; leave --show-batch out to train\n"
    assert capsys.readouterr().out == said
    ((images, labels, image_ids, names, _, title),) = drawn
    expected = first_batch.first_batch(
        recipe_of(data_dir, batch=4), datasets.load("image_folder", data_dir)
    )
    np.testing.assert_array_equal(images, expected[0])
    np.testing.assert_array_equal(labels, expected[1])
    assert image_ids == expected[2] and names == ("left", "right")
    assert title == "image_folder train, first batch: 4 crops of 64 × 64"


def test_files_that_are_there_or_have_another_ending_are_refused(tmp_path):
    file = tmp_path / "there.png"
    file.touch()
    for name, reason in ((file, "exists: name another file"), ("b.jpg", "ends in .png, got b.jpg")):
        with pytest.raises(UsageError) as caught:
            parse(["--show-batch", str(name)])
        assert str(caught.value).startswith("--show-batch ") and reason in str(caught.value)


def test_a_folder_that_is_not_there(tmp_path, monkeypatch):
    file = tmp_path / "none" / "b.png"
    monkeypatch.setenv("KERAS_BACKEND", "tensorflow")
    options = ["--data-dir", str(tmp_path), "--show-batch", str(file)]
    monkeypatch.setattr(sys, "argv", ["fit", *options])
    with pytest.raises(Exception, match="there is no folder") as caught:
        fit.main()
    assert str(caught.value) == f"show_batch {file}: there is no folder {file.parent}"


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"class_weights": (1.0, 2.0, 3.0)},
            "class_weights must be a number for each of the 2 classes of 'image_folder', got 3",
        ),
        (
            {"callbacks": "os:get_cwd"},
            f"callbacks os:get_cwd: get_cwd is not there in {os.__file__}",
        ),
    ],
)
def test_what_the_run_refuses(data_dir, tmp_path, fields, message):
    recipe = recipe_of(data_dir, batch=4, **fields)
    for refuse in (
        lambda: first_batch.draw_first_batch(recipe, tmp_path / "b.png"),
        lambda: run.train(recipe, RunFolder(tmp_path / "run")),
    ):
        with pytest.raises(UsageError) as caught:
            refuse()
        assert str(caught.value) == message
    assert not any(tmp_path.iterdir())


def test_a_batch_larger_than_the_split(data_dir, tmp_path):
    with pytest.raises(UsageError, match="batch 9 is larger than split 'train', which has 8 examp"):
        first_batch.draw_first_batch(recipe_of(data_dir, batch=9), tmp_path / "b.png")

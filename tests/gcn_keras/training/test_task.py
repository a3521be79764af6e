"""What is said of labels that training or a score can make nothing of."""

import dataclasses

import numpy as np
import pytest
from PIL import Image

from gcn_keras import RECIPES
from gcn_keras.training import task
from gcn_keras.training.run_folder import RunFolder
from gcn_keras.training.segmentation import Segmentation
from pipelines import datasets

NAMES = ("sky", "road", "dog")


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    """Training has a class of three too few, validation two."""
    folder = tmp_path_factory.mktemp("labels")
    for split, values in (("train", (0, 1)), ("val", (0, 0)), ("test", (0, 2))):
        for number, value in enumerate(values):
            for part, pixels in (
                ("images", np.full((32, 32, 3), 60 * number + value)),
                ("labels", np.full((32, 32), value)),
            ):
                path = folder / "source" / split / part / f"{split}{number}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(pixels.astype(np.uint8)).save(path)
    (folder / "source" / "classes.txt").write_text("\n".join(NAMES))
    return datasets.prepare("image_folder", folder / "source", folder / "data")


def warnings(dataset, capsys, **fields) -> list[str]:
    recipe = dataclasses.replace(RECIPES["shapes"], **fields)
    Segmentation(recipe, dataset).warn()
    printed = capsys.readouterr()
    assert printed.out == ""
    return printed.err.splitlines()


NEVER_SEEN = "warning: training never sees 1 of 3 classes, of which split 'train' has no label: dog"


def test_a_class_that_training_never_sees(dataset, capsys):
    assert warnings(dataset, capsys, val_split="test") == [NEVER_SEEN]
    assert warnings(dataset, capsys, val_split="test", skip_errors=True) == [NEVER_SEEN]


def test_one_class_to_validate_on(dataset, capsys):
    assert warnings(dataset, capsys) == [
        NEVER_SEEN,
        "warning: split 'val' must have labels of several classes, or scores say nothing about a "
        "model; it has: sky",
    ]


def test_nothing_to_validate_on_and_many_classes(dataset, capsys, monkeypatch):
    monkeypatch.setattr(task, "occurring_classes", lambda *given, **named: set())
    many = dataclasses.replace(dataset, class_names=tuple("abcdefghijkl"))
    assert warnings(many, capsys) == [
        "warning: training never sees 12 of 12 classes, of which split 'train' has no label: "
        "a, b, c, d, e, f, g, h, i, j, …",
        "warning: split 'val' must have labels of several classes, or scores say nothing about a "
        "model; it has: none",
    ]
    assert warnings(dataset, capsys)[0].endswith("has no label: sky, road, dog")


def test_sound_labels_are_not_spoken_of(dataset, capsys):
    two = dataclasses.replace(dataset, class_names=NAMES[:2])
    assert warnings(two, capsys, val_split="train") == []


def test_a_run_begins_with_them(dataset, capsys, tmp_path):
    Segmentation(RECIPES["shapes"], dataset).begin(RunFolder(tmp_path))
    assert capsys.readouterr().err.startswith(NEVER_SEEN)

"""Miniature data sets, written as files and prepared as records."""

from pathlib import Path

import numpy as np
import pytest
from miniatures import write_pairs

from pipelines import datasets


@pytest.fixture
def source(tmp_path) -> Path:
    """A flat image_folder source: three classes, four pairs of 6x8 pixels."""
    folder = tmp_path / "source"
    write_pairs(folder, ["a", "b", "c", "d"], [0, 1, 2, 255])
    (folder / "classes.txt").write_text("sky\nroad\ncar\n")
    return folder


@pytest.fixture
def data_dir(tmp_path) -> Path:
    return tmp_path / "data"


@pytest.fixture(scope="session")
def ten(tmp_path_factory) -> datasets.PreparedDataset:
    """Ten training examples, "0" to "9", each labelled with its own number throughout."""
    folder = tmp_path_factory.mktemp("ten")
    write_pairs(folder / "source" / "train", "0123456789", range(10))
    write_pairs(folder / "source" / "val", "x", [np.full((5, 7), 255, np.uint8)])
    (folder / "source" / "classes.txt").write_text("\n".join("abcdefghij"))
    return datasets.prepare("image_folder/ten", folder / "source", folder / "data")


@pytest.fixture
def split_source(tmp_path) -> Path:
    """An image_folder source with splits of its own: six train and two val pairs, 6x8 pixels."""
    folder = tmp_path / "split_source"
    write_pairs(folder / "train", "abcdef", [0, 1, 2, 0, 1, 2])
    write_pairs(folder / "val", "gh", [0, 1])
    (folder / "classes.txt").write_text("sky\nroad\ncar\n")
    return folder

"""Scenes with index masks, and the examples that every other form of them must give."""

import shutil

import numpy as np
import pytest
from own_scenes import COUNT, NAMES, SIDE, records
from PIL import Image

from pipelines.datasets.shapes import scenes


@pytest.fixture(scope="module")
def index_folder(tmp_path_factory):
    """images/ and labels/ of index masks."""
    folder = tmp_path_factory.mktemp("index")
    (folder / "images").mkdir()
    (folder / "labels").mkdir()
    (folder / "classes.txt").write_text("\n".join(NAMES))
    rng = np.random.default_rng(0)
    for number in range(COUNT):
        pixels, label = scenes.render_scene(rng, SIDE)
        Image.fromarray(pixels).save(folder / "images" / f"s{number}.jpg")
        Image.fromarray(label).save(folder / "labels" / f"s{number}.png")
    return folder


@pytest.fixture
def copy(index_folder, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(index_folder, folder)
    return folder


@pytest.fixture(scope="module")
def expected(index_folder):
    found = records(index_folder)
    assert {split: len(examples) for split, examples in found.items()} == {"train": 4, "val": 1}
    return found

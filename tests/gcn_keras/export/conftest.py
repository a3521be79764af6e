"""What the tests of the command `export` share: a data set and models."""

from pathlib import Path

import numpy as np
import pytest
from exports import CLASSES, stand_in
from PIL import Image

from gcn_keras.deployment import graph_comparison
from pipelines import datasets


@pytest.fixture(scope="session")
def data_dir(tmp_path_factory) -> Path:
    """Images of three stripes, in colours that are their classes; some labels are wrong."""
    folder = tmp_path_factory.mktemp("export")
    random = np.random.default_rng(0)
    for number, (height, width) in enumerate([(32, 32), (40, 64), (20, 24), (32, 33)] * 3):
        split = folder / "source" / ("train" if number < 8 else "val")
        label = np.sort(random.integers(0, 3, width))[None].repeat(height, axis=0).astype(np.uint8)
        image = random.integers(0, 100, (height, width, 3)) + 150 * np.eye(3, dtype=int)[label]
        label[:4, : width // 4] = 2
        for part, pixels in (("images", image), ("labels", label)):
            (split / part).mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels.astype(np.uint8)).save(split / part / f"{number}.png")
    (folder / "source" / "classes.txt").write_text("\n".join(CLASSES))
    datasets.prepare("image_folder", folder / "source", folder / "data")
    return folder / "data"


@pytest.fixture(scope="session")
def models(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    stand_in().save(folder / "three.keras")
    stand_in(4).save(folder / "four.keras")
    stand_in(shape=(32, 64, 3)).save(folder / "fixed.keras")
    (folder / "damaged.keras").write_bytes(b"PK no model")
    return folder


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """No time is asserted, so none need be taken."""
    monkeypatch.setattr(graph_comparison, "_COMPARED_SECONDS", 0)

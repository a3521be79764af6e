"""The model that comes with the repository: all of its forms, and what its card says of them."""

import numpy as np
import pytest
from places import REPOSITORY

from gcn_keras.evaluation.metrics import ConfusionMatrix
from gcn_keras.inference.segmenters import open_segmenter
from pipelines.datasets.shapes import scenes

BOX = REPOSITORY / "saved_models" / "shapes"
FORMS = ("shapes.keras", "1", "shapes.tflite", "shapes-fp16.tflite", "shapes-int8.tflite")


@pytest.fixture(scope="module")
def drawn():
    """Scenes of no split, and their label maps."""
    pairs = [scenes.render_scene(np.random.default_rng([7, seed])) for seed in range(60)]
    return tuple(np.stack(part) for part in zip(*pairs, strict=True))


@pytest.fixture(scope="module")
def expected(drawn):
    return open_segmenter(BOX / "shapes.keras").segment(drawn[0])


@pytest.mark.parametrize("form", FORMS)
class TestForms:
    def test_it_segments_new_scenes(self, form, drawn):
        images, labels = drawn
        segmenter = open_segmenter(BOX / form)
        assert segmenter.legend.class_names == tuple(scenes.CLASS_NAMES)
        matrix = ConfusionMatrix(len(scenes.CLASS_NAMES))
        matrix.update(labels, segmenter.segment(images))
        assert matrix.mean_iou > 0.8

    def test_it_agrees_with_keras(self, form, drawn, expected):
        same = np.mean(open_segmenter(BOX / form).segment(drawn[0]) == expected)
        assert same > (0.99 if "int8" in form else 0.9999)

    def test_the_card_names_it(self, form):
        assert form in (BOX / "README.md").read_text()


def test_together_they_are_small():
    files = [file for file in (BOX / "1").rglob("*") if file.is_file()]
    files += [file for file in BOX.iterdir() if file.name.startswith(("shapes", "labels"))]
    assert sum(file.stat().st_size for file in files) < 10 * 2**20

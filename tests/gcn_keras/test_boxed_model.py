"""The models in the box: all of their forms, and what their cards say of them."""

import functools
import struct

import numpy as np
import pytest
import tensorflow as tf
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
def answers(drawn):
    """From a form to its class names, and what it makes of the scenes."""

    @functools.cache
    def answer(form):
        segmenter = open_segmenter(BOX / form)
        return segmenter.legend.class_names, segmenter.segment(drawn[0])

    return answer


@pytest.mark.parametrize("form", FORMS)
class TestForms:
    @pytest.mark.slow
    def test_it_segments_new_scenes(self, form, drawn, answers):
        class_names, found = answers(form)
        assert class_names == tuple(scenes.CLASS_NAMES)
        matrix = ConfusionMatrix(len(scenes.CLASS_NAMES))
        matrix.update(drawn[1], found)
        assert matrix.mean_iou > 0.8

    @pytest.mark.slow
    def test_it_agrees_with_keras(self, form, answers):
        same = np.mean(answers(form)[1] == answers("shapes.keras")[1])
        assert same > (0.99 if "int8" in form else 0.9999)

    def test_the_card_names_it(self, form):
        assert form in (BOX / "README.md").read_text()


def test_together_they_are_small():
    files = [file for file in (BOX / "1").rglob("*") if file.is_file()]
    files += [file for file in BOX.iterdir() if file.name.startswith(("shapes", "labels"))]
    assert sum(file.stat().st_size for file in files) < 10 * 2**20


STREETS = REPOSITORY / "saved_models" / "camvid"


@pytest.fixture(scope="module")
def mosaic():
    """No street, but of the size of one: `[1, 360, 480, 3]`."""
    images = [scenes.render_scene(np.random.default_rng([7, seed]))[0] for seed in range(12)]
    rows = [np.concatenate(images[4 * row : 4 * row + 4], axis=1) for row in range(3)]
    return np.concatenate(rows)[None, :360, :480]


@pytest.fixture(scope="module")
def street(mosaic):
    """Class names of the Keras model, and what it makes of the mosaic."""
    segmenter = open_segmenter(STREETS / "camvid.keras")
    return segmenter.legend.class_names, segmenter.segment(mosaic)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("form", "least"), [("1", 0.9999), ("camvid-fp16.tflite", 0.999), ("camvid-int8.tflite", 0.95)]
)
def test_forms_of_camvid_agree_with_keras(form, least, mosaic, street):
    class_names, expected = street
    other = open_segmenter(STREETS / form)
    assert other.legend.class_names == class_names
    assert other.legend.class_names[:3] == ("sky", "building", "pole")
    assert np.mean(other.segment(mosaic) == expected) > least
    assert form in (STREETS / "README.md").read_text()


@pytest.mark.slow
@pytest.mark.parametrize("folder", [BOX, STREETS], ids=lambda folder: folder.name)
def test_a_server_finds_what_the_page_on_deployment_says(folder):
    """All four signatures, and a limit for all images of a request together."""
    signatures = tf.saved_model.load(str(folder / "1")).signatures
    assert set(signatures) == {"serving_default", "logits", "legend", "serve_bytes"}
    head = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + struct.pack(">II", 6000, 6000) + b"\x08\x02\0\0\0"
    with pytest.raises(tf.errors.InvalidArgumentError, match="images of a request have.*72384512"):
        signatures["serve_bytes"](bytes=tf.constant([head, head]))


@pytest.mark.parametrize(
    "file", sorted((REPOSITORY / "saved_models").glob("*/*.tflite")), ids=lambda file: file.name
)
def test_apps_find_what_the_page_on_phones_says(file):
    interpreter = pytest.importorskip("ai_edge_litert.interpreter").Interpreter(str(file))
    names = {"inputs": ["image"], "outputs": ["labels"]}
    assert interpreter.get_signature_list() == {"serving_default": names}


def test_camvid_is_small():
    files = [file for file in STREETS.rglob("*") if file.is_file()]
    assert sum(file.stat().st_size for file in files) < 40 * 2**20

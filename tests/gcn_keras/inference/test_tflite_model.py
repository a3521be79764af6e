"""TFLite files on LiteRT: any size of image, what lies beside them, and what is no model."""

import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import keras
import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert import interpreter
from PIL import Image

from gcn_keras.deployment import tflite, tflite_file
from gcn_keras.inference import tflite_model
from gcn_keras.inference.legend import Legend
from gcn_keras.inference.segmenters import open_segmenter
from gcn_keras.inference.tflite_model import TFLiteSegmenter
from pipelines.base.errors import UserError

pytestmark = pytest.mark.slow

MEAN_PIXEL = [124, 117, 104]


def picture(*shape) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (*shape, 3)).astype(np.uint8)


@pytest.fixture(scope="module")
def content() -> bytes:
    """Stands for a network on images of 32×48: a pixel's class is its largest channel."""
    x = keras.Input((None, None, 3))
    identity = keras.layers.Conv2D(3, 1, use_bias=False)
    model = keras.Model(x, identity(x))
    identity.set_weights([np.eye(3).reshape(1, 1, 3, 3)])
    return tflite.convert(model, "tflite", (32, 48))


@pytest.fixture
def path(content, tmp_path):
    (tmp_path / "model.tflite").write_bytes(content)
    return tmp_path / "model.tflite"


@pytest.mark.parametrize(
    "shape",
    [(1, 32, 48), (3, 32, 48), (2, 1, 1), (1, 20, 48), (1, 33, 48), (1, 20, 200), (1, 100, 111)],
    ids=str,
)
def test_any_size_comes_back(path, shape):
    images = picture(*shape)
    labels = TFLiteSegmenter(path).segment(images)
    assert labels.dtype == np.uint8
    np.testing.assert_array_equal(labels, images.argmax(axis=-1))


@pytest.mark.parametrize("shape", [(2, 32, 47), (2, 31, 100)], ids=str)
def test_of_smaller_images_it_is_said_once_that_they_are_padded(path, shape, capsys):
    segmenter = TFLiteSegmenter(path)
    segmenter.segment(picture(1, 32, 48))
    segmenter.segment(picture(1, 40, 50))
    assert capsys.readouterr().err == ""
    segmenter.segment(picture(*shape))
    segmenter.segment(picture(*shape))
    assert capsys.readouterr().err == (
        f"note: {path} takes images of 32x48; smaller ones are padded, and labelled worse: export "
        "a file of their size\n"
    )


def test_on_all_cores(path, monkeypatch):
    given = []

    class Recorded(interpreter.Interpreter):
        def __init__(self, *arguments, **options):
            given.append(options["num_threads"])
            super().__init__(*arguments, **options)

    monkeypatch.setattr(interpreter, "Interpreter", Recorded)
    monkeypatch.setattr(tflite_model, "cores", lambda: 3)
    images = picture(1, 32, 48)
    np.testing.assert_array_equal(TFLiteSegmenter(path).segment(images), images.argmax(axis=-1))
    assert given == [3]


def test_tiles_are_put_together(path):
    """Rows and columns of each tile, by its own count, arrive where the tiles say."""
    segmenter = TFLiteSegmenter(path)
    segmenter.size = (8, 8)
    segmenter._invoke = lambda tile: (10 * np.arange(8)[:, None] + np.arange(8)).astype(np.uint8)
    labels = segmenter.segment(picture(1, 16, 9))[0]
    rows = [0, 1, 2, 3, 4, 5, 2, 3, 4, 5, 2, 3, 4, 5, 6, 7]
    columns = [0, 1, 2, 3, 3, 4, 5, 6, 7]
    np.testing.assert_array_equal(labels, 10 * np.array(rows)[:, None] + columns)


def test_padding_is_the_mean_pixel_below_and_right(path):
    segmenter = TFLiteSegmenter(path)
    seen = []
    segmenter._invoke = lambda tile: seen.append(tile) or tile[..., 0]
    image = picture(1, 30, 50)  # too short, and longer than a tile
    segmenter.segment(image)
    assert [tile.shape for tile in seen] == [(32, 48, 3)] * 2
    np.testing.assert_array_equal(seen[0][:30], image[0, :, :48])
    np.testing.assert_array_equal(seen[1][:30], image[0, :, 2:])
    assert np.unique(seen[0][30:].reshape(-1, 3), axis=0).tolist() == [MEAN_PIXEL]


def test_threads_share_one(path):
    segmenter = TFLiteSegmenter(path)
    images = np.random.default_rng(1).integers(0, 256, (40, 1, 32, 48, 3)).astype(np.uint8)
    with ThreadPoolExecutor(4) as pool:
        labels = list(pool.map(segmenter.segment, images))
    np.testing.assert_array_equal(labels, images.argmax(axis=-1))


def test_standard_error_comes_back_after_threads():
    """They all turn aside the one that the process has."""
    before, entered = os.fstat(2), threading.Event()

    def first():
        with tflite_model.quiet_stderr():
            entered.set()
            time.sleep(0.2)

    def second():
        entered.wait()
        with tflite_model.quiet_stderr():
            time.sleep(0.2)

    with ThreadPoolExecutor(2) as pool:
        for done in [pool.submit(first), pool.submit(second)]:
            done.result()
    assert os.path.samestat(os.fstat(2), before)


def test_legend_beside(path):
    assert (TFLiteSegmenter(path).legend, TFLiteSegmenter(path).num_classes) == (None, None)
    Legend.unnamed(3).write(path.with_suffix(".json"))
    segmenter = open_segmenter(path)
    assert isinstance(segmenter, TFLiteSegmenter)
    assert segmenter.legend.class_names == ("class 0", "class 1", "class 2")
    assert segmenter.num_classes == 3
    path.with_suffix(".json").write_text("[]")
    with pytest.raises(UserError, match="is no file of class names and colours"):
        TFLiteSegmenter(path)


def test_a_legend_without_content(content, path):
    model = tflite_file.read(tflite_file.with_legend(content, Legend.unnamed(3)))
    model.metadata[-1].buffer = 0  # which holds nothing, as the format wants it
    path.write_bytes(tflite_file.packed(model))
    with pytest.raises(UserError, match=f"^labels.json in {path} is no file of class names and"):
        TFLiteSegmenter(path)


@pytest.mark.parametrize(
    "images, received",
    [
        (picture(32, 48), r"uint8 \(32, 48, 3\)"),
        (picture(1, 32, 48)[..., :2], r"uint8 \(1, 32, 48, 2\)"),
        (picture(1, 0, 48), r"uint8 \(1, 0, 48, 3\)"),
        (picture(1, 32, 48).astype(float), r"float64 \(1, 32, 48, 3\)"),
    ],
)
def test_what_is_no_image(path, images, received):
    with pytest.raises(
        ValueError, match=rf"images must be uint8 \[B, H, W, 3\], received {received}"
    ):
        TFLiteSegmenter(path).segment(images)


def message(path) -> str:
    with pytest.raises(UserError) as caught:
        TFLiteSegmenter(path)
    assert caught.value.exit_status == 1
    assert "\n" not in str(caught.value)
    return str(caught.value)


class TestWhatIsNoModel:
    def test_without_litert(self, path, monkeypatch):
        monkeypatch.setitem(sys.modules, "ai_edge_litert", None)
        assert message(path) == (
            f'{path} needs ai-edge-litert, which is not installed: pip install "gcn_keras[tflite]"'
        )

    def test_missing(self, tmp_path):
        path = tmp_path / "a.tflite"
        assert message(path) == f"{path} cannot be read: No such file or directory"

    def test_a_name_that_is_no_utf8(self, path, tmp_path):
        renamed = path.rename(tmp_path / os.fsdecode(b"gr\xfcn.tflite"))
        assert message(renamed) == (f"{renamed} has bytes that are no UTF-8 in its name: rename it")

    @pytest.mark.parametrize("text", ["", "not a model", "<html>404</html>"])
    def test_something_else(self, tmp_path, text):
        path = tmp_path / "a.tflite"
        path.write_text(text)
        assert message(path) == f"{path} is no TFLite model, or a damaged one"

    @pytest.mark.parametrize("share", [0.01, 0.25, 0.5, 0.9, 0.99])
    def test_truncated(self, path, content, share):
        path.write_bytes(content[: max(8, int(share * len(content)))])
        assert message(path).startswith(f"{path} cannot be loaded as a TFLite model: ")

    def test_of_another_project(self, tmp_path):
        @tf.function(input_signature=[tf.TensorSpec((1, 8, 8, 3), tf.float32)])
        def classify(x):
            return tf.reduce_mean(x, axis=(1, 2))

        concrete = classify.get_concrete_function()
        converter = tf.lite.TFLiteConverter.from_concrete_functions([concrete])
        path = tmp_path / "a.tflite"
        path.write_bytes(converter.convert())
        assert message(path) == (
            f"{path} is no segmentation model of this project: it takes float32 [1, 8, 8, 3] and "
            "gives float32 [1, 3], not uint8 [1, H, W, 3] and uint8 [1, H, W]"
        )


def test_predict_needs_neither_tensorflow_nor_keras(path, tmp_path):
    image = picture(40, 50)
    Image.fromarray(image).save(tmp_path / "image.png")
    code = (
        "import sys, gcn_keras.predict as p\n"
        "assert not p.main()\n"
        "print(sorted({'tensorflow', 'keras', 'tensorflow_datasets'} & set(sys.modules)))"
    )
    out = tmp_path / "out"
    command = [sys.executable, "-c", code, path, tmp_path / "image.png", "--out", out]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "[]"
    assert "INFO" not in done.stderr
    labels = np.asarray(Image.open(out / "image_labels.png"))
    np.testing.assert_array_equal(labels, image.argmax(axis=-1))

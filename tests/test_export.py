"""Version folders of SavedModels: complete, in order, never written over."""

import errno
import json

import keras
import numpy as np
import pytest
import tensorflow as tf

from gcn_keras import export as module
from gcn_keras.export import export_saved_model
from pipelines import labels
from pipelines.errors import UserError

CLASSES = ("sky", "road", "car")
PALETTE = labels.palette(3)

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def model():
    """Stands for a network: a pixel's class is its largest channel."""
    x = keras.Input((None, None, 3))
    identity = keras.layers.Conv2D(3, 1, use_bias=False, name="identity")
    model = keras.Model(x, identity(x))
    identity.set_weights([np.eye(3).reshape(1, 1, 3, 3) / 255])
    return model


def files(folder) -> dict:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def names(folder) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_versions_follow_each_other(model, tmp_path):
    directory = tmp_path / "deep" / "models"
    assert export_saved_model(model, directory, CLASSES, PALETTE) == directory / "1"
    first = files(directory)
    assert export_saved_model(model, directory, CLASSES, PALETTE) == directory / "2"
    assert names(directory) == {"1", "2"}
    assert {path: content for path, content in files(directory).items() if path in first} == first
    # The next one follows the last, also where one between was deleted; other folders stay.
    (directory / "2").rename(directory / "11")
    (directory / "notes").mkdir()
    assert export_saved_model(model, directory, CLASSES, PALETTE) == directory / "12"
    assert names(directory) == {"1", "11", "12", "notes"}


def test_signature_labels_and_legend(model, tmp_path):
    folder = export_saved_model(model, tmp_path, CLASSES, PALETTE)
    assert json.loads((folder / "labels.json").read_text()) == {
        "class_names": list(CLASSES),
        "palette": [[0, 0, 0], [128, 0, 0], [0, 128, 0]],
    }
    serve = tf.saved_model.load(str(folder)).signatures["serving_default"]
    assert serve.structured_input_signature[1] == {
        "images": tf.TensorSpec((None, None, None, 3), tf.uint8, name="images")
    }
    for shape in ((1, 1, 1, 3), (2, 33, 50, 3), (1, 64, 32, 3)):
        images = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
        served = serve(images=tf.constant(images))
        assert set(served) == {"labels", "scores"}
        assert (served["labels"].dtype, served["scores"].dtype) == (tf.uint8, tf.float32)
        np.testing.assert_array_equal(served["labels"], images.argmax(axis=-1))
        powers = np.exp(images / 255)
        scores = powers.max(axis=-1) / powers.sum(axis=-1)
        np.testing.assert_allclose(served["scores"], scores, rtol=1e-5)


FULL = OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize(
    "error, caught, message",
    [
        (FULL, UserError, "cannot export to {}: No space left on device"),
        (
            tf.errors.ResourceExhaustedError(None, None, "disk full"),
            UserError,
            "cannot export to {}: disk full",
        ),
        (KeyboardInterrupt(), KeyboardInterrupt, ""),
    ],
    ids=["no space", "TensorFlow's no space", "Ctrl-C"],
)
def test_a_failed_export_leaves_nothing(model, tmp_path, monkeypatch, error, caught, message):
    written = []

    def fail(*arguments, **options):
        written.extend(names(next(tmp_path.iterdir())))
        raise error

    # The last thing to be written: the SavedModel itself lies there by then.
    monkeypatch.setattr(module.json, "dumps", fail)
    with pytest.raises(caught) as end:
        export_saved_model(model, tmp_path, CLASSES, PALETTE)
    assert str(end.value) == message.format(tmp_path)
    assert "saved_model.pb" in written
    assert names(tmp_path) == set()


def test_where_no_folder_can_be_made(model, tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(UserError) as caught:
        export_saved_model(model, tmp_path / "file", CLASSES, PALETTE)
    assert str(caught.value) == f"cannot export to {tmp_path / 'file'}: File exists"
    assert (tmp_path / "file").read_text() == "mine"

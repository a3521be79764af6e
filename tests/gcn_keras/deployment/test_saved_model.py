"""Version folders of SavedModels: complete, in order, never written over, the same answers."""

import errno
import json
import os
import sys
import threading
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf
from random_images import picture
from stand_in_server import StandIn
from tensorflow_serving.apis import prediction_log_pb2

from gcn_keras import segment
from gcn_keras.deployment import saved_model
from gcn_keras.deployment.deployable import Deployable
from gcn_keras.deployment.onnx_file import onnx_content
from gcn_keras.deployment.saved_model import export_saved_model
from gcn_keras.evaluation.metrics import ConfusionMatrix
from gcn_keras.inference.legend import Legend
from gcn_keras.inference.segmenters import check_same_classes, open_segmenter
from pipelines.base.errors import ArgumentError, UserError
from pipelines.base.files import temporary_beside
from pipelines.base.labels import CAMVID_PALETTE, palette
from pipelines.datasets.shapes import scenes

LEGEND = Legend.unnamed(3)

pytestmark = pytest.mark.slow


def files(folder) -> dict:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def names(folder) -> set[str]:
    return {path.name for path in folder.iterdir()}


class TestVersions:
    def test_follow_each_other(self, identity, tmp_path):
        directory = tmp_path / "deep" / "models"
        assert export_saved_model(identity, directory) == directory / "1"
        first = files(directory)
        assert export_saved_model(identity, directory) == directory / "2"
        assert names(directory) == {"1", "2"}
        assert {path: data for path, data in files(directory).items() if path in first} == first
        # The next one follows the last, also where one between was deleted; other folders stay.
        (directory / "2").rename(directory / "11")
        (directory / "notes").mkdir()
        assert export_saved_model(identity, directory) == directory / "12"
        assert names(directory) == {"1", "11", "12", "notes"}

    def test_what_killed_exports_left_goes_and_what_others_write_stays(self, identity, tmp_path):
        beside, process = temporary_beside(tmp_path / "version-0a").name, str(os.getpid())
        dead, living = (beside.replace(process, str(n)) for n in (2**22 + 1, os.getppid()))
        for name in (dead, living):
            (tmp_path / name).mkdir()
            (tmp_path / name / "saved_model.pb").write_text("half")
        assert export_saved_model(identity, tmp_path) == tmp_path / "1"
        assert names(tmp_path) == {"1", living}

    def test_hold_these_files_and_no_other(self, folder):
        assert {str(path.relative_to(folder)) for path in files(folder)} == {
            "saved_model.pb",
            "fingerprint.pb",
            "variables/variables.index",
            "variables/variables.data-00000-of-00001",
            "assets/labels.json",
            "assets.extra/tf_serving_warmup_requests",
        }

    def test_two_exports_at_once(self, identity, tmp_path, monkeypatch):
        """Both have seen an empty folder and want to be version 1."""
        write, both_wrote = saved_model._write, threading.Barrier(2)
        monkeypatch.setattr(
            saved_model, "_write", lambda *arguments: (write(*arguments), both_wrote.wait(60))
        )
        # What each finds in the folder: nothing, until the other has renamed its own.
        monkeypatch.setattr(type(tmp_path), "iterdir", lambda path: iter(()))
        written = []
        threads = [
            threading.Thread(target=lambda: written.append(export_saved_model(identity, tmp_path)))
            for _ in range(2)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        monkeypatch.undo()
        assert sorted(written) == [tmp_path / "1", tmp_path / "2"]
        assert names(tmp_path) == {"1", "2"}
        for path in written:
            assert names(path) >= {"saved_model.pb", "assets", "assets.extra"}

    def test_a_version_that_appears_meanwhile_is_kept(self, identity, tmp_path, monkeypatch):
        write = saved_model._write

        def slow_write(*arguments):
            write(*arguments)
            (tmp_path / "1").mkdir()
            (tmp_path / "1" / "saved_model.pb").write_text("another's")

        monkeypatch.setattr(saved_model, "_write", slow_write)
        # A listing from before the other export.
        monkeypatch.setattr(type(tmp_path), "iterdir", lambda path: iter(()))
        assert export_saved_model(identity, tmp_path) == tmp_path / "2"
        monkeypatch.undo()
        assert (tmp_path / "1" / "saved_model.pb").read_text() == "another's"
        assert names(tmp_path) == {"1", "2"}


class TestFailures:
    @pytest.mark.parametrize(
        "error, caught, message",
        [
            (
                OSError(errno.ENOSPC, "No space left on device"),
                UserError,
                "cannot export to {}: No space left on device",
            ),
            (
                tf.errors.ResourceExhaustedError(None, None, "disk full"),
                UserError,
                "cannot export to {}: disk full",
            ),
            (
                tf.errors.ResourceExhaustedError(
                    None,
                    None,
                    f"{{{{function_node __wrapped__SaveV2_dtypes_40_device_}}}} {'x' * 300}/part-"
                    "00000-of-00001.data-00000-of-00001; No space left on device [Op:SaveV2]",
                ),
                UserError,
                "cannot export to {}: No space left on device",
            ),
            (KeyboardInterrupt(), KeyboardInterrupt, ""),
        ],
        ids=["no space", "TensorFlow's no space", "amid its own words", "Ctrl-C"],
    )
    def test_leave_nothing(self, identity, tmp_path, monkeypatch, error, caught, message):
        written, out = [], tmp_path / "new" / "out"

        def fail(size):
            written.extend(names(next(out.iterdir())))
            raise error

        # The last thing to be written: the SavedModel itself lies there by then.
        monkeypatch.setattr(saved_model, "_warm_up_requests", fail)
        with pytest.raises(caught) as end:
            export_saved_model(identity, out)
        assert str(end.value) == message.format(out)
        assert "saved_model.pb" in written
        assert names(tmp_path) == set()

    def test_where_no_folder_can_be_made(self, identity, tmp_path):
        (tmp_path / "file").write_text("mine")
        with pytest.raises(UserError) as caught:
            export_saved_model(identity, tmp_path / "file")
        assert str(caught.value) == f"cannot export to {tmp_path / 'file'}: File exists"
        assert (tmp_path / "file").read_text() == "mine"

    def test_a_legend_of_another_model(self, identity, tmp_path):
        with pytest.raises(ValueError) as caught:
            export_saved_model(Deployable(identity.network, Legend.unnamed(4)), tmp_path)
        assert str(caught.value) == "the legend names 4 classes and the model knows 3"
        assert names(tmp_path) == set()


def test_the_legend_is_an_asset(folder):
    assert json.loads((folder / "assets" / "labels.json").read_text()) == {
        "class_names": ["class 0", "class 1", "class 2"],
        "palette": [[0, 0, 0], [128, 0, 0], [0, 128, 0]],
    }


@pytest.mark.slow
class TestLegendInside:
    """In the graph, too: a lost or a foreign assets/labels.json is noticed."""

    @pytest.fixture
    def copy(self, identity, tmp_path):
        named = Legend(("red", "green", "blue"), palette("camvid"))
        return export_saved_model(Deployable(identity.network, named), tmp_path)

    def test_a_lost_file(self, copy):
        (copy / "assets" / "labels.json").unlink()
        found = open_segmenter(copy).legend
        assert found.class_names == ("red", "green", "blue")
        np.testing.assert_array_equal(found.palette[:3], CAMVID_PALETTE[:3])

    def test_a_foreign_file(self, copy):
        file = copy / "assets" / "labels.json"
        Legend(("green", "red", "blue"), palette()).write(file)
        with pytest.raises(UserError) as caught:
            open_segmenter(copy)
        assert str(caught.value) == (
            f"{copy} knows the classes red, green, blue, and {file} has the same in another order: "
            "green, red, blue; they do not belong together"
        )

    @pytest.mark.parametrize("kind", ["http", "grpc"])
    def test_a_server_is_asked(self, copy, kind):
        with StandIn({"model": copy.parent}) as server:
            address = {"http": f"{server.http}/v1/models/model", "grpc": f"{server.grpc}/model"}
            client = open_segmenter(address[kind])
            assert client.legend.class_names == ("red", "green", "blue")
            assert client.legend is client.legend and len(server.requests) == 1
            other = SimpleNamespace(
                name="other", num_classes=3, class_names=("blue", "green", "red")
            )
            with pytest.raises(UserError) as caught:
                check_same_classes(client, address[kind], other)
            assert str(caught.value) == (
                f"{address[kind]} knows the classes red, green, blue, and 'other' has the same in "
                "another order: blue, green, red; they do not belong together"
            )


def test_warm_up_requests(folder, signatures):
    """TF Serving refuses a model whose warm-up fails: each request runs through its signature."""
    records = tf.data.TFRecordDataset(str(folder / "assets.extra" / "tf_serving_warmup_requests"))
    asked = []
    for record in records.as_numpy_iterator():
        log = prediction_log_pb2.PredictionLog.FromString(record)
        request = log.predict_log.request
        name = request.model_spec.signature_name
        inputs = {key: tf.constant(tf.make_ndarray(value)) for key, value in request.inputs.items()}
        outputs = signatures[name](**inputs)
        [given] = inputs.values()
        asked.append((name, given.dtype.name, given.shape.as_list()))
        assert all(output.shape[0] == given.shape[0] for output in outputs.values())
    assert asked == [
        ("serving_default", "uint8", [1, 256, 256, 3]),
        ("serve_bytes", "string", [1]),
        ("serve_bytes", "string", [2]),
    ]


def test_without_warm_up_requests(identity, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "tensorflow_serving", None)
    folder = export_saved_model(identity, tmp_path)
    assert not (folder / "assets.extra").exists()
    assert capsys.readouterr().err == (
        "note: the SavedModel is written without warm-up requests; they need "
        'tensorflow-serving-api, which is not installed: pip install "gcn_keras[serving]"\n'
    )
    images = picture(1, 32, 32)
    found = open_segmenter(folder).segment(images)
    np.testing.assert_array_equal(found, images.argmax(-1))


class TestBfloat16:
    def test_agrees_with_float32(self, boxed):
        deployable, folder = boxed
        drawn = [scenes.render_scene(np.random.default_rng(i), 128) for i in range(12)]
        images, labels = (np.stack(part) for part in zip(*drawn, strict=True))
        found = open_segmenter(folder).segment(images)
        expected = segment(deployable.network, images)
        assert 0.99 < np.mean(found == expected) < 1  # it is another model
        ious = []
        for answer in (found, expected):
            matrix = ConfusionMatrix(7)
            matrix.update(labels, answer)
            ious.append(matrix.mean_iou)
        assert ious[1] > 0.75 and abs(ious[0] - ious[1]) < 0.01

    def test_is_half_the_size_and_gives_float32(self, boxed):
        deployable, folder = boxed
        size = sum(path.stat().st_size for path in (folder / "variables").iterdir())
        assert size < 1.1 * 2 * deployable.folded.count_params()
        logits = open_segmenter(folder).logits(picture(1, 40, 50))
        assert logits.dtype == np.float32 and logits.shape == (1, 40, 50, 7)

    def test_other_forms_are_refused(self, identity):
        deployable = Deployable(identity.network, LEGEND, precision="bfloat16")
        with pytest.raises(ArgumentError) as caught:
            onnx_content(deployable)
        assert str(caught.value) == (
            "precision must be float32 for onnx, got bfloat16: only savedmodel can be in it, so "
            "export that alone"
        )

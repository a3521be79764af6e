"""Version folders of SavedModels: complete, in order, never written over, the same answers."""

import errno
import io
import json
import logging
import os
import shutil
import subprocess
import sys
import threading
import zlib
from types import SimpleNamespace

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from places import REPOSITORY
from stand_in_server import StandIn
from tensorflow.core.protobuf.saved_model_pb2 import SavedModel
from tensorflow_serving.apis import prediction_log_pb2

from gcn_keras import gcn, load_image, segment
from gcn_keras.deployment import saved_model
from gcn_keras.deployment.deployable import Deployable
from gcn_keras.deployment.graphs import logits_graph
from gcn_keras.deployment.onnx_file import onnx_content
from gcn_keras.deployment.saved_model import export_saved_model
from gcn_keras.evaluation.metrics import ConfusionMatrix
from gcn_keras.inference.keras_model import predict_logits
from gcn_keras.inference.legend import Legend
from gcn_keras.inference.onnx_model import OnnxSegmenter
from gcn_keras.inference.segmenters import check_same_classes, open_segmenter
from pipelines.base.errors import ArgumentError, UserError, in_options
from pipelines.base.files import temporary_beside
from pipelines.base.labels import CAMVID_PALETTE, palette
from pipelines.datasets.shapes import scenes

LEGEND = Legend.unnamed(3)

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def identity():
    """Stands for a network: a pixel's class is its largest channel."""
    x = keras.Input((None, None, 3))
    identity = keras.layers.Conv2D(3, 1, use_bias=False, name="identity")
    model = keras.Model(x, identity(x))
    identity.set_weights([np.eye(3).reshape(1, 1, 3, 3) / 255])
    return Deployable(model, LEGEND)


@pytest.fixture(scope="module")
def network():
    """A network whose batch norms have the statistics of a trained one, more or less."""
    keras.utils.set_random_seed(0)
    model = gcn(3, "resnet14_tiny", kernel_size=3)
    random = np.random.default_rng(0)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            channels = layer.gamma.shape
            layer.set_weights(
                [
                    random.uniform(0.5, 1.5, channels),
                    random.normal(0, 0.3, channels),
                    random.normal(0, 0.5, channels),
                    random.uniform(0.3, 3, channels),
                ]
            )
    return model


@pytest.fixture(scope="module")
def folder(network, tmp_path_factory):
    return export_saved_model(Deployable(network, LEGEND), tmp_path_factory.mktemp("network"))


@pytest.fixture(scope="module")
def signatures(folder):
    loaded = tf.saved_model.load(str(folder))
    yield loaded.signatures
    assert loaded  # signatures do not keep what they belong to


def files(folder) -> dict:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def names(folder) -> set[str]:
    return {path.name for path in folder.iterdir()}


def picture(*shape, seed=0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (*shape, 3)).astype(np.uint8)


def encoded(pixels, form) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, form)
    return buffer.getvalue()


def serve_bytes(signatures, contents: list[bytes]) -> list[bytes]:
    answer = signatures["serve_bytes"](bytes=tf.constant(contents, tf.string, [len(contents)]))
    assert set(answer) == {"labels_bytes"}
    return answer["labels_bytes"].numpy().tolist()


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


@pytest.fixture(scope="module")
def small(identity, tmp_path_factory):
    """Serves 4096 pixels at most."""
    folder = tmp_path_factory.mktemp("small")
    loaded = tf.saved_model.load(str(export_saved_model(identity, folder, (32, 32), 4096)))
    yield loaded.signatures
    assert loaded


def test_a_limit_that_a_warm_up_exceeds(identity, tmp_path):
    """Of 64×64 pixels, of which one and a half images come together, the half padded to 64."""
    with pytest.raises(ArgumentError) as caught:
        export_saved_model(identity, tmp_path, (64, 64), 8191)
    assert str(caught.value) == (
        "most_pixels must be at least 8192, the pixels of a request that a server warms up with, "
        "got 8191: size makes its images smaller"
    )
    assert names(tmp_path) == set()
    folder = export_saved_model(identity, tmp_path, (64, 64), 8192)
    records = tf.data.TFRecordDataset(str(folder / "assets.extra" / "tf_serving_warmup_requests"))
    signatures = tf.saved_model.load(str(folder)).signatures
    for record in records.as_numpy_iterator():
        request = prediction_log_pb2.PredictionLog.FromString(record).predict_log.request
        inputs = {name: tf.make_ndarray(value) for name, value in request.inputs.items()}
        signatures[request.model_spec.signature_name](
            **{name: tf.constant(value) for name, value in inputs.items()}
        )


class TestSignatures:
    def test_what_they_take_and_give(self, signatures):
        assert set(signatures) == {"serving_default", "logits", "serve_bytes", "legend"}
        pictures = {"images": tf.TensorSpec((None, None, None, 3), tf.uint8, name="images")}
        files = {"bytes": tf.TensorSpec((None,), tf.string, name="bytes")}
        for name, taken, given in (
            ("serving_default", pictures, {"labels": "uint8 3", "scores": "float32 3"}),
            ("logits", pictures, {"logits": "float32 4"}),
            ("serve_bytes", files, {"labels_bytes": "string 1"}),
            ("legend", files, {"legend_bytes": "string 1"}),
        ):
            outputs = signatures[name].structured_outputs
            assert signatures[name].structured_input_signature[1] == taken
            found = {key: f"{x.dtype.name} {x.shape.rank}" for key, x in outputs.items()}
            assert found == given
        # The number of classes can be told without an image.
        assert signatures["logits"].structured_outputs["logits"].shape[-1] == 3

    def test_by_hand(self, identity, tmp_path):
        loaded = tf.saved_model.load(str(export_saved_model(identity, tmp_path)))
        for shape in ((1, 1, 1), (2, 33, 50), (1, 64, 32)):
            images = picture(*shape)
            served = loaded.signatures["serving_default"](images=tf.constant(images))
            np.testing.assert_array_equal(served["labels"], images.argmax(axis=-1))
            powers = np.exp(images / 255)
            scores = powers.max(axis=-1) / powers.sum(axis=-1)
            np.testing.assert_allclose(served["scores"], scores, rtol=1e-5)
            logits = loaded.signatures["logits"](images=tf.constant(images))["logits"]
            np.testing.assert_allclose(logits, images / 255, rtol=1e-6)

    @pytest.mark.parametrize("shape", [(2, 45, 71), (1, 64, 96), (3, 1, 33)], ids=str)
    def test_are_the_network(self, network, signatures, shape):
        images = picture(*shape)
        served = signatures["serving_default"](images=tf.constant(images))
        expected = segment(network, images)
        assert len(np.unique(expected)) > 1
        np.testing.assert_array_equal(served["labels"], expected)
        logits = signatures["logits"](images=tf.constant(images))["logits"].numpy()
        np.testing.assert_array_equal(logits.argmax(axis=-1), expected)
        if shape[1] % 32 == shape[2] % 32 == 0:
            trained = network(images, training=False)
            np.testing.assert_allclose(logits, trained, rtol=0, atol=1e-4)

    @pytest.mark.parametrize(
        "sizes", [[(40, 33)] * 3, [(40, 33), (33, 40)], [(64, 64), (1, 70), (64, 64)], [(5, 5)], []]
    )
    def test_serve_bytes_is_segment_of_each(self, network, signatures, tmp_path, sizes):
        """JPEG and PNG in turns; each image as if it had come alone."""
        contents, expected = [], []
        for number, size in enumerate(sizes):
            path = tmp_path / f"{number}.{'jpg' if number % 2 else 'png'}"
            Image.fromarray(picture(*size, seed=number)).save(path)
            contents.append(path.read_bytes())
            expected.append(segment(network, load_image(path)))
        answers = serve_bytes(signatures, contents)
        assert len(answers) == len(sizes)
        for answer, labels in zip(answers, expected, strict=True):
            with Image.open(io.BytesIO(answer)) as image:
                assert (image.format, image.mode) == ("PNG", "L")
                np.testing.assert_array_equal(np.array(image), labels)

    @pytest.mark.parametrize(
        "content, message",
        [
            (b"", "an image is no JPEG or PNG file"),
            (b"GIF89a" + bytes(30), "an image is no JPEG or PNG file"),
            (encoded(picture(9, 9), "png")[:20], "an image is no JPEG or PNG file"),
            (encoded(picture(9, 9), "png")[:200], "Invalid PNG data, size 200"),
            (encoded(picture(9, 9), "jpeg")[:100], "Invalid JPEG data, size 100"),
        ],
        ids=["empty", "GIF", "half a header", "half a PNG", "half a JPEG"],
    )
    def test_serve_bytes_refuses(self, signatures, content, message):
        with pytest.raises(tf.errors.InvalidArgumentError) as caught:
            serve_bytes(signatures, [encoded(picture(9, 9), "png"), content])
        assert message in caught.value.message

    @pytest.mark.parametrize("form", ["png", "jpeg"])
    def test_serve_bytes_refuses_decompression_bombs(self, signatures, form):
        """By the size in the header, before anything is decoded."""
        content = encoded(picture(9, 9), form)
        if form == "png":
            content = content[:16] + (10000).to_bytes(4, "big") * 2 + content[24:]
        else:  # height and width follow the marker, the segment's length and the precision
            at = content.index(b"\xff\xc0") + 5
            content = content[:at] + (10000).to_bytes(2, "big") * 2 + content[at + 4 :]
        with pytest.raises(tf.errors.InvalidArgumentError) as caught:
            serve_bytes(signatures, [content])
        expected = "[an image has] [100000000] [pixels: at most 67108864 are served]"
        assert expected in caught.value.message

    @pytest.mark.parametrize(
        "sizes, message",
        [
            # 64 × 64 pixels are 4096: one more is one too many, in one image or in all together.
            ([(64, 64)], None),
            ([(32, 32)] * 4, None),
            ([(65, 64)], "[an image has] [4160] [pixels: at most 4096 are served]"),
            (
                [(32, 32)] * 5,
                "[the images of a request have] [5120] [pixels, padded to multiples of 32: at "
                "most 4096 are served]",
            ),
            (
                [(64, 32), (1, 33)],
                None,
            ),
            (
                [(64, 32), (1, 65)],
                "[the images of a request have] [5120] [pixels, padded to multiples of 32: at "
                "most 4096 are served]",
            ),
        ],
    )
    def test_serve_bytes_within_a_limit(self, small, sizes, message):
        contents = [encoded(picture(*size), "png") for size in sizes]
        if message is None:
            assert len(serve_bytes(small, contents)) == len(sizes)
            return
        with pytest.raises(tf.errors.InvalidArgumentError) as caught:
            serve_bytes(small, contents)
        assert message in caught.value.message

    @pytest.mark.parametrize(
        "height, width", [(2**32 - 1, 2**32 - 1), (2**31, 2**31), (0, 5), (2**32 - 8, 2**31 - 1)]
    )
    def test_serve_bytes_refuses_impossible_sizes(self, signatures, height, width):
        """Whose product is small, or negative, as signed numbers; beside a sound image."""
        content = encoded(picture(9, 9), "png")
        header = b"IHDR" + width.to_bytes(4, "big") + height.to_bytes(4, "big") + content[24:29]
        content = content[:12] + header + zlib.crc32(header).to_bytes(4, "big") + content[33:]
        with pytest.raises(tf.errors.InvalidArgumentError) as caught:
            serve_bytes(signatures, [encoded(picture(9, 9), "png"), content])
        assert "an image has no valid size" in caught.value.message

    def test_weights_lie_there_once(self, network, folder):
        folded_bytes = 4 * network.count_params()
        files = sum(path.stat().st_size for path in (folder / "variables").iterdir())
        assert files < 1.2 * folded_bytes
        # Not in the graph, which TensorFlow copies a dozen times.
        content = SavedModel.FromString((folder / "saved_model.pb").read_bytes())
        constants = sum(
            node.attr["value"].tensor.ByteSize()
            for function in content.meta_graphs[0].graph_def.library.function
            for node in function.node_def
            if node.op == "Const"
        )
        assert constants < 0.05 * folded_bytes
        # Nothing of the machine that exported it.
        assert str(folder.parent).encode() not in (folder / "saved_model.pb").read_bytes()

    def test_needs_nothing_but_tensorflow(self, network, folder, tmp_path):
        code = """
import sys
import numpy as np
import tensorflow as tf
loaded = tf.saved_model.load(sys.argv[1])
images = np.load(sys.argv[2])
np.save(sys.argv[3], loaded.signatures["serving_default"](images=tf.constant(images))["labels"])
print({name.partition(".")[0] for name in sys.modules} & {"gcn_keras", "pipelines", "keras_cv"})
"""
        images = picture(2, 40, 50)
        np.save(tmp_path / "images.npy", images)
        shutil.copytree(folder, tmp_path / "elsewhere")
        paths = [str(tmp_path / name) for name in ("elsewhere", "images.npy", "labels.npy")]
        done = subprocess.run(
            [sys.executable, "-c", code, *paths], cwd=tmp_path, capture_output=True, text=True
        )
        assert done.stdout == "set()\n", done.stderr
        np.testing.assert_array_equal(np.load(paths[2]), segment(network, images))


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


@pytest.fixture(scope="module")
def boxed(tmp_path_factory):
    """The model of the repository, and its SavedModel in bfloat16."""
    path = REPOSITORY / "saved_models" / "shapes" / "shapes.keras"
    deployable = Deployable.load(path, precision="bfloat16")
    return deployable, export_saved_model(deployable, tmp_path_factory.mktemp("bfloat16"))


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


class TestOnnx:
    def test_what_tf2onnx_gives_up_is_not_shown(self, identity, caplog, monkeypatch):
        """It goes on without an optimization, and shows why with a traceback."""
        tf2onnx = pytest.importorskip("tf2onnx")
        pytest.importorskip("onnxruntime")
        convert = tf2onnx.convert.from_function

        def warning(*given, **named):
            logging.getLogger("tf2onnx.optimizer").warning("Failed to apply %s", "it")
            return convert(*given, **named)

        monkeypatch.setattr(tf2onnx.convert, "from_function", warning)
        assert onnx_content(Deployable(identity, LEGEND))
        assert [record for record in caplog.records if record.name == "tf2onnx.optimizer"] == []
        logging.getLogger("tf2onnx.optimizer").warning("shown again")
        assert caplog.messages[-1] == "shown again"

    def test_opens_like_the_other_forms(self, network, tmp_path):
        pytest.importorskip("tf2onnx")
        pytest.importorskip("onnxruntime")
        path = tmp_path / "network.onnx"
        named = Legend(("red", "green", "blue"), palette("camvid"))
        path.write_bytes(onnx_content(Deployable(network, named)))
        opened = open_segmenter(path)
        assert isinstance(opened, OnnxSegmenter) and opened.num_classes == 3
        assert opened.legend.class_names == ("red", "green", "blue")
        np.testing.assert_array_equal(opened.legend.palette[:3], CAMVID_PALETTE[:3])
        for shape in ((2, 45, 71), (1, 1, 33)):
            images = picture(*shape)
            np.testing.assert_array_equal(opened.segment(images), segment(network, images))
        Legend(("green", "red", "blue"), palette()).write(path.with_suffix(".json"))
        with pytest.raises(UserError, match=r"network.json has the same in another order: green"):
            open_segmenter(path)

    @pytest.mark.parametrize("damage", ["empty", "text", "cut", "another"])
    def test_what_is_none(self, identity, tmp_path, damage):
        pytest.importorskip("tf2onnx")
        pytest.importorskip("onnxruntime")
        import onnx

        path = tmp_path / "model.onnx"
        path.write_bytes(onnx_content(identity))
        content = path.read_bytes()
        model = onnx.load(path)
        model.graph.input[0].name = "pixels"
        for node in model.graph.node:
            node.input[:] = ["pixels" if name == "images" else name for name in node.input]
        contents = {"empty": b"", "text": b"no model", "cut": content[: len(content) // 2]}
        path.write_bytes(contents.get(damage, model.SerializeToString()))
        with pytest.raises(UserError) as caught:
            open_segmenter(path)
        said = str(caught.value)
        assert "\n" not in said and said.startswith(
            f"{path} is no segmentation model of this project: it takes and gives [('pixels', "
            if damage == "another"
            else f"{path} cannot be loaded as an ONNX model: "
        )

    def test_gives_the_labels_of_segment(self, network, tmp_path):
        pytest.importorskip("tf2onnx")
        onnxruntime = pytest.importorskip("onnxruntime")
        session = onnxruntime.InferenceSession(
            onnx_content(Deployable(network, LEGEND)), providers=["CPUExecutionProvider"]
        )
        [taken], [given] = session.get_inputs(), session.get_outputs()
        assert (taken.name, taken.type, taken.shape) == (
            "images", "tensor(uint8)", ["B", "H", "W", 3]
        )  # fmt: skip
        assert (given.name, given.type, given.shape) == ("labels", "tensor(uint8)", ["B", "H", "W"])
        for shape in ((2, 45, 71), (1, 64, 96), (3, 1, 33)):
            images = picture(*shape)
            [labels] = session.run(["labels"], {"images": images})
            np.testing.assert_array_equal(labels, segment(network, images))


@pytest.fixture(scope="module")
def of_48_by_64():
    """A model whose scores hang on what its images are padded to."""
    keras.utils.set_random_seed(0)
    x = keras.Input((48, 64, 3))
    return keras.Model(x, keras.layers.Conv2D(3, 31, padding="same")(x))


@pytest.fixture(scope="module")
def fixed(of_48_by_64, tmp_path_factory):
    folder = tmp_path_factory.mktemp("fixed")
    export_saved_model(Deployable(of_48_by_64, LEGEND), folder)
    return open_segmenter(folder)


class TestFixedSize:
    def test_layers_that_resize_know_it(self):
        """A head that is usual on networks of Keras: it asks for the sides in numbers."""
        keras.utils.set_random_seed(0)
        x = keras.Input((48, 64, 3))
        scores = keras.layers.Conv2D(3, 3, strides=4, padding="same")(x)
        model = keras.Model(x, keras.layers.UpSampling2D(4, interpolation="bilinear")(scores))
        for size in ((48, 64), (30, 50)):
            images = picture(1, *size)
            logits = Deployable(model, LEGEND).graph(tf.constant(images))
            np.testing.assert_allclose(logits, predict_logits(model, images), rtol=1e-4, atol=1e-3)

    @pytest.mark.parametrize("size", [(48, 64), (30, 64), (33, 5)])
    def test_smaller_images_are_padded_to_it(self, of_48_by_64, fixed, size):
        images = picture(1, *size)
        np.testing.assert_allclose(
            fixed.logits(images), predict_logits(of_48_by_64, images), rtol=1e-3, atol=1e-2
        )

    @pytest.mark.parametrize("size", [(48, 65), (49, 64), (49, 65)])
    def test_larger_ones_are_refused(self, fixed, size):
        for ask in (fixed.segment, fixed.logits):
            with pytest.raises(UserError) as caught:
                ask(picture(1, *size))
            assert in_options(caught.value.template) == (
                f"{fixed._folder} takes images of at most 48x64, got {size[0]}x{size[1]}: take "
                "tiles of that size, --tile 48 64"
            )

    def test_a_side_that_is_free(self, tmp_path):
        x = keras.Input((48, None, 3))
        model = keras.Model(x, keras.layers.Conv2D(3, 1)(x))
        folder = export_saved_model(Deployable(model, LEGEND), tmp_path)
        saved = open_segmenter(folder)
        assert saved.segment(picture(1, 48, 70)).shape == (1, 48, 70)
        with pytest.raises(UserError) as caught:
            saved.segment(picture(1, 49, 70))
        assert in_options(caught.value.template) == (
            f"{folder} takes images of at most 48x96, got 49x70: take tiles of that size, "
            "--tile 48 96"
        )

    def test_as_an_onnx_file(self, of_48_by_64, tmp_path):
        pytest.importorskip("tf2onnx")
        path = tmp_path / "fixed.onnx"
        path.write_bytes(onnx_content(Deployable(of_48_by_64, LEGEND)))
        file, images = open_segmenter(path), picture(1, 30, 64)
        np.testing.assert_array_equal(file.segment(images), segment(of_48_by_64, images))
        for height, width in ((48, 65), (49, 64), (384, 512)):
            with pytest.raises(UserError) as caught:
                file.segment(picture(1, height, width))
            assert in_options(caught.value.template) == (
                f"{path} takes images of at most 48x64, got {height}x{width}: cut it into parts, "
                "or give the .keras file and take tiles of that size, --tile 48 64"
            )

    def test_nothing_is_padded_before_the_size_is_known_to_fit(self, of_48_by_64):
        """Whatever else can fail then waits: which of two does so first is chance."""
        graph = logits_graph(of_48_by_64).graph
        [check] = [op for op in graph.get_operations() if op.type == "Assert"]
        behind = {check.name}
        for op in graph.get_operations():  # in an order in which inputs come first
            before = [tensor.op for tensor in op.inputs] + list(op.control_inputs)
            if behind & {own.name for own in before}:
                behind.add(op.name)
        padding = [op for op in graph.get_operations() if op.type in ("BroadcastTo", "ConcatV2")]
        assert padding
        assert {op.name for op in padding} <= behind

    def test_its_warm_up_requests_are_answered(self, fixed):
        logs = pytest.importorskip("tensorflow_serving.apis.prediction_log_pb2")
        signatures = fixed._saved.signatures
        file = fixed._folder / "assets.extra" / "tf_serving_warmup_requests"
        requests = [
            logs.PredictionLog.FromString(record).predict_log.request
            for record in tf.data.TFRecordDataset(str(file)).as_numpy_iterator()
        ]
        assert len(requests) == 3
        for request in requests:
            [(name, value)] = request.inputs.items()
            answer = signatures[request.model_spec.signature_name]
            assert answer(**{name: tf.constant(tf.make_ndarray(value))})

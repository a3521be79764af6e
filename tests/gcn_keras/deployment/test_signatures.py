"""What the signatures of a SavedModel take and give."""

import io
import shutil
import subprocess
import sys
import zlib

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from random_images import picture
from tensorflow.core.protobuf.saved_model_pb2 import SavedModel
from tensorflow_serving.apis import prediction_log_pb2

from gcn_keras import load_image, segment
from gcn_keras.deployment.saved_model import export_saved_model
from gcn_keras.inference.legend import Legend
from pipelines.base.errors import ArgumentError

LEGEND = Legend.unnamed(3)

pytestmark = pytest.mark.slow


def encoded(pixels, form) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, form)
    return buffer.getvalue()


def serve_bytes(signatures, contents: list[bytes]) -> list[bytes]:
    answer = signatures["serve_bytes"](bytes=tf.constant(contents, tf.string, [len(contents)]))
    assert set(answer) == {"labels_bytes"}
    return answer["labels_bytes"].numpy().tolist()


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
    assert list(tmp_path.iterdir()) == []
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

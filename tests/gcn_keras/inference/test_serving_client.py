"""The client of TensorFlow Serving, asking the stand-in of stand_in_server.py."""

import base64
import contextlib
import io
import json
import shutil
import socket
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from http.client import HTTPConnection
from pathlib import Path

import forks
import grpc
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from places import REPOSITORY
from stand_in_server import RefusalError, StandIn
from tensorflow_serving.apis import get_model_metadata_pb2, prediction_service_pb2_grpc

from gcn_keras.evaluate import evaluate
from gcn_keras.inference import serving_client, serving_transports
from gcn_keras.inference.encoded_images import EncodedImage, encode
from gcn_keras.inference.images import load_image
from gcn_keras.inference.legend import Legend
from gcn_keras.inference.segmenters import open_segmenter
from gcn_keras.inference.serving_client import Client
from pipelines import datasets
from pipelines.base.errors import UsageError, UserError

CLASSES = ("red", "green", "blue")


class LargestChannel(tf.Module):
    """Stands for an exported network: a pixel's class is its largest channel."""

    @tf.function(input_signature=[tf.TensorSpec((None, None, None, 3), tf.uint8, "images")])
    def serve(self, images):
        labels = tf.cast(tf.argmax(images, axis=-1), tf.uint8)
        return {"labels": labels, "scores": tf.cast(tf.reduce_max(images, -1), tf.float32) / 255}

    @tf.function(input_signature=[tf.TensorSpec((None, None, None, 3), tf.uint8, "images")])
    def logits(self, images):
        return {"logits": tf.ensure_shape(tf.cast(images, tf.float32), (None, None, None, 3))}

    @tf.function(input_signature=[tf.TensorSpec((None,), tf.string, "bytes")])
    def serve_bytes(self, bytes):
        def one(encoded):
            image = tf.io.decode_jpeg(encoded, channels=3, dct_method="INTEGER_ACCURATE")
            return tf.io.encode_png(self.serve(image[None])["labels"][0, ..., None])

        return {"labels_bytes": tf.map_fn(one, bytes)}


class OtherProject(tf.Module):
    @tf.function(input_signature=[tf.TensorSpec((None,), tf.float32, "x")])
    def serve(self, x):
        return {"y": tf.strings.as_string(x), "z": x / 2}


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> Path:
    """Version folders of "channels" (3 and 2) and "other" (1)."""
    folder = tmp_path_factory.mktemp("models")
    model = LargestChannel()
    for version in "23":
        signatures = {
            "serving_default": model.serve,
            "logits": model.logits,
            "serve_bytes": model.serve_bytes,
        }
        tf.saved_model.save(model, folder / "channels" / version, signatures)
    tf.saved_model.save(OtherProject(), folder / "other" / "1", OtherProject().serve)
    return folder


@pytest.fixture(scope="module")
def running(models):
    names = ("channels", "other")
    with StandIn({name: models / name for name in names}) as server:
        yield server


@pytest.fixture
def server(running):
    running.behave()
    return running


@pytest.fixture(params=["http", "grpc"])
def kind(request) -> str:
    return request.param


def address(server, kind: str, name: str = "channels", version: int | None = None) -> str:
    if kind == "grpc":
        return f"{server.grpc}/{name}" + (f"/{version}" if version else "")
    return f"{server.http}/v1/models/{name}" + (f"/versions/{version}" if version else "")


@pytest.fixture
def sleeps(monkeypatch) -> list[float]:
    """Nobody sleeps; how long the client would have."""
    slept = []
    monkeypatch.setattr(serving_client.time, "sleep", slept.append)
    return slept


def picture(height, width, seed=0) -> np.ndarray:
    """Noise, no two channels of a pixel alike."""
    random = np.random.default_rng(seed)
    pixels = random.integers(0, 80, (height, width, 3)) * 3 + [0, 1, 2]
    return pixels.astype(np.uint8)


def plain(height, width, channel) -> np.ndarray:
    """One channel is 250, the others 5: JPEG does not change which is the largest."""
    pixels = np.full((height, width, 3), 5, np.uint8)
    pixels[..., channel] = 250
    return pixels


def saved(pixels, path, **options) -> Path:
    Image.fromarray(pixels).save(path, **options)
    return path


def sent(server) -> list[list[bytes]]:
    """The encoded images of each request."""
    return [request["bytes"].numpy().tolist() for request in server.requests]


def refusal(client, images) -> str:
    with pytest.raises(UserError) as caught:
        client.segment(images)
    assert caught.value.exit_status == 1
    return str(caught.value)


def png(pixels) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format="PNG")
    return file.getvalue()


def flipped(label_map: bytes) -> bytes:
    """The last bit of the last pixel's checksum of the zlib stream: Pillow decodes as before."""
    end = label_map.index(b"IEND") - 9
    return label_map[:end] + bytes([label_map[end] ^ 1]) + label_map[end + 1 :]


class TestImages:
    @pytest.mark.parametrize("shape", [(1, 1, 1, 3), (3, 5, 7, 3), (1, 40, 33, 3)])
    def test_batch(self, server, kind, shape):
        images = np.stack([picture(*shape[1:3], seed) for seed in range(shape[0])])
        client = Client(address(server, kind))
        labels = client.segment(images)
        assert labels.dtype == np.uint8
        np.testing.assert_array_equal(labels, images.argmax(axis=-1))
        assert [len(request) for request in sent(server)] == [shape[0]]
        assert (client.legend, client.num_classes) == (None, None)

    def test_one_image(self, server, kind):
        image = picture(4, 6)
        labels = Client(address(server, kind)).segment(image)
        np.testing.assert_array_equal(labels, image.argmax(axis=-1))

    def test_several_sizes_and_files_in_one_request(self, server, kind, tmp_path):
        path = saved(plain(9, 5, 1), tmp_path / "a.jpg")
        images = [picture(3, 8), path, picture(1, 2), str(path)]
        first, *labels = Client(address(server, kind)).segment(images)
        np.testing.assert_array_equal(first, images[0].argmax(axis=-1))
        np.testing.assert_array_equal(labels[0], np.ones((9, 5)))
        np.testing.assert_array_equal(labels[1], images[2].argmax(axis=-1))
        np.testing.assert_array_equal(labels[2], np.ones((9, 5)))
        assert [len(request) for request in sent(server)] == [4]
        assert Client(address(server, kind)).segment([]) == []

    def test_many_images_are_several_requests(self, server, kind, monkeypatch):
        images = np.stack([picture(2, 3, seed) for seed in range(18)])
        client = Client(address(server, kind))
        np.testing.assert_array_equal(client.segment(images), images.argmax(axis=-1))
        assert [len(request) for request in sent(server)] == [8, 8, 2]
        sizes = [len(encode(image).data) for image in images[:3]]
        monkeypatch.setattr(serving_client, "REQUEST_BYTES", sizes[0] + sizes[1])
        server.behave()
        client.segment(images[:3])
        assert [len(request) for request in sent(server)] == [2, 1]
        # One that exceeds the limit alone is sent alone.
        monkeypatch.setattr(serving_client, "REQUEST_BYTES", 1)
        server.behave()
        client.segment(images[:2])
        assert [len(request) for request in sent(server)] == [1, 1]

    def test_a_request_has_no_more_pixels_than_a_model_serves(self, server, kind, monkeypatch):
        """Each image of 2×40 counts as one of 32×64."""
        images = np.stack([picture(2, 40, seed) for seed in range(5)])
        monkeypatch.setattr(serving_client, "REQUEST_PIXELS", 2 * 32 * 64)
        client = Client(address(server, kind))
        np.testing.assert_array_equal(client.segment(images), images.argmax(axis=-1))
        assert [len(request) for request in sent(server)] == [2, 2, 1]

    def test_an_answer_above_grpcs_own_limit(self, server, kind):
        """4 MiB is what gRPC takes where nothing else is said."""
        text = PngInfo()
        text.add_text("note", "a" * 5_000_000)
        file = io.BytesIO()
        Image.fromarray(np.full((2, 3), 7, np.uint8)).save(file, "PNG", pnginfo=text)
        server.change_outputs = lambda _: {"labels_bytes": np.array([file.getvalue()], object)}
        assert (Client(address(server, kind)).segment(picture(2, 3)) == 7).all()

    def test_everybody_says_the_same(self, server, models):
        images = np.stack([picture(6, 4, seed) for seed in range(2)])
        expected = open_segmenter(models / "channels").segment(images)
        for kind in ("http", "grpc"):
            labels = open_segmenter(address(server, kind)).segment(images)
            np.testing.assert_array_equal(labels, expected)

    @pytest.mark.parametrize(
        "images, received",
        [
            (np.zeros((2, 2, 3), np.float32), "float32 [2, 2, 3]"),
            (np.zeros((2, 2), np.uint8), "uint8 [2, 2]"),
            (np.zeros((2, 2, 4), np.uint8), "uint8 [2, 2, 4]"),
            (np.zeros((1, 1, 2, 2, 3), np.uint8), "uint8 [1, 1, 2, 2, 3]"),
            (np.zeros((0, 2, 3), np.uint8), "uint8 [0, 2, 3]"),
            (np.zeros((0, 2, 2, 3), np.uint8), "uint8 [0, 2, 2, 3]"),
            ([np.zeros((2, 2, 3), np.uint8), np.zeros((2, 0, 3), np.uint8)], "uint8 [2, 0, 3]"),
        ],
    )
    def test_refuses_what_is_no_image(self, server, images, received):
        with pytest.raises(ValueError) as caught:
            Client(address(server, "http")).segment(images)
        assert str(caught.value) == (
            "images must be uint8 [H, W, 3] with at least one pixel, or a batch of them, "
            f"received {received}"
        )
        assert server.requests == []

    @pytest.mark.parametrize("function", ["segment", "logits"])
    @pytest.mark.parametrize("dtype", ["float32", "uint16", "bool"])
    def test_a_saved_model_takes_no_other_images(self, models, function, dtype):
        with pytest.raises(ValueError, match=rf"uint8 \[B, H, W, 3\], received {dtype} \(1, 2, 2"):
            getattr(open_segmenter(models / "channels"), function)(np.zeros((1, 2, 2, 3), dtype))


class TestFiles:
    @pytest.mark.parametrize(
        "name, image",
        [
            ("a.jpg", Image.fromarray(plain(9, 5, 2))),
            ("a.png", Image.fromarray(plain(9, 5, 2))),
            ("gray.jpg", Image.fromarray(plain(9, 5, 2)).convert("L")),
            ("gray.png", Image.fromarray(plain(9, 5, 2)).convert("L")),
            ("palette.png", Image.fromarray(plain(9, 5, 2)).convert("P")),
            ("bilevel.png", Image.fromarray(plain(9, 5, 2)).convert("1")),
        ],
    )
    def test_sent_as_they_are(self, server, kind, tmp_path, name, image):
        image.save(tmp_path / name)
        labels = Client(address(server, kind)).segment(tmp_path / name)
        assert labels.shape == (9, 5)
        assert sent(server) == [[(tmp_path / name).read_bytes()]]

    def test_turned_by_exif(self, server, kind, tmp_path):
        # Blue left, green right; orientation 6 turns clockwise: blue comes on top.
        pixels = np.concatenate([plain(16, 16, 2), plain(16, 16, 1)], axis=1)
        exif = Image.Exif()
        exif[0x0112] = 6
        path = saved(pixels, tmp_path / "a.jpg", exif=exif)
        labels = Client(address(server, kind)).segment(path)
        assert labels.shape == (32, 16)
        assert (labels[:16] == 2).all() and (labels[16:] == 1).all()
        [[data]] = sent(server)
        assert data.startswith(b"\x89PNG")
        exif[0x0112] = 1
        saved(pixels, path, exif=exif)
        assert encode(path).data == path.read_bytes()

    def test_transparency_lies_over_white(self, server, tmp_path):
        # Stored red, seen white: of equal channels, argmax names the first.
        transparent = np.array([[(255, 0, 0, 0), (0, 0, 255, 255)]], np.uint8)
        path = saved(transparent, tmp_path / "a.png")
        assert Client(address(server, "http")).segment(path).tolist() == [[0, 2]]
        with Image.open(io.BytesIO(sent(server)[0][0])) as image:
            assert np.array(image).tolist() == [[[255, 255, 255], [0, 0, 255]]]

    @pytest.mark.parametrize("ending", ["bmp", "gif", "tif", "webp"])
    def test_other_formats_go_as_png(self, server, tmp_path, ending):
        path = saved(plain(3, 5, 1), tmp_path / f"a.{ending}")
        assert (Client(address(server, "grpc")).segment(path) == 1).all()
        assert sent(server)[0][0].startswith(b"\x89PNG")

    def test_16_bit_is_scaled_here(self, tmp_path):
        path = saved(np.array([[129, 25700]], np.uint16), tmp_path / "a.png")
        with Image.open(io.BytesIO(encode(path).data)) as image:
            assert np.array(image).tolist() == [[[1] * 3, [100] * 3]]

    def test_bad_ones_are_not_sent(self, server, kind, tmp_path, monkeypatch):
        good = saved(picture(32, 32), tmp_path / "good.jpg")
        truncated = tmp_path / "truncated.jpg"
        truncated.write_bytes(good.read_bytes()[:-200])
        (tmp_path / "empty.png").touch()
        (tmp_path / "text.png").write_text("not an image\n")
        client = Client(address(server, kind))
        for name, message in (
            ("truncated.jpg", "is a truncated or damaged image"),
            ("empty.png", "is empty (0 bytes), not an image."),
            ("text.png", "is not an image in a format that can be read."),
            ("none.png", "does not exist."),
        ):
            assert refusal(client, tmp_path / name).startswith(f"{tmp_path / name} {message}")
        assert refusal(client, [good, truncated]).startswith(f"{truncated} is a truncated")
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 500)
        assert "is too large to be opened" in refusal(client, good)
        assert server.requests == []


class TestUnavailable:
    def test_asked_again(self, server, kind, sleeps):
        server.unavailable = 3
        image = picture(2, 2)
        labels = Client(address(server, kind)).segment(image)
        np.testing.assert_array_equal(labels, image.argmax(axis=-1))
        assert len(server.requests) == 4
        assert sleeps == [0.2, 0.4, 0.8]

    @pytest.mark.parametrize("retries, attempts", [(0, "1 attempt"), (2, "3 attempts")])
    def test_not_for_ever(self, server, kind, sleeps, retries, attempts):
        server.unavailable = 9
        client = Client(address(server, kind), retries=retries)
        assert refusal(client, picture(2, 2)) == (
            f"{client.address} is not available after {attempts} (the stand-in is told to be "
            "unavailable): does the server run there, and has it loaded the model?"
        )
        assert len(server.requests) == retries + 1

    def test_not_beyond_the_deadline(self, server, kind, sleeps):
        server.unavailable = 99
        client = Client(address(server, kind), retries=50, deadline=3)
        # 0.2 + 0.4 + 0.8 + 1.6 s fit; after them, 3.2 s would not.
        assert "is not available after 5 attempts" in refusal(client, picture(2, 2))

    def test_nobody_there(self, kind, sleeps):
        with socket.create_server(("127.0.0.1", 0)) as unused:
            port = unused.getsockname()[1]
        path = "/v1/models/a" if kind == "http" else "/a"
        client = Client(f"{kind}://127.0.0.1:{port}{path}", retries=2)
        message = refusal(client, picture(2, 2))
        assert message.startswith(f"{client.address} is not available after 3 attempts (")
        assert "onnection refused" in message
        assert message.count("\n") == 0

    @pytest.mark.parametrize("code", ["INTERNAL", "UNAVAILABLE", "NOT_FOUND", "INVALID_ARGUMENT"])
    def test_what_it_says_does_not_steer_the_terminal(self, server, kind, sleeps, code):
        def fail(outputs):
            raise RefusalError(getattr(grpc.StatusCode, code), "no \x1b[2Jscreen\x07 \x9b31m")

        server.change_outputs = fail
        message = refusal(Client(address(server, kind)), picture(2, 2))
        assert "no \\x1b[2Jscreen\\x07 \\x9b31m" in message and message.isprintable()

    def test_an_image_larger_than_the_model_takes(self, server, kind):
        """As the assertion of a deployed graph says it, behind whatever a server says first."""

        def fail(outputs):
            raise RefusalError(
                grpc.StatusCode.INVALID_ARGUMENT,
                "x" * 300 + " assertion failed: [the model takes images of at most 64x96, and one "
                "is of] [384 512]\n\t [[{{node Assert/Assert}}]]",
            )

        server.change_outputs = fail
        client = Client(address(server, kind))
        assert refusal(client, picture(2, 2)) == (
            f"{client.address} takes images of at most 64x96, got 384x512: cut it into parts, or "
            "give the .keras file and take tiles of that size, tile 64 96"
        )

    def test_nothing_else_is_tried_twice(self, server, kind, sleeps):
        def fail(outputs):
            raise RefusalError(grpc.StatusCode.INTERNAL, "no\n  memory " + "x" * 400)

        server.change_outputs = fail
        client = Client(address(server, kind))
        code = "INTERNAL" if kind == "grpc" else "500"
        shown = "no memory " + "x" * 290
        assert refusal(client, picture(2, 2)) == f"{client.address} failed with {code} ({shown}…)"
        assert len(server.requests) == 1 and sleeps == []


@contextlib.contextmanager
def listener(answer):
    """A server that calls `answer(connection)` for one connection."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve():
            connection, _ = listening.accept()
            with connection, contextlib.suppress(OSError):  # the client leaves
                answer(connection)

        thread = threading.Thread(target=serve)
        thread.start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}/v1/models/a"
        thread.join()


class TestDeadline:
    def test_slow_server(self, server, kind):
        server.delay = 20
        client = Client(address(server, kind), deadline=0.5)
        assert refusal(client, picture(2, 2)) == (
            f"{client.address} gave no answer within 0.5 s: allow a longer deadline, or look what "
            "keeps the server busy"
        )
        assert len(server.requests) == 1

    @pytest.mark.parametrize("head", [b"HTTP/1.1 200 OK\r\nX: ", b"HTTP/1.1 200 OK\r\n\r\n"])
    def test_drop_by_drop(self, head):
        """Each byte comes in time, in the head or in the body; the answer does not."""

        def drip(connection):
            connection.sendall(head)
            while True:
                connection.sendall(b"a")
                stopped.wait(0.05)

        stopped = threading.Event()
        with listener(drip) as slow:
            assert "gave no answer within 0.4 s" in refusal(
                Client(slow, deadline=0.4), picture(2, 2)
            )

    def test_a_host_that_cannot_be(self):
        client = Client("http://a..b/v1/models/a")
        assert refusal(client, picture(2, 2)).startswith(f"{client.address} cannot be asked: ")

    def test_hung_up(self):
        with listener(lambda connection: connection.recv(10)) as rude:
            message = refusal(Client(rude), picture(2, 2))
        assert message.startswith(f"{rude} cannot be asked: ")

    @pytest.mark.parametrize("deadline", [0, np.inf, np.nan, "1", None, True])
    def test_impossible_deadlines(self, deadline):
        with pytest.raises(ValueError) as caught:
            Client("http://localhost/v1/models/a", deadline=deadline)
        assert str(caught.value) == (f"deadline must be above 0 and finite, received {deadline!r}")

    @pytest.mark.parametrize("retries", [-1, 1.5, "1", None, True])
    def test_impossible_numbers_of_retries(self, retries):
        with pytest.raises(ValueError) as caught:
            Client("http://localhost/v1/models/a", retries=retries)
        assert str(caught.value) == (
            f"retries must be an integer of at least 0, received {retries!r}"
        )


class TestOtherServers:
    def test_version(self, server, kind):
        client = Client(address(server, kind, version=3))
        assert client.segment(plain(1, 1, 2)) == 2

    @pytest.mark.parametrize(
        "name, version, found", [("nope", None, "Latest(nope)"), ("channels", 9, "channels, 9)")]
    )
    def test_unknown_model_or_version(self, server, kind, name, version, found):
        client = Client(address(server, kind, name, version))
        message = refusal(client, picture(2, 2))
        assert message.startswith(f"{client.address}: the server has no such model or version (")
        assert found in message

    def test_another_projects_model(self, server, kind):
        client = Client(address(server, kind, "other"))
        message = refusal(client, picture(2, 2))
        assert message.startswith(f"{client.address} refused the request (")
        assert message.endswith(
            '"serve_bytes" not found in signature def): is it a model that gcn_keras.export '
            "wrote, with the signature 'serve_bytes'?"
        )

    @pytest.mark.parametrize(
        "body, start",
        [
            (b"", "nothing"),
            (b"<html>\n hello </html>", "<html> hello </html>"),
            (b"{}", "{}"),
            (b"[1]", "[1]"),
            (b"null", "null"),
            (b"\xff\xfe", "\ufffd\ufffd"),
            (b"[" * 100_000, "[["),
            (b'{"outputs": {"labels": []}}', '{"outputs": {"labels": []}}'),
            (b'{"outputs": "abc"}', '{"outputs": "abc"}'),
            (b'{"outputs": [[0, 1]]}', '{"outputs": [[0, 1]]}'),
            (b'{"outputs": [{"b64": "!"}]}', '{"outputs": [{"b64": "!"}]}'),
            (b'{"outputs": [{"b64": 1}]}', '{"outputs": [{"b64": 1}]}'),
            ('{"outputs": [{"b64": "é"}]}'.encode(), '{"outputs": [{"b64": "é"}]}'),
        ],
    )
    def test_garbage(self, server, body, start):
        server.body = body
        client = Client(address(server, "http"))
        assert refusal(client, picture(2, 2)).startswith(
            f"{client.address} did not answer as a model that gcn_keras.export wrote: no JSON "
            f'with {{"b64": …}} under "outputs", but {start}'
        )

    def test_too_much(self, server, monkeypatch):
        monkeypatch.setattr(serving_transports, "ANSWER_BYTES", 10)
        assert refusal(Client(address(server, "http")), picture(2, 2)).endswith(
            "more than 10 bytes"
        )

    @pytest.mark.parametrize(
        "labels, what",
        [
            ([], "0 label maps for 1 image"),
            ([png(picture(4, 6)[..., 0])] * 2, "2 label maps for 1 image"),
            ([png(np.zeros((6, 4), np.uint8))], "a label map of 4x6 for an image of 6x4"),
            ([png(picture(4, 6))], "a PNG of mode RGB, not of 8-bit indices"),
            ([png(np.zeros((4, 6), np.uint16))], "a PNG of mode I;16, not of 8-bit indices"),
            ([b""], "a damaged PNG, or none: "),
            ([b"label map"], "a damaged PNG, or none: "),
            ([png(picture(4, 6)[..., 0])[:-30]], "a damaged PNG, or none: "),
            ([flipped(png(np.zeros((4, 6), np.uint8)))], "a damaged PNG, or none: "),
        ],
        ids=["none", "two", "size", "colour", "16 bit", "empty", "text", "truncated", "flipped"],
    )
    def test_label_maps_that_are_none(self, server, kind, labels, what):
        server.change_outputs = lambda outputs: {"labels_bytes": np.array(labels, object)}
        client = Client(address(server, kind))
        assert refusal(client, picture(4, 6)).startswith(
            f"{client.address} did not answer as a model that gcn_keras.export wrote: {what}"
        )

    def test_enormous_label_map(self, server, kind, monkeypatch):
        huge = png(np.zeros((40, 40), np.uint8))
        server.change_outputs = lambda outputs: {"labels_bytes": np.array([huge], object)}
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 500)
        message = refusal(Client(address(server, kind)), picture(4, 6))
        assert "a damaged PNG, or none: Image size (1600 pixels) exceeds limit" in message

    def test_outputs_of_another_name_or_type(self, server):
        client = Client(address(server, "grpc"))
        for outputs in ({"label": np.array([b""], object)}, {"labels_bytes": np.zeros(1)}):
            server.change_outputs = lambda _, outputs=outputs: outputs
            assert refusal(client, picture(4, 6)).endswith(
                f"outputs {sorted(outputs)}, not strings named 'labels_bytes'"
            )

    def test_labels_beyond_the_legend(self, server, kind):
        client = Client(address(server, kind), legend=Legend.unnamed(2))
        assert client.legend.class_names == ("class 0", "class 1")
        assert (client.segment(plain(2, 2, 1)) == 1).all()
        assert refusal(client, plain(2, 2, 2)).endswith("label 2, where the legend names 2 classes")

    def test_no_tensorflow_serving(self):
        """Another HTTP server, and REST's port asked by gRPC."""

        def answer(connection):
            connection.recv(10**6)
            connection.sendall(b"HTTP/1.1 405 Not allowed\r\nContent-Length: 5\r\n\r\nsorry")

        with listener(answer) as other:
            assert refusal(Client(other), picture(2, 2)) == f"{other} failed with 405 (sorry)"
        with listener(answer) as other:
            address = other.replace("http", "grpc").replace("/v1/models", "")
            client = Client(address, retries=0)
            assert "is not available after 1 attempt" in refusal(client, picture(2, 2))


class TestAddress:
    @pytest.mark.parametrize(
        "address, host, port, path",
        [
            ("http://h:8501/v1/models/a", "h", 8501, "/v1/models/a:predict"),
            ("http://h/v1/models/a/", "h", None, "/v1/models/a:predict"),
            ("https://h:1/x/v1/models/a/versions/12", "h", 1, "/x/v1/models/a/versions/12:predict"),
            ("http://h/v1/models/é b", "h", None, "/v1/models/%C3%A9%20b:predict"),
            ("http://[::1]:8501/v1/models/a", "::1", 8501, "/v1/models/a:predict"),
        ],
    )
    def test_rest(self, address, host, port, path):
        rest = serving_transports.server_at(address)
        assert (rest._host, rest._port, rest._path) == (host, port, path)
        assert (rest._connection is HTTPConnection) == address.startswith("http:")

    @pytest.mark.parametrize(
        "address, name, version",
        [
            ("grpc://h:8500/a", "a", None),
            ("grpc://h/a/12", "a", "12"),
            ("grpc://[::1]/a", "a", None),
        ],
    )
    def test_grpc(self, address, name, version):
        asked = serving_transports.server_at(address)
        assert (asked._name, asked._version) == (name, version)

    @pytest.mark.parametrize(
        "address",
        [
            "http://localhost:8501",
            "http://localhost:8501/v1/models/",
            "http://localhost:8501/v1/models/a:predict",
            "http://localhost:8501/v1/models/a/versions/new",
            "http://localhost:8501/v1/models/a?x=1",
            "http://user@localhost:8501/v1/models/a",
            "http://localhost:port/v1/models/a",
            "http://localhost:99999/v1/models/a",
            "http:///v1/models/a",
            "ftp://localhost/v1/models/a",
            "grpc://localhost:8500",
            "grpc://localhost:8500/a/b",
            "grpc://localhost:8500/a/9999999999999999999",
            "localhost:8500/a",
        ],
    )
    def test_refuses(self, address):
        with pytest.raises(UsageError) as caught:
            Client(address)
        assert caught.value.exit_status == 2
        assert str(caught.value) == (
            f"{address} is no address of a model: expected http://HOST:8501/v1/models/NAME or "
            "grpc://HOST:8500/NAME, with /versions/N or /N for one version"
        )


class TestStandIn:
    """What the stand-in says, by TensorFlow Serving's documentation of its REST interface."""

    def ask(self, server, path, body=None):
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{server.http}/v1/models/{path}", data)
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(request) as response:
                return response.status, json.load(response)
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)

    def test_rows_and_columns_of_bytes(self, server):
        images = [picture(2, 3), picture(4, 1)]
        encoded = [{"b64": base64.b64encode(png(image)).decode()} for image in images]
        for given, answered in (
            ({"instances": encoded}, "predictions"),
            ({"instances": [{"bytes": value} for value in encoded]}, "predictions"),
            ({"inputs": encoded}, "outputs"),
            ({"inputs": {"bytes": encoded}}, "outputs"),
        ):
            body = {"signature_name": "serve_bytes", **given}
            status, answer = self.ask(server, "channels:predict", body)
            assert status == 200 and list(answer) == [answered]
            for value, image in zip(answer[answered], images, strict=True):
                with Image.open(io.BytesIO(base64.b64decode(value["b64"]))) as labels:
                    np.testing.assert_array_equal(np.array(labels), image.argmax(axis=-1))

    def test_rows_and_columns_of_numbers(self, server):
        images = [[[[0, 0, 51]]], [[[255, 0, 0]]]]
        labels, scores = [[[2]], [[0]]], [[[0.2]], [[1]]]
        status, answer = self.ask(server, "channels/versions/3:predict", {"instances": images})
        assert status == 200 and list(answer) == ["predictions"]
        assert [row["labels"] for row in answer["predictions"]] == labels
        np.testing.assert_allclose([row["scores"] for row in answer["predictions"]], scores, 1e-6)
        status, answer = self.ask(server, "channels:predict", {"inputs": {"images": images}})
        assert status == 200 and answer["outputs"]["labels"] == labels
        np.testing.assert_allclose(answer["outputs"]["scores"], scores, 1e-6)

    def test_strings_are_bytes_only_where_the_name_says_so(self, server):
        answer = self.ask(server, "other:predict", {"inputs": [0.5, 2]})
        assert answer == (200, {"outputs": {"y": ["0.500000", "2.000000"], "z": [0.25, 1.0]}})
        server.change_outputs = lambda _: {"y": np.array([b"\x89PNG"], object)}
        with pytest.raises(UnicodeDecodeError):
            self.ask(server, "other:predict", {"inputs": [0.5]})

    @pytest.mark.parametrize(
        "path, body, status, message",
        [
            ("nope:predict", {"inputs": []}, 404, "Servable not found for request: Latest(nope)"),
            ("channels:classify", {}, 400, "Malformed request"),
            ("channels:predict", [], 400, "Is not object"),
            ("channels:predict", {}, 400, "expecting one of"),
            ("channels:predict", {"inputs": 1, "instances": [1]}, 400, "expecting one of"),
            ("channels:predict", {"instances": []}, 400, "non-empty list"),
            ("channels:predict", {"instances": [{"x": 1}]}, 400, "keys must be equal to: images"),
            ("channels:predict", {"inputs": {"x": 1}}, 400, "Missing named input: images"),
            ("channels:predict", {"inputs": [[1], [1, 2]]}, 400, "JSON Value"),
            ("channels:predict", {"inputs": [1, 2]}, 400, "images must be TensorSpec("),
            ("channels:predict", {"signature_name": "x", "inputs": 1}, 400, '"x" not found in'),
            (
                "channels:predict",
                {"signature_name": "serve_bytes", "inputs": [{"b64": "eA=="}]},
                400,
                "Unknown image file format",
            ),
            ("nope", None, 404, "Could not find any versions of model nope"),
            ("channels/versions/2", None, 404, "Could not find any versions of model channels"),
        ],
    )
    def test_errors(self, server, path, body, status, message):
        found, answer = self.ask(server, path, body)
        assert found == status and list(answer) == ["error"]
        assert message in answer["error"]

    def test_status(self, server):
        status = {"error_code": "OK", "error_message": ""}
        state = {"version": "3", "state": "AVAILABLE", "status": status}
        for path in ("channels", "channels/versions/3"):
            assert self.ask(server, path) == (200, {"model_version_status": [state]})

    def test_metadata(self, server):
        with grpc.insecure_channel(
            server.grpc.removeprefix("grpc://"), [("grpc.enable_http_proxy", 0)]
        ) as channel:
            stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
            request = get_model_metadata_pb2.GetModelMetadataRequest()
            request.model_spec.name = "channels"
            request.metadata_field.append("signature_def")
            response = stub.GetModelMetadata(request)
        signatures = get_model_metadata_pb2.SignatureDefMap()
        assert response.metadata["signature_def"].Unpack(signatures)
        served = signatures.signature_def["serve_bytes"]
        assert (list(served.inputs), list(served.outputs)) == (["bytes"], ["labels_bytes"])
        assert response.model_spec.version.value == 3


def run(*arguments, **options):
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        **options,
    )


@pytest.mark.slow
def test_a_network_of_this_project(tmp_path, monkeypatch):
    """The real export: over either protocol the labels that the SavedModel itself gives."""
    from gcn_keras import gcn
    from gcn_keras.deployment.deployable import Deployable
    from gcn_keras.deployment.saved_model import export_saved_model

    network = gcn(3, "small", kernel_size=3)
    export_saved_model(Deployable(network, Legend.unnamed(3)), tmp_path / "network")
    saved_model = open_segmenter(tmp_path / "network")
    images = [picture(40, 33), picture(64, 64, 1), picture(1, 70, 2)]
    expected = [saved_model.segment(image[None])[0] for image in images]
    assert len(np.unique(np.concatenate(expected, axis=None))) > 1
    image = Image.fromarray(images[0])
    files = {
        "a.jpg": image,
        "gray.jpg": image.convert("L"),
        "gray.png": image.convert("L"),
        "palette.png": image.convert("P"),
        "bilevel.png": image.convert("1"),
    }
    for name, content in files.items():
        content.save(tmp_path / name)
    with StandIn({"network": tmp_path / "network"}) as server:
        for kind in ("http", "grpc"):
            client = Client(address(server, kind, "network"), legend=saved_model.legend)
            for labels, wanted in zip(client.segment(images), expected, strict=True):
                np.testing.assert_array_equal(labels, wanted)
            # TensorFlow decodes what is sent as it is, and Pillow the same.
            for path in (tmp_path / name for name in files):
                wanted = saved_model.segment(load_image(path)[None])[0]
                np.testing.assert_array_equal(client.segment(path), wanted, str(path))
            server.behave()
            # What the server refuses: 40 is no file.
            monkeypatch.setattr(serving_client, "encode", lambda _: EncodedImage(b"40", 1, 1))
            message = refusal(client, [images[0]])
            monkeypatch.undo()
            assert message.startswith(f"{client.address} refused the request (")
            assert message.endswith(")") and "JPEG" in message and "stack" not in message
            assert len(server.requests) == 1


@pytest.mark.slow
class TestCommands:
    def test_rest_needs_no_tensorflow(self, server, tmp_path):
        path = saved(plain(2, 3, 2), tmp_path / "a.png")
        code = (
            "import sys; from gcn_keras.inference.serving_client import Client; "
            "print(Client(sys.argv[1]).segment(sys.argv[2]).tolist()); "
            "print([name for name in sys.modules if name in ('tensorflow', 'keras', 'grpc')])"
        )
        done = run("-c", code, address(server, "http"), path)
        assert done.stdout == "[[2, 2, 2], [2, 2, 2]]\n[]\n", done.stderr

    @pytest.mark.skipif(not shutil.which("curl"), reason="needs curl")
    def test_the_readmes_line_without_python(self, server, tmp_path):
        lines = (REPOSITORY / "serving" / "README.md").read_text().splitlines()
        [line] = [line for line in lines if "curl -d @-" in line]
        line = line.replace("photo.jpg", str(saved(plain(4, 3, 2), tmp_path / "a.jpg")))
        line = line.replace("http://localhost:8501", server.http).replace("shapes", "channels")
        done = subprocess.run(
            ["bash", "-c", line.replace("curl", "curl -s --noproxy '*'")], capture_output=True
        )
        [answer] = json.loads(done.stdout)["outputs"]
        with Image.open(io.BytesIO(base64.b64decode(answer["b64"]))) as labels:
            assert np.array(labels).tolist() == [[2] * 3] * 4

    def test_predict_leaves_out_the_bad_one(self, server, kind, tmp_path):
        folder = tmp_path / "in"
        folder.mkdir()
        for number in range(3):
            saved(plain(5 + number, 8, number), folder / f"{number}.png")
        saved(picture(32, 32), folder / "bad.jpg")
        (folder / "bad.jpg").write_bytes((folder / "bad.jpg").read_bytes()[:300])
        out = tmp_path / "out"
        done = forks.run("gcn_keras.predict", address(server, kind), folder, "--out", out)
        assert done.returncode == 1, done.stderr
        assert f"error: {folder / 'bad.jpg'} is a truncated or damaged image" in done.stderr
        assert "Traceback" not in done.stderr
        assert {path.name for path in out.glob("*_labels.png")} == {
            "0_labels.png",
            "1_labels.png",
            "2_labels.png",
        }
        for number in range(3):
            with Image.open(out / f"{number}_labels.png") as labels:
                assert np.array(labels).tolist() == [[number] * 8] * (5 + number)

    def test_evaluate_gives_the_same_table(self, server, models, tmp_path, capsys):
        for number in range(4):
            split = tmp_path / "source" / ("train" if number == 3 else "val")
            for part in ("images", "labels"):
                (split / part).mkdir(parents=True, exist_ok=True)
            image = picture(6 + number // 2, 9, number)
            label = image.argmax(axis=-1).astype(np.uint8)
            label[number] = (0, 1, 2) * 3  # some right, some wrong
            label[-1] = 255
            saved(image, split / "images" / f"{number}.png")
            saved(label, split / "labels" / f"{number}.png")
        (tmp_path / "source" / "classes.txt").write_text("\n".join(CLASSES))
        data_dir = tmp_path / "data"
        datasets.prepare("image_folder", tmp_path / "source", data_dir)
        capsys.readouterr()
        tables = []
        for model in (models / "channels", address(server, "http"), address(server, "grpc")):
            evaluate(str(model), "image_folder", data_dir, json_file=tmp_path / "out.json")
            first, table = capsys.readouterr().out.split("\n", 1)
            assert first == f"{model} on image_folder, split val"
            tables.append((table, {**json.loads((tmp_path / "out.json").read_text()), "model": 0}))
        assert tables[0] == tables[1] == tables[2]
        assert 0 < tables[0][1]["mean_iou"] < 1
        # Two of one size go together, the third alone.
        assert sorted(len(request) for request in sent(server)) == [1, 1, 2, 2]

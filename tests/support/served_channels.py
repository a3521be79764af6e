"""What the stand-in of stand_in_server.py serves: models whose answers are known, and images."""

import contextlib
import io
import socket
import threading
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from pipelines.base.errors import UserError

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


def address(server, kind: str, name: str = "channels", version: int | None = None) -> str:
    if kind == "grpc":
        return f"{server.grpc}/{name}" + (f"/{version}" if version else "")
    return f"{server.http}/v1/models/{name}" + (f"/versions/{version}" if version else "")


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

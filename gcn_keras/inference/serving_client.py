"""Asks TensorFlow Serving for label maps, over REST or gRPC.

    Client("http://localhost:8501/v1/models/shapes").segment("photo.jpg")
    Client("grpc://localhost:8500/shapes").segment("photo.jpg")

Images travel encoded, as JPEG or PNG bytes, to the signature `serve_bytes` that
`gcn_keras.export` writes, and label maps come back as PNG bytes: a tenth and less of what numbers
in JSON would take. REST asks for the standard library, numpy and Pillow alone. gRPC needs
tensorflow-serving-api, whose messages import TensorFlow: some seconds, once.
"""

import base64
import contextlib
import io
import json
import math
import os
import re
import socket
import struct
import threading
import time
from collections.abc import Iterator, Sequence
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote, urlsplit

import numpy as np
from PIL import ExifTags, Image

from gcn_keras.inference.images import load_image
from gcn_keras.inference.legend import Legend
from pipelines.base.errors import UsageError, UserError

SIGNATURE = "serve_bytes"
INPUT = "bytes"
# TensorFlow Serving writes a string as {"b64": …} if its name ends in _bytes, and only then.
OUTPUT = "labels_bytes"

# One request takes at most so many images (a server with batching refuses what exceeds its
# max_batch_size, see serving/batching.config) and so many bytes; a larger image goes alone.
REQUEST_IMAGES = 8
REQUEST_BYTES = 2**26
ANSWER_BYTES = 2**29

FIRST_DELAY = 0.2  # seconds before the second attempt; then twice as long each time

# What TensorFlow's decoders make the same pixels of as `load_image`.
_PLAIN_MODES = ("1", "L", "P", "RGB")

# What Pillow raises on bytes that are no sound PNG.
_DECODER_ERRORS = (OSError, SyntaxError, ValueError, struct.error, Image.DecompressionBombError)


class EncodedImage(NamedTuple):
    """An image as it is sent: JPEG or PNG bytes, and the size of the label map to expect."""

    data: bytes
    height: int
    width: int


class UnavailableError(Exception):
    """The server cannot answer now; asking again may help."""


class GarbageError(Exception):
    """An answer that is none."""


class Client:
    """A model behind TensorFlow Serving; a `gcn_keras.inference.segmenters.Segmenter`.

    Nothing is sent before the first image. One client may be used by several threads.

    Args:
        address: `http://HOST:8501/v1/models/NAME`, with /versions/N for one version, or https; or
            `grpc://HOST:8500/NAME`, with /N. Without a version, the server's newest.
        deadline: seconds within which an answer must have come, repeated attempts included.
        retries: how often a server is asked again that is UNAVAILABLE: refuses the connection, or
            says so (503 over REST). Nothing else is tried twice.
        legend: names and colours of the classes; an answer with a label beyond them is refused.

    Attributes:
        legend: as given; a server does not tell it.
        num_classes: None: a server does not tell it.

    Raises:
        UsageError: another address.
        ValueError: a deadline or a number of retries that cannot be.
    """

    num_classes = None

    def __init__(
        self,
        address: str,
        *,
        deadline: float = 60,
        retries: int = 3,
        legend: Legend | None = None,
    ):
        if not 0 < deadline < math.inf or retries < 0:
            raise ValueError(
                f"deadline must be above 0 and finite and retries at least 0, got {deadline} and "
                f"{retries}"
            )
        self.address, self.deadline, self.retries, self.legend = address, deadline, retries, legend
        self._server = server_at(address)

    def segment(self, images):
        """Labels every pixel.

        Args:
            images: uint8 `[B, H, W, 3]` or `[H, W, 3]`, RGB, of any size; the path of an image; or
                a list of images and paths, of several sizes. A file is decoded here first, so
                that a damaged one is never sent; a JPEG or PNG file is then sent as it is. What
                TensorFlow's decoders would show otherwise than `gcn_keras.load_image` (EXIF
                rotation, transparency, other formats …) is sent as PNG, upright.

        Returns:
            uint8 label maps: `[B, H, W]`, `[H, W]`, or a list of `[H, W]`, as the images came.

        Raises:
            UserError: a file that is no sound image; a server that is down, does not answer in
                time, does not have the model or version, or answers with anything but label maps
                of the images' sizes. Of a list, nothing is sent before all of it is read.
            ValueError: an array that is no image.
        """
        if isinstance(images, str | os.PathLike):
            return self._labels([read_image(images)])[0]
        if isinstance(images, Sequence):
            is_path = [isinstance(image, str | os.PathLike) for image in images]
            encoded_images = [
                read_image(image) if path else encode_image(np.asarray(image))
                for image, path in zip(images, is_path, strict=True)
            ]
            return self._labels(encoded_images)
        images = np.asarray(images)
        if images.ndim == 4 and len(images):
            return np.stack(self._labels([encode_image(image) for image in images]))
        return self._labels([encode_image(images)])[0]

    def _labels(self, encoded_images: list[EncodedImage]) -> list[np.ndarray]:
        labels = []
        for request in _requests(encoded_images):
            answers = self._ask([encoded.data for encoded in request])
            if len(answers) != len(request):
                raise self._garbage(f"{len(answers)} label maps for {len(request)} images")
            labels += [self._decode(*pair) for pair in zip(answers, request, strict=True)]
        return labels

    def _ask(self, encoded_images: list[bytes]) -> list[bytes]:
        """One request, repeated while the server is unavailable."""
        end = time.monotonic() + self.deadline
        attempt, delay = 1, FIRST_DELAY
        while True:
            try:
                return self._server.ask(encoded_images, max(end - time.monotonic(), 0.001))
            except TimeoutError as error:
                raise UserError(
                    f"{self.address} gave no answer within {self.deadline:g} s: allow a longer "
                    "deadline, or look what keeps the server busy"
                ) from error
            except GarbageError as error:
                raise self._garbage(error) from error
            except UnavailableError as error:
                if attempt > self.retries or time.monotonic() + delay >= end:
                    raise UserError(
                        f"{self.address} is not available after {attempt} "
                        f"attempt{'s' * (attempt > 1)} ({error}): does the server run there, and "
                        "has it loaded the model?"
                    ) from error
            time.sleep(delay)
            attempt, delay = attempt + 1, 2 * delay

    def _decode(self, answer: bytes, encoded: EncodedImage) -> np.ndarray:
        """The label map in an answer."""
        try:
            with Image.open(io.BytesIO(answer), formats=["PNG"]) as image:
                mode, width, height = image.mode, image.width, image.height
                if (height, width) != (encoded.height, encoded.width):
                    raise self._garbage(
                        f"a label map of {width}x{height} for an image of "
                        f"{encoded.width}x{encoded.height}"
                    )
                labels = np.array(image)
        except _DECODER_ERRORS as error:
            raise self._garbage(f"a damaged PNG, or none: {error}") from error
        if mode not in ("L", "P"):
            raise self._garbage(f"a PNG of mode {mode}, not of 8-bit indices")
        if self.legend and labels.max() >= len(self.legend.class_names):
            raise self._garbage(
                f"label {labels.max()}, where the legend names {len(self.legend.class_names)} "
                "classes"
            )
        return labels

    def _garbage(self, what) -> UserError:
        return UserError(
            f"{self.address} did not answer as a model that gcn_keras.export wrote: {what}"
        )


class Address(NamedTuple):
    """Where a model is served: the parts of an address of the form that `Client` documents.

    Attributes:
        scheme: "http", "https" or "grpc".
        host, port: of the server; port None is the scheme's own.
        path: of the model, for REST, or its name, for gRPC.
        version: for gRPC; None is the newest.
    """

    scheme: str
    host: str
    port: int | None
    path: str
    version: str | None


def parse_address(address: str) -> Address:
    """Takes an address apart; nothing is connected.

    Raises:
        UsageError: the address has another form than `Client` documents.
    """
    try:
        parts = urlsplit(address)
        host, port = parts.hostname, parts.port
    except ValueError as error:  # such as a port of 99999
        raise _bad_address(address) from error
    is_grpc = parts.scheme == "grpc"
    # Eighteen digits: what fits into the 64 bits of a version.
    form = "/([^/:]+)(?:/([0-9]{1,18}))?" if is_grpc else "(.*/v1/models/[^/:]+(/versions/[0-9]+)?)"
    match = re.fullmatch(form, parts.path.rstrip("/"))
    if not host or not match or parts.scheme not in ("http", "https", "grpc"):
        raise _bad_address(address)
    if parts.query or parts.fragment or parts.username:
        raise _bad_address(address)
    return Address(parts.scheme, host, port, match[1], match[2] if is_grpc else None)


def server_at(address: str):
    """What asks the server at an address; errors as of `parse_address`."""
    scheme, host, port, path, version = parse_address(address)
    if scheme == "grpc":
        return Grpc(address, host, port or 8500, path, version)
    return Rest(address, scheme == "https", host, port, path)


def _bad_address(address: str) -> UsageError:
    return UsageError(
        f"{address} is no address of a model: expected http://HOST:8501/v1/models/NAME or "
        "grpc://HOST:8500/NAME, with /versions/N or /N for one version"
    )


class Rest:
    """TensorFlow Serving's REST interface; a connection a request, through no proxy."""

    def __init__(self, address: str, secure: bool, host: str, port: int | None, path: str):
        self._address, self._host, self._port = address, host, port
        self._connection = HTTPSConnection if secure else HTTPConnection
        self._path = f"{quote(path)}:predict"

    def ask(self, encoded_images: list[bytes], seconds: float) -> list[bytes]:
        """Sends encoded images and returns what came back for each.

        Raises:
            UnavailableError: the connection was refused, or the server says 503.
            TimeoutError: the time is up.
            GarbageError: the answer is none.
            UserError: everything else.
        """
        encoded = [{"b64": base64.b64encode(encoded).decode()} for encoded in encoded_images]
        body = json.dumps({"signature_name": SIGNATURE, "inputs": {INPUT: encoded}})
        status, content = self._exchange(body.encode(), seconds)
        if status != 200:
            raise _failure(self._address, status, _error_message(content))
        if len(content) > ANSWER_BYTES:
            raise GarbageError(f"more than {ANSWER_BYTES} bytes")
        try:
            outputs = json.loads(content)["outputs"]
            # Where there is one output alone, TensorFlow Serving leaves out its name.
            values = outputs[OUTPUT] if isinstance(outputs, dict) else outputs
            return [base64.b64decode(value["b64"], validate=True) for value in values]
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            start = _shortened(content[:200].decode("utf-8", "replace"))
            raise GarbageError(f'no JSON with {{"b64": …}} under "outputs", but {start}') from error

    def _exchange(self, body: bytes, seconds: float) -> tuple[int, bytes]:
        end = time.monotonic() + seconds
        connection = self._connection(self._host, self._port, timeout=seconds)
        headers = {"Content-Type": "application/json"}
        try:
            connection.connect()
            with _cut_off_after(connection.sock, end - time.monotonic()):
                connection.request("POST", self._path, body, headers)
                response = connection.getresponse()
                return response.status, response.read(ANSWER_BYTES + 1)
        except TimeoutError:
            raise
        except ConnectionRefusedError as error:
            raise UnavailableError("connection refused") from error
        except (OSError, HTTPException, UnicodeError) as error:  # a host that cannot be, too
            raise UserError(
                f"{self._address} cannot be asked: {error or type(error).__name__}"
            ) from error
        finally:
            connection.close()


@contextlib.contextmanager
def _cut_off_after(connection: socket.socket, seconds: float) -> Iterator[None]:
    """Ends the block with a TimeoutError when the time is up.

    The socket's own timeout would not do: it starts anew with every byte that comes.
    """
    is_late = threading.Event()

    def cut_off():
        is_late.set()
        with contextlib.suppress(OSError):  # the other side was faster
            connection.shutdown(socket.SHUT_RDWR)

    timer = threading.Timer(seconds, cut_off)
    timer.daemon = True
    timer.start()
    try:
        yield
    except (OSError, HTTPException):
        if not is_late.is_set():
            raise
    finally:
        timer.cancel()
    if is_late.is_set():  # without an error, too: half an answer may look like a whole one
        raise TimeoutError


class Grpc:
    """TensorFlow Serving's PredictionService, on one channel, through no proxy."""

    def __init__(self, address: str, host: str, port: int, name: str, version: str | None):
        import grpc
        from tensorflow_serving.apis import prediction_service_pb2_grpc

        self._address, self._name, self._version = address, name, version
        options = {
            "grpc.max_send_message_length": ANSWER_BYTES,
            "grpc.max_receive_message_length": ANSWER_BYTES,
            # Attempts are made, and counted, here alone; a lost connection is tried at once.
            "grpc.enable_retries": 0,
            "grpc.initial_reconnect_backoff_ms": 50,
            "grpc.min_reconnect_backoff_ms": 50,
            "grpc.enable_http_proxy": 0,
        }
        target = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        self._channel = grpc.insecure_channel(target, options=tuple(options.items()))
        self._stub = prediction_service_pb2_grpc.PredictionServiceStub(self._channel)

    def ask(self, encoded_images: list[bytes], seconds: float) -> list[bytes]:
        """As `Rest.ask`."""
        import grpc
        from tensorflow.core.framework import types_pb2
        from tensorflow_serving.apis import predict_pb2

        request = predict_pb2.PredictRequest()
        request.model_spec.name = self._name
        request.model_spec.signature_name = SIGNATURE
        if self._version is not None:
            request.model_spec.version.value = int(self._version)
        tensor = request.inputs[INPUT]
        tensor.dtype = types_pb2.DT_STRING
        tensor.tensor_shape.dim.add(size=len(encoded_images))
        tensor.string_val.extend(encoded_images)
        try:
            response = self._stub.Predict(request, timeout=seconds)
        except grpc.RpcError as error:
            if error.code() == grpc.StatusCode.DEADLINE_EXCEEDED:
                raise TimeoutError from error
            raise _failure(self._address, error.code().name, error.details()) from error
        names = sorted(response.outputs)
        if OUTPUT not in names or response.outputs[OUTPUT].dtype != types_pb2.DT_STRING:
            raise GarbageError(f"outputs {names}, not strings named {OUTPUT!r}")
        return list(response.outputs[OUTPUT].string_val)


def _failure(address: str, code: int | str, message: str) -> Exception:
    """What an HTTP status or a gRPC code means."""
    message = _shortened(message)
    if code in (503, "UNAVAILABLE"):
        return UnavailableError(message)
    if code in (404, "NOT_FOUND"):
        return UserError(f"{address}: the server has no such model or version ({message})")
    if f'"{SIGNATURE}"' in message:
        return UserError(
            f"{address} refused the request ({message}): is it a model that gcn_keras.export "
            f"wrote, with the signature {SIGNATURE!r}?"
        )
    if code in (400, "INVALID_ARGUMENT", "FAILED_PRECONDITION"):
        return UserError(f"{address} refused the request ({message})")
    return UserError(f"{address} failed with {code} ({message})")


def _error_message(content: bytes) -> str:
    """The text of TensorFlow Serving's {"error": …}, or of whatever came in its place."""
    try:
        return str(json.loads(content)["error"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return content[:1000].decode("utf-8", "replace")


def _shortened(message: str, limit: int = 300) -> str:
    """A message of a server on one line."""
    message = " ".join(message.split()) or "nothing"
    return message if len(message) <= limit else f"{message[:limit]}…"


def read_image(path) -> EncodedImage:
    """A file as it is sent: its own bytes where TensorFlow's decoders see what Pillow sees.

    Raises:
        UserError: see `gcn_keras.inference.images.load_image`.
    """
    pixels = load_image(path)
    with Image.open(path) as image:
        is_upright = image.getexif().get(ExifTags.Base.Orientation, 1) not in range(2, 9)
        is_plain = image.mode in _PLAIN_MODES and not image.has_transparency_data
        is_known = image.format in ("JPEG", "PNG")
    if is_upright and is_plain and is_known:
        return EncodedImage(Path(path).read_bytes(), *pixels.shape[:2])
    return encode_image(pixels)


def encode_image(pixels: np.ndarray) -> EncodedImage:
    """Pixels, uint8 `[H, W, 3]`, as PNG.

    Raises:
        ValueError: another dtype or shape.
    """
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[-1] != 3 or 0 in pixels.shape:
        raise ValueError(
            f"images must be uint8 [H, W, 3] with at least one pixel, or a batch of them, "
            f"received {pixels.dtype} {list(pixels.shape)}"
        )
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format="PNG", compress_level=1)  # the fastest
    return EncodedImage(file.getvalue(), *pixels.shape[:2])


def _requests(encoded_images: list[EncodedImage]) -> Iterator[list[EncodedImage]]:
    """Cuts a list of images into requests."""
    request, size = [], 0
    for encoded in encoded_images:
        if request and (len(request) == REQUEST_IMAGES or size + len(encoded.data) > REQUEST_BYTES):
            yield request
            request, size = [], 0
        request.append(encoded)
        size += len(encoded.data)
    if request:
        yield request

"""Asks TensorFlow Serving for label maps, over REST or gRPC.

    Client("http://localhost:8501/v1/models/shapes").segment("photo.jpg")
    Client("grpc://localhost:8500/shapes").segment("photo.jpg")

Images travel as JPEG or PNG bytes to the signature `serve_bytes` that `gcn_keras.export` writes,
and label maps come back as PNG: a tenth and less of numbers in JSON. REST needs the standard
library, numpy and Pillow alone; gRPC tensorflow-serving-api, which imports TensorFlow.
"""

import contextlib
import functools
import math
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import overload

import numpy as np

from gcn_keras.inference.encoded_images import (
    EncodedImage,
    InvalidAnswerError,
    decode_labels,
    encode,
)
from gcn_keras.inference.legend import Legend
from gcn_keras.inference.padding import padded_size
from gcn_keras.inference.serving_transports import (
    LABELS,
    LEGEND,
    NoSignatureError,
    UnavailableError,
    server_at,
)
from pipelines.base.errors import UserError
from pipelines.base.numeric import is_integer, is_number
from pipelines.base.plurals import count_of

# Of one request: a server with batching refuses what exceeds its max_batch_size, see
# serving/batching.config, and a model what exceeds its --most-pixels. An image of more bytes or
# pixels goes alone.
REQUEST_IMAGES = 8
REQUEST_BYTES = 2**26
REQUEST_PIXELS = 2**26

FIRST_DELAY = 0.2  # seconds before the second attempt; then twice as long each time


class Client:
    """A model behind TensorFlow Serving; a `gcn_keras.inference.segmenters.Segmenter`.

    Nothing is sent before the first image, or before its legend is asked for. Several threads may
    share a client.

    Args:
        address: `http://HOST:8501/v1/models/NAME`, with /versions/N for one version, or https; or
            `grpc://HOST:8500/NAME`, with /N. Without a version, the server's newest.
        deadline: seconds within which an answer must have come, repeated attempts included.
        retries: how often a server is asked again that refuses the connection or says UNAVAILABLE
            (503 over REST). Nothing else is tried twice.
        legend: names and colours of the classes; an answer with a label beyond them is refused.

    Attributes:
        address, deadline, retries: as given.
        num_classes, logits: None; a server does not give them.

    Raises:
        UsageError: another address.
        ValueError: an invalid deadline or number of retries.
    """

    num_classes: int | None = None
    logits = None

    def __init__(
        self,
        address: str,
        *,
        deadline: float = 60,
        retries: int = 3,
        legend: Legend | None = None,
    ):
        if not is_number(deadline) or not 0 < deadline < math.inf:
            raise ValueError(f"deadline must be above 0 and finite, received {deadline!r}")
        if not is_integer(retries) or retries < 0:
            raise ValueError(f"retries must be an integer of at least 0, received {retries!r}")
        self.address, self.deadline, self.retries = address, deadline, retries
        self._given = legend
        self._server = server_at(address)

    @functools.cached_property
    def legend(self) -> Legend | None:
        """As given, or as the server's model carries it, which is asked once; None if it does not.

        Raises:
            UserError: as `segment` does.
        """
        if self._given:
            return self._given
        with self._checked():
            try:
                answers = self._ask([b""], LEGEND)
            except NoSignatureError:
                return None
            if len(answers) != 1:
                raise InvalidAnswerError(count_of(len(answers), "legend"))
        return Legend.parse(answers[0], f"the legend of {self.address}")

    @overload
    def segment(self, images: np.ndarray | str | Path) -> np.ndarray: ...
    @overload
    def segment(self, images: list | tuple) -> list[np.ndarray]: ...
    def segment(self, images):
        """Labels every pixel.

        Args:
            images: uint8 `[B, H, W, 3]` or `[H, W, 3]`, RGB, of any size; the path of an image; or
                a list of images and paths, of several sizes, all of which are read before
                anything is sent. A JPEG or PNG file is sent as it is, unless TensorFlow's decoders
                show it otherwise than `gcn_keras.load_image` (EXIF rotation, transparency …).

        Returns:
            uint8 label maps: `[B, H, W]`, `[H, W]`, or a list of `[H, W]`, as the images came.

        Raises:
            UserError: a file that is no sound image; a server that is down, does not answer in
                time, does not have the model or version, or answers with anything but label maps
                of the images' sizes.
            ValueError: an array that is no image.
        """
        if isinstance(images, Sequence) and not isinstance(images, str):
            return self._labels([encode(image) for image in images])
        if np.ndim(images) == 4 and len(images):
            return np.stack(self._labels([encode(image) for image in images]))
        return self._labels([encode(images)])[0]

    def _labels(self, encoded_images: list[EncodedImage]) -> list[np.ndarray]:
        labels: list[np.ndarray] = []
        with self._checked():
            for request in _requests(encoded_images):
                answers = self._ask([encoded.data for encoded in request], LABELS)
                if len(answers) != len(request):
                    maps = count_of(len(answers), "label map")
                    raise InvalidAnswerError(f"{maps} for {count_of(len(request), 'image')}")
                labels += [self._decode(*pair) for pair in zip(answers, request, strict=True)]
        return labels

    @contextlib.contextmanager
    def _checked(self) -> Iterator[None]:
        try:
            yield
        except InvalidAnswerError as error:
            raise UserError(
                f"{self.address} did not answer as a model that gcn_keras.export wrote: {error}"
            ) from error

    def _ask(self, encoded_images: list[bytes], output: str) -> list[bytes]:
        """One request, repeated while the server is unavailable."""
        end = time.monotonic() + self.deadline
        attempt, delay = 1, FIRST_DELAY
        while True:
            try:
                seconds = max(end - time.monotonic(), 0.001)
                return self._server.ask(encoded_images, seconds, output)
            except TimeoutError as error:
                raise UserError(
                    f"{self.address} gave no answer within {self.deadline:g} s: allow a longer "
                    "deadline, or find out what keeps the server busy"
                ) from error
            except UnavailableError as error:
                if attempt > self.retries or time.monotonic() + delay >= end:
                    raise UserError(
                        f"{self.address} is not available after "
                        f"{count_of(attempt, 'attempt')} ({error}): does the server run there, and "
                        "has it loaded the model?"
                    ) from error
            time.sleep(delay)
            attempt, delay = attempt + 1, 2 * delay

    def _decode(self, answer: bytes, encoded: EncodedImage) -> np.ndarray:
        labels = decode_labels(answer, encoded.height, encoded.width)
        if self._given and labels.max() >= len(self._given.class_names):
            raise InvalidAnswerError(
                f"label {labels.max()}, where the legend names "
                f"{count_of(len(self._given.class_names), 'class')}"
            )
        return labels


def _requests(encoded_images: list[EncodedImage]) -> Iterator[list[EncodedImage]]:
    """Cuts a list of images into requests."""
    request: list[EncodedImage] = []
    for encoded in encoded_images:
        more = (*request, encoded)
        size, pixels = (sum(map(of, more)) for of in (_bytes_of, _pixels_of))
        is_full = len(more) > REQUEST_IMAGES or size > REQUEST_BYTES or pixels > REQUEST_PIXELS
        if request and is_full:
            yield request
            request = []
        request.append(encoded)
    if request:
        yield request


def _bytes_of(encoded: EncodedImage) -> int:
    return len(encoded.data)


def _pixels_of(encoded: EncodedImage) -> int:
    """As the network sees the image."""
    return math.prod(padded_size((encoded.height, encoded.width)))

"""Images and label maps as they travel to and from a server: JPEG or PNG bytes."""

import io
import os
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import ExifTags, Image

from gcn_keras.inference.images import load_image
from pipelines.base.damage import DAMAGE


class InvalidAnswerError(Exception):
    """The server's answer is malformed."""


class EncodedImage(NamedTuple):
    """An image as it is sent: JPEG or PNG bytes, and the size of the label map to expect."""

    data: bytes
    height: int
    width: int


def encode(image: np.ndarray | str | os.PathLike) -> EncodedImage:
    """An image as it is sent: a file's own bytes where TensorFlow's decoders see what Pillow sees,
    anything else as PNG.

    Args:
        image: uint8 `[H, W, 3]`, RGB, or a path.

    Raises:
        UserError: no sound file, see `gcn_keras.inference.images.load_image`.
        ValueError: an array of another dtype or shape.
    """
    if isinstance(image, str | os.PathLike):
        pixels = load_image(path := Path(image))
        if _is_plain(path):
            return EncodedImage(path.read_bytes(), *pixels.shape[:2])
    else:
        pixels = np.asarray(image)
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[-1] != 3 or 0 in pixels.shape:
        raise ValueError(
            f"images must be uint8 [H, W, 3] with at least one pixel, or a batch of them, "
            f"received {pixels.dtype} {list(pixels.shape)}"
        )
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format="PNG", compress_level=1)  # the fastest
    return EncodedImage(file.getvalue(), *pixels.shape[:2])


def _is_plain(path: Path) -> bool:
    with Image.open(path) as image:
        is_upright = image.getexif().get(ExifTags.Base.Orientation, 1) not in range(2, 9)
        is_opaque = image.mode in ("1", "L", "P", "RGB") and not image.has_transparency_data
        return image.format in ("JPEG", "PNG") and is_upright and is_opaque


def decode_labels(answer: bytes, height: int, width: int) -> np.ndarray:
    """The label map in an answer, uint8 `[height, width]`.

    Raises:
        InvalidAnswerError: it is no PNG of 8-bit indices, or has another size.
    """
    try:
        with Image.open(io.BytesIO(answer), formats=["PNG"]) as image:
            if image.size != (width, height):
                raise InvalidAnswerError(
                    f"a label map of {image.width}x{image.height} for an image of {width}x{height}"
                )
            mode, labels = image.mode, np.array(image)
        with Image.open(io.BytesIO(answer), formats=["PNG"]) as image:
            image.verify()  # checksums, which decoding does not look at
    except (*DAMAGE, Image.DecompressionBombError) as error:
        raise InvalidAnswerError(f"a damaged PNG, or none: {error}") from error
    if mode not in ("L", "P"):
        raise InvalidAnswerError(f"a PNG of mode {mode}, not of 8-bit indices")
    return labels

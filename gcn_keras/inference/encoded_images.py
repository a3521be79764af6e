"""Images and label maps as they travel to and from a server: JPEG or PNG bytes."""

import io
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import ExifTags, Image

from gcn_keras.inference.images import DECODER_ERRORS, load_image

# What TensorFlow's decoders make the same pixels of as `load_image`.
_PLAIN_MODES = ("1", "L", "P", "RGB")


class GarbageError(Exception):
    """An answer that is none."""


class EncodedImage(NamedTuple):
    """An image as it is sent: JPEG or PNG bytes, and the size of the label map to expect."""

    data: bytes
    height: int
    width: int


def read_image(path: str | Path) -> EncodedImage:
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


def decode_labels(answer: bytes, height: int, width: int) -> np.ndarray:
    """The label map in an answer, uint8 `[height, width]`.

    Raises:
        GarbageError: it is no PNG of 8-bit indices, or has another size.
    """
    try:
        with Image.open(io.BytesIO(answer), formats=["PNG"]) as image:
            if image.size != (width, height):
                raise GarbageError(
                    f"a label map of {image.width}x{image.height} for an image of {width}x{height}"
                )
            mode, labels = image.mode, np.array(image)
    except (*DECODER_ERRORS, Image.DecompressionBombError) as error:
        raise GarbageError(f"a damaged PNG, or none: {error}") from error
    if mode not in ("L", "P"):
        raise GarbageError(f"a PNG of mode {mode}, not of 8-bit indices")
    return labels

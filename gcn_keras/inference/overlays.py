"""Images out: label maps, and their colours over an image, with numpy and Pillow alone."""

import zlib
from pathlib import Path

import numpy as np
from PIL import Image

from pipelines.base.encoding import encode_jpeg
from pipelines.base.errors import UserError
from pipelines.base.files import replacing
from pipelines.base.labels import IGNORE
from pipelines.base.numeric import is_number

_LONGEST_JPEG = 65_500  # pixels of a side, as libjpeg takes them
OVERLAY_MARK = b"python -m gcn_keras.predict"  # a comment in the file, by which it is known


def save_label_map(labels: np.ndarray, path: str | Path, palette: np.ndarray) -> None:
    """Writes a label map as a PNG that keeps its indices.

    Args:
        labels: uint8 [H, W], class indices.
        path: the file to write; it is replaced in one step, see `replacing`.
        palette: uint8 [256, 3], the RGB colour in which viewers show each index.

    Raises:
        UserError: if the file cannot be written.
        ValueError: if an array has another shape or type.
    """
    _check("labels", labels, (None, None))
    _check("palette", palette, (256, 3))
    image = indexed(labels, palette)
    with replacing(path) as temporary:  # RLE takes a third of the default time
        image.save(temporary, format="PNG", compress_type=zlib.Z_RLE)


def indexed(labels: np.ndarray, palette: np.ndarray) -> Image.Image:
    """An image of indices, uint8 `[H, W]`, with their colours, uint8 `[C, 3]` RGB."""
    image = Image.fromarray(labels)
    image.putpalette(palette.tobytes())
    return image


def jpeg(image: np.ndarray) -> bytes:
    """Encodes an image as JPEG, for viewing: a PNG takes ten times as long, three times the bytes.

    Args:
        image: uint8 [H, W, 3], RGB.

    Raises:
        UserError: a side is longer than a JPEG's may be.
        ValueError: the array has another shape or type.
    """
    _check("image", image, (None, None, 3))
    if max(image.shape) > _LONGEST_JPEG:
        raise UserError(
            f"an overlay is a JPEG, of at most {_LONGEST_JPEG:,} pixels a side, and this one is "
            f"{image.shape[1]}x{image.shape[0]}: cut the image into parts"
        )
    return encode_jpeg(image, OVERLAY_MARK)


def overlay(
    image: np.ndarray, labels: np.ndarray, palette: np.ndarray, opacity: float = 0.5
) -> np.ndarray:
    """Lays the colours of a label map over an image, but for void (255).

    Args:
        image: uint8 [H, W, 3], RGB.
        labels: uint8 [H, W], class indices and 255 for void.
        palette: uint8 [256, 3], the RGB colour of each index.
        opacity: 0 shows the image alone, 1 the colours alone.

    Returns:
        uint8 [H, W, 3]: `(1 - opacity) * image + opacity * colour`, rounded.

    Raises:
        ValueError: if an array has another shape or type, or the opacity is not in 0...1.
    """
    _check("image", image, (None, None, 3))
    _check("labels", labels, image.shape[:2])
    _check("palette", palette, (256, 3))
    if not is_number(opacity) or not 0 <= opacity <= 1:
        raise ValueError(f"opacity must be between 0 and 1, not {opacity!r}")
    # In place, as an image may be large.
    mixed = image * np.float32(1 - opacity)
    mixed += np.take(np.float32(opacity) * palette, labels, axis=0)
    mixed = np.rint(mixed, out=mixed).astype(np.uint8)
    void = labels == IGNORE
    mixed[void] = image[void]
    return mixed


def _check(name: str, array: np.ndarray, shape: tuple[int | None, ...]) -> None:
    """Refuses an array that is not uint8 or not of this shape; None stands for any size."""
    if not isinstance(array, np.ndarray):
        raise ValueError(f"{name} must be an array, not a {type(array).__name__}")
    fits = array.ndim == len(shape) and all(
        want in (None, size) for want, size in zip(shape, array.shape, strict=True)
    )
    if array.dtype != np.uint8 or not fits:
        wanted = ", ".join("any" if size is None else str(size) for size in shape)
        raise ValueError(
            f"{name} must be uint8 of shape [{wanted}], not {array.dtype} of {list(array.shape)}"
        )

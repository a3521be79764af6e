"""Images in and images out, with numpy and Pillow alone."""

import os
import struct
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from pipelines.base.errors import UsageError, UserError
from pipelines.base.files import replacing
from pipelines.base.labels import IGNORE

ENDINGS = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm")
# What Pillow's decoders raise on damaged files, a SyntaxError for a broken PNG included.
DECODER_ERRORS = (OSError, SyntaxError, ValueError, EOFError, IndexError, struct.error)


def load_image(path: str | Path) -> np.ndarray:
    """Reads an image as RGB, upright, whatever the file holds.

    Grayscale is repeated in the three channels; 16-bit grayscale is scaled to 8 bit (65535 becomes
    255); palettes and CMYK are converted; transparent pixels are laid over white, as viewers show
    them (the colour stored under them is arbitrary); the EXIF orientation is applied. Of an
    animation, the first frame is read.

    Args:
        path: the file.

    Returns:
        uint8 array [H, W, 3], RGB in 0...255.

    Raises:
        UserError: the file is missing, a folder, unreadable, empty, no image, damaged, larger than
            Pillow's limit, or holds values whose range nobody knows (floating point, 32-bit
            integers above 65535).
    """
    path = Path(path)
    if path.is_dir():
        raise UserError(f"{path} is a folder, not an image.")
    try:
        if path.stat().st_size == 0:
            raise UserError(f"{path} is empty (0 bytes), not an image.")
        with Image.open(path) as image:
            image.load()
            pixels = _to_rgb(ImageOps.exif_transpose(image), path)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise UserError(f"{path} does not exist.") from error
    except PermissionError as error:
        raise UserError(f"{path} cannot be read: permission denied.") from error
    except UnidentifiedImageError as error:
        raise UserError(f"{path} is not an image in a format that can be read.") from error
    except Image.DecompressionBombError as error:
        raise UserError(f"{path} is too large to be opened: {error}") from error
    except DECODER_ERRORS as error:
        raise UserError(f"{path} is a truncated or damaged image: {error}.") from error
    if pixels.size == 0:
        raise UserError(f"{path} holds an image without pixels.")
    return pixels


def _to_rgb(image: Image.Image, path: Path) -> np.ndarray:
    """The pixels of a decoded image as uint8 [H, W, 3]."""
    if image.mode == "F":
        raise UserError(
            f"{path} holds floating-point values, whose range is unknown: convert it to 8 bit."
        )
    if image.mode.startswith("I"):
        values = np.asarray(image)
        lowest, highest = values.min(initial=0), values.max(initial=0)
        if lowest < 0 or highest > 65535:
            raise UserError(
                f"{path} holds integers from {lowest} to {highest}, which is neither 8 nor 16 "
                "bit: convert it to 8 bit."
            )
        image = Image.fromarray(np.rint(values / 257).astype(np.uint8))
    if image.has_transparency_data:
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image.convert("RGBA"))
    return np.array(image.convert("RGB"))


def find_images(paths: Iterable[str | Path]) -> list[Path]:
    """The images that some files and folders stand for.

    Files are taken whatever their ending. Folders are searched with everything below them for the
    endings in `ENDINGS`, but for hidden files and folders (whose name begins with a dot).

    Returns:
        Each path once, in the order of `paths`; of a folder, sorted.

    Raises:
        UsageError: a path does not exist, or a folder cannot be read or has no image.
    """
    found: dict[Path, None] = {}  # for its order: files named twice come once
    for path in map(Path, paths):
        if path.is_dir():
            found.update(dict.fromkeys(_images_below(path)))
        elif path.exists():
            found[path] = None
        else:
            raise UsageError(f"{path} does not exist.")
    return list(found)


def _images_below(folder: Path) -> list[Path]:
    def refuse(error: OSError):
        raise UsageError(f"the folder {error.filename} cannot be read: {error.strerror}.")

    images = []
    for parent, folders, files in os.walk(folder, onerror=refuse):
        folders[:] = [name for name in folders if not name.startswith(".")]
        images += [
            Path(parent, name)
            for name in files
            if name.lower().endswith(ENDINGS) and not name.startswith(".")
        ]
    if not images:
        endings = " ".join(ENDINGS)
        raise UsageError(f"the folder {folder} has no image: none that ends in {endings}.")
    return sorted(images)


def save_png(array: np.ndarray, path: str | Path, palette: np.ndarray | None = None) -> None:
    """Writes a PNG: an image, or with a palette a label map that keeps its indices.

    Args:
        array: uint8 [H, W, 3], RGB; with a palette uint8 [H, W], class indices.
        path: the file to write; it is replaced in one step, see `replacing`.
        palette: uint8 [256, 3], the RGB colour in which viewers show each index.

    Raises:
        UserError: if the file cannot be written.
        ValueError: if an array has another shape or type.
    """
    _check("array", array, (None, None, 3) if palette is None else (None, None))
    image = Image.fromarray(array)
    if palette is not None:
        _check("palette", palette, (256, 3))
        image.putpalette(palette.tobytes())
    with replacing(path) as temporary:
        image.save(temporary, format="PNG")


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
    if not 0 <= opacity <= 1:
        raise ValueError(f"opacity must be between 0 and 1, not {opacity}.")
    mixed = (1 - opacity) * image.astype(np.float32) + opacity * palette.astype(np.float32)[labels]
    return np.where((labels == IGNORE)[:, :, None], image, np.rint(mixed).astype(np.uint8))


def _check(name: str, array: np.ndarray, shape: tuple[int | None, ...]) -> None:
    """Refuses an array that is not uint8 or not of this shape; None stands for any size."""
    fits = array.ndim == len(shape) and all(
        want in (None, size) for want, size in zip(shape, array.shape, strict=True)
    )
    if array.dtype != np.uint8 or not fits:
        wanted = ", ".join("any" if size is None else str(size) for size in shape)
        raise ValueError(
            f"{name} must be uint8 of shape [{wanted}], not {array.dtype} of {list(array.shape)}."
        )

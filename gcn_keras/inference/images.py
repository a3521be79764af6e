"""Images in, with numpy and Pillow alone."""

import stat
import warnings
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from pipelines.base.damage import DAMAGE, reason_of
from pipelines.base.errors import UserError
from pipelines.base.files import checked_path
from pipelines.base.numeric import is_integer
from pipelines.base.samples import bits_of_samples, is_white_zero

# Whose headers tell the size; that of an icon, say, comes out when it is decoded.
_SIZED_FORMATS = ("JPEG", "PNG", "BMP", "GIF", "TIFF", "WEBP", "PPM", "AVIF")


def load_image(path: str | Path, max_pixels: int | None = None) -> np.ndarray:
    """Reads an image as RGB, upright, whatever the file holds.

    Grayscale is repeated in the three channels; 16-bit grayscale is scaled to 8 bit (65535 becomes
    255); TIFF files in which white is zero are inverted; palettes and CMYK are converted;
    transparent pixels are laid over white, as viewers show them (the colour stored under them is
    arbitrary); the EXIF orientation is applied. Of an animation, the first frame is read.

    Args:
        path: the file.
        max_pixels: above which an image is refused before it is decoded, as is a format that does
            not declare its size; None for a file that is trusted.

    Returns:
        uint8 array [H, W, 3], RGB in 0...255.

    Raises:
        UserError: the file is missing, no regular file, unreadable, empty, no image, damaged,
            larger than Pillow's limit, or holds values whose range nobody knows (floating point,
            32-bit integers above 65535), or colours of 16 bits a channel, which would be cut.
        ValueError: another `max_pixels`.
    """
    path = checked_path(path)
    if max_pixels is not None and not is_integer(max_pixels):
        raise ValueError(f"max_pixels must be an integer or None, received {max_pixels!r}")
    try:
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            raise UserError(f"{path} is a folder, not an image")
        if not stat.S_ISREG(status.st_mode):  # opening a pipe would wait for its other end
            raise UserError(f"{path} is a pipe, a socket or a device, not an image")
        if status.st_size == 0:
            raise UserError(f"{path} is empty (0 bytes), not an image")
        # From half of its limit on Pillow warns, as of an attack.
        with warnings.catch_warnings(action="ignore", category=Image.DecompressionBombWarning):
            pixels = _decode(path, max_pixels)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise UserError(f"{path} does not exist") from error
    except UnidentifiedImageError as error:
        raise UserError(f"{path} is not an image in a format that can be read") from error
    except Image.DecompressionBombError as error:
        raise UserError(
            f"{path} is too large to be opened: {str(error).rstrip('.')}: cut it into parts"
        ) from error
    except MemoryError as error:
        raise UserError(
            f"{path} needs more memory than there is: it is damaged, or to be scaled down"
        ) from error
    except DAMAGE as error:
        if reason := getattr(error, "strerror", None):  # of the file system, not of Pillow
            raise UserError(f"{path} cannot be read: {reason}") from error
        raise UserError(f"{path} is a truncated or damaged image: {reason_of(error)}") from error
    if pixels.size == 0:
        raise UserError(f"{path} holds an image without pixels")
    return pixels


def _decode(path: Path, max_pixels: int | None) -> np.ndarray:
    formats = None if max_pixels is None else _SIZED_FORMATS
    with Image.open(path, formats=formats) as image:
        if max_pixels is not None and image.width * image.height > max_pixels:
            raise UserError(
                f"{path} has {image.width} × {image.height} pixels, and at most {max_pixels:,} are "
                "taken: scale it down"
            )
        if image.format == "PNG":
            image.verify()  # checksums, which decoding does not look at
    with Image.open(path, formats=formats) as image:
        bits = bits_of_samples(image)
        # Gray values of 12 bits would be read as if they were of 16.
        if bits == 12 or (bits == 16 and image.mode[0] != "I"):
            raise UserError(f"{path} has {bits} bits a channel; 8 are needed: convert it to 8 bit")
        is_negative = bits == 16 and is_white_zero(image)  # Pillow inverts those of fewer bits
        image.load()
        return _to_rgb(ImageOps.exif_transpose(image), path, is_negative)


def _to_rgb(image: Image.Image, path: Path, is_negative: bool) -> np.ndarray:
    """The pixels of a decoded image as uint8 [H, W, 3]; of a negative, 0 is white in 16 bits."""
    if image.mode == "F":
        raise UserError(
            f"{path} holds floating-point values, whose range is unknown: convert it to 8 bit"
        )
    if image.mode.startswith("I"):
        values = np.asarray(image)
        lowest, highest = values.min(initial=0), values.max(initial=0)
        if lowest < 0 or highest > 65535:
            raise UserError(
                f"{path} holds integers from {lowest} to {highest}, which is neither 8 nor 16 "
                "bit: convert it to 8 bit"
            )
        if image.mode == "I" and 0 < highest <= 255 and path.suffix.lower() in (".tif", ".tiff"):
            raise UserError(
                f"{path} holds integers of 32 bits up to {highest}, which may be of 8 or of 16 "
                "bit: convert it to 8 bit"
            )
        if is_negative:
            values = 65535 - values
        image = Image.fromarray(np.rint(values / 257).astype(np.uint8))
    if image.has_transparency_data:
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image.convert("RGBA"))
    return np.array(image.convert("RGB"))


def checked_batch(images: np.ndarray) -> np.ndarray:
    """Images as an array; a ValueError unless they are uint8 `[B, H, W, 3]`, no side 0."""
    images = np.asarray(images)
    shape_fits = images.ndim == 4 and images.shape[-1] == 3 and 0 not in images.shape
    if images.dtype != np.uint8 or not shape_fits:
        raise ValueError(
            f"images must be uint8 [B, H, W, 3], received {images.dtype} {images.shape}"
        )
    return images

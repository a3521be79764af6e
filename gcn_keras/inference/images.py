"""Images in and images out, with numpy and Pillow alone."""

import os
import re
import stat
import warnings
import zlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from pipelines.base.damage import DAMAGE, reason_of
from pipelines.base.errors import UsageError, UserError
from pipelines.base.files import is_hidden, replacing
from pipelines.base.labels import IGNORE
from pipelines.base.numeric import is_integer, is_number
from pipelines.base.progress import note_passed_over
from pipelines.base.samples import bits_of_samples, is_white_zero
from pipelines.building.encoding import encode_jpeg

ENDINGS = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm")
# What the results of an image are called, after its name; those of a video; and what the drawing of
# a receptive field is.
IMAGE_RESULTS, VIDEO_RESULTS = ("_labels.png", "_overlay.jpg"), ("_labels", "_overlay.mp4")
FIELD_ENDING = "_receptive_field.png"
_LONGEST_JPEG = 65_500  # pixels of a side, as libjpeg takes them
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
    path = Path(path)
    if max_pixels is not None and not is_integer(max_pixels):
        raise ValueError(f"max_pixels must be an integer or None, received {max_pixels!r}.")
    try:
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            raise UserError(f"{path} is a folder, not an image.")
        if not stat.S_ISREG(status.st_mode):  # opening a pipe would wait for its other end
            raise UserError(f"{path} is a pipe, a socket or a device, not an image.")
        if status.st_size == 0:
            raise UserError(f"{path} is empty (0 bytes), not an image.")
        # From half of its limit on Pillow warns, as of an attack.
        with warnings.catch_warnings(action="ignore", category=Image.DecompressionBombWarning):
            pixels = _decode(path, max_pixels)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise UserError(f"{path} does not exist.") from error
    except UnidentifiedImageError as error:
        raise UserError(f"{path} is not an image in a format that can be read.") from error
    except Image.DecompressionBombError as error:
        raise UserError(f"{path} is too large to be opened: {error} Cut it into parts.") from error
    except MemoryError as error:
        raise UserError(
            f"{path} needs more memory than there is: it is damaged, or to be scaled down."
        ) from error
    except DAMAGE as error:
        if reason := getattr(error, "strerror", None):  # of the file system, not of Pillow
            raise UserError(f"{path} cannot be read: {reason}.") from error
        raise UserError(f"{path} is a truncated or damaged image: {reason_of(error)}.") from error
    if pixels.size == 0:
        raise UserError(f"{path} holds an image without pixels.")
    return pixels


def _decode(path: Path, max_pixels: int | None) -> np.ndarray:
    formats = None if max_pixels is None else _SIZED_FORMATS
    with Image.open(path, formats=formats) as image:
        if max_pixels is not None and image.width * image.height > max_pixels:
            raise UserError(
                f"{path} has {image.width} × {image.height} pixels, and at most {max_pixels:,} are "
                "taken: scale it down."
            )
        if image.format == "PNG":
            image.verify()  # checksums, which decoding does not look at
    with Image.open(path, formats=formats) as image:
        bits = bits_of_samples(image)
        # Gray values of 12 bits would be read as if they were of 16.
        if bits == 12 or (bits == 16 and image.mode[0] != "I"):
            raise UserError(f"{path} has {bits} bits a channel; 8 are needed: convert it to 8 bit.")
        is_negative = bits == 16 and is_white_zero(image)  # Pillow inverts those of fewer bits
        image.load()
        return _to_rgb(ImageOps.exif_transpose(image), path, is_negative)


def _to_rgb(image: Image.Image, path: Path, is_negative: bool) -> np.ndarray:
    """The pixels of a decoded image as uint8 [H, W, 3]; of a negative, 0 is white in 16 bits."""
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
        if image.mode == "I" and 0 < highest <= 255 and path.suffix.lower() in (".tif", ".tiff"):
            raise UserError(
                f"{path} holds integers of 32 bits up to {highest}, which may be of 8 or of 16 "
                "bit: convert it to 8 bit."
            )
        if is_negative:
            values = 65535 - values
        image = Image.fromarray(np.rint(values / 257).astype(np.uint8))
    if image.has_transparency_data:
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image.convert("RGBA"))
    return np.array(image.convert("RGB"))


def find_images(paths: Iterable[str | Path], out: Path | None = None) -> list[Path]:
    """The images that some files and folders stand for; what is passed over is named.

    Files are taken whatever their ending. Folders are searched with everything below them for the
    endings in `ENDINGS`, but for hidden files and folders (whose name begins with a dot), linked
    folders, pipes and devices.

    Args:
        paths: files and folders.
        out: folder of results, which are no images to segment: what lies in it, and elsewhere in
            folders STEM_labels.png with STEM_overlay.jpg. Of a folder that is `out` itself, these
            and what `receptive_field` has drawn.

    Returns:
        Each path once, in the order of `paths`; of a folder, sorted.

    Raises:
        UsageError: a path does not exist, a folder cannot be read, or there is no image.
    """
    found: dict[Path, None] = {}  # for its order: files named twice come once
    passed_over: list[Path] = []
    for path in map(Path, paths):
        if out and _is_within(path.parent, out) and is_result(path):
            passed_over.append(path)
        elif os.path.isdir(path):
            images, others = _images_below(path, out)
            if not images and not any(map(is_result, others)):
                note_passed_over(others)
                endings = " ".join(ENDINGS)
                raise UsageError(f"the folder {path} has no image: none that ends in {endings}.")
            found.update(dict.fromkeys(images))
            passed_over += others
        elif not os.path.lexists(path):
            raise UsageError(f"{path} does not exist.")
        else:
            found[path] = None
    note_passed_over(sorted(passed_over, key=is_result))  # of many results, others come first
    if passed_over and not found:
        raise UsageError("there is no image but results of an earlier run.")
    return list(found)


def _images_below(folder: Path, out: Path | None) -> tuple[list[Path], list[Path]]:
    """The images in a folder, and what is passed over; both sorted."""

    def refuse(error: OSError):
        raise UsageError(f"the folder {error.filename} cannot be read: {error.strerror}.")

    images: list[Path] = []
    passed_over: list[Path] = []
    for parent, folders, files in os.walk(folder, onerror=refuse):
        folders[:] = [name for name in folders if not is_hidden(name)]
        for path in [Path(parent, name) for name in folders]:
            if path.is_symlink() or is_result(path) or (out and _is_same(path, out)):
                folders.remove(path.name)
                passed_over.append(path)
        for path in [Path(parent, name) for name in files if not is_hidden(name)]:
            is_drawn = out and path.name.endswith(FIELD_ENDING) and _is_same(path.parent, out)
            is_image = path.name.lower().endswith(ENDINGS) and not (is_result(path) or is_drawn)
            # A broken link is an image that is missing; a pipe or a device is none.
            is_file = path.is_file() or not path.exists()
            (images if is_image and is_file else passed_over).append(path)
    return sorted(images), sorted(passed_over)


def _is_within(path: Path, out: Path) -> bool:
    return Path(os.path.realpath(path)).is_relative_to(os.path.realpath(out))


def _is_same(path: Path, out: Path) -> bool:
    return os.path.realpath(path) == os.path.realpath(out)


def is_result(path: Path) -> bool:
    """Whether `predict` has written a file or a folder: of its results there are always two."""
    name = re.sub(r"_(labels|overlay)(\.png|\.jpg|\.mp4)?$", "", path.name)
    return any(
        path.name.removeprefix(name) in pair
        and all(os.path.exists(path.with_name(name + ending)) for ending in pair)
        for pair in (IMAGE_RESULTS, VIDEO_RESULTS)
    )


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
    """An image as a JPEG file, for the eye: a PNG takes ten times as long, thrice the bytes.

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
            f"{image.shape[1]}x{image.shape[0]}: cut the image into parts."
        )
    return encode_jpeg(image)


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
        raise ValueError(f"opacity must be between 0 and 1, not {opacity!r}.")
    # In place, as an image may be large.
    mixed = image * np.float32(1 - opacity)
    mixed += np.take(np.float32(opacity) * palette, labels, axis=0)
    mixed = np.rint(mixed, out=mixed).astype(np.uint8)
    void = labels == IGNORE
    mixed[void] = image[void]
    return mixed


def checked_batch(images: np.ndarray) -> np.ndarray:
    """Images as an array; a ValueError unless they are uint8 `[B, H, W, 3]`, no side 0."""
    images = np.asarray(images)
    shape_fits = images.ndim == 4 and images.shape[-1] == 3 and 0 not in images.shape
    if images.dtype != np.uint8 or not shape_fits:
        raise ValueError(
            f"images must be uint8 [B, H, W, 3], received {images.dtype} {images.shape}"
        )
    return images


def _check(name: str, array: np.ndarray, shape: tuple[int | None, ...]) -> None:
    """Refuses an array that is not uint8 or not of this shape; None stands for any size."""
    if not isinstance(array, np.ndarray):
        raise ValueError(f"{name} must be an array, not a {type(array).__name__}.")
    fits = array.ndim == len(shape) and all(
        want in (None, size) for want, size in zip(shape, array.shape, strict=True)
    )
    if array.dtype != np.uint8 or not fits:
        wanted = ", ".join("any" if size is None else str(size) for size in shape)
        raise ValueError(
            f"{name} must be uint8 of shape [{wanted}], not {array.dtype} of {list(array.shape)}."
        )

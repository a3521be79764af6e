"""An image file, opened and judged before its pixels are decoded."""

import contextlib
import io
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import PREFIXES as TIFF_STARTS
from PIL.TiffImagePlugin import TiffImageFile

from pipelines.base import decoding
from pipelines.base.damage import DAMAGE
from pipelines.base.errors import UserError
from pipelines.base.files import read_regular
from pipelines.base.plurals import count_of
from pipelines.base.samples import bits_of_samples, more_bands

# Pixels that TensorFlow decodes, in all and along a side.
LARGEST, LONGEST = (1 << 29) - 1, 1_000_000
# Pixels that a byte can stand for: 8 of one bit in a byte that zlib packs with 1,031 others. The
# other kinds here pack less; WebP, and fax, LZW or zstd in TIFF, pack more.
_DENSEST = 8 * 1032
_OF_LIMITED_DENSITY = ("PNG", "JPEG", "GIF", "BMP")
_OF_LIMITED_DENSITY_IN_TIFF = ("raw", "packbits", "tiff_deflate", "tiff_adobe_deflate")
JPEG_START, PNG_START = b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"
# Not `Image.open`, which takes any image of more than 179 million pixels for an attack, ...
_OPENERS: dict[bytes, Callable[[io.BytesIO], Image.Image]] = {
    PNG_START: PngImageFile,
    JPEG_START: JpegImageFile,
    **dict.fromkeys(TIFF_STARTS, TiffImageFile),
}
# ... but for the others that are read or named. Of all that Pillow opens, some start a program.
_OTHER_FORMATS = ("AVIF", "BMP", "GIF", "JPEG2000", "PPM", "TGA", "WEBP")
_OTHER_STARTS = (b"GIF", b"BM", b"RIFF")  # of kinds that `Image.open` recognises by more
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def open_image(path: Path | str, data: bytes) -> Image.Image:
    """An image of which no pixel is decoded yet.

    Raises:
        UserError: empty, none of a known kind, damaged, or of more pixels than can be decoded.
    """
    if not data:
        raise UserError(f"{path} is empty")
    with naming_damage(path):
        header = _opened(path, data)
        width, height = header.size
        if _is_limited(header) and width * height > _DENSEST * len(data):
            # Decoders would make room for all of them.
            raise ValueError("more pixels than its bytes can hold")
    if width * height > LARGEST or max(width, height) > LONGEST:
        raise UserError(
            f"{path} is {width}x{height} pixels; at most {LARGEST:,} can be decoded, and "
            f"{LONGEST:,} along a side"
        )
    return header


def open_file(path: Path) -> Image.Image:
    """`open_image` of a file."""
    return open_image(path, read_regular(path))


def palette_of(path: Path | str, image: Image.Image) -> np.ndarray | None:
    """The colours of an image's indices, uint8 `[n, 3]`; None if it has no palette.

    Raises:
        UserError: damage, naming `path`.
    """
    if image.mode != "P":
        return None
    with naming_damage(path):
        return np.array(image.getpalette("RGB"), np.uint8).reshape(-1, 3)


def grays_of(path: Path | str, image: Image.Image) -> dict[int, int]:
    """The gray that an image's palette gives each index which it uses; none where it gives
    colours, or one alone to all, which says nothing.

    Raises:
        UserError: damage, naming `path`.
    """
    palette = palette_of(path, image)
    if palette is None or (len(palette) > 1 and (palette == palette[0]).all()):
        return {}
    with naming_damage(path):
        used = np.flatnonzero(image.histogram()[: len(palette)])
    colours = palette[used]
    if (colours != colours[:, :1]).any():
        return {}
    return dict(zip(used.tolist(), colours[:, 0].tolist(), strict=True))


def _opened(path: Path | str, data: bytes) -> Image.Image:
    """An image by what its file begins with; UserError for what may be sound, but is not read."""
    opener = next((_OPENERS[start] for start in _OPENERS if data.startswith(start)), None)
    file = io.BytesIO(data)
    try:
        return opener(file) if opener else Image.open(file, formats=_OTHER_FORMATS)
    except UnidentifiedImageError as error:
        if data.startswith(_OTHER_STARTS):
            raise
        raise UserError(f"{path} is no image of a kind that can be read: save it as PNG") from error
    except SyntaxError as error:
        if opener is not TiffImageFile:
            raise
        raise UserError(
            f"{path} is a TIFF file that is damaged, or of a form that cannot be read: save it as "
            "PNG"
        ) from error


def _is_limited(header: Image.Image) -> bool:
    """Whether a byte of the file stands for `_DENSEST` pixels at most."""
    if header.format == "TIFF":
        return header.info.get("compression") in _OF_LIMITED_DENSITY_IN_TIFF
    return header.format in _OF_LIMITED_DENSITY


def is_jpeg(image: Image.Image) -> bool:
    """Whether compression has changed values: JPEG's, in a TIFF file, too."""
    return "jpeg" in (image.format or "").lower() + str(image.info.get("compression"))


def orientation_of(image: Image.Image) -> int:
    """The EXIF orientation of an image that is not stored upright; else 0.

    A value that is none of EXIF's turns nothing.
    """
    orientation = image.getexif().get(ExifTags.Base.Orientation)
    return orientation if orientation in _TURNS else 0


def upright(image: Image.Image) -> Image.Image:
    """An image as its EXIF orientation wants it shown, of the same `format`.

    Pillow's own function writes the other tags anew, and fails on odd ones.
    """
    if not orientation_of(image):
        return image
    image.load()  # turns a TIFF file's, and then drops the tag
    turn = _TURNS.get(orientation_of(image))
    if turn is None:
        return image
    turned = image.transpose(turn)
    turned.format = image.format
    return turned


def check_one_frame(path: Path | str, image: Image.Image, kind: str = "an image") -> None:
    """Raises UserError for a file of several images, as in an animation, or damage between them.

    Args:
        path: of the file, for the message.
        image: opened from it.
        kind: what it was taken for.
    """
    with naming_damage(path):
        frames = getattr(image, "n_frames", 1)
    if frames > 1:
        raise UserError(f"{path} has {frames} frames; {kind} of one is needed")


def check_kind(path: Path | str, header: Image.Image) -> None:
    """Raises UserError for an image of which 8 bits of red, green and blue are not all.

    That is one of more bits or bands, of CMYK or CIELAB, or with transparent pixels. It is opened,
    but not loaded.
    """
    if header.mode == "F":
        raise UserError(f"{path} holds floating-point values; 8 bits a channel are needed")
    with naming_damage(path):
        bits, others = bits_of_samples(header), more_bands(header)
    if bits > 8:
        raise UserError(f"{path} has {bits} bits a channel; 8 are needed")
    if header.mode in ("CMYK", "LAB"):
        raise UserError(f"{path} is a {header.mode} image; RGB or grayscale is needed")
    if others:
        raise UserError(
            f"{path} has {count_of(others, 'channel')} beside its colours; RGB or "
            "grayscale is needed"
        )
    if header.has_transparency_data:
        with naming_damage(path):
            opacity = header.convert("RGBA").getchannel("A").getextrema()
        if opacity != (255, 255):
            raise UserError(f"{path} has transparent pixels; RGB or grayscale is needed")


def check_intact(path: Path | str, data: bytes) -> None:
    """Raises UserError if a PNG's checksums, which decoding does not look at, are wrong."""
    with naming_damage(path):
        if data.startswith(PNG_START):
            PngImageFile(io.BytesIO(data)).verify()


@contextlib.contextmanager
def naming_damage(path: Path | str) -> Iterator[None]:
    """Within its block whatever decoders raise on a damaged file becomes a UserError."""
    try:
        yield
    except Image.DecompressionBombError as error:
        raise UserError(f"{path} is too large for its kind: store it as JPEG or PNG") from error
    except MemoryError as error:
        raise UserError(
            f"{path} needs more memory than there is: it is damaged, or to be scaled down"
        ) from error
    except (decoding.DecodeError, *DAMAGE) as error:
        raise UserError(f"{path} cannot be decoded: it is truncated or damaged") from error

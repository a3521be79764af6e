"""What an image file holds for a pixel; Pillow shows 8 bits of red, green and blue of it."""

import re

from PIL import Image
from PIL.TiffImagePlugin import (
    BITSPERSAMPLE,
    EXTRASAMPLES,
    PHOTOMETRIC_INTERPRETATION,
    TiffImageFile,
)

# In what Pillow calls samples as they are stored; BGR are those of BMP, of 5 bits and scaled.
_DEPTH = re.compile(r"'(?!BGR)\w+;(\d+)")
_UNSPECIFIED = 0


def bits_of_samples(image: Image.Image) -> int:
    """The bits of a sample in the file; the most, if they differ.

    Pillow cuts colours of 16 bits to 8, and scales gray values of 2 and 4 bits to 8.

    Args:
        image: opened, but not loaded.
    """
    if isinstance(image, TiffImageFile):
        return max(image.tag_v2.get(BITSPERSAMPLE, (1,)))
    if image.mode == "1":
        return 1
    depth = _DEPTH.search(str(getattr(image, "tile", "")))
    return int(depth[1]) if depth else 8


def is_gray(image: Image.Image) -> bool:
    """Whether pixels are gray values of 8 bits at most, perhaps with alpha."""
    return image.mode in ("1", "L", "LA")


def is_deep(image: Image.Image) -> bool:
    """Whether pixels are gray values of more than 8 bits, or floating-point ones."""
    return image.mode[0] in "IF"


def is_white_zero(image: Image.Image) -> bool:
    """Whether the gray values of a TIFF file are those of a negative."""
    return isinstance(image, TiffImageFile) and image.tag_v2.get(PHOTOMETRIC_INTERPRETATION) == 0


def more_bands(image: Image.Image) -> int:
    """The channels of a TIFF file that are neither colours nor alpha, which Pillow leaves out."""
    kinds = image.tag_v2.get(EXTRASAMPLES, ()) if isinstance(image, TiffImageFile) else ()
    return kinds.count(_UNSPECIFIED)

"""Images in other forms than the stream decodes: converted once, when they are recorded."""

import io
from collections import Counter
from pathlib import Path

import numpy as np
from PIL import Image

from pipelines.base import encoding
from pipelines.base.errors import UserError
from pipelines.building import image_label, opening

_AS_THEY_ARE, _CONVERTED = ("JPEG", "PNG"), ("WEBP", "TIFF", "BMP")


def recorded_image(
    path: Path, data: bytes, counts: Counter[str] | None = None
) -> tuple[bytes, tuple[int, int]]:
    """The bytes that are recorded of an image file, and the image's height and width.

    An upright JPEG or PNG file is recorded as it is. WebP, TIFF and BMP files become PNG, pixel
    for pixel; what is only upright with its EXIF orientation applied is turned, and stays JPEG
    (of quality 95) if it was, and is counted as "turned".

    Raises:
        UserError: the file is no image of these kinds, damaged, of more than 8 bits a channel
            or more channels than colours have, CMYK, transparent somewhere, or of several frames.
    """
    image = opening.open_image(path, data)
    if image.format not in (*_AS_THEY_ARE, *_CONVERTED):
        raise UserError(f"{path} is a {image.format} file; JPEG, PNG, WebP, TIFF or BMP is needed")
    opening.check_kind(path, image)
    with opening.naming_damage(path):
        is_upright = not opening.orientation_of(image)
    if counts is not None and not is_upright:
        counts["turned"] += 1
    if image.format in _AS_THEY_ARE and is_upright:
        return image_label.as_it_is(path, data)
    opening.check_one_frame(path, image)
    opening.check_intact(path, data)
    with opening.naming_damage(path):
        pixels = np.array(opening.upright(image).convert("RGB"))
    if image.format == "JPEG":
        return encoding.encode_jpeg(pixels), pixels.shape[:2]
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG")
    return buffer.getvalue(), pixels.shape[:2]

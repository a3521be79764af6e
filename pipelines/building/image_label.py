"""One image and its label: read, checked, made into an example."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from pipelines.base import decoding
from pipelines.base.errors import UserError
from pipelines.base.files import read_regular
from pipelines.base.labels import IGNORE, describe_classes
from pipelines.base.plurals import plural
from pipelines.building import features, opening
from pipelines.building.folders import Pair

# PNG header: colour types.
_GRAY = 0
_COLOUR_TYPES = {2: "RGB", 4: "grayscale with alpha", 6: "RGBA"}


def check_sizes(path: Path, label: np.ndarray, image: Path, size: tuple[int, int]) -> None:
    """Raises UserError, naming both files, if a label map has not its image's height and width."""
    if label.shape != size:
        turned = ": was it drawn before the image was turned upright?"
        raise UserError(
            f"{path} is {label.shape[1]}x{label.shape[0]} pixels, but its image {image} is "
            f"{size[1]}x{size[0]}{turned if label.shape == size[::-1] else ''}"
        )


def check_image(path: Path | str, data: bytes) -> tuple[int, int]:
    """`read_image` for height and width alone."""
    height, width, _ = read_image(path, data).shape
    return height, width


def read_image(path: Path | str, data: bytes) -> np.ndarray:
    """Decodes an image as the stream does.

    Returns:
        uint8 `[H, W, 3]`.

    Raises:
        UserError: empty, not JPEG or PNG, too large, truncated or damaged, 16 bits a channel, CMYK,
            transparent somewhere, animated, or to be shown rotated (decoders for training ignore
            that, and the mask would not fit).
    """
    if not data:
        raise UserError(f"{path} is empty")
    if not data.startswith((opening.JPEG_START, opening.PNG_START)):
        raise UserError(f"{path} is neither a JPEG nor a PNG file")
    header = opening.open_image(path, data)
    opening.check_kind(path, header)
    opening.check_one_frame(path, header)
    with opening.naming_damage(path):
        pixels = decoding.decode_image(data).numpy()  # the stream's own decoder
        orientation = opening.orientation_of(header)
    if orientation:
        raise UserError(
            f"{path} has the EXIF orientation {orientation}: store its pixels upright, as its "
            "label is, and drop the tag"
        )
    return pixels


def read_label(
    path: Path | str, data: bytes, class_names: tuple[str, ...], void: int | None = None
) -> np.ndarray:
    """Decodes a label file and checks its values.

    Returns:
        uint8 `[H, W]`, values below `len(class_names)` or 255.

    Raises:
        UserError: as `decode_mask` and `check_values`.
    """
    label = decode_mask(path, data)
    if void is not None:
        label[label == void] = IGNORE
    check_values(path, label, class_names)
    return label


def decode_mask(path: Path | str, data: bytes) -> np.ndarray:
    """Decodes an index mask; of a palette PNG the indices count, not the colours.

    Returns:
        uint8 `[H, W]`, the values as they are.

    Raises:
        UserError: empty, no PNG, truncated or damaged, or no index mask.
    """
    if not data:
        raise UserError(f"{path} is empty")
    if not data.startswith(opening.PNG_START):
        raise UserError(f"{path} is not a PNG file")
    header = opening.open_image(path, data)
    bit_depth, colour_type = data[24], data[25]
    if bit_depth == 16:
        raise UserError(f"{path} has 16 bits a channel; an index mask has 8")
    if colour_type in _COLOUR_TYPES:
        raise UserError(
            f"{path} is a {_COLOUR_TYPES[colour_type]} image; an index mask has one channel "
            "whose values are the classes"
        )
    if colour_type == _GRAY and bit_depth < 8:
        # PNG scales such samples to 0…255, so an index and its scaled value look the same.
        raise UserError(f"{path} has {bit_depth}-bit gray values; save the indices as 8-bit PNG")
    opening.check_intact(path, data)
    with opening.naming_damage(path):
        return np.array(header)


def as_it_is(path: Path, data: bytes) -> tuple[bytes, tuple[int, int]]:
    """An image file's own bytes, checked, and the image's height and width."""
    return data, check_image(path, data)


def make_example(
    pair: Pair,
    read: Callable[[Path, bytes], np.ndarray],
    record: Callable[[Path, bytes], tuple[bytes, tuple[int, int]]] = as_it_is,
) -> tuple[str, dict]:
    """Reads and checks an image and its labels; without a label file all of it is void.

    Args:
        pair: the two files.
        read: decodes and checks a label file: `read_label` for some classes, say.
        record: `as_it_is`, or what makes of an image file the bytes that are recorded.

    Returns:
        The key and the example as `features.example_features` wants it.

    Raises:
        UserError: one of the files cannot be used; the message names it and says why.
    """
    image, size = record(pair.image, read_regular(pair.image))
    if pair.label is None:
        label = np.full(size, IGNORE, np.uint8)
    else:
        label = read(pair.label, read_regular(pair.label))
        check_sizes(pair.label, label, pair.image, size)
    return pair.image_id, features.example(pair.image_id, image, label)


def check_values(path: Path | str, label: np.ndarray, class_names: tuple[str, ...]) -> None:
    """Raises UserError, naming `path`, if a label map holds other values than classes and 255."""
    values = np.unique(label)
    strays = [int(value) for value in values if value >= len(class_names) and value != IGNORE]
    if strays:
        shown = ", ".join(map(str, strays[:10])) + (", …" if len(strays) > 10 else "")
        raise UserError(
            f"{path} has the label {plural(len(strays), 'value')} {shown}, but the "
            f"classes are {describe_classes(class_names)}, and {IGNORE} is void"
        )

"""Folders of images and label masks: finds the pairs and checks each before it is recorded."""

import hashlib
import io
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from pipelines import crops
from pipelines.datasets import records
from pipelines.errors import UserError
from pipelines.labels import IGNORE, describe_classes

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png")
LABEL_SUFFIXES = (".png",)
HELD_OUT = 0.1

_JPEG_START, _PNG_START = b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"
_EXIF_ORIENTATION = 0x0112
# PNG header: bit depth and colour type.
_GRAY, _PALETTE = 0, 3
_COLOUR_TYPES = {2: "RGB", 4: "grayscale with alpha", 6: "RGBA"}


class Pair(NamedTuple):
    """An image file and the file of its labels."""

    image: Path
    label: Path


def read_class_names(path: Path) -> tuple[str, ...]:
    """Reads classes.txt, one name a line; line number (from 0) is the label.

    Raises:
        UserError: missing, not UTF-8, empty, a blank line between names, a name twice, or more
            names than there are label values.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"there is no {path}: it names the classes, one a line, label 0 first")
    try:
        lines = path.read_text(encoding="utf-8-sig").rstrip().splitlines()
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 text: {error.reason}") from error
    names = tuple(line.strip() for line in lines)
    if not names:
        raise UserError(f"{path} is empty: it names the classes, one a line, label 0 first")
    if "" in names:
        raise UserError(f"{path} line {names.index('') + 1} is blank, a line between two names")
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise UserError(f"{path} has the class {twice[0]!r} {names.count(twice[0])} times")
    if len(names) < 2:
        raise UserError(f"{path} has the one class {names[0]!r}: name the background, too")
    if len(names) > IGNORE:
        raise UserError(f"{path} has {len(names)} classes; 8-bit masks can hold {IGNORE}")
    return names


def find_splits(source: Path, allow_flat: bool = False) -> dict[str, list[Pair]]:
    """Finds the pairs of every split of a folder.

    Args:
        source: a folder with train/ and val/, and test/ if there is one, each with images/ and
            labels/.
        allow_flat: also take a folder with images/ and labels/ themselves; `hold_out` then
            makes a train and a val split.

    Returns:
        The sorted pairs of "train", "val" and, where it exists, "test".

    Raises:
        UserError: a folder is missing or empty, or a file has no partner.
    """
    source = Path(source)
    if not source.is_dir():
        raise UserError(f"there is no folder {source}")
    flat, split = (source / "images").is_dir(), (source / "train").is_dir()
    if allow_flat and flat and split:
        raise UserError(f"{source} has both images/ and train/: keep one of the two layouts")
    if allow_flat and flat:
        return hold_out(find_pairs(source))
    if allow_flat and not split:
        raise UserError(f"{source} has neither images/ and labels/ nor train/ and val/")
    names = ["train", "val"] + (["test"] if (source / "test").is_dir() else [])
    return {name: find_pairs(source / name) for name in names}


def hold_out(pairs: list[Pair], share: float = HELD_OUT) -> dict[str, list[Pair]]:
    """Splits pairs into train and val by a hash of the image's name without its suffix.

    The pairs with the lowest hashes, `share` of all and at least one, are the val split: the
    same files give the same split in any order and on any machine.

    Raises:
        UserError: there is only one pair.
    """
    if len(pairs) < 2:
        raise UserError(f"{pairs[0].image} is the only image: at least 2 are needed, one for val")
    by_hash = sorted(pairs, key=lambda pair: hashlib.sha256(pair.image.stem.encode()).digest())
    held_out = max(1, round(share * len(pairs)))
    return {"train": sorted(by_hash[held_out:]), "val": sorted(by_hash[:held_out])}


def find_pairs(folder: Path) -> list[Pair]:
    """Pairs images/NAME.jpg (.jpeg, .png) with labels/NAME.png.

    Raises:
        UserError: a folder is missing or empty, a file is no image, two images share a name, or
            a file has no partner.
    """
    folder = Path(folder)
    images = _files_by_stem(folder / "images", IMAGE_SUFFIXES)
    labels = _files_by_stem(folder / "labels", LABEL_SUFFIXES)
    unlabelled = sorted(images.keys() - labels.keys())
    if unlabelled:
        raise UserError(
            f"{images[unlabelled[0]]} has no label: {folder / 'labels' / unlabelled[0]}.png is "
            f"missing{_and_more(unlabelled)}"
        )
    imageless = sorted(labels.keys() - images.keys())
    if imageless:
        raise UserError(
            f"{labels[imageless[0]]} has no image: {folder / 'images' / imageless[0]}.jpg or "
            f".png is missing{_and_more(imageless)}"
        )
    return [Pair(images[stem], labels[stem]) for stem in sorted(images)]


def _and_more(stems: list[str]) -> str:
    return f" (and {len(stems) - 1} more like it)" if len(stems) > 1 else ""


def _files_by_stem(folder: Path, suffixes: tuple[str, ...]) -> dict[str, Path]:
    if not folder.is_dir():
        raise UserError(f"there is no folder {folder}")
    files = {}
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or path.name == "Thumbs.db":  # left by file managers
            continue
        if path.suffix.lower() not in suffixes:
            raise UserError(f"{path} is not one of {', '.join(suffixes)}")
        if path.stem in files:
            raise UserError(f"{files[path.stem]} and {path} have the same name")
        files[path.stem] = path
    if not files:
        raise UserError(f"{folder} is empty")
    return files


def read_pair(pair: Pair, class_names: tuple[str, ...], void: int | None = None) -> dict:
    """Reads and checks an image and its labels.

    Args:
        pair: the two files.
        class_names: the classes that labels may index.
        void: a label value that becomes 255, if the masks have one besides 255.

    Returns:
        The example as `records.features` wants it: the image file's own bytes, the labels as
        8-bit grayscale PNG, the image id.

    Raises:
        UserError: one of the files cannot be used; the message names it and says why.
    """
    image = pair.image.read_bytes()
    height, width = check_image(pair.image, image)
    label = read_label(pair.label, pair.label.read_bytes(), class_names, void)
    if label.shape != (height, width):
        raise UserError(
            f"{pair.label} is {label.shape[1]}x{label.shape[0]} pixels, but its image "
            f"{pair.image} is {width}x{height}"
        )
    return {"image": image, "label": records.encode_label(label), "image_id": pair.image.stem}


def make_example(
    pair: Pair, class_names: tuple[str, ...], void: int | None = None
) -> tuple[str, dict]:
    """The key and the example of a pair: `read_pair`, as `generation.examples` wants it."""
    return pair.image.stem, read_pair(pair, class_names, void)


def check_image(path: Path, data: bytes) -> tuple[int, int]:
    """Checks that the stream will be able to decode an image.

    Returns:
        Height and width.

    Raises:
        UserError: as `read_image`.
    """
    height, width, _ = read_image(path, data).shape
    return height, width


def read_image(path: Path, data: bytes) -> np.ndarray:
    """Decodes an image as the stream does.

    Returns:
        uint8 `[H, W, 3]`.

    Raises:
        UserError: empty, not JPEG or PNG, truncated or damaged, 16 bits a channel, CMYK,
            transparent, or to be shown rotated (decoders for training ignore that, and the mask
            would not fit).
    """
    if not data:
        raise UserError(f"{path} is empty")
    if not data.startswith((_JPEG_START, _PNG_START)):
        raise UserError(f"{path} is neither a JPEG nor a PNG file")
    header = _open(path, data)
    if header.mode.startswith("I"):
        raise UserError(f"{path} has 16 bits a channel; 8 are needed")
    if header.mode == "CMYK":
        raise UserError(f"{path} is a CMYK image; RGB or grayscale is needed")
    if header.has_transparency_data:
        raise UserError(f"{path} has transparent pixels; RGB or grayscale is needed")
    # The stream's own decoder has the last word.
    try:
        pixels = crops.decode_image(data).numpy()
        orientation = header.getexif().get(_EXIF_ORIENTATION, 1)
    except (crops.DecodeError, OSError, SyntaxError, ValueError) as error:
        raise UserError(f"{path} cannot be decoded: it is truncated or damaged") from error
    if orientation not in (0, 1):
        raise UserError(
            f"{path} has the EXIF orientation {orientation}: store its pixels upright, as its "
            "label is, and drop the tag"
        )
    return pixels


def read_label(
    path: Path, data: bytes, class_names: tuple[str, ...], void: int | None = None
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
    if not data.startswith(_PNG_START):
        raise UserError(f"{path} is not a PNG file")
    header = _open(path, data)
    bit_depth, colour_type = data[24], data[25]
    if bit_depth == 16:
        raise UserError(f"{path} has 16 bits a channel; an index mask has 8")
    if colour_type in _COLOUR_TYPES:
        raise UserError(
            f"{path} is a {_COLOUR_TYPES[colour_type]} picture; an index mask has one channel "
            "whose values are the classes"
        )
    if colour_type == _GRAY and bit_depth < 8:
        # PNG scales such samples to 0…255, so an index and its scaled value look the same.
        raise UserError(f"{path} has {bit_depth}-bit gray values; save the indices as 8-bit PNG")
    try:
        _open(path, data).verify()  # checksums, which decoding alone does not look at
        label = np.array(header)
    except (OSError, SyntaxError, ValueError) as error:
        raise UserError(f"{path} cannot be decoded: it is truncated or damaged") from error
    return label


def check_values(path: Path | str, label: np.ndarray, class_names: tuple[str, ...]) -> None:
    """Checks that a label map, uint8, holds nothing but classes and 255.

    Raises:
        UserError: it holds others; the message names `path` and them.
    """
    values = np.unique(label)
    strays = [int(value) for value in values if value >= len(class_names) and value != IGNORE]
    if strays:
        shown = ", ".join(map(str, strays[:10])) + (", …" if len(strays) > 10 else "")
        raise UserError(
            f"{path} has the label value{'s' if len(strays) > 1 else ''} {shown}, but the "
            f"classes are {describe_classes(class_names)}, and {IGNORE} is void"
        )


def _open(path: Path, data: bytes) -> Image.Image:
    """Reads the header only."""
    try:
        return Image.open(io.BytesIO(data))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise UserError(f"{path} cannot be decoded: it is truncated or damaged") from error

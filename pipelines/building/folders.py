"""The layout of a folder of images and labels: splits, pairs, class names."""

import hashlib
from pathlib import Path
from typing import NamedTuple

from pipelines.base.errors import UserError
from pipelines.base.labels import IGNORE

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png")
LABEL_SUFFIXES = (".png",)
HELD_OUT = 0.1  # the share of val


class Pair(NamedTuple):
    """An image file and the file of its labels; None where the image has none."""

    image: Path
    label: Path | None


def read_class_names(path: Path) -> tuple[str, ...]:
    """Reads classes.txt, one name a line; line number (from 0) is the label.

    Raises:
        UserError: missing, not UTF-8, empty, a blank line between names, a name twice, or more
            names than there are label values.
    """
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


def hold_out(pairs: list[Pair]) -> dict[str, list[Pair]]:
    """Splits pairs into train and val by a hash of the image's name without its suffix.

    The tenth with the lowest hashes, at least one pair, is the val split: the same files give the
    same split in any order and on any machine.

    Raises:
        UserError: there is only one pair.
    """
    if len(pairs) < 2:
        raise UserError(f"{pairs[0].image} is the only image: at least 2 are needed, one for val")
    by_hash = sorted(pairs, key=lambda pair: hashlib.sha256(pair.image.stem.encode()).digest())
    held_out = max(1, round(HELD_OUT * len(pairs)))
    return {"train": sorted(by_hash[held_out:]), "val": sorted(by_hash[:held_out])}


def find_pairs(folder: Path) -> list[Pair]:
    """Pairs images/NAME.jpg (.jpeg, .png) with labels/NAME.png.

    Raises:
        UserError: a folder is missing or empty, a file is no image, two images share a name, or
            a file has no partner.
    """
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
    files: dict[str, Path] = {}
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

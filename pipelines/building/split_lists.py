"""Splits by lists of names: train.txt and val.txt, as VOC, CVAT and others write them."""

import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TypeVar

from pipelines.base.errors import UserError
from pipelines.base.files import read_regular
from pipelines.building.folders import (
    IMAGE_SUFFIXES,
    LABEL_SUFFIXES,
    SPLITS,
    Pair,
    composed,
    is_known_folder,
)
from pipelines.building.pairs import Files, pair_of, without_label

Item = TypeVar("Item")
# To the name of a folder, which may be linked.
_WAYS = (os.path.abspath, os.path.realpath)


def find_lists(source: Path) -> dict[str, Path]:
    """The lists of names of splits: train.txt, or as VOC and CVAT have them.

    Raises:
        UserError: there are some, and none of train, or two of one split.
    """
    others: list[Path] = []
    for folder in _folders_of_lists(source):
        of_splits = _lists_in(folder)
        found = {split: same[0] for split, same in of_splits.items() if same}
        if "train" not in found:
            others += found.values()
            continue
        for same in of_splits.values():
            if len(same) > 1:
                raise UserError(f"{folder} has both {same[0].name} and {same[1].name}: keep one")
        return found
    if others:
        raise UserError(
            f"{others[0]} lists images, and no train.txt beside it lists those to train on: write "
            "it, or take the list away"
        )
    return {}


def split_lists(source: Path) -> list[Path]:
    """All files called as lists of names of splits, where folders make the splits."""
    of_folders = (_lists_in(folder) for folder in _folders_of_lists(source))
    return sorted(path for lists in of_folders for same in lists.values() for path in same)


def _folders_of_lists(source: Path) -> tuple[Path, ...]:
    return source / "ImageSets" / "Segmentation", source / "ImageSets", source


def _lists_in(folder: Path) -> dict[str, list[Path]]:
    """The lists of each split in a folder."""
    files = sorted(folder.glob("*.txt"))
    return {
        split: [file for file in files if file.stem.lower() in names]
        for split, names in SPLITS.items()
    }


def as_listed(
    files: Files, lists: dict[str, Path]
) -> tuple[dict[str, list[Pair | UserError]], str]:
    """The pairs of the splits that lists of names make, and words about them.

    Raises:
        UserError: as in `items_by_lists`.
    """

    def pair(name: str) -> Pair | UserError:
        if name in files.twice:
            return files.twice[name]
        return pair_of(files, name) if name in files.labels else without_label(files, name)

    return items_by_lists(files.images, lists, pair)


def items_by_lists(
    images: Mapping[str, Path],
    lists: dict[str, Path],
    item_of: Callable[[str], Item | UserError],
    faults: Iterable[UserError] = (),
) -> tuple[dict[str, list[Item | UserError]], str]:
    """The splits that lists of names make, and words about them.

    Args:
        images: the file of each image, by its id.
        lists: the file of each split.
        item_of: makes an item, or a fault, of an id.
        faults: of no image in particular; they go to the first split.

    Raises:
        UserError: a list is no text, is empty, names what is not there, an image of another list,
            or an image with a mask that is not its own.
    """
    found: dict[str, list[Item | UserError]] = {}
    owner: dict[str, Path] = {}
    for split, path in lists.items():
        try:
            lines = read_regular(path).decode("utf-8-sig").splitlines()
        except UnicodeDecodeError as error:
            raise UserError(f"{path} is not UTF-8 text: {error.reason}") from error
        listed = [(number, line.strip()) for number, line in enumerate(lines, 1) if line.strip()]
        if not listed:
            raise UserError(f"{path} lists no image: fill it, or take it away")
        items: list[Item | UserError] = list(faults) if not found else []
        for number, line in listed:
            name, mask = _listed(line, images)
            if name is None:
                raise UserError(f"{path} line {number} names no image here: {line!r}")
            if name in owner:
                raise UserError(f"{path} lists {name!r}, as {owner[name]} does already")
            owner[name] = path
            item = item_of(name)
            if mask and isinstance(item, Pair) and item.label and not _is_same(mask, item):
                raise UserError(
                    f"{path} line {number} pairs {name!r} with {mask}, and its mask here is "
                    f"{item.label}: correct the line, or list images alone"
                )
            items.append(item)
        found[split] = items
    names = " and ".join(path.name for path in lists.values())
    rest = len(images.keys() - owner.keys())
    words = f", as {names} list them" if len(lists) > 1 else f", as {names} lists them"
    if rest:
        words += f"; images in no list are left out: {rest:,}"
    return found, words


def _listed(line: str, images: Mapping[str, Path]) -> tuple[str | None, Path | None]:
    """The id of the image that a line names, and the mask that may follow in a second column."""
    first, *others = line.replace("\\", "/").split()
    mask = Path(composed(others[0])) if len(others) == 1 else Path()
    has_two = mask.suffix.lower() in LABEL_SUFFIXES
    is_sure = has_two and Path(first).suffix.lower() in IMAGE_SUFFIXES
    if not is_sure or composed(line) in images:
        if name := _listed_id(line, images):
            return name, None
    return (_listed_id(first, images), mask) if has_two else (None, None)


def _is_same(mask: Path, pair: Pair) -> bool:
    """Whether a mask's path may be that of a pair's, below the folder of masks."""
    below = len(pair.image_id.split("/"))
    named, own = (path.parts[-below:] for path in (mask, Path(composed(str(pair.label)))))
    return named == own[-len(named) :]


def _listed_id(text: str, images: Mapping[str, Path]) -> str | None:
    """The id of the image that is named so, or by a path that ends with it.

    The folder before the id must be the image's own, or be called as folders of images are:
    `night/0001` is not `day/0001`, nor 0001 without a folder.
    """
    path = Path(text.replace("\\", "/").lstrip("/"))
    is_file = path.suffix.lower() in IMAGE_SUFFIXES
    parts = composed(str(path.with_suffix("") if is_file else path)).split("/")
    for start in range(len(parts)):
        if (name := "/".join(parts[start:])) in images:
            root = images[name].parents[len(parts) - start - 1]
            own = {composed(os.path.basename(way(root))) for way in _WAYS}
            taken = start == 0 or parts[start - 1] in own or is_known_folder(parts[start - 1])
            return name if taken else None
    return None

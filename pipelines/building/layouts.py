"""Where a folder keeps its images and label files, found by the names of its folders."""

import os
from collections import Counter
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import NamedTuple

from pipelines.base.errors import UserError, argument
from pipelines.base.files import is_hidden
from pipelines.building.examples import collect
from pipelines.building.folders import (
    IMAGE_SUFFIXES,
    IMAGES,
    LABEL_SUFFIXES,
    LABELS,
    PLAIN,
    SPLITS,
    Naming,
    Pair,
    advice,
    compounds,
    find_files,
    image_id,
    is_known_folder,
    is_split,
    shown_below,
    sub_folders,
)
from pipelines.building.pairs import find_pairs, gather
from pipelines.building.proposals import beside_each_other, folders_of_both
from pipelines.building.split_lists import as_listed, find_lists, split_lists

# What the names of files begin with that tell of a set.
_FOR_PEOPLE = ("readme", "license", "licence")


class Layout(NamedTuple):
    """What a folder holds.

    Attributes:
        splits: of each split the sorted pairs, and a UserError for each file without partner; of
            "all" alone where there are no splits.
        words: where they lie, for people: "images/ and masks/".
        passed_over: files that are no images, linked folders, and images elsewhere.
    """

    splits: dict[str, list[Pair | UserError]]
    words: str
    passed_over: list[Path]


def only_folder(source: Path) -> Path:
    """The folder itself; or, where it holds one folder of no known name alone, that one.

    What is written for people beside it does not count.
    """
    entries = [
        path
        for path in source.iterdir()
        if not (is_hidden(path.name) or path.name.lower().startswith(_FOR_PEOPLE))
    ]
    if len(entries) != 1 or is_known_folder(entries[0].name) or entries[0].name.lower() in LABELS:
        return source
    is_folder = entries[0].is_dir() and not entries[0].is_symlink()
    return only_folder(entries[0]) if is_folder else source


def find_layout(source: Path, naming: Naming = PLAIN, test_is_optional: bool = False) -> Layout:
    """Finds the pairs of images and label files below a folder.

    Lists of names, train.txt and val.txt, make splits of what has none.

    Args:
        source: the folder.
        naming: how files and folders are called.
        test_is_optional: leave a split `test` without label files out, and say so in the words.

    Raises:
        UserError: the layout is not one of `EXPECTED`.
    """
    if not source.is_dir():
        raise UserError(f"there is no folder {source}")
    places, left_out = _places(source, naming, test_is_optional)
    if places.keys() == {"all"} and (lists := find_lists(source)):
        files = gather(*places["all"], naming)
        found, listed = as_listed(files, lists)
        passed_over = [path for path in files.passed_over if path not in lists.values()]
    else:
        found, passed_over, listed = {}, split_lists(source), ""
        optional = {"test"} if test_is_optional and "train" in places else set()
        whole = collect(lambda split: _pairs(places[split], naming, split in optional), places)
        for split, pairs in zip(places, whole, strict=True):
            if pairs is None:
                left_out = places[split][0]
            else:
                found[split] = pairs[0]
                passed_over += pairs[1]
    if not any(isinstance(item, Pair) for items in found.values() for item in items):
        if hint := folders_of_both(source):
            raise UserError(f"no image below {source} has a label file: {hint}")
    searched = {folder for place in places.values() for folder in place}
    passed_over += _outside(source, searched | ({left_out} if left_out else set()))
    images, labels = next(iter(places.values()))
    words = f"{shown_below(images, source)} and {shown_below(labels, source)}"
    if images == labels:
        words = f"label files beside the images in {shown_below(images, source)}"
    words += listed
    if left_out:
        words += "; test is left out, where no image has a mask"
    return Layout(found, words, passed_over)


def _outside(source: Path, folders: Iterable[Path]) -> list[Path]:
    """The images below a folder that lie in none of these."""
    inside = tuple(os.path.join(os.path.abspath(folder), "") for folder in folders)
    images, _ = find_files(source, IMAGE_SUFFIXES, may_be_closed=True)
    return [path for path in images if not os.path.abspath(path).startswith(inside)]


def _pairs(
    place: tuple[Path, Path], naming: Naming, optional: bool
) -> tuple[list[Pair | UserError], list[Path]] | None:
    """As `find_pairs`; None where a split that may be without label files is not understood."""
    try:
        return find_pairs(*place, naming)
    except UserError as error:
        if optional:
            return None
        if place[0] == place[1] and (hint := folders_of_both(place[0])):
            raise UserError(
                f"{place[0]} has no folders called images and labels: {hint}"
            ) from error
        raise


def _places(
    source: Path, naming: Naming, test_is_optional: bool
) -> tuple[dict[str, tuple[Path, Path]], Path | None]:
    """The folders of images and of labels of each split; and that of test, if it has no labels."""
    if naming.image_folder:
        chosen = _chosen(source, naming.image_folder), _chosen(source, naming.label_folder)
        return _split_both(*chosen, test_is_optional)
    joined, left_out = _joined(source)
    if joined:
        return joined, left_out
    images, splits = _named(source, IMAGES), _splits(source)
    if images and splits:
        other = next(iter(splits.values()))
        raise UserError(
            f"{source} has both {images.name}/ and {other.name}/: keep one of the two layouts"
        )
    if not splits:
        return _split_both(*_images_and_labels(source, naming), test_is_optional)
    if test_is_optional and {"train", "test"} <= splits.keys():
        if _named(splits["test"], IMAGES) and not _named(splits["test"], LABELS, True):
            left_out = splits.pop("test")
    places = collect(lambda split: _images_and_labels(split, naming), splits.values())
    return dict(zip(splits, places, strict=True)), left_out


def _chosen(source: Path, name: str) -> Path:
    folder = source / name
    if not folder.is_dir():
        raise UserError(f"there is no folder {folder}{_rest(source)}")
    return folder


def _split_both(
    images: Path, labels: Path, test_is_optional: bool
) -> tuple[dict[str, tuple[Path, Path]], Path | None]:
    """The folders of each split in both; "all" where there are none. And as in `_places`."""
    of_images, of_labels = (_splits(images), _splits(labels)) if images != labels else ({}, {})
    left_out = None
    for split in SPLITS:
        if (split in of_images) == (split in of_labels):
            continue
        there, other = (images, labels) if split in of_images else (labels, images)
        is_left_out = split == "test" and there == images and "train" in of_images
        if not (is_left_out and test_is_optional):
            raise UserError(f"{there} has the split {split!r}, but {other} has not")
        left_out = of_images[split]
    places = {
        split: (of_images[split], of_labels[split]) for split in of_images if split in of_labels
    }
    return places or {"all": (images, labels)}, left_out


def _joined(source: Path) -> tuple[dict[str, tuple[Path, Path]], Path | None]:
    """Splits in the names of folders: train_images and train_masks, or train and train_labels;
    and that of test, if it has none of labels.

    Raises:
        UserError: a split has one of the folders, where others have both.
    """
    found = {}
    for split, names in SPLITS.items():
        images = _named(source, compounds(names, IMAGES)) or _named(source, names)
        found[split] = images, _named(source, compounds(names, LABELS), True)
    both = {
        split: (images, labels) for split, (images, labels) in found.items() if images and labels
    }
    left_out = None
    for split, (images, labels) in found.items() if both else ():
        alone = None if images and labels else images or labels
        if alone and alone == images and split == "test":
            left_out = images
        elif alone:
            of_images, of_labels = (path.name for path in next(iter(both.values())))
            one, other = (of_images, of_labels) if images else (of_labels, of_images)
            raise UserError(
                f"{source} has {alone.name}/ alone, where {one}/ has {other}/: rename the other "
                f"one like that, or take {alone.name}/ away"
            )
    return both, left_out


def _named(folder: Path, names: Collection[str], of_labels: bool = False) -> Path | None:
    """The sub-folder with one of the names, in any case; None if there is none.

    Of several with names `of_labels`, those without label files do not count.

    Raises:
        UserError: there are several.
    """
    found = [path for path in sub_folders(folder) if path.name.lower() in names]
    if of_labels and len(found) > 1:
        found = [path for path in found if find_files(path, LABEL_SUFFIXES)[0]] or found[:1]
    if len(found) > 1:
        raise UserError(f"{folder} has both {found[0].name}/ and {found[1].name}/: keep one")
    return found[0] if found else None


def _splits(folder: Path) -> dict[str, Path]:
    """The sub-folders that hold splits: {"val": folder / "validation"}."""
    found = {split: _named(folder, names) for split, names in SPLITS.items()}
    return {split: path for split, path in found.items() if path}


def _images_and_labels(folder: Path, naming: Naming) -> tuple[Path, Path]:
    """A split's folders of images and of labels; its own for images that lie directly in it, and
    one for both, where they lie side by side."""
    images, labels = _named(folder, IMAGES), _named(folder, LABELS, True)
    if images and labels:
        return images, labels
    if labels and _holds_images_directly(folder, labels):
        return folder, labels
    if found := images or labels:
        if images and (naming.label_prefix or naming.label_suffix):
            return images, images
        missing = "labels/, masks/ or annotations/" if images else "images/"
        names = [image_id(path, found) for path in find_files(found, IMAGE_SUFFIXES)[0]]
        if hint := beside_each_other(names):
            raise UserError(f"{folder} has {found.name}/ but no {missing}: {hint}")
        raise UserError(f"{folder} has {found.name}/ but no {missing}{_rest(folder, found)}")
    return folder, folder


def _holds_images_directly(folder: Path, labels: Path) -> bool:
    """Whether images lie in a folder itself, and in no folder below it but that of labels."""
    others = [path for path in sub_folders(folder) if path != labels]
    return any(path.suffix.lower() in IMAGE_SUFFIXES for path in folder.iterdir()) and not any(
        find_files(path, IMAGE_SUFFIXES)[0] for path in others
    )


def _rest(folder: Path, known: Path | None = None) -> str:
    """What else lies directly in a folder, and what takes it, as the end of a sentence."""
    paths = [path for path in sorted(folder.iterdir()) if not is_hidden(path.name)]
    others = [path for path in paths if path not in (known, folder / "classes.txt")]
    if not others:
        return ""
    names = ", ".join(f"{path.name}{'/' * path.is_dir()}" for path in others[:8])
    more = f" and {len(others) - 8} more" if len(others) > 8 else ""
    if any(path.is_dir() for path in others):
        options = f"{argument('image_folder')} and {argument('label_folder')}"
        advised = f": {options} choose folders by other names"
        if is_split(folder):  # which options cannot reach into
            advised = ": call the two folders images/ and masks/, in each split"
    else:
        advised = advice(Counter(path.suffix.lower() for path in others))
    return f"; there is {names}{more}{advised}"

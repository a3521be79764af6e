"""What a folder of somebody's own holds: classes, splits, and how an example is made of an item."""

import functools
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from pipelines.base.errors import UserError, argument
from pipelines.base.files import read_regular
from pipelines.base.labels import IGNORE
from pipelines.building import conversion, encoding, folders, image_label, layouts
from pipelines.building.examples import all_faults
from pipelines.building.folders import composed
from pipelines.building.pairs import PLAIN
from pipelines.building.split_lists import find_lists, items_by_lists
from pipelines.datasets.image_folder import annotations, splitting
from pipelines.datasets.image_folder.annotations import AnnotatedImage, Damaged
from pipelines.datasets.image_folder.classes import (
    FILES,
    NAME,
    Classes,
    find_classes,
    plain,
    read_classes,
)
from pipelines.datasets.image_folder.masks import MaskReader
from pipelines.datasets.image_folder.options import FolderOptions
from pipelines.datasets.image_folder.survey import describe_masks, palette_faults, shows_colours


@dataclass(frozen=True, eq=False)
class Source:
    """A data set before it is recorded.

    Attributes:
        classes: its classes.
        palette: uint8 `[256, 3]`.
        splits: the items of "train", "val" and perhaps "test", and faults.
        make_example: turns an item into the key and the example, as `examples.examples` wants it.
        words: what was found, for people.
        passed_over: files that are not used.
        counts: of pixels, as of `MaskReader`; filled while examples are made.
        is_annotated: whether annotation files take the place of masks.
    """

    classes: Classes
    palette: np.ndarray
    splits: dict[str, list]
    make_example: Callable[[Any], tuple[str, dict]]
    words: str
    passed_over: list[Path]
    counts: Counter = field(default_factory=Counter)
    is_annotated: bool = False


def open_source(folder: Path, options: FolderOptions) -> Source:
    """Finds masks or annotation files below a folder, and the classes.

    Raises:
        UserError: the folder is not understood; the message says what was seen.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise UserError(f"there is no folder {folder}")
    folder = layouts.only_folder(folder)
    says_names = options.naming() != PLAIN  # of masks: there are some
    if not (options.label_folder or folders.has_label_files(folder, says_names)):
        try:
            annotated, names = annotations.find_annotations(folder)
        except UserError:
            if not says_names:
                raise
            annotated = []  # nobody need mend another file for them
        if annotated:
            options.check_for_annotations(annotated[0].file)
            return _of_annotations(folder, annotated, names, options)
    options.check_for_masks()
    return _of_masks(folder, options)


def _of_masks(folder: Path, options: FolderOptions) -> Source:
    found = layouts.find_layout(folder, options.naming(), test_is_optional=True)
    path = find_classes(folder)
    items = [item for items in found.splits.values() for item in items]
    masks = [item.label for item in items if isinstance(item, folders.Pair) and item.label]
    classes = read_classes(path) if path else plain(("background", "foreground"))
    faults: dict[Path, str] = {}
    if not (classes.coloured or options.binary):
        faults = palette_faults(masks)
        if path is None:
            if faults:
                raise UserError(next(iter(faults.values())))
            raise UserError(f"there is no {folder / NAME}: {describe_masks(masks, folder)}")
        if masks and shows_colours(masks[0]):
            raise UserError(f"{path} gives no colours: {describe_masks(masks, folder)}")
    reader = MaskReader.of(classes, options)
    reader.check_options(masks, options)

    def read(path, data, _):
        if path in faults:
            raise UserError(faults[path])
        return reader.read(path, data)

    make_example = functools.partial(
        image_label.make_example,
        class_names=classes.names,
        read=read,
        record=conversion.recorded_image,
    )
    splits = resolve_splits(folder, found.splits, lambda pair: pair.image_id, options)
    words = found.words + held_out_words(found.splits, splits)
    palette = classes.palette()
    if not classes.coloured:
        palette = _palette_of(splits["train"], len(classes.names), palette)
    passed_over = [file for file in found.passed_over if file.name.lower() not in FILES]
    if path is not None and path.name != NAME:
        words += f"; classes of {path.relative_to(folder)}"
    return Source(classes, palette, splits, make_example, words, passed_over, reader.counts)


def _palette_of(items: list, count: int, otherwise: np.ndarray) -> np.ndarray:
    """The colours of the first label file's palette, if there is one for each class."""
    masks = (item.label for item in items if isinstance(item, folders.Pair) and item.label)
    mask = next(masks, None)
    if mask is None:
        return otherwise
    try:
        image = image_label.open_image(mask, read_regular(mask))
        if image.mode != "P":
            return otherwise
        with image_label.naming_damage(mask):
            colours = np.array(image.getpalette("RGB"), np.uint8).reshape(-1, 3)
    except UserError:
        return otherwise  # said when the example is made
    if len(np.unique(colours[:count], axis=0)) < count:
        return otherwise
    return np.concatenate([colours[:count], otherwise[count:]])


def resolve_splits(
    folder: Path, found: dict[str, list], image_id: Callable[[Any], str], options: FolderOptions
) -> dict[str, list]:
    """The splits as they were found, with a `val` that is held out of `train` if there is none.

    Raises:
        UserError: there is no `train`, or options ask for a split that is there already.
    """
    asked = options.val_share or options.folds or options.group
    if "all" in found:
        return splitting.hold_out(found["all"], image_id, options)
    if "train" not in found:
        raise UserError(f"{folder} has the split {', '.join(found)}, but no train")
    if "val" not in found:
        others = {split: items for split, items in found.items() if split != "train"}
        return splitting.hold_out(found["train"], image_id, options) | others
    if asked:
        raise UserError(
            f"{folder} has a val split already: leave {argument('val_share')}, {argument('folds')} "
            f"and {argument('group')} away, or give a folder without it"
        )
    return found


def held_out_words(found: dict[str, list], splits: dict[str, list]) -> str:
    """What to say of a `val` that `resolve_splits` has held out; "" where there was one."""
    if "val" in found:
        return ""
    train, val = (
        sum(not isinstance(item, UserError) for item in splits[split]) for split in ("train", "val")
    )
    verb = "is" if val == 1 else "are"
    return f"; no split val: {val:,} of {train + val:,} images {verb} held out, chosen by name"


@dataclass(frozen=True, eq=False)
class _Annotated:
    """An annotated image and its file; None where the annotation file itself holds it."""

    image_id: str
    path: Path | None
    annotated: AnnotatedImage

    def record(self) -> tuple[bytes, tuple[int, int]]:
        """As `conversion.recorded_image`."""
        if self.path is None:
            return conversion.recorded_image(self.annotated.file, self.annotated.embedded_image())
        return conversion.recorded_image(self.path, read_regular(self.path))


def _of_annotations(
    folder: Path,
    images: list[AnnotatedImage | Damaged],
    names: Iterable[str],
    options: FolderOptions,
) -> Source:
    path = find_classes(folder)
    classes = read_classes(path) if path else annotations.classes_of(images[0].file, names)
    files, others = folders.find_files(folder, folders.IMAGE_SUFFIXES)
    found, listed, used = _splits_of(folder, list(_placed(folder, images, files)), files)

    def make_example(item: _Annotated) -> tuple[str, dict]:
        image, size = item.record()
        label = item.annotated.paint(size, classes, options.paint_order)
        return item.image_id, encoding.example(item.image_id, image, label)

    count = len({image.file for image in images})
    described = sum(isinstance(image, AnnotatedImage) for image in images)
    words = f"{count:,} annotation {'file' if count == 1 else 'files'} of {described:,} images"
    usable = [item for items in found.values() for item in items if isinstance(item, _Annotated)]
    if inside := sum(item.path is None for item in usable):
        words += f", {inside:,} of them inside these files"
    if path is not None and path.name != NAME:
        words += f"; classes of {path.relative_to(folder)}"
    if annotations.background_of(classes.names) == IGNORE and path is not None:
        words += f"; pixels without a region are void, as {path.name} names no background"
    splits = resolve_splits(folder, found, lambda item: item.image_id, options)
    words += listed + held_out_words(found, splits)
    used |= {image.file for image in images}
    passed_over = [
        file for file in (*files, *others) if file not in used and file.name.lower() not in FILES
    ]
    return Source(
        classes, classes.palette(), splits, make_example, words, passed_over, is_annotated=True
    )


class _Placed(NamedTuple):
    """What becomes of an annotated image.

    Attributes:
        split: as folders and files are called; "all" where that names none.
        place: the image's file, or the annotation file that holds it; None where a fault is of no
            image, or another item has it.
        item: an image that can be used, or what is wrong with it.
    """

    split: str
    place: Path | None
    item: _Annotated | UserError


def _placed(
    folder: Path, images: Iterable[AnnotatedImage | Damaged], files: list[Path]
) -> Iterator[_Placed]:
    """Finds the images below a folder that annotation files describe, and their splits."""
    index = _Index(folder, files)
    seen: dict[Path, Path] = {}
    for image in images:
        place, item = _item_of(image, index)
        if place in seen:
            if isinstance(image, AnnotatedImage):
                text = f"{image.file} lists {image.image}, as {seen[place]} does already"
                item = UserError(text)
            place = None
        split = _split_of(image, folder)
        if place is not None:
            seen[place] = image.file
            split = _split_of_folders(place, folder) if split == "all" else split
        yield _Placed(split, place, item)


def _item_of(
    image: AnnotatedImage | Damaged, index: "_Index"
) -> tuple[Path | None, _Annotated | UserError]:
    """An annotated image's place, as of `_Placed`, and what can be used of it."""
    if isinstance(image, Damaged):
        return index.find_damaged(image), image.fault
    file: Path | None
    try:
        file = index.find(image.file, image.image, _split_of(image, index.folder))
    except UserError as fault:
        if not image.is_embedded:
            return None, fault
        file = None
    place = file or image.file
    return place, _Annotated(folders.common_image_id(place, index.folder), file, image)


def _splits_of(
    folder: Path, placed: list[_Placed], files: list[Path]
) -> tuple[dict[str, list], str, set[Path]]:
    """The items of each split, words about lists that make them, and the files that are used.

    Raises:
        UserError: some images have a split and others none, or as of `items_by_lists`.
    """
    if all(each.split == "all" for each in placed) and (lists := find_lists(folder)):
        return _as_listed(placed, files, lists)
    order = (*folders.SPLITS, "all")
    found = {split: [each.item for each in placed if each.split == split] for split in order}
    found = {split: items for split, items in found.items() if items}
    if "all" in found and len(found) > 1:
        split, *_ = found
        faults = found.pop("all")
        if not all(isinstance(item, UserError) for item in faults):
            raise UserError(
                f"{folder} has annotated images of the split {split!r} and some of no split: name "
                "their folders, or the annotation files, train, val or test"
            )
        found[split] = faults + found[split]
    items = (item for each in found.values() for item in each)
    return found, "", {item.path for item in items if isinstance(item, _Annotated) and item.path}


def _as_listed(
    placed: list[_Placed], files: list[Path], lists: dict[str, Path]
) -> tuple[dict[str, list], str, set[Path]]:
    """As of `_splits_of`, by lists of names; ids are paths below the images' common folder."""
    items = {each.place: each.item for each in placed if each.place is not None}
    faults = [
        each.item for each in placed if each.place is None and isinstance(each.item, UserError)
    ]
    if not items:
        raise all_faults(faults)
    common = Path(os.path.commonpath([place.parent for place in items]))
    places: dict[str, Path] = {}
    for place in items:
        name = folders.common_image_id(place, common)
        if name in places:
            faults.append(UserError(f"{places[name]} and {place} have the same name"))
        places.setdefault(name, place)
    for file in files:
        if file.is_relative_to(common):
            places.setdefault(folders.common_image_id(file, common), file)

    def item_of(name: str) -> _Annotated | UserError:
        place = places[name]
        return items.get(place) or UserError(f"{place} has no label: no annotation file lists it")

    found, words = items_by_lists(places.keys(), lists, item_of, faults)
    return found, words, {*places.values(), *items, *lists.values()}


def _split_of(image: AnnotatedImage | Damaged, folder: Path) -> str:
    """The split of an annotation file, by its folders' names and, of COCO, its own."""
    words = re.findall("[a-z]+", image.file.stem.lower()) if image.many else []
    return _split_of_folders(image.file, folder, words)


def _split_of_folders(file: Path, folder: Path, words: Iterable[str] = ()) -> str:
    """The split that is named by a file's folders below a folder, or by further words."""
    words = [*(part.lower() for part in file.relative_to(folder).parts[:-1]), *words]
    return next(
        (split for split, names in folders.SPLITS.items() if any(word in names for word in words)),
        "all",
    )


class _Index:
    """Finds the files that annotation files name, wherever below the folder they lie.

    Names are compared in the form NFC: file systems and programs write other ones.
    """

    def __init__(self, folder: Path, files: list[Path]):
        self.folder = folder
        self.by_path: dict[str, Path] = {}
        self.by_name: dict[str, list[Path]] = {}
        self.by_stem: dict[str, Path] = {}
        for file in files:
            self.by_path.setdefault(composed(file.as_posix()), file)
            self.by_name.setdefault(composed(file.name), []).append(file)
            self.by_stem.setdefault(composed(file.with_suffix("").as_posix()), file)

    def find(self, annotations: Path, image: str, split: str) -> Path:
        """The file of an image.

        Args:
            annotations: the annotation file that names it.
            image: its path there.
            split: that of the annotation file; images of another one do not count.

        Raises:
            UserError: there is none, or several.
        """
        name = Path(composed(image))
        beside = Path(os.path.normpath(annotations.parent / name))
        if found := self.by_path.get(composed(beside.as_posix())):
            return found
        same = self.by_name.get(name.name, [])
        ending = [
            file for file in same if composed(file.as_posix()).endswith(f"/{name.as_posix()}")
        ]
        nearer = [file for file in ending or same if annotations.parent in file.parents]
        candidates = [
            file
            for file in nearer or ending or same
            if split == "all" or _split_of_folders(file, self.folder) in ("all", split)
        ]
        if len(candidates) == 1:
            return candidates[0]
        if candidates:
            raise UserError(
                f"{annotations} names {image}, and there are {candidates[0]} and {candidates[1]}"
            )
        raise UserError(f"there is no {image} below {self.folder}, which {annotations} names")

    def find_damaged(self, image: Damaged) -> Path | None:
        """The file of an image whose annotations are damaged; None where it is not known.

        A file of labelme's is called as its image is, as a rule.
        """
        if image.image is None and image.many:
            return None
        if image.image is None:
            return self.by_stem.get(composed(image.file.with_suffix("").as_posix()))
        try:
            return self.find(image.file, image.image, _split_of(image, self.folder))
        except UserError:
            return None

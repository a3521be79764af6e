"""Annotated images: the file of each, its id and its split."""

import os
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import NamedTuple

from pipelines.base.errors import UserError
from pipelines.base.files import read_regular
from pipelines.building import conversion, folders
from pipelines.building.examples import all_faults
from pipelines.building.folders import composed
from pipelines.building.split_lists import find_lists, items_by_lists
from pipelines.datasets.image_folder.annotated_image import AnnotatedImage, Damaged
from pipelines.datasets.image_folder.annotated_splits import split_of, split_of_folders
from pipelines.datasets.image_folder.image_index import ImageIndex


@dataclass(frozen=True, eq=False)
class AnnotatedItem:
    """An annotated image and its file; None where the annotation file itself holds it."""

    image_id: str
    path: Path | None
    annotated: AnnotatedImage

    @property
    def is_elsewhere(self) -> bool:
        """Whether the file lies in another folder than the annotations say."""
        if self.path is None:
            return False
        said = composed(self.annotated.image)
        beside = os.path.normpath(self.annotated.file.parent / said)
        found = composed(self.path.as_posix())
        return "/" in said and found != composed(beside) and not found.endswith(f"/{said}")

    def record(self, counts: Counter[str]) -> tuple[bytes, tuple[int, int]]:
        """As `conversion.recorded_image`."""
        if self.path is None:
            data = self.annotated.embedded_image()
            return conversion.recorded_image(self.annotated.file, data, counts)
        return conversion.recorded_image(self.path, read_regular(self.path), counts)


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
    item: AnnotatedItem | UserError


def _placed(
    folder: Path, images: Iterable[AnnotatedImage | Damaged], files: list[Path]
) -> Iterator[_Placed]:
    """Finds the images below a folder that annotation files describe, and their splits."""
    index = ImageIndex(folder, files)
    found = [(image, *_item_of(image, index)) for image in images]
    claims: dict[Path, list[AnnotatedImage | Damaged]] = {}
    for image, place, _ in found:
        if place is not None:
            claims.setdefault(place, []).append(image)
    for image, place, item in found:
        if place is not None and (rivals := claims[place])[1:]:
            owner = _owner(place, rivals)
            if owner is None and image is rivals[0] and isinstance(image, AnnotatedImage):
                continue  # what is wrong is said of the others
            if owner is None:
                item = _undecided(image, rivals[0], place)
                place = None
            elif image is not owner:
                place, item = _of_another(image, place, owner, folder, item)
        split = split_of(image, folder)
        if place is not None and split == "all":
            split = split_of_folders(place, folder)
        yield _Placed(split, place, item)


def _owner(place: Path, rivals: list[AnnotatedImage | Damaged]) -> AnnotatedImage | Damaged | None:
    """Of annotations that come to one file those whose folders, and of labelme whose own file, are
    called most like it; None if several are alike."""

    def nearness(image: AnnotatedImage | Damaged) -> tuple[int, bool]:
        named = Path(os.path.normpath(image.file.parent / composed(image.image or "")))
        pairs = zip(reversed(place.parts[:-1]), reversed(named.parts[:-1]), strict=False)
        alike = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
        return alike, not image.many and image.file.stem == place.stem

    *_, second, last = sorted(rivals, key=nearness)
    return last if nearness(second) < nearness(last) else None


def _undecided(
    image: AnnotatedImage | Damaged, first: AnnotatedImage | Damaged, place: Path
) -> UserError:
    """The fault of annotations that come to one file with others, and are no nearer to it."""
    if isinstance(image, Damaged):
        return image.fault
    if image.image == first.image:
        return UserError(f"{image.file} lists {image.image}, as {first.file} does already")
    return UserError(
        f"{image.file} names {image.image}, and {first.file} {first.image or 'another'}: both "
        f"would be {place}"
    )


def _of_another(
    image: AnnotatedImage | Damaged,
    place: Path,
    owner: AnnotatedImage | Damaged,
    folder: Path,
    item: AnnotatedItem | UserError,
) -> tuple[Path | None, AnnotatedItem | UserError]:
    """As in `_item_of`, for annotations whose file belongs to others."""
    if isinstance(image, Damaged):
        return None, item
    if place.as_posix().endswith(f"/{composed(image.image)}"):
        return None, UserError(f"{image.file} lists {image.image}, as {owner.file} does already")
    if image.is_embedded:
        image_id = folders.common_image_id(image.file, folder)
        return image.file, AnnotatedItem(image_id, None, image)
    return None, UserError(
        f"there is no {image.image} below {folder}, which {image.file} names; {place} is that of "
        f"{owner.image or owner.file}"
    )


def _item_of(
    image: AnnotatedImage | Damaged, index: ImageIndex
) -> tuple[Path | None, AnnotatedItem | UserError]:
    """An annotated image's place, as in `_Placed`, and what can be used of it."""
    if isinstance(image, Damaged):
        return index.find_damaged(image), image.fault
    file: Path | None
    try:
        file = index.find(image.file, image.image, split_of(image, index.folder))
    except UserError as fault:
        if not image.is_embedded:
            return None, fault
        file = None
    place = file or image.file
    return place, AnnotatedItem(folders.common_image_id(place, index.folder), file, image)


def splits_of(
    folder: Path, images: Iterable[AnnotatedImage | Damaged], files: list[Path]
) -> tuple[dict[str, list], str, set[Path]]:
    """The splits of the images that annotation files describe.

    Args:
        folder: the data set's.
        images: as the annotation files have them.
        files: all image files below the folder.

    Returns:
        The items of each split, `AnnotatedItem` or a fault, of "all" alone where there are no
        splits; words about lists that make them; the files that are used.

    Raises:
        UserError: some images have a split and others none, or as in `items_by_lists`.
    """
    placed = list(_placed(folder, images, files))
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
    return found, "", {item.path for item in items if isinstance(item, AnnotatedItem) and item.path}


def _as_listed(
    placed: list[_Placed], files: list[Path], lists: dict[str, Path]
) -> tuple[dict[str, list], str, set[Path]]:
    """As in `splits_of`, by lists of names; ids are paths below the images' common folder."""
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

    def item_of(name: str) -> AnnotatedItem | UserError:
        place = places[name]
        return items.get(place) or UserError(f"{place} has no label: no annotation file lists it")

    found, words = items_by_lists(places, lists, item_of, faults)
    return found, words, {*places.values(), *items, *lists.values()}

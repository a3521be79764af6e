"""COCO's annotation files: one for many images."""

from collections import Counter
from pathlib import Path
from typing import Any

from pipelines.base import extras
from pipelines.base.damage import DAMAGE
from pipelines.base.errors import UserError
from pipelines.building import regions
from pipelines.datasets.image_folder.annotated_image import (
    AnnotatedImage,
    Damaged,
    class_name,
    image_path,
    image_size,
    reason_in_words,
)


def read_coco(
    path: Path, content: dict, categories: dict[tuple[str, int], int]
) -> list[AnnotatedImage | Damaged]:
    """The images of a file; adds its categories to those of the files before it.

    Args:
        path: the file.
        content: what it holds.
        categories: of the files before it, which are numbered each in their own way: the first id
            of each name, and of its repetitions in one file.

    Raises:
        UserError: no annotation can be used.
        KeyError, TypeError, ValueError, …: the file is damaged as a whole, see `DAMAGE`.
    """
    for kind in ("categories", "images"):
        _check_ids(kind, content[kind])
    names = {category["id"]: class_name(category["name"]) for category in content["categories"]}
    _add_categories(content, names, categories)
    shapes: dict[int, list[tuple[str, Any]]] = {image["id"]: [] for image in content["images"]}
    faults: dict[int, UserError] = {}
    strays: list[UserError] = []
    for number, entry in enumerate(content["annotations"], 1):
        image, category = entry.get("image_id"), entry.get("category_id")
        own = entry.get("id")
        which = f"annotation {number if own is None else own}"
        segmentation = entry.get("segmentation")
        if image not in shapes:
            strays.append(UserError(f"{path} has no image {image!r}, and {which} is of it"))
        elif category not in names:
            text = f"{path} has no category {category!r}, and {which} is of it"
            faults.setdefault(image, UserError(text))
        elif not _encloses(segmentation):
            text = f"{path} has a box and no segmentation in {which}: export polygons or masks"
            faults.setdefault(image, UserError(text))
        else:
            if isinstance(segmentation, list):
                extras.check(f"{path} has polygons, which need", "pycocotools")
            # Crowds are regions as all others: editors write what was painted as one.
            shapes[image].append((names[category], segmentation))
    if faults and not any(shapes.values()):  # boxes alone, as a rule
        raise next(iter(faults.values()))
    of_images = [
        _image(path, image, shapes[image["id"]], faults.get(image["id"]))
        for image in content["images"]
    ]
    return [*(Damaged(path, stray, many=True) for stray in strays), *of_images]


def _check_ids(kind: str, entries: list[dict]) -> None:
    numbers = [entry["id"] for entry in entries]
    for number in numbers:
        if not isinstance(number, int):
            raise ValueError(
                f"{kind}: the id {number!r} is no whole number, which COCO writes without quotes"
            )
    if len(set(numbers)) < len(numbers):
        twice = next(number for number in numbers if numbers.count(number) > 1)
        raise ValueError(f"{kind}: the id {twice} is there {numbers.count(twice)} times")


def _add_categories(
    content: dict, names: dict[int, str], categories: dict[tuple[str, int], int]
) -> None:
    """Adds a file's categories but for those that are no more than a group of others.

    Roboflow adds one that is the group of all; it may be called as a class is.
    """
    groups = {
        category.get("supercategory")
        for category in content["categories"]
        if category.get("supercategory") != names[category["id"]]
    }
    used = {entry.get("category_id") for entry in content["annotations"]}
    groups |= {names[number] for number in used & names.keys()}
    times = Counter[str]()
    for number, name in names.items():
        if number in used or name not in groups:
            categories.setdefault((name, times[name]), number)
            times[name] += 1


def _image(
    path: Path, image: dict, shapes: list[tuple[str, Any]], fault: UserError | None
) -> AnnotatedImage | Damaged:
    """An image of a file with its regions, or what is wrong with it or with one of them."""
    file_name: str | None = None
    try:
        file_name = image_path(image["file_name"])
        size = image_size(image.get("height"), image.get("width"))
        if fault is None:
            return AnnotatedImage(path, file_name, size, tuple(shapes), True, regions.coco_region)
    except DAMAGE as error:
        reason = reason_in_words(error)
        fault = UserError(f"{path} has a damaged image {image['id']} ({reason})")
    return Damaged(path, fault, True, file_name)


def _encloses(segmentation: Any) -> bool:
    """Whether an annotation has a segmentation; exports of boxes have `[[]]`, or two points.

    What is no list of polygons is judged when it is painted.
    """
    if not isinstance(segmentation, list):
        return bool(segmentation)
    polygons = all(isinstance(points, list) and len(points) % 2 == 0 for points in segmentation)
    return not polygons or any(len(points) >= 6 for points in segmentation)

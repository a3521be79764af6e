"""Annotation files in place of masks: COCO's JSON, one for many images, and labelme's, one each."""

import base64
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.base import extras
from pipelines.base.errors import UserError
from pipelines.base.labels import IGNORE
from pipelines.building import folders, regions
from pipelines.datasets.image_folder.classes import Classes, check_names, plain
from pipelines.datasets.image_folder.options import PaintOrder

# What annotators call pixels without a class, and pixels that are to be left out, in any case.
_BACKGROUND, _IGNORED = ("background", "_background_"), ("void", "ignore", "__ignore__")
_DAMAGE = (KeyError, TypeError, ValueError, OverflowError, AttributeError, OSError)


@dataclass(frozen=True, eq=False)
class AnnotatedImage:
    """An image as an annotation file describes it.

    Attributes:
        file: the annotation file.
        image: the image's path, as the file has it.
        size: height and width, as the file has them; None where it does not say.
        shapes: name of the class and outline, in the file's order.
        many: whether the file describes many images.
        is_embedded: whether the file holds the image, too.
        rasterise: turns an outline, height and width into bool `[H, W]`.
    """

    file: Path
    image: str
    size: tuple[int, int] | None
    shapes: tuple[tuple[str, Any], ...]
    many: bool
    rasterise: Callable[[Any, int, int], np.ndarray]
    is_embedded: bool = False

    def embedded_image(self) -> bytes:
        """The image's own file, out of the annotation file.

        Raises:
            UserError: it is damaged.
        """
        try:
            return base64.b64decode(_read(self.file)["imageData"], validate=True)
        except (*_DAMAGE, UserError) as error:
            raise UserError(f"{self.file} holds a damaged image, its imageData") from error

    def paint(self, size: tuple[int, int], classes: Classes, order: PaintOrder) -> np.ndarray:
        """The label map of an image of a size: uint8 `[H, W]`.

        Pixels without a region are of the class called background, or void if there is none.

        Raises:
            UserError: the image has another size than the file says, or a region is damaged, or
                of no class.
        """
        if self.size is not None and self.size != size:
            raise UserError(
                f"{self.image} is {size[1]}x{size[0]} pixels, but {self.file} says "
                f"{self.size[1]}x{self.size[0]}"
            )
        label_of = {_key(name): label for label, name in enumerate(classes.names)}
        background = background_of(classes.names)
        painted = []
        for number, (name, shape) in enumerate(self.shapes, 1):
            label = label_of.get(_key(name), IGNORE if _key(name) in _IGNORED else None)
            if label is None and _key(name) in _BACKGROUND:
                label = background
            if label is None:
                raise UserError(
                    f"{self.file} has the class {name!r}, which classes.txt does not name"
                )
            try:
                painted.append(regions.Region(label, self.rasterise(shape, *size)))
            except _DAMAGE as error:
                reason = f"no {error}" if isinstance(error, KeyError) else error
                raise UserError(
                    f"{self.file} has a damaged region, the {number}. of {self.image} ({reason})"
                ) from error
        return regions.paint(painted, size, background, order)


def find_annotations(source: Path) -> tuple[list[AnnotatedImage], tuple[str, ...]]:
    """Reads every annotation file below a folder; other JSON files are left alone.

    Returns:
        The images, and the names of the classes: of COCO the categories in the order of their
        ids, of labelme those that occur, sorted.

    Raises:
        UserError: a file is damaged, or files of both forms are there.
    """
    coco, labelme = [], []
    categories: dict[int, str] = {}
    for path in folders.find_files(source, (".json",))[0]:
        if not path.is_file():
            continue
        content = _read(path)
        try:
            if {"images", "annotations", "categories"} <= content.keys():
                coco += _coco(path, content, categories)
            elif {"shapes", "imagePath"} <= content.keys():
                labelme.append(_labelme(path, content))
        except _DAMAGE as error:
            reason = f"no {error}" if isinstance(error, KeyError) else error
            raise UserError(f"{path} is a damaged annotation file ({reason})") from error
    if coco and labelme:
        raise UserError(
            f"{source} has annotation files of COCO ({coco[0].file}) and of labelme "
            f"({labelme[0].file}): keep one of the two"
        )
    occurring = {name for image in labelme for name, _ in image.shapes}
    return coco + labelme, (*(categories[key] for key in sorted(categories)), *sorted(occurring))


def classes_of(file: Path, names: Iterable[str]) -> Classes:
    """Background and the classes that annotation files name.

    Args:
        file: one of them, to name where something is wrong.
        names: of the classes.

    Raises:
        UserError: they name none, one twice, one without a name, or too many.
    """
    known = [name for name in names if _key(name) not in (*_BACKGROUND, *_IGNORED)]
    if not known:
        raise UserError("the annotation files name no class")
    check_names(file, [_BACKGROUND[0], *known])
    return plain((_BACKGROUND[0], *known))


def background_of(names: Sequence[str]) -> int:
    """The label of pixels without a region: that of the class called background, or void."""
    keys = [_key(name) for name in names]
    return next((keys.index(name) for name in _BACKGROUND if name in keys), IGNORE)


def _key(name: str) -> str:
    """A class's name; that of background and void in small letters."""
    small = name.casefold()
    return small if small in (*_BACKGROUND, *_IGNORED) else name


def _read(path: Path) -> dict:
    try:
        content = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:  # JSON's and Unicode's errors are ValueErrors
        raise UserError(f"{path} is truncated or damaged ({error})") from error
    return content if isinstance(content, dict) else {}


def _coco(path: Path, content: dict, categories: dict[int, str]) -> list[AnnotatedImage]:
    """The images of a file; adds its categories to those of the files before it."""
    for kind in ("categories", "images"):
        numbers = [entry["id"] for entry in content[kind]]
        for number in numbers:
            if not isinstance(number, int):
                raise ValueError(f"{kind}: the id {number!r} is no whole number")
        if len(set(numbers)) < len(numbers):
            twice = next(number for number in numbers if numbers.count(number) > 1)
            raise ValueError(f"{kind}: the id {twice} is there {numbers.count(twice)} times")
    names = {category["id"]: str(category["name"]) for category in content["categories"]}
    # Roboflow adds a category that is but the others' group.
    groups = {category.get("supercategory") for category in content["categories"]}
    used = {entry["category_id"] for entry in content["annotations"]}
    for number, name in names.items():
        if number not in used and name in groups:
            continue
        if categories.setdefault(number, name) != name:
            raise ValueError(
                f"category {number} is {name!r}, and {categories[number]!r} in the file before"
            )
    shapes: dict[int, list[tuple[str, Any]]] = {image["id"]: [] for image in content["images"]}
    for entry in content["annotations"]:
        if not entry.get("segmentation"):
            raise UserError(
                f"{path} has a box and no segmentation in annotation {entry['id']}: export "
                "polygons or masks"
            )
        if isinstance(entry["segmentation"], list):
            extras.check(f"{path} has polygons, which need", "pycocotools")
        # Crowds are regions as all others: editors write what was painted as one.
        shapes[entry["image_id"]].append((names[entry["category_id"]], entry["segmentation"]))
    return [
        AnnotatedImage(
            path,
            str(image["file_name"]).replace("\\", "/"),
            (int(image["height"]), int(image["width"])),
            tuple(shapes[image["id"]]),
            True,
            regions.coco_region,
        )
        for image in content["images"]
    ]


def _labelme(path: Path, content: dict) -> AnnotatedImage:
    height, width = content.get("imageHeight"), content.get("imageWidth")
    return AnnotatedImage(
        path,
        str(content["imagePath"]).replace("\\", "/"),
        (int(height), int(width)) if height and width else None,
        tuple((str(shape["label"]), shape) for shape in content["shapes"]),
        False,
        regions.labelme_region,
        bool(content.get("imageData")),
    )

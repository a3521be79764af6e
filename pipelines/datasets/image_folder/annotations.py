"""Annotation files in place of masks: COCO's JSON, one for many images, and labelme's, one each."""

import base64
import functools
import json
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.base import extras
from pipelines.base.damage import DAMAGE, reason_of
from pipelines.base.errors import UserError
from pipelines.base.files import read_regular
from pipelines.base.labels import IGNORE
from pipelines.building import folders, regions
from pipelines.building.examples import all_faults
from pipelines.datasets.image_folder.classes import Classes, check_names, plain
from pipelines.datasets.image_folder.options import PaintOrder

# What annotators call pixels without a class, and pixels that are to be left out, in any case.
_BACKGROUND, _IGNORED = ("background", "_background_"), ("void", "ignore", "__ignore__")


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
        except (*DAMAGE, UserError) as error:
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
            inside = functools.partial(self._inside, number, shape, size)
            painted.append(regions.Region(label, inside))
        return regions.paint(painted, size, background, order)

    def _inside(self, number: int, shape: Any, size: tuple[int, int]) -> np.ndarray:
        """The pixels of a region, bool `[H, W]`; its number, from 1, is for the message."""
        try:
            return self.rasterise(shape, *size)
        except DAMAGE as error:
            raise UserError(
                f"{self.file} has a damaged region, the {number}. of {self.image} "
                f"({_reason(error)})"
            ) from error


@dataclass(frozen=True, eq=False)
class Damaged:
    """What an annotation file says of an image and cannot be used; or a whole file of labelme's.

    Attributes:
        file: the annotation file.
        fault: what is wrong.
        many: whether the file describes many images.
        image: the image's path, as the file has it; None where that is not known.
    """

    file: Path
    fault: UserError
    many: bool
    image: str | None = None


def find_annotations(source: Path) -> tuple[list[AnnotatedImage | Damaged], tuple[str, ...]]:
    """Reads every annotation file below a folder; other JSON files are left alone.

    Returns:
        The images, and the names of the classes: of COCO the categories in the order of their
        ids, of labelme those that occur, sorted.

    Raises:
        UserError: a file of COCO is damaged as a whole, or no file can be read, or files of both
            forms are there, or none has a region.
    """
    coco: list[AnnotatedImage | Damaged] = []
    labelme: list[AnnotatedImage] = []
    damaged: list[Damaged] = []
    whole: list[UserError] = []
    categories: dict[tuple[str, int], int] = {}
    for path in folders.find_files(source, (".json",))[0]:
        if not path.is_file():
            continue
        try:
            content = _read(path)
        except UserError as fault:
            damaged.append(Damaged(path, fault, many=False))
            continue
        if {"images", "annotations", "categories"} <= content.keys():
            try:
                coco += _coco(path, content, categories)
            except (*DAMAGE, UserError) as error:
                whole.append(_fault_of(path, error))
        elif {"shapes", "imagePath"} <= content.keys():
            try:
                labelme.append(_labelme(path, content))
            except (*DAMAGE, UserError) as error:
                damaged.append(Damaged(path, _fault_of(path, error), many=False))
    if coco and labelme:
        raise UserError(
            f"{source} has annotation files of COCO ({coco[0].file}) and of labelme "
            f"({labelme[0].file}): keep one of the two"
        )
    # Beside files of COCO, what cannot be read may be one of them, with many images.
    if whole or (damaged and not labelme):
        raise all_faults([*whole, *(each.fault for each in damaged)])
    images = [*coco, *labelme, *damaged]
    if images and all(isinstance(image, AnnotatedImage) and not image.shapes for image in images):
        raise UserError(
            f"no annotation file below {source} has a region, such as {images[0].file}: annotate "
            "the images"
        )
    occurring = {name for image in labelme for name, _ in image.shapes}
    named = [name for name, _ in sorted(categories, key=categories.__getitem__)]
    return images, (*named, *sorted(occurring))


def _fault_of(path: Path, error: Exception) -> UserError:
    if isinstance(error, UserError):
        return error
    return UserError(f"{path} is a damaged annotation file ({_reason(error)})")


def _reason(error: Exception) -> str:
    """What is wrong with a part of a file, in words; Python's own tell users nothing."""
    if isinstance(error, KeyError):
        return f"no {error}"
    if isinstance(error, (ValueError, MemoryError)):
        return reason_of(error)
    return "a value of another kind is needed"


def classes_of(images: Sequence[AnnotatedImage | Damaged], names: Iterable[str]) -> Classes:
    """Background and the classes that annotation files name.

    Args:
        images: of these files, to name where something is wrong.
        names: of the classes.

    Raises:
        UserError: they name none, one twice or in upper and in lower case, one without a name, or
            too many.
    """
    known = [name for name in names if _key(name) not in (*_BACKGROUND, *_IGNORED)]
    if not known:
        raise UserError("the annotation files name no class")
    check_names(images[0].file, [_BACKGROUND[0], *known])
    spellings: dict[str, str] = {}
    for name in known:
        other = spellings.setdefault(name.casefold(), name)
        if other != name:
            raise UserError(
                f"{_file_with(other, images)} has the class {other!r} and "
                f"{_file_with(name, images)} {name!r}: spell them alike, or, if they are two, name "
                "both in classes.txt"
            )
    return plain((_BACKGROUND[0], *known))


def _file_with(name: str, images: Sequence[AnnotatedImage | Damaged]) -> Path:
    """The first annotation file with a region of a class; any file where there is none."""
    with_name = (
        image.file
        for image in images
        if isinstance(image, AnnotatedImage) and any(name == own for own, _ in image.shapes)
    )
    return next(with_name, images[0].file)


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
        content = json.loads(read_regular(path))
    except (ValueError, RecursionError) as error:  # JSON's and Unicode's errors are ValueErrors
        raise UserError(f"{path} is truncated or damaged ({error})") from error
    return content if isinstance(content, dict) else {}


def _coco(
    path: Path, content: dict, categories: dict[tuple[str, int], int]
) -> list[AnnotatedImage | Damaged]:
    """The images of a file; adds its categories to those of the files before it.

    Files are numbered each in their own way: `categories` has the first id of each name, and of
    its repetitions in one file.
    """
    for kind in ("categories", "images"):
        numbers = [entry["id"] for entry in content[kind]]
        for number in numbers:
            if not isinstance(number, int):
                raise ValueError(f"{kind}: the id {number!r} is no whole number")
        if len(set(numbers)) < len(numbers):
            twice = next(number for number in numbers if numbers.count(number) > 1)
            raise ValueError(f"{kind}: the id {twice} is there {numbers.count(twice)} times")
    names = {category["id"]: _name(category["name"]) for category in content["categories"]}
    # Roboflow adds a category that is but the others' group.
    groups = {
        category.get("supercategory")
        for category in content["categories"]
        if category.get("supercategory") != names[category["id"]]
    }
    used = {entry.get("category_id") for entry in content["annotations"]}
    groups |= {names[number] for number in used & names.keys()}  # or is called as a class
    times = Counter[str]()
    for number, name in names.items():
        if number in used or name not in groups:
            categories.setdefault((name, times[name]), number)
            times[name] += 1
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
    found: list[AnnotatedImage | Damaged] = [Damaged(path, stray, many=True) for stray in strays]
    for image in content["images"]:
        fault = faults.get(image["id"])
        file_name: str | None = None
        try:
            file_name = _path(image["file_name"])
            annotated = AnnotatedImage(
                path,
                file_name,
                _size(image.get("height"), image.get("width")),
                tuple(shapes[image["id"]]),
                True,
                regions.coco_region,
            )
        except DAMAGE as error:
            fault = UserError(f"{path} has a damaged image {image['id']} ({_reason(error)})")
        found.append(Damaged(path, fault, True, file_name) if fault else annotated)
    return found


def _encloses(segmentation: Any) -> bool:
    """Whether an annotation has a segmentation; exports of boxes have `[[]]`, or two points.

    What is no list of polygons is judged when it is painted.
    """
    if not isinstance(segmentation, list):
        return bool(segmentation)
    polygons = all(isinstance(points, list) and len(points) % 2 == 0 for points in segmentation)
    return not polygons or any(len(points) >= 6 for points in segmentation)


def _labelme(path: Path, content: dict) -> AnnotatedImage:
    names = [_name(shape.get("label")) for shape in content["shapes"]]
    if not all(name.strip() for name in names):
        number = [bool(name.strip()) for name in names].index(False) + 1
        raise UserError(f"{path} has a shape without a label, the {number}.: give it one")
    return AnnotatedImage(
        path,
        _path(content["imagePath"]),
        _size(content.get("imageHeight"), content.get("imageWidth")),
        tuple(zip(names, content["shapes"], strict=True)),
        False,
        regions.labelme_region,
        bool(content.get("imageData")),
    )


def _name(value: Any) -> str:
    """A class's name, in the form NFC and without blanks around it, which nobody sees."""
    return "" if value is None else folders.composed(str(value)).strip()


def _path(value: Any) -> str:
    """An image's path, as a file has it, with slashes."""
    if not isinstance(value, str):
        raise ValueError(f"{value!r} is no image's path")
    return value.replace("\\", "/")


def _size(height: Any, width: Any) -> tuple[int, int] | None:
    """Height and width as a file has them; None where it does not say."""
    if not (height and width):
        return None
    try:
        return int(height), int(width)
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"height {height!r} and width {width!r}") from error

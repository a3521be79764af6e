"""COCO's instances as label maps of the 21 VOC classes; see README.md for how they are painted."""

import json
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tensorflow_datasets as tfds

from pipelines.base import labels
from pipelines.base.damage import DAMAGE, reason_of
from pipelines.base.errors import UserError
from pipelines.base.files import read_regular
from pipelines.base.progress import note
from pipelines.building import features, image_label
from pipelines.building.archives import Archive, locate
from pipelines.building.builder import SegmentationBuilder
from pipelines.building.regions import coco_region
from pipelines.datasets.names import COCO_CONFIG, VERSIONS

PAGE = "https://cocodataset.org/#download"
SPLITS = ("train", "val")
# COCO's names of VOC's classes, where they differ.
COCO_NAMES = {
    "aeroplane": "airplane",
    "motorbike": "motorcycle",
    "sofa": "couch",
    "pottedplant": "potted plant",
    "diningtable": "dining table",
    "tvmonitor": "tv",
}
LAYOUT = """
annotations/instances_train{year}.json     train{year}/*.jpg
annotations/instances_val{year}.json       val{year}/*.jpg
"""
# Size and SHA-256 of the archives.
ARCHIVES = {
    "annotations/annotations_trainval2014.zip":
        (252872794, "031296bbc80c45a1d1f76bf9a90ead27e94e99ec629208449507a4917a3bf009"),
    "annotations/annotations_trainval2017.zip":
        (252907541, "113a836d90195ee1f884e704da6304dfaaecff1f023f49b6ca93c4aaae470268"),
    "zips/train2014.zip":
        (13510573713, "ede4087e640bddba550e090eae701092534b554b42b05ac33f0300b984b31775"),
    "zips/train2017.zip":
        (19336861798, "69a8bb58ea5f8f99d24875f21416de2e9ded3178e903f1f7603e283b9e06d929"),
    "zips/val2014.zip":
        (6645013297, "fe9be816052049c34717e077d9e34aa60814a55679f804cd043e3cbee3b9fde0"),
    "zips/val2017.zip":
        (815585330, "4f7e2ccb2866ec5041993c9cf2a952bbed69647b115d0f74da7ce8f4bef82f05"),
}  # fmt: skip


class AnnotatedRegion(NamedTuple):
    """A region of one of VOC's classes.

    Attributes:
        annotation: its id, for messages.
        value: what it is painted with: a class, or 255 for a crowd or a small object.
        crowd: whether it is a crowd.
        area: pixels, as the annotation says.
        segmentation: polygons `[[x, y, x, y, …], …]` or `{"size": [h, w], "counts": [...]}`, the
            counts perhaps compressed to text.
    """

    annotation: int
    value: int
    crowd: bool
    area: float
    segmentation: list | dict


class Item(NamedTuple):
    """An image and what is annotated in it, as the annotations' file says."""

    path: Path
    annotations: Path
    height: int
    width: int
    regions: tuple[AnnotatedRegion, ...]


class Builder(SegmentationBuilder):
    """COCO 2017 or 2014 with VOC's classes, by the config's name; see `parse_config`."""

    VERSION = tfds.core.Version(VERSIONS["coco_voc"])
    index_masks = False  # labels are painted from annotations
    METADATA = {"class_names": list(labels.VOC_CLASSES)}
    HOMEPAGE = "https://cocodataset.org/"

    def _split_generators(self, dl_manager):
        config = self.builder_config.name if self.builder_config else COCO_CONFIG
        year, min_area = parse_config(config)
        folders = locate(dl_manager, archives(year), LAYOUT.format(year=year))
        items = partial(_items_of_split, folders=folders, year=year, min_area=min_area)
        return self.generators(SPLITS, items, make_example)


def _items_of_split(split, folders, year, min_area):
    annotations = folders[f"annotations_trainval{year}.zip"] / "annotations"
    images = folders[f"{split}{year}.zip"] / f"{split}{year}"
    return list_items(annotations / f"instances_{split}{year}.json", images, min_area)


def parse_config(name: str) -> tuple[int, int]:
    """Year and smallest area of an object: "2017" is (2017, 0), "2014_min1000" (2014, 1000)."""
    year, _, min_area = name.partition("_min")
    return int(year), int(min_area or 0)


def archives(year: int) -> tuple[Archive, ...]:
    """The archives of a year's images and annotations."""
    holds = {
        f"zips/train{year}.zip": f"train{year}",
        f"zips/val{year}.zip": f"val{year}",
        f"annotations/annotations_trainval{year}.zip": f"annotations/instances_train{year}.json",
    }
    return tuple(
        Archive(
            Path(name).name, held, PAGE, f"http://images.cocodataset.org/{name}", *ARCHIVES[name]
        )
        for name, held in holds.items()
    )


def list_items(annotations: Path, folder: Path, min_area: int = 0) -> list[Item]:
    """Reads an instances_*.json and picks the images that have an object of VOC's classes.

    Args:
        annotations: the file.
        folder: of its images.
        min_area: objects with a smaller `area` are void.

    Returns:
        Images with at least one object that is neither a crowd nor void, in the file's order;
        their regions in the order of painting: crowds, then from the largest to the smallest.

    Raises:
        UserError: the file is missing, damaged, or not what COCO's are like, or no image is left.
    """
    content = _read_json(annotations)
    try:
        values = _label_of_category(content["categories"], annotations)
        images = {image["id"]: image for image in content["images"]}
        regions: dict[int, list] = {number: [] for number in images}
        unlisted = set()
        for entry in content["annotations"]:
            if entry["image_id"] not in regions:
                unlisted.add(entry["image_id"])
            elif entry["category_id"] in values:
                regions[entry["image_id"]].append(
                    _region(entry, values[entry["category_id"]], min_area)
                )
        items = [
            Item(
                folder / Path(image["file_name"]).name,
                annotations,
                int(image["height"]),
                int(image["width"]),
                tuple(
                    sorted(regions[image["id"]], key=lambda r: (not r.crowd, -r.area, r.annotation))
                ),
            )
            for image in images.values()
            if any(region.value != labels.IGNORE for region in regions[image["id"]])
        ]
    except DAMAGE as error:
        reason = f"no {error}" if isinstance(error, KeyError) else reason_of(error)
        raise UserError(
            f"{annotations} is not a COCO file of instances ({reason}): unpack "
            "annotations_trainval*.zip again"
        ) from error
    if unlisted:
        count = f"{len(unlisted):,} of the images that it annotates"
        verb = "is" if len(unlisted) == 1 else "are"
        note(f"{annotations}: {count} {verb} not in its list: passed over")
    if not items:
        least = f" of at least {min_area} pixels" if min_area else ""
        raise UserError(f"{annotations} lists no image with an object of VOC's classes{least}")
    return items


def _read_json(path: Path) -> dict:
    try:
        return json.loads(read_regular(path, ": unpack annotations_trainval*.zip there"))
    except (ValueError, RecursionError) as error:  # JSON's and Unicode's errors are ValueErrors
        raise UserError(
            f"{path} is truncated or damaged ({error}): unpack annotations_trainval*.zip again"
        ) from error


def _label_of_category(categories: list[dict], path: Path) -> dict[int, int]:
    """The VOC label of each COCO category that has one."""
    ids = {category["name"]: category["id"] for category in categories}
    names = [COCO_NAMES.get(name, name) for name in labels.VOC_CLASSES]
    missing = [name for name in names[1:] if name not in ids]
    if missing:
        raise UserError(f"{path} has no category {', '.join(missing)}; is it COCO's?")
    return {ids[name]: label for label, name in enumerate(names) if label}


def _region(entry: dict, value: int, min_area: int) -> AnnotatedRegion:
    crowd, area = bool(entry["iscrowd"]), float(entry["area"])
    if crowd or area < min_area:
        value = labels.IGNORE
    return AnnotatedRegion(int(entry["id"]), value, crowd, area, entry["segmentation"])


def make_example(item: Item) -> tuple[str, dict]:
    """Reads an item's image and paints its label map.

    Raises:
        UserError: the image is missing or cannot be used, is not as large as the annotations
            say, or a segmentation is damaged.
    """
    image = read_regular(item.path, f", which {item.annotations} lists")
    height, width = image_label.check_image(item.path, image)
    if (height, width) != (item.height, item.width):
        raise UserError(
            f"{item.path} is {width}x{height} pixels, but {item.annotations} says "
            f"{item.width}x{item.height}"
        )
    return item.path.stem, features.example(item.path.stem, image, paint(item))


def paint(item: Item) -> np.ndarray:
    """An item's regions, one over the other, on background: uint8 `[height, width]`.

    Raises:
        UserError: a segmentation is damaged.
    """
    label = np.zeros((item.height, item.width), np.uint8)
    for region in item.regions:
        try:
            label[coco_region(region.segmentation, item.height, item.width)] = region.value
        except DAMAGE as error:
            raise UserError(
                f"{item.annotations} has a damaged segmentation in annotation "
                f"{region.annotation}, of {item.path.name} ({reason_of(error)})"
            ) from error
    return label

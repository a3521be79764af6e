"""Cityscapes with its 19 training classes; see README.md for the files and their encoding."""

from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tensorflow_datasets as tfds

from pipelines.base import labels
from pipelines.base.errors import UserError
from pipelines.base.progress import note
from pipelines.building import encoding, image_label
from pipelines.building.archives import Archive, locate
from pipelines.building.builder import SegmentationBuilder
from pipelines.building.folders import Pair
from pipelines.datasets.names import VERSIONS

PAGE = "https://www.cityscapes-dataset.com/downloads/"
IMAGES = Archive("leftImg8bit_trainvaltest.zip", "leftImg8bit/train", PAGE)
FINE = Archive("gtFine_trainvaltest.zip", "gtFine/train", PAGE)
EXTRA_IMAGES = Archive("leftImg8bit_trainextra.zip", "leftImg8bit/train_extra", PAGE, needed=False)
COARSE = Archive("gtCoarse.zip", "gtCoarse/train_extra", PAGE, needed=False)
LAYOUT = """\
leftImg8bit/{train,val,test}/CITY/CITY_000000_000019_leftImg8bit.png
gtFine/{train,val,test}/CITY/CITY_000000_000019_gtFine_labelIds.png
leftImg8bit/train_extra/CITY/CITY_000000_000019_leftImg8bit.png                 (may be absent)
gtCoarse/{train,train_extra,val}/CITY/CITY_000000_000019_gtCoarse_labelIds.png  (may be absent)
"""
IMAGE_SUFFIX = "_leftImg8bit.png"


class Split(NamedTuple):
    """The archives that a split is made from, its folder in both, and how many images it has."""

    images: Archive
    labels: Archive
    folder: str
    published: int


SPLITS = {
    "train": Split(IMAGES, FINE, "train", 2975),
    "val": Split(IMAGES, FINE, "val", 500),
    "test": Split(IMAGES, FINE, "test", 1525),
    "coarse": Split(EXTRA_IMAGES, COARSE, "train_extra", 19998),
    "train_coarse": Split(IMAGES, COARSE, "train", 2975),
}
# Its label files are published, but show only what is no part of the scene.
UNLABELLED = "test"


class Builder(SegmentationBuilder):
    """Cityscapes: 19 classes of street scenes, labelled finely and coarsely."""

    VERSION = tfds.core.Version(VERSIONS["cityscapes19"])
    INDEX_MASKS = False  # labels have ids of their own
    METADATA = {
        "class_names": list(labels.CITYSCAPES_CLASSES),
        "unlabelled_splits": [UNLABELLED],
    }
    HOMEPAGE = "https://www.cityscapes-dataset.com/"
    MANUAL_DOWNLOAD_INSTRUCTIONS = f"manual_dir has the archives of {PAGE}; see README.md."

    def _split_generators(self, dl_manager):
        folders = locate(dl_manager, (IMAGES, FINE, EXTRA_IMAGES, COARSE), LAYOUT)
        splits = available_splits(folders)
        if "train_coarse" in splits:
            self.info.metadata["overlapping_splits"] = [["train", "train_coarse"]]
        published = {name: SPLITS[name].published for name in splits}
        return self.generators(
            splits, partial(list_items, folders=folders), make_example, published
        )


def available_splits(folders: dict[str, Path]) -> list[str]:
    """The splits that can be made from what `locate` found; says on standard error which cannot."""
    splits = []
    for name, split in SPLITS.items():
        absent = [a.file for a in (split.images, split.labels) if a.file not in folders]
        if absent:
            note(f"cityscapes19: no split {name!r} without {' and '.join(absent)}")
        else:
            splits.append(name)
    return splits


def list_items(name: str, folders: dict[str, Path]) -> list[Pair]:
    """Finds the images of a split and their label files.

    Label files without an image are passed over: the one broken image of train_extra, see
    README.md, may have been deleted.

    Args:
        name: of the split.
        folders: as `archives.locate` returns them.

    Returns:
        Pairs sorted by image.

    Raises:
        UserError: there are no images, or one has no label file.
    """
    split = SPLITS[name]
    folder = folders[split.images.file] / "leftImg8bit" / split.folder
    images = sorted(p for p in folder.glob(f"*/*{IMAGE_SUFFIX}") if not p.name.startswith("."))
    if not images:
        raise UserError(f"{folder} has no CITY/*{IMAGE_SUFFIX}; unpack {split.images.file} again")
    if name == UNLABELLED:
        return [Pair(image, None) for image in images]
    kind = Path(split.labels.holds).parts[0]  # gtFine or gtCoarse
    label_folder = folders[split.labels.file] / kind / split.folder
    items = [
        Pair(image, label_folder / image.parent.name / f"{_image_id(image)}_{kind}_labelIds.png")
        for image in images
    ]
    bare = [item for item in items if item.label and not item.label.is_file()]
    if bare:
        more = f" (and {len(bare) - 1} more like it)" if len(bare) > 1 else ""
        raise UserError(f"{bare[0].image} has no label: {bare[0].label} is missing{more}")
    return items


def _image_id(image: Path) -> str:
    return image.name.removesuffix(IMAGE_SUFFIX)


def make_example(item: Pair) -> tuple[str, dict]:
    """Reads, checks and re-encodes an image and its labels.

    The image becomes a JPEG, label ids train ids. The labels of an image of a single colour become
    void: of what they show, nothing is there.

    Raises:
        UserError: one of the files cannot be used; the message names it and says why.
    """
    image = image_label.read_image(item.image, item.image.read_bytes())
    height, width, _ = image.shape
    if item.label is None or (image == image[0, 0]).all():
        label = np.full((height, width), labels.IGNORE, np.uint8)
    else:
        ids = image_label.read_label(item.label, item.label.read_bytes(), labels.CITYSCAPES_LABELS)
        label = train_ids(ids)
        image_label.check_sizes(item.label, label, item.image, (height, width))
    image_id = _image_id(item.image)
    return image_id, encoding.example(image_id, encoding.encode_jpeg(image), label)


def train_ids(label_ids: np.ndarray) -> np.ndarray:
    """Maps label ids, uint8, 255 for the id -1 of a license plate, to 0…18 and 255."""
    lookup = np.full(256, labels.IGNORE, np.uint8)
    lookup[list(labels.CITYSCAPES_LABEL_IDS)] = np.arange(len(labels.CITYSCAPES_CLASSES))
    return lookup[label_ids]

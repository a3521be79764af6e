"""Cityscapes with its 19 training classes; see README.md for the files and their encoding."""

from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tensorflow_datasets as tfds

from pipelines.base import encoding, labels
from pipelines.base.errors import UserError
from pipelines.base.files import is_hidden, read_regular
from pipelines.base.progress import note, note_passed_over
from pipelines.building import features, image_label
from pipelines.building.archives import Archive, locate
from pipelines.building.builder import SegmentationBuilder
from pipelines.building.folders import Pair, near_hint, near_misses
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
NEEDED = ("train", "val")


class Builder(SegmentationBuilder):
    """Cityscapes: 19 classes of street scenes, labelled finely and coarsely."""

    VERSION = tfds.core.Version(VERSIONS["cityscapes19"])
    index_masks = False  # labels have ids of their own
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
        for folder in dict.fromkeys(_image_folder(name, folders) for name in splits):
            files = (path for path in folder.glob("*/*") if not is_hidden(path.name))
            note_passed_over(sorted(p for p in files if not p.name.endswith(IMAGE_SUFFIX)))
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
        elif name not in NEEDED and not find_images(name, folders):
            folder = _image_folder(name, folders)
            note(f"cityscapes19: no split {name!r}, since {folder} has no CITY/*{IMAGE_SUFFIX}")
        elif name not in (*NEEDED, UNLABELLED) and not _label_folder(name, folders).is_dir():
            note(f"cityscapes19: no split {name!r} without {_label_folder(name, folders)}")
        else:
            splits.append(name)
    return splits


def _image_folder(name: str, folders: dict[str, Path]) -> Path:
    split = SPLITS[name]
    return folders[split.images.file] / "leftImg8bit" / split.folder


def _label_folder(name: str, folders: dict[str, Path]) -> Path:
    split = SPLITS[name]
    return folders[split.labels.file] / _kind(split) / split.folder


def _kind(split: Split) -> str:
    """Whether labels are gtFine or gtCoarse."""
    return Path(split.labels.holds).parts[0]


def find_images(name: str, folders: dict[str, Path]) -> list[Path]:
    """The images of a split, sorted."""
    files = _image_folder(name, folders).glob(f"*/*{IMAGE_SUFFIX}")
    return sorted(path for path in files if not is_hidden(path.name))


def list_items(name: str, folders: dict[str, Path]) -> list[Pair | UserError]:
    """Finds the images of a split and their label files.

    Label files without an image are passed over: the one broken image of train_extra, see
    README.md, may have been deleted.

    Args:
        name: of the split.
        folders: as `archives.locate` returns them.

    Returns:
        Pairs sorted by image, and a UserError for an image without a label file.

    Raises:
        UserError: there are no images.
    """
    split, images = SPLITS[name], find_images(name, folders)
    if not images:
        folder = _image_folder(name, folders)
        raise UserError(f"{folder} has no CITY/*{IMAGE_SUFFIX}; unpack {split.images.file} again")
    if name == UNLABELLED:
        return [Pair(image, None) for image in images]
    kind, label_folder = _kind(split), _label_folder(name, folders)
    near_miss = near_misses()
    items: list[Pair | UserError] = []
    for image in images:
        label = label_folder / image.parent.name / f"{_image_id(image)}_{kind}_labelIds.png"
        if label.exists():
            items.append(Pair(image, label))
        else:
            near = near_hint(near_miss(label))
            items.append(UserError(f"{image} has no label: {label} is missing{near}"))
    return items


def _image_id(image: Path) -> str:
    return image.name.removesuffix(IMAGE_SUFFIX)


def make_example(item: Pair) -> tuple[str, dict]:
    """Reads, checks and re-encodes an image and its labels.

    The image becomes a JPEG, label ids train ids. The labels of an image of a single colour become
    void: none of the objects that they describe is visible.

    Raises:
        UserError: one of the files cannot be used; the message names it and says why.
    """
    image = image_label.read_image(item.image, read_regular(item.image))
    height, width, _ = image.shape
    if item.label is None or (image == image[0, 0]).all():
        label = np.full((height, width), labels.IGNORE, np.uint8)
    else:
        ids = image_label.read_label(item.label, read_regular(item.label), labels.CITYSCAPES_LABELS)
        label = train_ids(ids)
        image_label.check_sizes(item.label, label, item.image, (height, width))
    image_id = _image_id(item.image)
    return image_id, features.example(image_id, encoding.encode_jpeg(image), label)


def train_ids(label_ids: np.ndarray) -> np.ndarray:
    """Maps label ids, uint8, 255 for the id -1 of a license plate, to 0…18 and 255."""
    lookup = np.full(256, labels.IGNORE, np.uint8)
    lookup[list(labels.CITYSCAPES_LABEL_IDS)] = np.arange(len(labels.CITYSCAPES_CLASSES))
    return lookup[label_ids]

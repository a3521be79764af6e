"""PASCAL VOC 2012 and the SBD's labels for more of its images; see README.md for the splits."""

from functools import partial
from pathlib import Path

import tensorflow_datasets as tfds

from pipelines.base import labels
from pipelines.base.errors import UserError
from pipelines.base.files import read_regular
from pipelines.base.progress import note
from pipelines.building import image_label
from pipelines.building.archives import Archive, locate
from pipelines.building.builder import SegmentationBuilder
from pipelines.building.folders import Pair, near_hint, near_misses
from pipelines.datasets.names import VERSIONS
from pipelines.datasets.voc2012_sbd.mat_files import read_mat

TRAINVAL = Archive(
    "VOCtrainval_11-May-2012.tar",
    holds="VOCdevkit/VOC2012/SegmentationClass",
    page="http://host.robots.ox.ac.uk/pascal/VOC/voc2012/",
    url="http://host.robots.ox.ac.uk/pascal/VOC/voc2012/VOCtrainval_11-May-2012.tar",
    size=1999639040,
    sha256="e14f763270cf193d0b5f74b169f44157a4b0c6efa708f4dd0ff78ee691763bcb",
)
TEST = Archive(
    "VOC2012test.tar",
    holds="VOCdevkit/VOC2012/ImageSets/Segmentation/test.txt",
    page="http://host.robots.ox.ac.uk:8080/",
    size=1850626560,
    sha256="f08582b1935816c5eab3bbb1eb6d06201a789eaa173cdf1cf400c26f0cac2fb3",
    needed=False,
)
SBD = Archive(
    "benchmark.tgz",
    holds="benchmark_RELEASE/dataset/cls",
    page="https://www2.eecs.berkeley.edu/Research/Projects/CS/vision/grouping/semantic_contours/",
    url="https://www2.eecs.berkeley.edu/Research/Projects/CS/vision/grouping/semantic_contours/"
    "benchmark.tgz",
)
LAYOUT = """
VOCdevkit/VOC2012/JPEGImages/2007_000032.jpg
VOCdevkit/VOC2012/SegmentationClass/2007_000032.png
VOCdevkit/VOC2012/ImageSets/Segmentation/{train,val,trainval}.txt
VOCdevkit/VOC2012/ImageSets/Segmentation/test.txt                  (may be absent)
benchmark_RELEASE/dataset/cls/2008_000008.mat
benchmark_RELEASE/dataset/img/2008_000008.jpg
benchmark_RELEASE/dataset/{train,val}.txt
"""
# The splits, and how many images are published.
SPLITS = {"train": 1464, "trainaug": 10582, "val": 1449, "trainval": 2913, "test": 1456}
UNLABELLED = "test"
OVERLAPPING = (
    ("train", "trainaug"), ("train", "trainval"), ("trainaug", "trainval"), ("val", "trainval"),
)  # fmt: skip


class Builder(SegmentationBuilder):
    """PASCAL VOC 2012 with the SBD's labels: 20 kinds of objects and background."""

    VERSION = tfds.core.Version(VERSIONS["voc2012_sbd"])
    METADATA = {
        "class_names": list(labels.VOC_CLASSES),
        "unlabelled_splits": [UNLABELLED],
        "overlapping_splits": [list(pair) for pair in OVERLAPPING],
    }
    HOMEPAGE = "http://host.robots.ox.ac.uk/pascal/VOC/voc2012/"

    def _split_generators(self, dl_manager):
        folders = locate(dl_manager, (TRAINVAL, TEST, SBD), LAYOUT)
        splits = dict(SPLITS)
        has_test = TEST.file in folders and any(
            isinstance(item, Pair) for item in list_items(UNLABELLED, folders)
        )
        if not has_test:
            del splits[UNLABELLED]
            note(f"voc2012_sbd: no split {UNLABELLED!r} without {TEST.file} (from {TEST.page})")
        return self.generators(splits, partial(list_items, folders=folders), make_example, splits)


def list_items(name: str, folders: dict[str, Path]) -> list[Pair | UserError]:
    """Finds the images of a split and their label files.

    Args:
        name: of the split.
        folders: as `archives.locate` returns them.

    Returns:
        Pairs in the order of VOC's list, "trainaug" sorted by image id, and a UserError where a
        file of one is missing.

    Raises:
        UserError: a list is missing or empty.
    """
    archive = TEST if name == UNLABELLED else TRAINVAL
    voc = folders[archive.file] / "VOCdevkit/VOC2012"
    sbd = folders[SBD.file] / "benchmark_RELEASE/dataset"
    lists = voc / "ImageSets/Segmentation"
    images, masks = [(voc / "JPEGImages", ".jpg")], [(voc / "SegmentationClass", ".png")]
    if name == "trainaug":
        ids = _read_ids(lists / "train.txt", sbd / "train.txt", sbd / "val.txt")
        ids = sorted(set(ids) - set(_read_ids(lists / "val.txt")))
        images.append((sbd / "img", ".jpg"))
        masks.append((sbd / "cls", ".mat"))
    else:
        ids = _read_ids(lists / f"{name}.txt")
    items: list[Pair | UserError] = []
    found = _find(ids, masks) if name != UNLABELLED else [None] * len(ids)
    for image, label in zip(_find(ids, images), found, strict=True):
        if isinstance(image, UserError):
            items.append(image)
        else:
            items.append(label if isinstance(label, UserError) else Pair(image, label))
    return items


def _read_ids(*lists: Path) -> list[str]:
    ids = []
    for path in lists:
        listed = read_regular(path, ": unpack its archive again").decode(errors="replace").split()
        if not listed:
            raise UserError(f"{path} is empty: unpack its archive again")
        ids += listed
    return list(dict.fromkeys(ids))


def _find(ids: list[str], places: list[tuple[Path, str]]) -> list[Path | UserError]:
    """The file of each id, from the first of the places, folder and suffix, that has it."""
    # Folders are listed, and not asked for each file: they may lie on a network drive.
    there = {path for folder, _ in places if folder.is_dir() for path in folder.iterdir()}
    near_miss = near_misses()
    found: list[Path | UserError] = []
    for image_id in ids:
        paths = [folder / f"{image_id}{suffix}" for folder, suffix in places]
        if here := [path for path in paths if path in there]:
            found.append(here[0])
        else:
            near = next(filter(None, map(near_miss, paths)), None)
            wanted = " or ".join(map(str, paths))
            found.append(UserError(f"there is no {wanted}, which a list names{near_hint(near)}"))
    return found


def make_example(item: Pair) -> tuple[str, dict]:
    """`image_label.make_example`, from a .png of VOC or a .mat of the SBD."""
    of_sbd = item.label is not None and item.label.suffix == ".mat"
    read = read_mat if of_sbd else image_label.read_label
    return image_label.make_example(item, partial(read, class_names=labels.VOC_CLASSES))

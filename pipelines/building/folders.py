"""Files below a folder: the names by which folders are known, ids of images, what lies there."""

import functools
import itertools
import os
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from pipelines.base.errors import UserError
from pipelines.base.files import is_hidden

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".bmp")
LABEL_SUFFIXES = (".png", ".bmp", ".gif", ".tif", ".tiff", ".jpg", ".jpeg")
IMAGES = ("images", "image", "imgs", "img", "jpegimages", "leftimg8bit")
LABELS = (
    "labels", "label", "masks", "mask", "annotations", "annotation", "annot", "segmentationclass",
    "gtfine",
)  # fmt: skip
# What TFDS writes into the folder of each data set: with --from . it lies below the source.
_OF_A_PREPARED_SET = {"dataset_info.json", "features.json"}
# What the folders of a split are called.
SPLITS = {
    "train": ("train", "training", "train2014", "train2017"),
    "val": ("val", "valid", "validation", "val2014", "val2017"),
    "test": ("test", "testing", "test2014", "test2015", "test2017"),
}
# What to do with files that are neither images nor masks.
_WHAT_TO_DO = {
    (".npy", ".npz"): "write each array as a PNG file: PIL.Image.fromarray(array).save('NAME.png')",
    (".zip", ".tar", ".gz", ".tgz", ".7z", ".rar"): "unpack them",
    (".heic", ".heif", ".avif", ".gif", ".webp", ".dng", ".dcm", ".psd"): "save them as PNG",
    (".mp4", ".mov", ".avi", ".mkv"): "save their frames as JPEG or PNG",
    (".txt",): "if they are YOLO's polygons, export masks or COCO's JSON",
    (".xml",): "export masks or COCO's JSON from the program that wrote them",
    (".mat", ".nii", ".h5", ".csv"): "write the masks as PNG files",
    (".json", ".jsonl"): "of annotation files, those of COCO and of labelme are read",
}


class Pair(NamedTuple):
    """An image file and the file of its labels; None where the image has none.

    `name` is the image's id; "" where it is the file's name without suffix.
    """

    image: Path
    label: Path | None
    name: str = ""

    @property
    def image_id(self) -> str:
        """What the image is called in a data set."""
        return self.name or self.image.stem


@dataclass(frozen=True)
class Naming:
    """How images and label files are called.

    Attributes:
        image_suffix, label_suffix: what follows the common name: label suffix "_mask" pairs a.jpg
            and a_mask.png. Files without it are passed over.
        image_prefix, label_prefix: what stands before it.
        image_folder, label_folder: their folders' paths below the source; "" to find them by
            their names.

    Suffixes and prefixes are in the form NFC, as the ids of images are.
    """

    image_suffix: str = ""
    label_suffix: str = ""
    image_prefix: str = ""
    label_prefix: str = ""
    image_folder: str = ""
    label_folder: str = ""


PLAIN = Naming()


def image_id(path: Path, folder: Path) -> str:
    """An image's path below a folder without its ending, in the form NFC."""
    return composed(path.relative_to(folder).with_suffix("").as_posix())


def common_image_id(path: Path, source: Path) -> str:
    """As `image_id`, without the folders on the way that are known by their names."""
    parts = image_id(path, source).split("/")
    while len(parts) > 1 and is_known_folder(parts[0]):
        del parts[0]
    return "/".join(parts)


def is_known_folder(name: str) -> bool:
    """Whether folders of images, or of splits, are called so."""
    return name.lower() in {*IMAGES, *(each for names in SPLITS.values() for each in names)}


def find_files(
    folder: Path, suffixes: tuple[str, ...], may_be_closed: bool = False
) -> tuple[list[Path], list[Path]]:
    """The sorted files with one of the endings below a folder; and others, and linked folders.

    What file managers leave behind is neither, nor what lies in a prepared data set.

    Args:
        folder: where to look.
        suffixes: the endings.
        may_be_closed: whether folders that cannot be read are passed over.

    Raises:
        UserError: a folder cannot be read.
    """

    def refuse(error: OSError) -> None:
        raise UserError(f"the folder {error.filename} cannot be read: {error.strerror}")

    wanted: list[Path] = []
    others: list[Path] = []
    for place, folders, names in os.walk(folder, onerror=None if may_be_closed else refuse):
        if _OF_A_PREPARED_SET.issubset(names):
            folders.clear()
            continue
        folders[:] = [name for name in folders if not is_hidden(name)]
        others += [path for path in (Path(place, name) for name in folders) if path.is_symlink()]
        # What is called as a file counts as one: it will be said that it is a folder.
        names += [name for name in folders if Path(name).suffix.lower() in suffixes]
        folders[:] = [name for name in folders if Path(name).suffix.lower() not in suffixes]
        for path in [Path(place, name) for name in names if not is_hidden(name)]:
            (wanted if path.suffix.lower() in suffixes else others).append(path)
    return sorted(wanted), sorted(others)


def sub_folders(folder: Path) -> list[Path]:
    """The sorted folders directly in a folder, without hidden ones."""
    return sorted(path for path in folder.iterdir() if path.is_dir() and not is_hidden(path.name))


def has_label_files(source: Path, of_any_name: bool = False) -> bool:
    """Whether a folder for label files, anywhere below `source`, holds one of an image's name.

    Others may be previews beside annotation files; with `of_any_name` they count, too.
    """
    files = find_files(source, (*IMAGE_SUFFIXES, ".gif"))[0]
    images, labels = set[str](), set[str]()
    for path in files:
        places = path.relative_to(source).parents
        is_label = any(name_is_of(source / place, LABELS) for place in places if place.name)
        (labels if is_label else images).add(composed(path.stem))
    return bool(labels) if of_any_name else not images.isdisjoint(labels)


def is_split(folder: Path) -> bool:
    """Whether a folder is called as a split is."""
    return any(folder.name.lower() in names for names in SPLITS.values())


def is_jpeg(path: Path) -> bool:
    """Whether a file is called as one of JPEG."""
    return path.suffix.lower() in (".jpg", ".jpeg")


def name_is_of(folder: Path, kinds: Iterable[str]) -> bool:
    """Whether a folder has one of the names, in any case, alone or beside a split's.

    That is "masks", and "train_masks" or "masks-val".
    """
    name = folder.name.lower()
    splits = (split for names in SPLITS.values() for split in names)
    return name in kinds or name in compounds(splits, kinds)


def compounds(splits: Iterable[str], kinds: Iterable[str]) -> set[str]:
    """Names of a split and of what is in it, in one: "train_masks", "masks-train", "trainmasks"."""
    return {
        between.join(order)
        for pair in itertools.product(splits, kinds)
        for order in (pair, pair[::-1])
        for between in ("_", "-", " ", "")
    }


def describe_contents(folder: Path, wanted: str = "images") -> str:
    """What lies in a folder, and what to do with it, for a message.

    That is: "has no images, but 3 .heic, 1 .txt: save them as PNG".
    """
    endings = _endings(folder)
    linked = [path for path in folder.iterdir() if path.is_symlink() and path.is_dir()]
    if linked and not endings:
        link = min(linked).name
        return f"holds the link {link}, which is not followed: link each file, or all of the folder"
    if not endings:
        return "is empty"
    return f"has no {wanted}, but {_counts(endings)}{advice(endings)}"


def file_counts(folder: Path) -> str:
    """The files in a folder, for a message: "10 .jpg, 1 .json"."""
    return _counts(_endings(folder))


def _endings(folder: Path) -> Counter[str]:
    files = [Path(name) for _, _, names in os.walk(folder) for name in names if not is_hidden(name)]
    return Counter(path.suffix.lower() or "without ending" for path in files)


def _counts(endings: Counter[str]) -> str:
    return ", ".join(f"{count:,} {ending}" for ending, count in endings.most_common(5))


def advice(endings: Counter[str]) -> str:
    """What to do with files of the most frequent ending, as the end of a sentence."""
    most = endings.most_common(1)[0][0]
    text = next((text for these, text in _WHAT_TO_DO.items() if most in these), "")
    return f": {text}" if text else ""


def shown_below(path: Path, source: Path) -> str:
    """A folder's path below another one, if it is there, for people: "images/train/"."""
    if path == source:
        return f"{source.resolve().name}/"
    return f"{(path.relative_to(source) if path.is_relative_to(source) else path).as_posix()}/"


def near_misses() -> Callable[..., Path | None]:
    """A function that takes a missing file and finds what seems to lie there in its place.

    That is a file in the same folder with another suffix, case or Unicode form, or with something
    after the name: for a.png it finds a.tif, A.PNG, and a_mask.png; but none that belongs to one of
    the other names, without suffix, that it is given. Each folder is read once.
    """

    @functools.cache
    def names_in(folder: Path) -> dict[str, str]:
        names: dict[str, str] = {}
        for name in sorted(os.listdir(folder) if folder.is_dir() else (), key=len):
            whole = composed(name).casefold()
            for end in re.finditer(r"[\W_]|$", whole):
                names.setdefault(whole[: end.start()], name)
        return names

    def find(missing: Path, others: Collection[str] = ()) -> Path | None:
        name = names_in(missing.parent).get(composed(missing.stem).casefold())
        if name is None or (Path(name).stem in others and Path(name).stem != missing.stem):
            return None
        return missing.with_name(name)

    return find


def near_hint(near: Path | None) -> str:
    """The end of a sentence that calls a file missing."""
    return f", but {near.name} is there" if near else ""


def composed(name: str) -> str:
    """A name in the Unicode form NFC, in which names are compared."""
    return unicodedata.normalize("NFC", name)

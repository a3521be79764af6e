"""Where a folder keeps its images and label files, found by the names of its folders."""

import functools
import os
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Collection
from pathlib import Path
from typing import NamedTuple

from pipelines.base.errors import UserError
from pipelines.base.files import is_hidden
from pipelines.building.examples import collect

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".bmp")
LABEL_SUFFIXES = (".png", ".bmp", ".tif", ".tiff", ".jpg", ".jpeg")
_LOSSLESS = (".png", ".bmp")  # of two files with one name, the labels
_IMAGES = ("images", "image", "imgs", "img", "jpegimages")
_LABELS = (
    "labels", "label", "masks", "mask", "annotations", "annotation", "segmentationclass",
)  # fmt: skip
# What the folders of a split are called.
SPLITS = {
    "train": ("train", "training"),
    "val": ("val", "valid", "validation"),
    "test": ("test", "testing"),
}
EXPECTED = (
    "images/ and labels/ (or masks/, annotations/), train/ and val/ with these in each, "
    "images/train and labels/train, or each mask beside its image"
)


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


class Layout(NamedTuple):
    """What a folder holds.

    Attributes:
        splits: of each split the sorted pairs, and a UserError for each file without partner; of
            "all" alone where there are no splits.
        words: where they lie, for people: "images/ and masks/".
        passed_over: files that are no images, and linked folders.
    """

    splits: dict[str, list[Pair | UserError]]
    words: str
    passed_over: list[Path]


def find_layout(source: Path, image_suffix: str = "", label_suffix: str = "") -> Layout:
    """Finds the pairs of images and label files below a folder.

    Args:
        source: the folder.
        image_suffix, label_suffix: as of `find_pairs`.

    Raises:
        UserError: the layout is not one of `EXPECTED`.
    """
    if not source.is_dir():
        raise UserError(f"there is no folder {source}")
    images, labels, splits = _named(source, _IMAGES), _named(source, _LABELS), _splits(source)
    if images and splits:
        other = next(iter(splits.values()))
        raise UserError(
            f"{source} has both {images.name}/ and {other.name}/: keep one of the two layouts"
        )
    if splits:
        places = dict(zip(splits, collect(_images_and_labels, splits.values()), strict=True))
    else:
        images, labels = _images_and_labels(source)
        of_images, of_labels = (_splits(images), _splits(labels)) if images != labels else ({}, {})
        for split in of_images.keys() ^ of_labels.keys():
            there, other = (images, labels) if split in of_images else (labels, images)
            raise UserError(f"{there} has the split {split!r}, but {other} has not")
        places = {split: (of_images[split], of_labels[split]) for split in of_images}
        places = places or {"all": (images, labels)}
    pairs = collect(
        lambda both: find_pairs(both[0], both[1], image_suffix, label_suffix), places.values()
    )
    found = {split: items for split, (items, _) in zip(places, pairs, strict=True)}
    passed_over = [path for _, others in pairs for path in others]
    images, labels = next(iter(places.values()))
    words = f"{_below(images, source)} and {_below(labels, source)}"
    if images == labels:
        words = f"label files beside the images in {_below(images, source)}"
    return Layout(found, words, passed_over)


def find_pairs(
    images: Path, labels: Path, image_suffix: str = "", label_suffix: str = ""
) -> tuple[list[Pair | UserError], list[Path]]:
    """Pairs images with label files by their paths below their folders, without endings.

    Paths may be composed of other Unicode characters in one folder than in the other, as some file
    systems write them: they are compared in the form NFC.

    Args:
        images: folder of the images, with sub-folders.
        labels: folder of the label files, with the same sub-folders; may be `images` itself.
        image_suffix, label_suffix: what follows the common name: "_mask" pairs a.jpg, a_mask.png.

    Returns:
        The sorted pairs, and a UserError for each file that has another one's name or no partner;
        and the files that were passed over.

    Raises:
        UserError: there are no images, or no pair but under another suffix.
    """
    image_files, passed_over = find_files(images, IMAGE_SUFFIXES)
    if images == labels:
        image_files, label_files = _side_by_side(images, image_files, label_suffix)
    else:
        label_files, others = find_files(labels, LABEL_SUFFIXES)
        passed_over += others
    if not image_files:
        raise UserError(f"{images} {_seen(images)}; expected {EXPECTED}")
    by_id, faults = _by_id(images, image_files, image_suffix)
    labels_by_id, more = _by_id(labels, label_files, label_suffix)
    pairs = [
        Pair(by_id[name], labels_by_id[name], name) for name in by_id.keys() & labels_by_id.keys()
    ]
    lonely, named = _lonely(
        by_id,
        labels_by_id,
        lambda name: images / f"{name}{image_suffix}.jpg",
        lambda name: labels / f"{name}{label_suffix}.png",
    )
    if not pairs and (hint := _proposal(by_id.keys(), labels_by_id.keys())):
        raise UserError.naming(f"no label file in {labels} has an image's name: {hint}")
    passed_over = [path for path in passed_over if path not in named]
    return [*sorted(pairs), *faults, *more, *lonely], passed_over


def _lonely(
    by_id: dict[str, Path],
    labels_by_id: dict[str, Path],
    image_of: Callable[[str], Path],
    label_of: Callable[[str], Path],
) -> tuple[list[UserError], set[Path | None]]:
    """A fault for each file without partner, and the files that these name in its place."""
    found, named = [], set()
    instead, images = near_misses(), [Path(name).name for name in by_id]
    for name in sorted(by_id.keys() - labels_by_id.keys()):
        near = instead(label_of(name), images)
        named.add(near)
        found.append(
            UserError(f"{by_id[name]} has no label: {label_of(name)} is missing{but(near)}")
        )
    instead = near_misses()
    labelled = [Path(name).name for name in by_id.keys() & labels_by_id.keys()]
    for name in sorted(labels_by_id.keys() - by_id.keys()):
        if labels_by_id[name] not in named:
            near = instead(image_of(name), labelled)
            named.add(near)
            found.append(
                UserError(
                    f"{labels_by_id[name]} has no image: {image_of(name)} or .png is "
                    f"missing{but(near)}"
                )
            )
    return found, named


def _side_by_side(folder, files, label_suffix) -> tuple[list[Path], list[Path]]:
    """Parts the files of one folder into images and label files, by the suffix or the ending."""
    if label_suffix:
        labels = {path for path in files if path.stem.endswith(label_suffix)}
    else:
        twins: dict[Path, list[Path]] = {}
        for path in files:
            twins.setdefault(path.with_suffix(""), []).append(path)
        # Of a.jpg and a.png, the one without loss holds the labels.
        labels = {
            path
            for both in twins.values()
            if len(both) == 2
            for path in both
            if path.suffix.lower() in _LOSSLESS
        }
    if files and not labels:
        stems = [path.stem for path in files]
        hint = _proposal(stems, stems) or f"expected {EXPECTED}"
        raise UserError.naming(f"{folder} has no masks beside its images: {hint}")
    return [path for path in files if path not in labels], sorted(labels)


def _proposal(images: Collection[str], labels: Collection[str]) -> str:
    """The option that would pair at least half of the label files; "" if none would."""
    names, tails = set(images), Counter[str]()
    for label in labels:
        ends = (end for end in range(len(label) - 1, 0, -1) if label[:end] in names)
        if end := next(ends, 0):
            tails[label[end:]] += 1
    tail, count = tails.most_common(1)[0] if tails else ("", 0)
    # Of files side by side, half hold labels.
    least = len(labels) // 4 if images is labels else len(labels) // 2
    return f"masks are called NAME{tail}, so give {{label_suffix}}={tail}" if count > least else ""


def _by_id(folder, files, suffix) -> tuple[dict[str, Path], list[UserError]]:
    """The files by their path below the folder, without ending and suffix."""
    found: dict[str, Path] = {}
    faults = []
    for path in files:
        name = image_id(path, folder).removesuffix(suffix)
        if name in found:
            faults.append(UserError(f"{found[name]} and {path} have the same name"))
        else:
            found[name] = path
    return found, faults


def image_id(path: Path, folder: Path) -> str:
    """An image's path below a folder without its ending, in the form NFC."""
    return _composed(path.relative_to(folder).with_suffix("").as_posix())


def common_image_id(path: Path, source: Path) -> str:
    """As `image_id`, without the folders on the way that are known by their names."""
    parts = image_id(path, source).split("/")
    known = {*_IMAGES, *(name for names in SPLITS.values() for name in names)}
    while len(parts) > 1 and parts[0].lower() in known:
        del parts[0]
    return "/".join(parts)


def find_files(folder: Path, suffixes: tuple[str, ...]) -> tuple[list[Path], list[Path]]:
    """The sorted files with one of the endings below a folder; and others, and linked folders.

    What file managers leave behind is neither.
    """
    wanted: list[Path] = []
    others: list[Path] = []
    for place, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not is_hidden(name)]
        others += [path for path in (Path(place, name) for name in folders) if path.is_symlink()]
        # What is called as a file counts as one: it will be said that it is a folder.
        names += [name for name in folders if Path(name).suffix.lower() in suffixes]
        folders[:] = [name for name in folders if Path(name).suffix.lower() not in suffixes]
        for path in [Path(place, name) for name in names if not is_hidden(name)]:
            (wanted if path.suffix.lower() in suffixes else others).append(path)
    return sorted(wanted), sorted(others)


def has_label_files(source: Path) -> bool:
    """Whether a folder for label files, anywhere below `source`, holds one."""
    places = (Path(place) for place, _, _ in os.walk(source))
    return any(
        place.name.lower() in _LABELS and find_files(place, LABEL_SUFFIXES)[0] for place in places
    )


def _folders(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir() and not is_hidden(path.name))


def _named(folder: Path, names: tuple[str, ...]) -> Path | None:
    """The sub-folder with one of the names, in any case; None if there is none.

    Raises:
        UserError: there are several.
    """
    found = [path for path in _folders(folder) if path.name.lower() in names]
    if len(found) > 1:
        raise UserError(f"{folder} has both {found[0].name}/ and {found[1].name}/: keep one")
    return found[0] if found else None


def _splits(folder: Path) -> dict[str, Path]:
    """The sub-folders that hold splits: {"val": folder / "validation"}."""
    found = {split: _named(folder, names) for split, names in SPLITS.items()}
    return {split: path for split, path in found.items() if path}


def _images_and_labels(folder: Path) -> tuple[Path, Path]:
    """A split's folders of images and of labels; its own, twice, where they lie side by side."""
    images, labels = _named(folder, _IMAGES), _named(folder, _LABELS)
    if images and labels:
        return images, labels
    if found := images or labels:
        missing = "labels/, masks/ or annotations/" if images else "images/"
        raise UserError(f"{folder} has {found.name}/ but no {missing}")
    return folder, folder


def _seen(folder: Path) -> str:
    """What lies in a folder, for a message: "has no images, but 3 .heic, 1 .txt"."""
    files = [Path(name) for _, _, names in os.walk(folder) for name in names if not is_hidden(name)]
    if not files:
        return "is empty"
    endings = Counter(path.suffix.lower() or "without ending" for path in files)
    counts = ", ".join(f"{count:,} {ending}" for ending, count in endings.most_common(5))
    return f"has no images, but {counts}"


def _below(path: Path, source: Path) -> str:
    return f"{path.relative_to(source).as_posix()}/" if path != source else f"{source.name}/"


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
            whole = _composed(name).casefold()
            for end in re.finditer(r"[\W_]|$", whole):
                names.setdefault(whole[: end.start()], name)
        return names

    def find(missing: Path, others: Collection[str] = ()) -> Path | None:
        name = names_in(missing.parent).get(_composed(missing.stem).casefold())
        if name is None or (Path(name).stem in others and Path(name).stem != missing.stem):
            return None
        return missing.with_name(name)

    return find


def but(near: Path | None) -> str:
    """The end of a sentence that calls a file missing."""
    return f", but {near.name} is there" if near else ""


def _composed(name: str) -> str:
    return unicodedata.normalize("NFC", name)

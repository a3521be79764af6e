"""Options that would pair images with label files, for a sentence that refuses a folder."""

import itertools
import shlex
from collections import Counter
from collections.abc import Collection
from pathlib import Path

from pipelines.base.errors import argument
from pipelines.building.folders import (
    IMAGE_SUFFIXES,
    find_files,
    image_id,
    is_jpeg,
    is_split,
    sub_folders,
)

# Sub-folders that are compared.
_MOST_FOLDERS = 30
_OF_LABELS = ("mask", "label", "gt", "truth", "seg", "ann", "target", "trimap")


def suffix_of_masks(images: Collection[str], labels: Collection[str]) -> str:
    """The suffix that would pair at least half of the label files; "" if none would."""
    names, tails = set(images), Counter[str]()
    for label in labels:
        ends = (end for end in range(len(label) - 1, 0, -1) if label[:end] in names)
        end = next(ends, 0)
        if end and "/" not in label[end:]:
            tails[label[end:]] += 1
    tail, count = tails.most_common(1)[0] if tails else ("", 0)
    # Of files side by side, half hold labels.
    least = len(labels) // 4 if images is labels else len(labels) // 2
    return tail if count > least else ""


def suffix_advice(tail: str) -> str:
    """The option for masks with a suffix."""
    return f"masks are called NAME{tail}, so give {argument('label_suffix')}={tail}"


def beside_each_other(names: Collection[str]) -> str:
    """The options for masks among images in one folder; "" if none would pair them."""
    labels = [name for name in names if _is_for_labels(Path(name))]
    images = [name for name in names if name not in labels]
    tail = suffix_of_masks(names, names)
    if tail and (not images or any(name + tail in names for name in images)):
        return suffix_advice(tail)  # and NAME is that of an image, not of another mask
    return names_of_both(images, labels)


def names_of_both(images: Collection[str], labels: Collection[str]) -> str:
    """The suffixes of both, or the prefixes of both, that would pair most images; "" if none."""
    for kind in "suffix", "prefix":
        of_label: dict[str, list[str]] = {}
        for label in labels:
            for stem, rest in _splittings(label, kind):
                of_label.setdefault(stem, []).append(rest)
        found = Counter[tuple[str, str]]()
        for image in images:
            splittings = [(image, ""), *_splittings(image, kind)]
            stem, rest = next((each for each in splittings if each[0] in of_label), ("", ""))
            others = of_label.get(stem, ())
            found.update((rest, other) for other in others if other.strip("_- .0123456789"))
        common = sorted(pair for pair, count in found.items() if count > len(images) // 2)
        if common:
            rest, others = common[0][0], [other for _, other in common]
            several = f" (or {', '.join(others[1:5])})" if len(others) > 1 else ""
            image_option = f"{argument(f'image_{kind}')}={rest} and " if rest else ""
            return f"give {image_option}{argument(f'label_{kind}')}={others[0]}{several}"
    return ""


def _splittings(name: str, kind: str) -> list[tuple[str, str]]:
    """A name as common part and suffix, or prefix, at each of its marks; the longest part first."""
    start = name.rfind("/") + 1
    folder, last = name[:start], name[start:]
    marks = [place for place, letter in enumerate(last) if letter in "_-. "]
    if kind == "prefix":
        parts = [(folder + last[mark + 1 :], last[: mark + 1]) for mark in marks]
    else:
        parts = [(folder + last[:mark], last[mark:]) for mark in reversed(marks)]
    return [(stem, rest) for stem, rest in parts if stem != folder]


def folders_of_both(source: Path) -> str:
    """What to do where folders hold images and masks that fit; "" if none do, or which is which
    cannot be told: a wrong pair would make photographs, or other images' masks, labels."""
    tops = sub_folders(source)
    places = [*tops, *(place for folder in tops for place in sub_folders(folder))][:_MOST_FOLDERS]
    files = {
        place: find_files(place, (*IMAGE_SUFFIXES, ".gif"))[0]
        for place in places
        if not is_split(place)
    }
    ids = {place: {image_id(path, place) for path in found} for place, found in files.items()}
    both = [
        (images, labels)
        for images, labels in itertools.permutations(files, 2)
        if labels.name not in ids[images]  # as where a folder holds the masks of one image
    ]
    pairs = [
        (images, labels, "")
        for images, labels in both
        if _mostly_the_same(ids[images], ids[labels])
        and _are_labels(labels, files[labels], images, files[images])
    ] or [
        (images, labels, tail)
        for images, labels in both
        if (tail := suffix_of_masks(ids[images], ids[labels]))
    ]
    if not pairs:
        return ""
    scenes = dict.fromkeys(images.parent for images, labels, _ in pairs if images.parent != source)
    if len(scenes) > 1:
        one, other, *_ = (_name(scene, source) for scene in scenes)
        return (
            f"{one}/ and {other}/ hold images and masks each, so put all images into one folder "
            "images/, with a sub-folder for each of these, and the masks into masks/ likewise"
        )
    images, _, tail = max(pairs, key=lambda pair: len(ids[pair[0]]))
    labels = [labels for found, labels, end in pairs if (found, end) == (images, tail)]
    labels.sort(key=lambda place: not _is_for_labels(place))
    names = [_name(place, source) for place in (images, *labels)]
    return _words(names, tail, is_split(source))


def _words(names: list[str], tail: str, in_split: bool) -> str:
    """How to name folders, that of the images first, and masks with a suffix."""
    several = f" (or {', '.join(names[2:5])})" if len(names) > 2 else ""
    if in_split:  # which options cannot reach into
        how = "call them images/ and masks/, in each split"
    else:
        of_images, of_labels = (shlex.quote(name) for name in names[:2])
        how = (
            f"give {argument('image_folder')}={of_images} and "
            f"{argument('label_folder')}={of_labels}{several}"
        )
    if tail:
        suffix = f"{argument('label_suffix')}={shlex.quote(tail)}"
        masks = f"{names[0]}/ holds images and {names[1]}/ masks called NAME{tail}"
        return f"{masks}, so {how} and {'give ' if in_split else ''}{suffix}"
    listed = f"{', '.join(f'{name}/' for name in names[:-1])} and {names[-1]}/"
    return f"{listed} hold files of the same names, so {how}"


def _name(folder: Path, source: Path) -> str:
    return folder.relative_to(source).as_posix()


def _mostly_the_same(some: set[str], others: set[str]) -> bool:
    return 2 * len(some & others) > max(len(some), len(others))


def _are_labels(labels: Path, of_labels: list[Path], images: Path, of_images: list[Path]) -> bool:
    """Whether of two folders the first holds labels: by their names, or by files without loss
    beside others of JPEG."""
    if _is_for_labels(labels) != _is_for_labels(images):
        return _is_for_labels(labels)
    return all(map(is_jpeg, of_images)) and not any(map(is_jpeg, of_labels))


def _is_for_labels(folder: Path) -> bool:
    return folder.name.lower() == "y" or any(word in folder.name.lower() for word in _OF_LABELS)

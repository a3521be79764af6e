"""Options that would pair images with label files, for a sentence that refuses a folder."""

import itertools
from collections import Counter
from collections.abc import Collection
from pathlib import Path

from pipelines.base.errors import argument
from pipelines.building.folders import IMAGE_SUFFIXES, find_files, image_id, sub_folders

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


def called(tail: str) -> str:
    """The option for masks with a suffix."""
    return f"masks are called NAME{tail}, so give {argument('label_suffix')}={tail}"


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
    """The options for folders that hold files of the same names; "" if there are none."""
    tops = sub_folders(source)
    places = [*tops, *(place for folder in tops for place in sub_folders(folder))][:_MOST_FOLDERS]
    ids = {
        place: {image_id(path, place) for path in find_files(place, (*IMAGE_SUFFIXES, ".gif"))[0]}
        for place in places
    }
    groups = [
        [place, *(twin for twin in ids if twin != place and _mostly_the_same(own, ids[twin]))]
        for place, own in ids.items()
    ]
    group = max(groups, key=lambda group: (len(group) > 1, len(ids[group[0]])), default=[])
    if len(group) < 2:
        return _folders_and_suffix(source, ids)
    # Images first, then what is called as label files are.
    group.sort(key=_is_for_labels)
    images, labels = group[0], sorted(group[1:], key=lambda place: not _is_for_labels(place))
    names = [_name(place, source) for place in (images, *labels)]
    several = f" (or {', '.join(names[2:5])})" if len(names) > 2 else ""
    listed = f"{', '.join(f'{name}/' for name in names[:-1])} and {names[-1]}/"
    return (
        f"{listed} hold files of the same names, so give {argument('image_folder')}={names[0]} and "
        f"{argument('label_folder')}={names[1]}{several}"
    )


def _folders_and_suffix(source: Path, ids: dict[Path, set[str]]) -> str:
    for images, labels in itertools.permutations(ids, 2):
        if tail := suffix_of_masks(ids[images], ids[labels]):
            image_name, label_name = _name(images, source), _name(labels, source)
            return (
                f"{image_name}/ holds images and {label_name}/ masks called NAME{tail}, so give "
                f"{argument('image_folder')}={image_name} and "
                f"{argument('label_folder')}={label_name} and {argument('label_suffix')}={tail}"
            )
    return ""


def _name(folder: Path, source: Path) -> str:
    return folder.relative_to(source).as_posix()


def _mostly_the_same(some: set[str], others: set[str]) -> bool:
    return 2 * len(some & others) > max(len(some), len(others))


def _is_for_labels(folder: Path) -> bool:
    return folder.name.lower() == "y" or any(word in folder.name.lower() for word in _OF_LABELS)

"""Which label file belongs to which image: by their names, and what to do where none does."""

from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from pipelines.base.errors import UserError
from pipelines.building import opening
from pipelines.building.folders import (
    IMAGE_SUFFIXES,
    LABEL_SUFFIXES,
    PLAIN,
    Naming,
    Pair,
    composed,
    describe_contents,
    file_counts,
    find_files,
    image_id,
    near_hint,
    near_misses,
)
from pipelines.building.proposals import (
    beside_each_other,
    names_of_both,
    suffix_advice,
    suffix_of_masks,
)

EXPECTED = (
    "images/ and labels/ (or masks/, annotations/), train/ and val/ with these in each, "
    "images/train and labels/train, each mask beside its image, or annotation files of COCO or "
    "labelme"
)
# Of two files with one name, the labels have the ending that comes first.
_AS_LABELS = (".png", ".gif", ".tif", ".tiff", ".bmp")
# Pairs of files that are opened to tell which of them are the labels.
_VOTES = 9
# Colours that are most of a label file compressed as JPEG, and little of a photograph.
_FEW = 32


class Files(NamedTuple):
    """Images and label files of a folder by their ids.

    Attributes:
        images, labels: the path of each.
        twice: a fault for each id of several images or several label files.
        passed_over: other files.
        image_of, label_of: the path that an id's file should have.
    """

    images: dict[str, Path]
    labels: dict[str, Path]
    twice: dict[str, UserError]
    passed_over: list[Path]
    image_of: Callable[[str], Path]
    label_of: Callable[[str], Path]


def find_pairs(
    images: Path, labels: Path, naming: Naming = PLAIN
) -> tuple[list[Pair | UserError], list[Path]]:
    """Pairs images with label files by their paths below their folders, without endings.

    Paths may be composed of other Unicode characters in one folder than in the other, as some file
    systems write them: they are compared in the form NFC.

    Args:
        images: folder of the images, with sub-folders.
        labels: folder of the label files, with the same sub-folders; may be `images` itself.
        naming: what stands around the common name.

    Returns:
        The sorted pairs, and a UserError for each name of several files and each file without
        partner; and the files that were passed over.

    Raises:
        UserError: there are no images, no label files, or no pair but under other names.
    """
    files = gather(images, labels, naming)
    names = (files.images.keys() & files.labels.keys()) - files.twice.keys()
    pairs = sorted(pair_of(files, name) for name in names)
    lonely, named = _lonely(files)
    passed_over = [path for path in files.passed_over if path not in named]
    return [*pairs, *files.twice.values(), *lonely], passed_over


def pair_of(files: Files, name: str) -> Pair:
    """The image and the label file of an id."""
    return Pair(files.images[name], files.labels[name], name)


def gather(images: Path, labels: Path, naming: Naming = PLAIN) -> Files:
    """Finds images and label files; arguments and errors as in `find_pairs`."""
    image_files, passed_over = find_files(images, IMAGE_SUFFIXES)
    if images == labels:
        gifs = [path for path in passed_over if path.suffix.lower() == ".gif"]
        image_files, label_files = _side_by_side(images, image_files + gifs, naming)
        passed_over = [path for path in passed_over if path not in gifs]
    else:
        if labels.is_relative_to(images):  # as where images lie directly in the source
            image_files, passed_over = (
                [path for path in files if labels not in path.parents]
                for files in (image_files, passed_over)
            )
        label_files, others = find_files(labels, LABEL_SUFFIXES)
        label_files, previews = _without_previews(label_files)
        passed_over += [*others, *previews]
    if not image_files:
        raise UserError(f"{images} {describe_contents(images)}; expected {EXPECTED}")
    if not label_files:
        raise UserError(f"{labels} {describe_contents(labels, 'masks')}")
    twice: dict[str, UserError] = {}
    around_image = naming.image_prefix, naming.image_suffix
    around_label = naming.label_prefix, naming.label_suffix
    by_id = _by_id("image", images, image_files, *around_image, twice, passed_over)
    labels_by_id = _by_id("mask", labels, label_files, *around_label, twice, passed_over)
    if not by_id.keys() & labels_by_id.keys():
        _refuse_other_names(labels, by_id, labels_by_id, naming)
    return Files(
        by_id,
        labels_by_id,
        twice,
        sorted(passed_over),
        lambda name: _path_of(images, name, *around_image, ".jpg"),
        lambda name: _path_of(labels, name, *around_label, ".png"),
    )


def _without_previews(files: list[Path]) -> tuple[list[Path], list[Path]]:
    """Label files; and those of JPEG beside a file without loss of the same name."""
    lossless = [path for path in files if _rank(path) < len(_AS_LABELS)]
    names = {path.with_suffix("") for path in lossless}
    others = [path for path in files if _rank(path) == len(_AS_LABELS)]
    previews = [path for path in others if path.with_suffix("") in names]
    alone = [path for path in others if path.with_suffix("") not in names]
    return sorted(lossless + alone), previews


def _path_of(folder: Path, name: str, prefix: str, suffix: str, ending: str) -> Path:
    path = folder / name
    return path.with_name(f"{prefix}{path.name}{suffix}{ending}")


def _by_id(
    what: str,
    folder: Path,
    files: Iterable[Path],
    prefix: str,
    suffix: str,
    twice: dict[str, UserError],
    passed_over: list[Path],
) -> dict[str, Path]:
    """The files by their path below the folder, without ending, prefix and suffix.

    Raises:
        UserError: none has both, naming `what` the files are.
    """
    found: dict[str, Path] = {}
    for path in files:
        *parents, name = image_id(path, folder).split("/")
        if not (name.startswith(prefix) and name.removeprefix(prefix).endswith(suffix)):
            passed_over.append(path)
            continue
        whole = "/".join([*parents, name.removeprefix(prefix).removesuffix(suffix)])
        if whole in found:
            twice[whole] = UserError(f"{found[whole]} and {path} have the same name")
        else:
            found[whole] = path
    if not found:
        raise UserError(f"no {what} in {folder} is called {prefix}NAME{suffix}")
    return found


def _side_by_side(folder: Path, files: list[Path], naming: Naming) -> tuple[list[Path], list[Path]]:
    """Parts the files of one folder into images and label files, by their names or endings."""
    prefix, suffix = naming.label_prefix, naming.label_suffix
    if prefix or suffix:
        labels = {
            path
            for path in files
            if (stem := composed(path.stem)).startswith(prefix) and stem.endswith(suffix)
        }
    else:
        twins: dict[Path, list[Path]] = {}
        for path in files:
            twins.setdefault(path.with_suffix(""), []).append(path)
        both = (sorted(each, key=_rank) for each in twins.values() if len(each) == 2)
        labels = _labels_of([each for each in both if _rank(each[0]) < len(_AS_LABELS)])
    if files and not labels:
        hint = beside_each_other([image_id(path, folder) for path in files])
        if prefix or suffix:
            named = f"{prefix}NAME{suffix}; add them, or take the folder away"
            hint = f"none of {file_counts(folder)} is called {named}"
        hint = hint or f"it holds {file_counts(folder)}; expected {EXPECTED}"
        raise UserError(f"{folder} has no masks beside its images: {hint}")
    return [path for path in files if path not in labels], sorted(labels)


def _rank(path: Path) -> int:
    ending = path.suffix.lower()
    return _AS_LABELS.index(ending) if ending in _AS_LABELS else len(_AS_LABELS)


def _labels_of(twins: list[list[Path]]) -> set[Path]:
    """Of two files with one name, in the order of `_AS_LABELS`, those that hold labels.

    Of a.jpg and a.png that is the one without loss, unless a.jpg alone is made of few colours.
    Where both are without loss, labels have fewer colours. The majority of a few pairs that have
    the same endings decides.
    """
    votes: dict[tuple[str, ...], list[int]] = {}
    for both in twins:
        cast = votes.setdefault(_endings(both), [])
        if len(cast) < _VOTES:
            cast += _vote(*both)
    second = {endings for endings, cast in votes.items() if 2 * sum(cast) > len(cast)}
    return {both[_endings(both) in second] for both in twins}


def _vote(first: Path, second: Path) -> list[bool]:
    """Whether the second one holds labels; nothing where the two tell nothing."""
    counts = [_colours(path) for path in (first, second)]
    if not all(map(len, counts)):  # one cannot be read
        return []
    if _rank(second) == len(_AS_LABELS):  # JPEG, whose labels have many colours beside their own
        flat = [each[:_FEW].sum() > each.sum() / 2 for each in counts]
        return [flat == [False, True]]
    return [len(counts[1]) < len(counts[0])] if len(counts[0]) != len(counts[1]) else []


def _endings(paths: Iterable[Path]) -> tuple[str, ...]:
    return tuple(path.suffix.lower() for path in paths)


def _colours(path: Path) -> np.ndarray:
    """How many pixels have each of an image's colours, the most first; none where it cannot be
    read."""
    try:
        image = opening.open_file(path)
        with opening.naming_damage(path):
            pixels = np.array(image)
    except UserError:
        return np.empty(0, int)  # said when the file is used
    if pixels.ndim == 3:
        weights = np.array([1, 1 << 8, 1 << 16])[: pixels.shape[2]]
        pixels = pixels[..., : len(weights)].astype(np.int64) @ weights
    return np.sort(np.unique(pixels, return_counts=True)[1])[::-1]


def _refuse_other_names(
    labels: Path, by_id: Collection[str], labels_by_id: Collection[str], naming: Naming
) -> None:
    """Raises UserError that proposes an option, if one would pair most of the files."""
    if naming != Naming(image_folder=naming.image_folder, label_folder=naming.label_folder):
        return
    tail = suffix_of_masks(by_id, labels_by_id)
    if hint := suffix_advice(tail) if tail else names_of_both(by_id, labels_by_id):
        raise UserError(f"no label file in {labels} has an image's name: {hint}")


def _lonely(files: Files) -> tuple[list[UserError], set[Path | None]]:
    """A fault for each file without partner, and the files that these name in its place."""
    found, named = [], set()
    near_miss, images = near_misses(), [Path(name).name for name in files.images]
    for name in sorted(files.images.keys() - files.labels.keys()):
        near = near_miss(files.label_of(name), images)
        if near == files.images[name]:  # as beside each other
            near = None
        named.add(near)
        found.append(without_label(files, name, near))
    labelled = [Path(name).name for name in files.images.keys() & files.labels.keys()]
    for name in sorted(files.labels.keys() - files.images.keys()):
        if files.labels[name] not in named:
            near = near_miss(files.image_of(name), labelled)
            if near == files.labels[name]:
                near = None
            named.add(near)
            found.append(
                UserError(
                    f"{files.labels[name]} has no image: {files.image_of(name)} or .png is "
                    f"missing{near_hint(near)}"
                )
            )
    return found, named


def without_label(files: Files, name: str, near: Path | None = None) -> UserError:
    """The fault of an image without label file; `near` is what lies in its place."""
    path, label = files.images[name], files.label_of(name)
    are_called_alike = files.image_of(name).with_suffix(label.suffix) == label
    if are_called_alike and path.suffix.lower() in _AS_LABELS:  # it may as well be a mask
        return UserError(
            f"{path} has no partner: an image or a mask called {label.stem} is missing beside it"
            f"{near_hint(near)}"
        )
    return UserError(f"{path} has no label: {label} is missing{near_hint(near)}")

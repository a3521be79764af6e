"""The layout of a folder of images and labels: splits, pairs, class names."""

import functools
import hashlib
import os
import re
import unicodedata
from collections.abc import Callable, Collection
from pathlib import Path
from typing import NamedTuple

from pipelines.base.errors import UserError
from pipelines.base.files import is_hidden, read_regular
from pipelines.base.labels import IGNORE
from pipelines.building.examples import all_faults

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png")
LABEL_SUFFIXES = (".png",)
HELD_OUT = 0.1  # the share of val


class Pair(NamedTuple):
    """An image file and the file of its labels; None where the image has none."""

    image: Path
    label: Path | None


def read_class_names(path: Path) -> tuple[str, ...]:
    """Reads classes.txt, one name a line; line number (from 0) is the label.

    Raises:
        UserError: missing, not UTF-8, empty, a blank line between names, a name twice, or more
            names than there are label values.
    """
    try:
        lines = read_regular(path).decode("utf-8-sig").rstrip().splitlines()
    except FileNotFoundError as error:
        raise UserError(
            f"there is no {path}: it names the classes, one a line, label 0 first"
        ) from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 text: {error.reason}") from error
    names = tuple(line.strip() for line in lines)
    if not names:
        raise UserError(f"{path} is empty: it names the classes, one a line, label 0 first")
    if "" in names:
        raise UserError(f"{path} line {names.index('') + 1} is blank, a line between two names")
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise UserError(f"{path} has the class {twice[0]!r} {names.count(twice[0])} times")
    if len(names) < 2:
        raise UserError(f"{path} has the one class {names[0]!r}: name the background, too")
    if len(names) > IGNORE:
        raise UserError(f"{path} has {len(names)} classes; 8-bit masks can hold {IGNORE}")
    return names


def find_splits(source: Path, allow_flat: bool = False) -> dict[str, list[Pair | UserError]]:
    """Finds the pairs of every split of a folder.

    Args:
        source: a folder with train/ and val/, and test/ if there is one, each with images/ and
            labels/.
        allow_flat: also take a folder with images/ and labels/ themselves; `hold_out` then
            makes a train and a val split.

    Returns:
        What `find_pairs` finds in "train", "val" and, where it exists, "test".

    Raises:
        UserError: folders are missing or empty.
    """
    if not source.is_dir():
        raise UserError(f"there is no folder {source}")
    flat, split = (source / "images").is_dir(), (source / "train").is_dir()
    if allow_flat and flat and split:
        raise UserError(f"{source} has both images/ and train/: keep one of the two layouts")
    if allow_flat and flat:
        return hold_out(find_pairs(source))
    if allow_flat and not split:
        raise UserError(f"{source} has neither images/ and labels/ nor train/ and val/")
    found, faults = {}, []
    for name in ["train", "val"] + (["test"] if (source / "test").is_dir() else []):
        try:
            found[name] = find_pairs(source / name)
        except UserError as error:
            faults.append(error)
    if faults:
        raise all_faults(faults)
    return found


def hold_out(found: list[Pair | UserError]) -> dict[str, list[Pair | UserError]]:
    """Splits pairs into train and val by a hash of the image's name without its suffix.

    The tenth with the lowest hashes, at least one pair, is the val split: the same files give the
    same split in any order and on any machine. Faults go to train.

    Raises:
        UserError: there are fewer than two pairs.
    """
    pairs = [item for item in found if isinstance(item, Pair)]
    faults = [item for item in found if isinstance(item, UserError)]
    if len(pairs) < 2:
        if faults:
            raise all_faults(faults)
        raise UserError(f"{pairs[0].image} is the only image: at least 2 are needed, one for val")
    by_hash = sorted(pairs, key=lambda pair: hashlib.sha256(os.fsencode(pair.image.stem)).digest())
    held_out = max(1, round(HELD_OUT * len(pairs)))
    return {"train": [*faults, *sorted(by_hash[held_out:])], "val": [*sorted(by_hash[:held_out])]}


def find_pairs(folder: Path) -> list[Pair | UserError]:
    """Pairs images/NAME.jpg (.jpeg, .png) with labels/NAME.png.

    A name may be composed of other Unicode characters in one folder than in the other, as some
    file systems write it: they are compared in the form NFC.

    Returns:
        Pairs, and a UserError for each file that is no image, has another one's name, or has no
        partner.

    Raises:
        UserError: a folder is missing or empty.
    """
    images, strange_images = _files_by_stem(folder / "images", IMAGE_SUFFIXES)
    labels, strange_labels = _files_by_stem(folder / "labels", LABEL_SUFFIXES)
    composed = {_composed(stem): stem for stem in labels if stem not in images}
    instead = near_misses()
    found: list[Pair | UserError] = []
    named: set[Path | None] = set()
    for stem, image in sorted(images.items()):
        partner = stem if stem in labels else composed.get(_composed(stem))
        if partner in labels:
            found.append(Pair(image, labels.pop(partner)))
            continue
        label = folder / "labels" / f"{stem}.png"
        near = instead(label, images)
        named.add(near)
        found.append(UserError(f"{image} has no label: {label} is missing{but(near)}"))
    labelled = {pair.image.stem for pair in found if isinstance(pair, Pair)}
    for stem, label in sorted(labels.items()):
        if label not in named:
            image = folder / "images" / f"{stem}.jpg"
            near = instead(image, labelled)
            named.add(near)
            found.append(UserError(f"{label} has no image: {image} or .png is missing{but(near)}"))
    strange = {**strange_images, **strange_labels}
    return found + [UserError(text) for path, text in strange.items() if path not in named]


def _files_by_stem(
    folder: Path, suffixes: tuple[str, ...]
) -> tuple[dict[str, Path], dict[Path, str]]:
    """Files by their names without suffix, and what is wrong with others."""
    if not folder.is_dir():
        raise UserError(f"there is no folder {folder}")
    files: dict[str, Path] = {}
    strange: dict[Path, str] = {}
    for path in sorted(folder.iterdir()):
        if is_hidden(path.name):
            continue
        if path.suffix.lower() not in suffixes:
            strange[path] = f"{path} is not one of {', '.join(suffixes)}"
            if path.is_dir():
                strange[path] = (
                    f"{path} is a folder, and files {', '.join(suffixes)} are expected there: a "
                    "split has folders images/ and labels/ of its own"
                )
        elif path.stem in files:
            strange[path] = f"{files[path.stem]} and {path} have the same name"
        else:
            files[path.stem] = path
    if not files and not strange:
        raise UserError(f"{folder} is empty")
    return files, strange


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

"""Which images are held out: by a hash of their ids, whole groups at a time."""

import hashlib
import re
from collections.abc import Callable, Sequence
from typing import TypeVar

from pipelines.base.errors import UserError, argument
from pipelines.base.plurals import count_of
from pipelines.building.examples import all_faults
from pipelines.datasets.image_folder.options import FolderOptions

VAL_SHARE = 0.1

Item = TypeVar("Item")


def hold_out(
    found: Sequence[Item | UserError], image_id: Callable[[Item], str], options: FolderOptions
) -> dict[str, list[Item | UserError]]:
    """Splits items into "train" and "val"; faults go to "train".

    Groups, by default each image alone, are taken in the order of the SHA-256 of their names: the
    same files give the same split in any order and on any machine. The first ones with about
    `val_share` of all images, and at least one, are "val"; or, with `folds`, each group joins the
    fold that is smallest so far, and one fold is "val".

    Args:
        found: an item or a fault for each image.
        image_id: of an item.
        options: their `val_share`, `group`, `folds` and `fold`.

    Raises:
        UserError: an id does not match `group`, or there are too few groups.
    """
    faults = [item for item in found if isinstance(item, UserError)]
    items = [item for item in found if not isinstance(item, UserError)]
    groups: dict[str, list[Item]] = {}
    for item in items:
        groups.setdefault(group_of(image_id(item), options.group), []).append(item)
    least = options.folds or 2
    if len(groups) < least and faults:
        raise all_faults(faults)
    if len(groups) < least:
        what, by = "image", ""
        if options.group is not None:
            what, by = "group", f" of images by {argument('group')} {options.group}"
        raise UserError(
            f"there {'is' if len(groups) == 1 else 'are'} only {count_of(len(groups), what)}{by}: "
            f"at least {least} are needed, one for {'each fold' if options.folds else 'val'}"
        )
    names = sorted(
        groups, key=lambda name: hashlib.sha256(name.encode(errors="surrogateescape")).digest()
    )
    if options.folds is not None and options.fold is not None:
        held_out = _fold(names, groups, options.folds, options.fold)
    else:
        held_out = _first(names, groups, options.val_share or VAL_SHARE)
    train = sorted(
        (x for name in names if name not in held_out for x in groups[name]), key=image_id
    )
    val = sorted((x for name in names if name in held_out for x in groups[name]), key=image_id)
    return {"train": [*faults, *train], "val": [*val]}


def group_of(image_id: str, pattern: str | None) -> str:
    """What images of one group have in common: the match of `pattern`, or of its first group.

    Raises:
        UserError: the id does not match.
    """
    if pattern is None:
        return image_id
    match = re.search(pattern, image_id)
    group = match and match[min(match.re.groups, 1)]
    if group is None:
        raise UserError(f"{argument('group')} {pattern!r} does not match the image id {image_id!r}")
    return group


def _first(names: list[str], groups: dict[str, list], share: float) -> set[str]:
    """The first groups, while that brings their images nearer to the share; never all groups."""
    wanted = max(1, round(share * sum(map(len, groups.values()))))
    held_out, count = {names[0]}, len(groups[names[0]])
    for name in names[1:-1]:
        if abs(count + len(groups[name]) - wanted) >= abs(count - wanted):
            break
        held_out.add(name)
        count += len(groups[name])
    return held_out


def _fold(names: list[str], groups: dict[str, list], folds: int, fold: int) -> set[str]:
    parts: list[list[str]] = [[] for _ in range(folds)]
    sizes = [0] * folds
    for name in sorted(names, key=lambda name: -len(groups[name])):  # stable: hash order in ties
        smallest = sizes.index(min(sizes))
        parts[smallest].append(name)
        sizes[smallest] += len(groups[name])
    return set(parts[fold - 1])

"""What a folder of somebody's own holds: classes, splits, and how an example is made of an item."""

import functools
import threading
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from operator import attrgetter
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.base.errors import UserError, argument
from pipelines.base.labels import IGNORE
from pipelines.base.plurals import count_of
from pipelines.building import conversion, features, folders, image_label, layouts, opening
from pipelines.building.examples import all_faults
from pipelines.datasets.image_folder import annotations, splitting
from pipelines.datasets.image_folder.annotated_image import AnnotatedImage, Damaged, background_of
from pipelines.datasets.image_folder.annotated_items import AnnotatedItem, splits_of
from pipelines.datasets.image_folder.class_files import (
    FILES,
    NAME,
    find_classes,
    other_names,
    read_classes,
)
from pipelines.datasets.image_folder.classes import Classes, plain
from pipelines.datasets.image_folder.masks import MaskReader
from pipelines.datasets.image_folder.options import FolderOptions
from pipelines.datasets.image_folder.survey import (
    describe_masks,
    gray_faults,
    palette_faults,
    show_colours,
)


@dataclass(frozen=True, eq=False)
class Source:
    """A data set before it is recorded.

    Attributes:
        classes: its classes.
        palette: uint8 `[256, 3]`.
        splits: the items of "train", "val" and perhaps "test", and faults.
        make_example: turns an item into the key and the example, as `examples.examples` wants it.
        words: what was found, for people.
        passed_over: files that are not used.
        counts: as in `MaskReader.read` over all masks, and of `conversion.recorded_image` over all
            images; filled while examples are made.
        is_annotated: whether annotation files take the place of masks.
    """

    classes: Classes
    palette: np.ndarray
    splits: dict[str, list]
    make_example: Callable[[Any], tuple[str, dict]]
    words: str
    passed_over: list[Path]
    counts: Counter = field(default_factory=Counter)
    is_annotated: bool = False


def open_source(folder: Path, options: FolderOptions) -> Source:
    """Finds masks or annotation files below a folder, and the classes.

    Raises:
        UserError: the folder is not understood; the message says what was seen.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise UserError(f"there is no folder {folder}")
    folder = layouts.only_folder(folder)
    says_names = options.naming() != folders.PLAIN  # of masks: there are some
    if not (options.label_folder or folders.has_label_files(folder, says_names)):
        try:
            annotated, names = annotations.find_annotations(folder, options.new_names())
        except UserError:
            if not says_names:
                raise
            annotated = []  # nobody need mend another file for them
        if annotated:
            options.check_for_annotations(annotated[0].file)
            return _of_annotations(folder, annotated, names, options)
    options.check_for_masks()
    return _of_masks(folder, options)


def _of_masks(folder: Path, options: FolderOptions) -> Source:
    found = layouts.find_layout(folder, options.naming(), test_is_optional=True)
    path = find_classes(folder)
    items = [item for items in found.splits.values() for item in items]
    masks = [item.label for item in items if isinstance(item, folders.Pair) and item.label]
    if not masks:  # none of which to say what it holds
        raise all_faults([item for item in items if isinstance(item, UserError)])
    classes = read_classes(path) if path else plain(("background", "foreground"))
    by_value = not (classes.coloured or options.binary)
    if by_value and path is None:
        if faults := palette_faults(masks):
            raise UserError(next(iter(faults.values())))
        raise UserError(
            f"there is no {folder / NAME}: {describe_masks(masks, folder)}{other_names(folder)}"
        )
    if by_value and show_colours(masks):
        raise UserError(f"{path} gives no colours: {describe_masks(masks, folder)}")
    reader = MaskReader.of(classes, options)
    reader.check_options(masks, options)
    faults = (palette_faults if by_value else gray_faults)(masks, reader)

    def make(pair: folders.Pair, own: Counter[str]) -> tuple[str, dict]:
        def read(path, data):
            if path in faults:
                raise UserError(faults[path])
            return reader.read(path, data, own)

        record = functools.partial(conversion.recorded_image, counts=own)
        return image_label.make_example(pair, read, record)

    make_example, counts = _counted(make)
    splits = resolve_splits(folder, found.splits, options)
    words = found.words + held_out_words(found.splits, splits, options.group)
    palette = classes.palette()
    if not classes.coloured:
        palette = _palette_of(splits["train"], len(classes.names), palette)
    passed_over = [file for file in found.passed_over if file.name.lower() not in FILES]
    if path is not None and path.name != NAME:
        words += f"; classes of {path.relative_to(folder)}"
    return Source(classes, palette, splits, make_example, words, passed_over, counts)


def _counted(
    make: Callable[[Any, Counter[str]], tuple[str, dict]],
) -> tuple[Callable[[Any], tuple[str, dict]], Counter[str]]:
    """`make` with a counter of each item's own, and their sum over the examples that were made."""
    counts, lock = Counter[str](), threading.Lock()

    def make_example(item: Any) -> tuple[str, dict]:
        own = Counter[str]()
        made = make(item, own)
        with lock:  # threads make examples; what ends in an error is not recorded
            counts.update(own)
        return made

    return make_example, counts


def _palette_of(items: list, count: int, otherwise: np.ndarray) -> np.ndarray:
    """The colours of the first label file's palette, if there is one for each class."""
    masks = (item.label for item in items if isinstance(item, folders.Pair) and item.label)
    mask = next(masks, None)
    if mask is None:
        return otherwise
    try:
        colours = opening.palette_of(mask, opening.open_file(mask))
    except UserError:
        return otherwise  # said when the example is made
    if colours is None or len(np.unique(colours[:count], axis=0)) < count:
        return otherwise
    return np.concatenate([colours[:count], otherwise[count:]])


def resolve_splits(folder: Path, found: dict[str, list], options: FolderOptions) -> dict[str, list]:
    """The splits as they were found, with a `val` that is held out of `train` if there is none.

    Raises:
        UserError: there is no `train`, or options ask for a split that is there already.
    """
    image_id = attrgetter("image_id")
    if "all" in found:
        return splitting.hold_out(found["all"], image_id, options)
    if "train" not in found:
        raise UserError(
            f"{folder} has the split {', '.join(found)}, but no train: of folders, and of COCO's "
            "files, the names make splits; call what is to be trained on train"
        )
    if "val" not in found:
        others = {split: items for split, items in found.items() if split != "train"}
        return splitting.hold_out(found["train"], image_id, options) | others
    if options.val_share or options.folds or options.group:
        raise UserError(
            f"{folder} has a val split already: leave {argument('val_share')}, {argument('folds')} "
            f"and {argument('group')} out, or give a folder without it"
        )
    return found


def held_out_words(
    found: dict[str, list], splits: dict[str, list], group: str | None = None
) -> str:
    """What to say of a `val` that `resolve_splits` has held out; "" where there was one."""
    if "val" in found:
        return ""
    train, val = (
        [item.image_id for item in splits[split] if not isinstance(item, UserError)]
        for split in ("train", "val")
    )
    verb = "is" if len(val) == 1 else "are"
    words = f"; no split val: {len(val):,} of {len(train) + len(val):,} images {verb} held out"
    if group is None:
        return f"{words}, chosen by name"
    of_val, of_all = (
        len({splitting.group_of(name, group) for name in names}) for names in (val, train + val)
    )
    return f"{words}, {of_val:,} of {count_of(of_all, 'group')}"


def _of_annotations(
    folder: Path,
    images: list[AnnotatedImage | Damaged],
    names: Iterable[str],
    options: FolderOptions,
) -> Source:
    path = find_classes(folder)
    if path is None:
        classes = annotations.classes_of(images, names)
    else:
        classes = read_classes(path)
        annotations.check_regions(path, classes, images)
    files, others = folders.find_files(folder, folders.IMAGE_SUFFIXES)
    found, listed, used = splits_of(folder, images, files)

    def make(item: AnnotatedItem, own: Counter[str]) -> tuple[str, dict]:
        image, size = item.record(own)
        label = item.annotated.paint(size, classes, options.paint_order)
        return item.image_id, features.example(item.image_id, image, label)

    make_example, counts = _counted(make)
    count = len({image.file for image in images})
    described = sum(isinstance(image, AnnotatedImage) for image in images)
    words = f"{count_of(count, 'annotation file')} of {count_of(described, 'image')}"
    usable = [item for items in found.values() for item in items if isinstance(item, AnnotatedItem)]
    if inside := sum(item.path is None for item in usable):
        words += f", {inside:,} of them inside these files"
    if bare := sum(not item.annotated.shapes for item in usable):
        is_void = background_of(classes.names) == IGNORE
        words += f", {bare:,} of them without a region: all {'void' if is_void else 'background'}"
    elsewhere = [(item.path, item.annotated) for item in usable if item.path and item.is_elsewhere]
    if elsewhere:
        file, image = elsewhere[0]
        words += f", {len(elsewhere):,} of them in other folders than annotated, such as "
        words += f"{file.relative_to(folder).as_posix()} for {image.image}"
    if path is not None and path.name != NAME:
        words += f"; classes of {path.relative_to(folder)}"
    if background_of(classes.names) == IGNORE and path is not None:
        words += f"; pixels without a region are void, as {path.name} names no background"
    splits = resolve_splits(folder, found, options)
    words += listed + held_out_words(found, splits, options.group)
    used |= {image.file for image in images}
    passed_over = [
        file for file in (*files, *others) if file not in used and file.name.lower() not in FILES
    ]
    return Source(
        *(classes, classes.palette(), splits, make_example, words, passed_over, counts),
        is_annotated=True,
    )

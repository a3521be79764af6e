"""What masks hold, for a sentence that says how they are to be read."""

import contextlib
from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

from pipelines.base.errors import UserError, argument
from pipelines.base.labels import IGNORE
from pipelines.base.plurals import count_of, plural
from pipelines.base.samples import is_gray
from pipelines.building import opening
from pipelines.building.examples import futures
from pipelines.datasets.image_folder.masks import WHITE_OF_16_BITS, MaskReader

# Masks that are read, and colours or values that are shown.
_READ, _SHOWN = 50, 12
# More colours than a data set has: soft edges, or photographs.
_TOO_MANY = 256


def describe_masks(masks: Sequence[Path], folder: Path) -> str:
    """A sentence, with marked names of arguments, on what masks hold and what takes them.

    Args:
        masks: their files.
        folder: the data set's, where they lie.
    """
    words = _place(masks, folder)
    colours, values = Counter[int](), Counter[int]()
    of_colour = of_values = 0
    has_jpeg = False
    for path in _some(masks):
        try:
            pixels, of_jpeg = _pixels(path)
        except UserError:
            continue  # said when the mask is read
        if pixels.ndim == 3:
            of_colour += 1
            has_jpeg |= of_jpeg
            colours.update(_counted(pixels.astype(np.int32) @ [1 << 16, 1 << 8, 1]))
        else:
            of_values += 1
            values.update(_counted(pixels))
    if of_colour > of_values:
        return f"{words} holds {count_of(of_colour, 'mask')} with {_of_colours(colours, has_jpeg)}"
    if not values:
        return f"{words} holds no mask that can be read"
    return f"{words} holds {count_of(of_values, 'mask')} with {_of_values(values)}"


def _place(masks: Sequence[Path], folder: Path) -> str:
    """The folder directly in the data set's that holds all masks: "labels/"; or that one."""
    inside = [path.relative_to(folder) for path in masks if path.is_relative_to(folder)]
    tops = {path.parts[0] for path in inside if len(path.parts) > 1}
    return f"{tops.pop()}/" if len(tops) == 1 else f"{folder.resolve().name}/"


def show_colours(masks: Sequence[Path]) -> bool:
    """Whether the first mask and most others have three channels that differ, or are of JPEG.

    The first one tells as a rule; it may be a stray.
    """
    if not masks or not _shows_colours(masks[0]):
        return False
    some = _some(masks)
    return 2 * sum(map(_shows_colours, some)) > len(some)


def _some(masks: Sequence[Path]) -> Sequence[Path]:
    return masks[:: max(1, len(masks) // _READ)]


def _shows_colours(mask: Path) -> bool:
    try:
        return _pixels(mask)[0].ndim == 3
    except UserError:
        return False  # said when the mask is read


def palette_faults(masks: Sequence[Path], reader: MaskReader | None = None) -> dict[Path, str]:
    """What is wrong with masks that show an index in another colour than one before them, or a
    colour by another index.

    Such indices are no classes: each file was reduced to colours of its own. Masks whose grays
    the reader takes do not count.
    """
    first: dict[int, tuple[str, Path]] = {}
    owners: dict[str, tuple[int, Path]] = {}
    faults = {}
    for path, found in zip(masks, futures(partial(_palette, reader), masks), strict=True):
        palette, used = found.result()
        for index in used:
            colour = palette[index]
            former, other = first.get(index, (colour, path))
            number, another = owners.get(colour, (index, path))
            if former != colour:
                what = f"{other} and {path} show index {index} in different colours, {former} and "
                what += colour
            elif number != index and palette[number : number + 1] != [colour]:
                what = f"{another} and {path} show {colour} by different indices, {number} and "
                what += str(index)
            else:
                continue
            faults[path] = (
                f"{what}: give the classes their colours in classes.txt, or save the masks in gray "
                "if their indices are the classes"
            )
            break
        else:
            first = {index: (palette[index], path) for index in used} | first
            owners = {palette[index]: (index, path) for index in reversed(used)} | owners
    return faults


def gray_faults(masks: Sequence[Path], reader: MaskReader) -> dict[Path, str]:
    """What is wrong with gray masks among others that are read by their colours.

    Their values are labels, and may be meant as colours: black for no class, too.
    """
    kinds: dict[bool, list[Path]] = {True: [], False: []}
    for path in masks:
        with contextlib.suppress(UserError):  # said when the mask is read
            kinds[reader.holds_colours(opening.open_file(path))].append(path)
    faults = {}
    for path in kinds[False] if kinds[True] else ():
        with contextlib.suppress(UserError):
            if not reader.means_its_colours(path):
                faults[path] = (
                    f"{path} is gray, and others, such as {kinds[True][0]}, hold colours: save it "
                    "as RGB, in the colours of its classes; or save all of them in gray"
                )
    return faults


def _palette(reader: MaskReader | None, path: Path) -> tuple[list[str], list[int]]:
    """The colours of a mask's palette and the indices that are used; none where they tell nothing,
    nor of void, which is 255 in any colour."""
    try:
        image = opening.open_file(path)
        palette = opening.palette_of(path, image)
        if palette is None or (reader and reader.grays_for_indices(path, image)):
            return [], []
        with opening.naming_damage(path):
            used = np.flatnonzero(image.histogram())
    except UserError:
        return [], []  # said when the mask is read
    # Programs that write indices put in grays that are the indices, or nothing but black.
    if len(palette) > 1 and (
        (palette == palette[0]).all() or (palette == np.arange(len(palette))[:, None]).all()
    ):
        return [], []
    used = used[used < min(len(palette), IGNORE)]
    return [f"#{colour.tobytes().hex()}" for colour in palette], used.tolist()


def _pixels(path: Path) -> tuple[np.ndarray, bool]:
    """Colours `[H, W, 3]`; or values `[H, W]` where channels are equal or there is one. Whether it
    is of JPEG, which holds colours."""
    image = opening.open_file(path)
    of_jpeg = opening.is_jpeg(image)
    with opening.naming_damage(path):
        if not of_jpeg and (is_gray(image) or image.mode == "P" or image.mode[0] == "I"):
            if image.mode in ("1", "LA"):  # white of one bit is read as that of eight
                image = image.convert("L")
            return np.array(image).astype(np.int64), False
        pixels = np.array(image.convert("RGB"))
    has_colours = of_jpeg or (pixels != pixels[..., :1]).any()
    return (pixels if has_colours else pixels[..., 0]), of_jpeg


def _counted(pixels: np.ndarray) -> dict[int, int]:
    found, counts = np.unique(pixels, return_counts=True)
    return dict(zip(found.tolist(), counts.tolist(), strict=True))


def _of_colours(colours: Counter[int], has_jpeg: bool) -> str:
    if has_jpeg or len(colours) > _TOO_MANY:
        return (
            f"{count_of(len(colours), 'colour')}: if they are soft edges or of JPEG files, name "
            'the classes in classes.txt with their colours, as in "road 128 64 128", and give '
            f"{argument('nearest_colour')}"
        )
    total = colours.total()
    shown = ", ".join(
        f"#{colour:06x} ({100 * count / total:.1f} %)"
        for colour, count in colours.most_common(_SHOWN)
    )
    more = f" and {len(colours) - _SHOWN} more" if len(colours) > _SHOWN else ""
    return (
        f"{count_of(len(colours), 'colour')}, {shown}{more}: name the classes in classes.txt "
        'with their colours, as in "road 128 64 128" or "road #804080"; colours without class go '
        f"to {argument('void')}"
    )


def _of_values(values: Counter[int]) -> str:
    found = sorted(values)
    shown = ", ".join(map(str, found[:_SHOWN])) + (", …" if len(found) > _SHOWN else "")
    text = f"the {plural(len(found), 'value')} {shown}"
    if set(found) in ({0, IGNORE}, {0, WHITE_OF_16_BITS}):
        return f"{text}: give {argument('binary')}"
    if not 0 <= found[0] <= found[-1] <= IGNORE:
        return f"{text}, and those of masks are in 0…{IGNORE}: give their classes such values"
    if found == [0, 1]:
        return f"{text}: give {argument('binary')}, or name the classes in classes.txt"
    if len(found) == 2:
        return (
            f"{text}: name the two classes in classes.txt, and give "
            f"{argument('map')} {found[0]}=0 {found[1]}=1"
        )
    advice = "name the classes in classes.txt, one a line, label 0 first"
    if found[0] == 1:
        advice += f", and give {argument('first_label')}=1"
    return f"{text}: {advice}"

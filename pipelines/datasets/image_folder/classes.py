"""classes.txt: the classes of somebody's own data set, and their colours."""

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipelines.base import labels
from pipelines.base.errors import UserError
from pipelines.base.files import read_regular
from pipelines.base.labels import IGNORE
from pipelines.datasets.image_folder.options import parse_colour

# A name and what follows it: colours "#804080" or "128 64 128", any number of them.
_COLOUR = r"(?:#[0-9a-fA-F]{6}|\d{1,3}[ ,]\s*\d{1,3}[ ,]\s*\d{1,3})"
_LINE = re.compile(rf"(?P<name>.+?)(?P<colours>(?:\s*[\s:,;]\s*{_COLOUR})*)\s*")
_HOW = "it names the classes, one a line, label 0 first"


@dataclass(frozen=True)
class Classes:
    """The classes of a data set.

    Attributes:
        names: one a label, from 0.
        colours: 0xRRGGBB of each class, several where masks show it in several colours; empty
            tuples where there are none.
    """

    names: tuple[str, ...]
    colours: tuple[tuple[int, ...], ...]

    @property
    def coloured(self) -> bool:
        """Whether the classes have colours: all have, or none."""
        return bool(self.colours[0])

    def palette(self) -> np.ndarray:
        """The first colour of each class: uint8 `[256, 3]`; readable ones where there are none."""
        palette = labels.distinct_colours()
        if self.coloured:
            palette[: len(self.names)] = [
                (first >> 16, first >> 8 & 255, first & 255) for first, *_ in self.colours
            ]
        return palette


def plain(names: tuple[str, ...]) -> Classes:
    """Classes without colours."""
    return Classes(names, ((),) * len(names))


def read_classes(path: Path) -> Classes:
    """Reads classes.txt: a class a line, "road" or "road 128 64 128" or "road #804080 #804081".

    Raises:
        UserError: missing, not UTF-8, empty, a blank line between names, a name or a colour
            twice, colours for some classes only, or more names than there are label values.
    """
    path = Path(path)
    try:
        lines = read_regular(path).decode("utf-8-sig").rstrip().splitlines()
    except FileNotFoundError as error:
        raise UserError(f"there is no {path}: {_HOW}") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 text: {error.reason}") from error
    if not lines:
        raise UserError(f"{path} is empty: {_HOW}")
    names, colours = [], []
    for number, line in enumerate(lines, 1):
        match = _LINE.fullmatch(line.strip())
        if match is None:
            raise UserError(f"{path} line {number} is blank, a line between two names")
        names.append(match["name"])
        parsed = [parse_colour(text) for text in re.findall(_COLOUR, match["colours"])]
        colours.append(tuple(colour for colour in parsed if colour is not None))
        if len(colours[-1]) < len(parsed):
            raise UserError(f"{path} line {number} has a colour beyond 255: {line.strip()!r}")
    _check_names(path, names)
    _check_colours(path, names, colours)
    return Classes(tuple(names), tuple(colours))


def _check_names(path: Path, names: list[str]) -> None:
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise UserError(f"{path} has the class {twice[0]!r} {names.count(twice[0])} times")
    if len(names) < 2:
        raise UserError(f"{path} has the one class {names[0]!r}: name the background, too")
    if len(names) > IGNORE:
        raise UserError(f"{path} has {len(names)} classes; 8-bit masks can hold {IGNORE}")


def _check_colours(path: Path, names: list[str], colours: list[tuple[int, ...]]) -> None:
    without = [name for name, own in zip(names, colours, strict=True) if not own]
    if without and len(without) < len(names):
        raise UserError(
            f"{path} gives colours to some classes but none to {', '.join(map(repr, without))}: "
            "give each class its colour, or none"
        )
    owner: dict[int, str] = {}
    for name, own in zip(names, colours, strict=True):
        for colour in own:
            if colour in owner:
                raise UserError(
                    f"{path} gives the colour #{colour:06x} to {owner[colour]!r} and to {name!r}"
                )
            owner[colour] = name

"""The classes of somebody's own data set: their names and colours, and what is asked of them."""

import unicodedata
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipelines.base import labels
from pipelines.base.errors import UserError, argument
from pipelines.base.labels import IGNORE


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


def check_names(path: Path, names: list[str]) -> None:
    """Refuses names that a data set cannot have.

    Args:
        path: the file that has them.
        names: of the classes.

    Raises:
        UserError: one is blank, holds control characters, or is there twice; there is one alone,
            or too many for 8 bits.
    """
    if not all(name.strip() for name in names):
        raise UserError(f"{path} has a class without a name: give it one")
    for name in names:
        if any(unicodedata.category(letter) == "Cc" for letter in name if letter != "\t"):
            raise UserError(
                f"{path} has the class {name!r}, with a control character: leave that out, or save "
                "the file in UTF-8"
            )
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise UserError(f"{path} has the class {twice[0]!r} {names.count(twice[0])} times")
    if len(names) < 2:
        raise UserError(
            f"{path} has the one class {names[0]!r}: name the background, too, one class a line"
        )
    if len(names) > IGNORE:
        raise UserError(f"{path} has {len(names)} classes; 8-bit masks can hold {IGNORE}")


def check_first_label(first_label: int, count: int) -> None:
    """Raises UserError if masks that begin with a value cannot hold so many classes."""
    last = first_label + count - 1
    if last >= IGNORE:
        raise UserError(
            f"{argument('first_label')} {first_label} and {count} classes need values up to "
            f"{last}, and {IGNORE} is void: give a smaller one, or name fewer classes"
        )


def check_colours(path: Path, names: list[str], colours: list[tuple[int, ...]]) -> None:
    """Raises UserError if only some classes have colours, or two have one of them in common."""
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

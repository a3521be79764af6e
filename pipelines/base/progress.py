"""The progress bars of preparation."""

import sys
from collections.abc import Iterable
from typing import TypeVar

from tqdm import tqdm

Item = TypeVar("Item")


def progress(items: Iterable[Item], description: str, total: int | None = None) -> Iterable[Item]:
    """Iterates over `items` with a bar on standard error; `total` if they have no length."""
    return tqdm(items, desc=description, total=total, unit=" examples", mininterval=0.5)


def note(text: str) -> None:
    """A line on standard error, above the bars."""
    tqdm.write(text, file=sys.stderr)


def byte_bar(description: str, total: int | None = None, done: int = 0) -> tqdm:
    """A bar on standard error that counts bytes; `done` of them before it begins."""
    return tqdm(
        desc=description,
        total=total,
        initial=done,
        unit="B",
        unit_scale=True,
        unit_divisor=1024,
        mininterval=0.5,
    )

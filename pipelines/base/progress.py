"""What is said on standard error while a command runs: progress bars and notes."""

import functools
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TypeVar

from tqdm import tqdm

from pipelines.base.errors import printable
from pipelines.base.plurals import count_of

Item = TypeVar("Item")


def progress(items: Iterable[Item], description: str, total: int | None = None) -> Iterable[Item]:
    """Iterates over `items` with a bar on standard error; `total` if they have no length."""
    return tqdm(items, desc=description, total=total, unit=" examples", mininterval=0.5)


def note(text: str) -> None:
    """A line on standard error, above the bars."""
    tqdm.write(printable(text), file=sys.stderr)


# Once in a process, however often the same is to be said.
note_once = functools.cache(note)


def note_passed_over(paths: Sequence[Path], limit: int = 5) -> None:
    """Tells of what a search of folders leaves out: how many, and the first of them."""
    if paths:
        names = ", ".join(map(str, paths[:limit])) + (", …" if len(paths) > limit else "")
        note(f"{count_of(len(paths), 'file')} passed over: {names}")


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

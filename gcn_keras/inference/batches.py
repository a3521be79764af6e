"""Batches of images that go through a model together."""

import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

Item = TypeVar("Item")

# Limits of a batch, whose images have one size; a larger image goes alone.
BATCH_IMAGES = 16
BATCH_PIXELS = 2**20


def same_sized(
    items: Iterable[Item], size: Callable[[Item], tuple[int, int] | None]
) -> Iterator[list[Item]]:
    """Groups neighbours of one size into batches.

    Args:
        items: of which no more are read than the batch needs, and one to see that it ends.
        size: an item's height and width; None for one that goes alone.
    """
    for sides, group in itertools.groupby(items, size):
        fit = BATCH_PIXELS // (sides[0] * sides[1]) if sides else 1
        while batch := list(itertools.islice(group, max(1, min(fit, BATCH_IMAGES)))):
            yield batch

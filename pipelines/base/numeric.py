"""What is taken for a number, and what an argument may be."""

from collections.abc import Callable
from numbers import Integral, Real
from typing import Any

import numpy as np

from pipelines.base.errors import ArgumentError


def is_integer(value: Any) -> bool:
    """Whether a value is an integer, NumPy's among them; True and False are none."""
    return isinstance(value, Integral) and not isinstance(value, bool)


def is_number(value: Any) -> bool:
    """Whether a value is an integer or a float, NumPy's among them; True and False are none."""
    return isinstance(value, Real) and not isinstance(value, bool)


def check_integer(name: str, value: Any, least: int, most: int | None = None) -> None:
    """Raises ArgumentError if an argument is no integer from `least` on, up to `most` if given."""
    if not is_integer(value):
        raise ArgumentError(name, f"must be an integer, got {value!r}")
    if most is not None and not least <= value <= most:
        raise ArgumentError(name, f"must be in {least}…{most}, got {value}")
    if value < least:
        raise ArgumentError(name, f"must be at least {least}, got {value}")


def all_are(kind: Callable[[Any], bool], values: Any, count: int) -> bool:
    """Whether `values` are so many numbers of a kind."""
    try:
        return len(values) == count and all(map(kind, values))
    except TypeError:  # a single number
        return False


def evenly_spread(count: int, wanted: int) -> list[int]:
    """At most `wanted` of the numbers below `count`, evenly spread, in their order."""
    return np.linspace(0, count - 1, min(count, wanted), dtype=int).tolist()

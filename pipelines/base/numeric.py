"""What is taken for a number."""

from collections.abc import Callable
from numbers import Integral, Real
from typing import Any


def is_integer(value: Any) -> bool:
    """Whether a value is an integer, NumPy's among them; True and False are none."""
    return isinstance(value, Integral) and not isinstance(value, bool)


def is_number(value: Any) -> bool:
    """Whether a value is an integer or a float, NumPy's among them; True and False are none."""
    return isinstance(value, Real) and not isinstance(value, bool)


def are(kind: Callable[[Any], bool], values: Any, count: int) -> bool:
    """Whether `values` are so many numbers of a kind."""
    try:
        return len(values) == count and all(map(kind, values))
    except TypeError:  # a single number
        return False

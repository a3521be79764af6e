"""Networks that are looked at and never run."""

import contextlib
from collections.abc import Iterator

import keras


@contextlib.contextmanager
def without_values() -> Iterator[None]:
    """Layers that are built in here have variables with shapes and no values.

    Drawing those takes four fifths of the time. Nothing can be computed with such a network.
    """
    try:
        with keras.StatelessScope(initialize_variables=False):
            yield
    finally:
        # Or the next scope would give values to all of them after all.
        keras.utils.clear_session(free_memory=False)

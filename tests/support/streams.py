"""Batches of a stream as arrays, and two streams compared."""

import numpy as np


def take(stream, count):
    return [tuple(part.numpy() for part in batch) for batch in stream.take(count)]


def same(first, second):
    return all(
        np.array_equal(a, b)
        for one, other in zip(first, second, strict=True)
        for a, b in zip(one, other, strict=True)
    )

"""The layers that have weights, and weights from one model to another."""

from collections.abc import Iterator, Sequence
from typing import Any

import keras


def set_weights(layer: keras.Layer, values: Sequence[Any]) -> None:
    """Gives a layer, or a model, its weights, and what its layers derive from them.

    Keras' own method leaves the latter out: a `Normalization` that has been adapted would go on
    with the mean and the variance that it had before.

    Args:
        layer: a built layer, or a model.
        values: arrays in the order of its weights.

    Raises:
        ValueError: their number or their shapes are not those of its weights.
    """
    layer.set_weights(values)
    for inner in every_layer(layer):
        if hasattr(inner, "finalize_state"):
            inner.finalize_state()


def every_layer(layer: keras.Layer) -> Iterator[keras.Layer]:
    """A layer, or a model, and what it is made of: those within models that are its layers, too."""
    yield layer
    for inner in getattr(layer, "layers", ()):
        yield from every_layer(inner)

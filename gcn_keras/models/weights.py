"""Weights from one model to another."""

from collections.abc import Sequence
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
    _finalize(layer)


def _finalize(layer) -> None:
    if hasattr(layer, "finalize_state"):
        layer.finalize_state()
    for inner in getattr(layer, "layers", ()):
        _finalize(inner)

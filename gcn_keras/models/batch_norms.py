"""Batch norms of a whole model."""

import keras

from gcn_keras.models.weights import every_layer
from pipelines.base.numeric import is_number


def set_batch_norms(
    model: keras.Model, freeze: bool = False, momentum: float | None = None
) -> None:
    """Freezes all batch norms of a model and of models within it, sets their momentum, or both."""
    if momentum is not None and not (is_number(momentum) and 0 <= momentum < 1):
        raise ValueError(
            f"batch_norm_momentum must be at least 0 and below 1, received {momentum!r}"
        )
    for layer in every_layer(model):
        if isinstance(layer, keras.layers.BatchNormalization):
            if freeze:
                layer.trainable = False  # Keras then uses the moving statistics in training too.
            if momentum is not None:
                layer.momentum = float(momentum)

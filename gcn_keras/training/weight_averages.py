"""Averages of a model's weights over the steps of a run: `Recipe.ema`.

Keras' optimizers keep them (`use_ema`), an average once a step. Training goes on with the weights
themselves; what is validated, saved as a model and exported has the averages. Two things are ours:

- The momentum is min(ema, (1 + n) / (10 + n)) after n steps, as of TensorFlow's
  `tf.train.ExponentialMovingAverage` with `num_updates`. Else averages would hold on to the first
  weights: of momentum 0.999 a third of them were left after a thousand steps.
- Batch norm's moving statistics are averaged with the weights that they were measured of, as in
  EfficientNet's training; Keras averages what is trainable. Those of frozen batch norms are
  constants, and stay what they are.
"""

import contextlib
from collections.abc import Iterator
from typing import Any

import keras
from keras import ops

from gcn_keras.models.weights import every_layer


class WarmAverage:
    """For an optimizer of Keras: the momentum of its averages begins low."""

    iterations: Any

    @property
    def ema_momentum(self) -> Any:
        """Of the present step."""
        steps = ops.cast(self.iterations, "float32")
        return ops.minimum(self.highest_ema_momentum, (1 + steps) / (10 + steps))

    @ema_momentum.setter
    def ema_momentum(self, value: float) -> None:
        self.highest_ema_momentum = value


def batch_norms(model: keras.Model) -> list[keras.layers.BatchNormalization]:
    """Those that are not frozen, each once, also of models within the model."""
    kind = keras.layers.BatchNormalization
    layers = dict.fromkeys(every_layer(model))
    return [layer for layer in layers if isinstance(layer, kind) and layer.trainable]


def moving_statistics(model: keras.Model) -> list[keras.Variable]:
    """Means and variances of the batch norms that are not frozen."""
    return [v for layer in batch_norms(model) for v in layer.non_trainable_variables]


def build_optimizer(model: keras.Model) -> list[keras.Variable]:
    """Builds the optimizer of a compiled model for its weights, and for what it only averages.

    Returns:
        What it only averages, the last of its variables: [] where it averages nothing.
    """
    only_averaged = moving_statistics(model) if _keeper(model).use_ema else []
    model.optimizer.build([*model.trainable_variables, *only_averaged])
    return only_averaged


@contextlib.contextmanager
def averaged_weights(model: keras.Model) -> Iterator[None]:
    """Within it a model has averaged weights, and after it those from before, to the last bit.

    Nothing changes where its optimizer averages nothing, or has not taken a step yet.
    """
    if not _keeper(model).use_ema or not ops.convert_to_numpy(_keeper(model).iterations):
        yield
        return
    variables = [*model.trainable_variables, *moving_statistics(model)]
    own = [ops.convert_to_numpy(variable) for variable in variables]
    model.optimizer.finalize_variable_values(variables)
    try:
        yield
    finally:
        for variable, value in zip(variables, own, strict=True):
            variable.assign(value)


def _keeper(model: keras.Model) -> keras.optimizers.Optimizer:
    """The optimizer that has the averages: under float16 that within the one that scales."""
    return getattr(model.optimizer, "inner_optimizer", model.optimizer)

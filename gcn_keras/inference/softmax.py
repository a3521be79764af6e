"""Models whose output is already a softmax, as is usual for classifiers in Keras.

This project's models give logits. Of such an output the softmax would be taken a second time,
which flattens it: 0.92 becomes 0.29. Logarithms of probabilities are logits of the same.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import keras

TINY = 1e-30  # in place of a probability that is 0


def ends_in_softmax(model: keras.Model) -> bool:
    """Whether a model's last operation is a softmax over the channels.

    It may be a layer, the activation of one, a function of `keras.ops`, or inside of a model that
    comes last; a linear activation may follow, as mixed precision wants one in float32. Of a
    model of a class of its own nobody knows it: False.
    """
    outputs = getattr(model, "outputs", None) or []
    return len(outputs) == 1 and _is_softmax(outputs[0])


def _is_softmax(tensor: keras.KerasTensor) -> bool:
    operation = tensor._keras_history.operation  # nothing public tells what made a tensor
    if hasattr(operation, "operations"):  # a model
        return ends_in_softmax(operation)
    kind = type(operation).__name__
    if kind == "Softmax":
        return operation.axis in (-1, len(tensor.shape) - 1)
    activation = getattr(getattr(operation, "activation", None), "__name__", None)
    if kind in ("Activation", "Identity") and activation in ("linear", None):
        return _is_softmax(operation.input)
    return activation == "softmax"

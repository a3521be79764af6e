"""Mean IoU as a Keras metric, for `compile` and `fit`."""

from typing import Any

import keras
from keras import ops

from pipelines.base.labels import check_num_classes

# Counts are kept as a multiple of this and a rest: JAX counts in 32 bits, which the pixels of an
# epoch overflow.
_UNIT = 2**24


@keras.saving.register_keras_serializable(package="gcn_keras")
class MeanIoU(keras.metrics.Metric):
    """Mean IoU of all pixels since the last reset, from one confusion matrix.

    The definition is that of `ConfusionMatrix`, except that labels that are no class are left out
    as void is, since a graph cannot refuse them, and that a pixel with a score of NaN is a miss.

    Args:
        num_classes: C, at most 255.
        name: the metric's name.

    Raises:
        ValueError: a C that is no integer in 1…255.
    """

    def __init__(self, num_classes: int, name: str = "mean_iou"):
        super().__init__(name=name)
        self._direction = "up"  # for EarlyStopping and the like, as in Keras' own metrics
        self.num_classes = num_classes = check_num_classes(num_classes)
        # "int" is int64 under TensorFlow and int32 under JAX.
        shape = (num_classes, num_classes + 1)  # the last column is for what has no prediction
        self._units = self.add_variable(shape, "zeros", dtype="int", name="units")
        self._rest = self.add_variable(shape, "zeros", dtype="int", name="rest")

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Adds images.

        Args:
            y_true: labels `[B, H, W]` or `[B, H, W, 1]`, integers.
            y_pred: logits or probabilities `[B, H, W, C]`.
            sample_weight: None.

        Raises:
            ValueError: scores of another number of classes, labels of another shape, or a sample
                weight.
        """
        if sample_weight is not None:
            raise ValueError("MeanIoU counts pixels: name it in metrics, not in weighted_metrics")
        size = self.num_classes
        if y_pred.shape[-1] != size:
            raise ValueError(f"y_pred must be [B, H, W, {size}], received {y_pred.shape}")
        labels = ops.reshape(labels_of_scores(y_true, y_pred), [-1])
        known = ops.all(ops.equal(y_pred, y_pred), axis=-1)  # NaN is not equal to itself
        predictions = ops.where(known, ops.cast(ops.argmax(y_pred, axis=-1), "int32"), size)
        predictions = ops.reshape(predictions, [-1])
        valid = ops.logical_and(labels >= 0, labels < size)
        pairs = ops.where(valid, labels * (size + 1) + predictions, 0)
        counts = ops.segment_sum(ops.cast(valid, "int32"), pairs, num_segments=size * (size + 1))
        total = self._rest + ops.cast(ops.reshape(counts, (size, size + 1)), self._rest.dtype)
        self._units.assign(self._units + total // _UNIT)
        self._rest.assign(total % _UNIT)

    def result(self) -> Any:
        """Share in 0…1, float32; NaN without a valid pixel."""
        counts = ops.cast(self._units, "float32") * _UNIT + ops.cast(self._rest, "float32")
        hits = ops.diagonal(counts)
        union = ops.sum(counts[:, :-1], axis=0) + ops.sum(counts, axis=1) - hits
        return ops.sum(ops.divide_no_nan(hits, union)) / ops.sum(ops.cast(union > 0, "float32"))

    def get_config(self) -> dict:
        return {"num_classes": self.num_classes, "name": self.name}


def labels_of_scores(y_true: Any, y_pred: Any) -> Any:
    """int32, a label for each place of the scores.

    Args:
        y_true: labels `[…]` or `[…, 1]`, as Keras hands them to losses and metrics.
        y_pred: scores `[…, C]`.

    Raises:
        ValueError: labels of another shape.
    """
    labels, y_pred = ops.cast(y_true, "int32"), ops.convert_to_tensor(y_pred)
    given, scores = known_shape(labels, "labels"), tuple(y_pred.shape)
    if len(given) == len(scores) and given[-1] == 1:
        labels = ops.squeeze(labels, -1)
    sides = zip(labels.shape, scores, strict=False)
    if len(labels.shape) != len(scores) - 1 or any(a != b for a, b in sides if a and b):
        raise ValueError(
            "labels must have the shape of the scores without the last axis, received "
            f"{given} for scores {scores}"
        )
    return labels


def known_shape(array: Any, what: str) -> tuple[int | None, ...]:
    """A shape; ValueError where TensorFlow has given up its rank, which is what it does when a
    compiled model is trained on arrays of one rank and then of another."""
    if getattr(array.shape, "rank", 0) is None:
        raise ValueError(
            f"{what} have another shape than those that the model was trained on before: compile "
            "it again"
        )
    return tuple(array.shape)

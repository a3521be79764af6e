"""Cross-entropy over the valid pixels of a batch, and over its images.

Both are Keras' own and work in `compile` and `fit`. Besides, each has `weighted_sum` and
`total_weight`, whose quotient it is: so a training step can divide a batch over devices and over
time, and still take the mean over all of it, which `fit` cannot (see `tensorflow_step`).
"""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from pipelines.base.labels import IGNORE


@keras.saving.register_keras_serializable(package="gcn_keras")
class PixelCrossentropy(keras.losses.SparseCategoricalCrossentropy):
    """Mean softmax cross-entropy over valid pixels; a class may count for more than another.

    With class weights w the mean is Σ w[y]·loss / Σ w[y], so weights change what is balanced and
    not how large the loss is. Void pixels (255) count neither above nor below; without a pixel
    that counts the loss is 0.

    Args:
        class_weights: one float a class, or None for equal weights.
        name: the loss's name.

    Call arguments:
        y_true: labels `[B, H, W]`, integers, 255 for void.
        y_pred: logits `[B, H, W, C]`.
    """

    def __init__(
        self,
        class_weights: Sequence[float] | np.ndarray | None = None,
        name: str = "pixel_crossentropy",
    ):
        super().__init__(
            ignore_class=IGNORE, from_logits=True, reduction="mean_with_sample_weight", name=name
        )
        self.class_weights = None if class_weights is None else list(map(float, class_weights))

    def __call__(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        if self.class_weights is not None:
            weights = self.weights(y_true)
            given = 1.0 if sample_weight is None else ops.cast(sample_weight, "float32")
            sample_weight = weights * given
        return super().__call__(y_true, y_pred, sample_weight)

    def weights(self, y_true: Any) -> Any:
        """float32 `[B, H, W]`: what each pixel counts for; 0 for void."""
        labels = ops.cast(y_true, "int32")
        valid = ops.not_equal(labels, IGNORE)
        if self.class_weights is None:
            return ops.cast(valid, "float32")
        table = ops.convert_to_tensor(self.class_weights, dtype="float32")
        return ops.where(valid, ops.take(table, ops.where(valid, labels, 0), axis=0), 0.0)

    def weighted_sum(self, y_true: Any, y_pred: Any) -> Any:
        """Σ w[y]·loss. Divided by `total_weight` of a batch it is the part of the batch's loss that
        these pixels make, wherever the others are."""
        losses = self.call(ops.cast(y_true, "int32"), y_pred)
        return ops.sum(losses * self.weights(y_true))

    def total_weight(self, y_true: Any) -> Any:
        """Σ w[y]."""
        return ops.sum(self.weights(y_true))

    def get_config(self) -> dict:
        return {"class_weights": self.class_weights, "name": self.name}


@keras.saving.register_keras_serializable(package="gcn_keras")
class ImageCrossentropy(keras.losses.CategoricalCrossentropy):
    """Mean softmax cross-entropy over images that have one class each.

    Args:
        label_smoothing: share of the target that is spread evenly over all classes.
        name: the loss's name.

    Call arguments:
        y_true: labels `[B]`, integers.
        y_pred: logits `[B, C]`.
    """

    def __init__(self, label_smoothing: float = 0.0, name: str = "image_crossentropy"):
        super().__init__(from_logits=True, label_smoothing=label_smoothing, name=name)
        self.label_smoothing = label_smoothing

    def call(self, y_true: Any, y_pred: Any) -> Any:
        labels = ops.cast(y_true, "int32")
        return super().call(ops.one_hot(labels, y_pred.shape[-1], dtype=y_pred.dtype), y_pred)

    def weighted_sum(self, y_true: Any, y_pred: Any) -> Any:
        """Sum of the images' losses."""
        return ops.sum(self.call(y_true, y_pred))

    def total_weight(self, y_true: Any) -> Any:
        """Number of images, float32."""
        return ops.sum(ops.ones_like(y_true, dtype="float32"))

    def get_config(self) -> dict:
        return {"label_smoothing": self.label_smoothing, "name": self.name}

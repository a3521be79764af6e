"""Cross-entropy over the valid pixels of a batch, and over its images.

Besides what Keras asks of a loss, each has `weighted_sum` and `total_weight`, whose quotient it is:
so a training step can divide a batch and still take the mean over all of it.
"""

import keras
from keras import ops

from pipelines.base.class_weights import median_frequency_weights as median_frequency_weights
from pipelines.base.labels import IGNORE


class PixelCrossentropy(keras.losses.Loss):
    """Mean softmax cross-entropy over valid pixels; a class may count for more than another.

    With class weights w the mean is Σ w[y]·loss / Σ w[y], so weights change what is balanced and
    not how large the loss is. Void pixels (255) count neither above nor below.

    Args:
        class_weights: one float a class, or None for equal weights.
        name: the loss's name.

    Call arguments:
        y_true: labels `[B, H, W]`, integers, 255 for void.
        y_pred: logits `[B, H, W, C]`.
    """

    def __init__(self, class_weights=None, name="pixel_crossentropy"):
        super().__init__(name=name, reduction="none")
        self.class_weights = None if class_weights is None else list(map(float, class_weights))

    def weights(self, y_true):
        """float32 `[B, H, W]`: what each pixel counts for; 0 for void."""
        labels = ops.cast(y_true, "int32")
        valid = ops.not_equal(labels, IGNORE)
        if self.class_weights is None:
            return ops.cast(valid, "float32")
        table = ops.convert_to_tensor(self.class_weights, dtype="float32")
        return ops.where(valid, ops.take(table, ops.where(valid, labels, 0), axis=0), 0.0)

    def weighted_sum(self, y_true, y_pred):
        """Σ w[y]·loss. Divided by `total_weight` of a batch it is the part of the batch's loss that
        these pixels make, wherever the others are."""
        weights = self.weights(y_true)
        labels = ops.cast(y_true, "int32")
        labels = ops.where(ops.not_equal(labels, IGNORE), labels, 0)
        losses = ops.sparse_categorical_crossentropy(labels, y_pred, from_logits=True)
        return ops.sum(losses * weights)

    def total_weight(self, y_true):
        """Σ w[y]."""
        return ops.sum(self.weights(y_true))

    def call(self, y_true, y_pred):
        # A batch without a valid pixel has loss 0, not 0 / 0.
        total = ops.maximum(self.total_weight(y_true), keras.config.epsilon())
        return self.weighted_sum(y_true, y_pred) / total

    def get_config(self):
        return {"class_weights": self.class_weights, "name": self.name}


class ImageCrossentropy(keras.losses.Loss):
    """Mean softmax cross-entropy over images that have one class each.

    Args:
        label_smoothing: share of the target that is spread evenly over all classes.
        name: the loss's name.

    Call arguments:
        y_true: labels `[B]`, integers.
        y_pred: logits `[B, C]`.
    """

    def __init__(self, label_smoothing: float = 0.0, name="image_crossentropy"):
        super().__init__(name=name, reduction="none")
        self.label_smoothing = label_smoothing

    def weighted_sum(self, y_true, y_pred):
        """Sum of the images' losses."""
        targets = ops.one_hot(ops.cast(y_true, "int32"), y_pred.shape[-1], dtype=y_pred.dtype)
        losses = keras.losses.categorical_crossentropy(
            targets, y_pred, from_logits=True, label_smoothing=self.label_smoothing
        )
        return ops.sum(losses)

    def total_weight(self, y_true):
        """Number of images, float32."""
        return ops.sum(ops.ones_like(y_true, dtype="float32"))

    def call(self, y_true, y_pred):
        return self.weighted_sum(y_true, y_pred) / self.total_weight(y_true)

    def get_config(self):
        return {"label_smoothing": self.label_smoothing, "name": self.name}

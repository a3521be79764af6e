"""Cross-entropy over the valid pixels of a batch."""

import keras
from keras import ops

from pipelines.class_weights import median_frequency_weights as median_frequency_weights
from pipelines.labels import IGNORE


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

    def call(self, y_true, y_pred):
        labels = ops.cast(y_true, "int32")
        valid = ops.not_equal(labels, IGNORE)
        labels = ops.where(valid, labels, 0)
        weights = ops.cast(valid, y_pred.dtype)
        if self.class_weights is not None:
            table = ops.convert_to_tensor(self.class_weights, dtype=y_pred.dtype)
            weights = weights * ops.take(table, labels, axis=0)
        losses = ops.sparse_categorical_crossentropy(labels, y_pred, from_logits=True)
        # A batch without a valid pixel has loss 0, not 0 / 0.
        return ops.sum(losses * weights) / ops.maximum(ops.sum(weights), keras.config.epsilon())

    def get_config(self):
        return {"class_weights": self.class_weights, "name": self.name}

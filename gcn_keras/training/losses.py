"""Losses over the valid pixels of a batch, and over its images.

All are Keras losses and work in `compile` and `fit`. Besides, each has `weighted_sum` and
`total_weight`, whose quotient it is: so a training step can divide a batch over devices and over
time, and still take the mean over all of it, which `fit` cannot (see `tensorflow_step`). Losses
that are not made pixel by pixel (`Dice`, `Lovasz`, the hardest pixels) are made image by image.

As Keras' own losses, they take labels with a last axis of 1, too; any other shape than that of the
scores without their classes is a ValueError. A label that is neither a class nor 255 cannot be
refused in a graph: depending on the device, cross-entropy fails on it or comes out wrong, and to
`Dice` and `Lovasz` its pixel is one of no class.
"""

import math
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from gcn_keras.evaluation.mean_iou import known_shape, labels_of_scores
from pipelines.base.labels import IGNORE
from pipelines.base.numeric import is_number


@keras.saving.register_keras_serializable(package="gcn_keras")
class PixelCrossentropy(keras.losses.SparseCategoricalCrossentropy):
    """Mean softmax cross-entropy over valid pixels; a class may count for more than another.

    With class weights w the mean is Σ w[y]·loss / Σ w[y], so weights change what is balanced and
    not how large the loss is. Void pixels (255) count neither above nor below; without a pixel
    that counts the loss is 0.

    Args:
        class_weights: one float a class, finite and at least 0, or None for equal weights.
        focus: γ of the focal loss (Lin et al. 2017), finite and at least 0, whose pixels count
            (1 - p[y])^γ times; 0 is cross-entropy.
        hardest: share of each image's valid pixels, above 0 and at most 1, those with the highest
            loss, that are learnt from (Shrivastava et al. 2016). The mean is over as many: Σ w[y]
            is multiplied by it.
        name: the loss's name.

    Call arguments:
        y_true: labels `[B, H, W]` or `[B, H, W, 1]`, integers, 255 for void.
        y_pred: logits `[B, H, W, C]`.
        sample_weight: floats that count beside the class weights: one for all, one for each image,
            `[B]`, or for each pixel, `[B, H, W]` or `[B, H, W, 1]`; None for equal ones. The focal
            loss and that of the hardest pixels take none.

    Raises:
        ValueError: an invalid argument, not exactly C class weights, or scores of other than
            2…255 classes.
    """

    def __init__(
        self,
        class_weights: Sequence[float] | np.ndarray | None = None,
        focus: float = 0.0,
        hardest: float = 1.0,
        name: str = "pixel_crossentropy",
    ):
        super().__init__(
            ignore_class=IGNORE, from_logits=True, reduction="mean_with_sample_weight", name=name
        )
        if not is_number(focus) or not 0 <= focus < math.inf:
            raise ValueError(f"focus must be finite and at least 0, received {focus!r}")
        if not is_number(hardest) or not 0 < hardest <= 1:
            raise ValueError(f"hardest must be above 0 and at most 1, received {hardest!r}")
        self.class_weights = None if class_weights is None else _class_weights(class_weights)
        self.focus, self.hardest = float(focus), float(hardest)

    def __call__(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        y_true = self._labels(y_true, y_pred)
        if self.focus or self.hardest < 1:  # Keras would lose sight of the void
            name = "PixelCrossentropy with focus or hardest"
            return _quotient(self, name, y_true, y_pred, sample_weight)
        if sample_weight is not None:
            sample_weight = _sample_weights(sample_weight, y_true)
        if self.class_weights is not None:
            weights = self.weights(y_true)
            sample_weight = weights if sample_weight is None else weights * sample_weight
        return super().__call__(y_true, y_pred, sample_weight)

    def _labels(self, y_true: Any, y_pred: Any) -> Any:
        """As in `labels_of_scores`, where there are 2…255 classes and a weight for each."""
        weights, classes = self.class_weights, y_pred.shape[-1]
        if classes is not None and not 2 <= classes <= IGNORE:
            raise ValueError(
                f"scores must be of 2…{IGNORE} classes (label {IGNORE} is void), "
                f"received {tuple(y_pred.shape)}"
            )
        if weights is not None and len(weights) != classes:
            raise ValueError(
                f"class_weights must be one for each of {classes} classes, received {weights}"
            )
        return labels_of_scores(y_true, y_pred)

    def call(self, y_true: Any, y_pred: Any) -> Any:
        losses = super().call(y_true, y_pred)
        if self.focus:
            # At 0 a power below 1 has no gradient, and one such pixel would break the step.
            losses *= ops.maximum(-ops.expm1(-losses), keras.config.epsilon()) ** self.focus
        return losses

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
        y_true = self._labels(y_true, y_pred)
        losses, weights = self.call(y_true, ops.cast(y_pred, "float32")), self.weights(y_true)
        if self.hardest < 1:
            weights *= self._taken(y_true, losses)
        return ops.sum(losses * weights)

    def _taken(self, y_true: Any, losses: Any) -> Any:
        """How much of a pixel is among the hardest of its image: float32 `[B, H, W]`, in 0…1.

        The sum over an image is the share of its valid pixels, to a fraction of one. Pixels whose
        equal losses are the least of the hardest share what is left, so that no order decides.
        """
        valid = ops.not_equal(ops.cast(y_true, "int32"), IGNORE)
        number = self.hardest * ops.sum(ops.cast(valid, "float32"), axis=(1, 2), keepdims=True)
        known = ops.reshape(ops.where(valid, losses, -1.0), (ops.shape(losses)[0], -1))
        ascending = ops.sort(known, axis=1)
        whole = ops.maximum(ops.cast(ops.ceil(number[:, 0]), "int32"), 1)
        least = ops.take_along_axis(ascending, ops.shape(known)[1] - whole, axis=1)[:, :, None]
        harder, equal = (
            ops.cast(ops.logical_and(valid, chosen), "float32")
            for chosen in (losses > least, losses == least)
        )
        left = number - ops.sum(harder, axis=(1, 2), keepdims=True)
        return harder + equal * left / ops.maximum(ops.sum(equal, axis=(1, 2), keepdims=True), 1.0)

    def total_weight(self, y_true: Any) -> Any:
        """Σ w[y], of the hardest pixels only their share of it."""
        return ops.sum(self.weights(y_true)) * self.hardest

    def get_config(self) -> dict:
        return {
            "class_weights": self.class_weights,
            "focus": self.focus,
            "hardest": self.hardest,
            "name": self.name,
        }


class _OfImages(keras.losses.Loss):
    """Mean over the images that have a valid pixel; a subclass gives the images' losses."""

    def __init__(self, name: str | None = None):
        super().__init__(name=name)

    def get_config(self) -> dict:
        return {"name": self.name}

    def __call__(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        return _quotient(self, type(self).__name__, y_true, y_pred, sample_weight)

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Labels `[B, H, W]` and logits `[B, H, W, C]` to float32 `[B]`; 0 without a valid pixel.

        It is the mean over the classes that occur in the image's labels.
        """
        labels = labels_of_scores(y_true, y_pred)
        valid = ops.not_equal(labels, IGNORE)[..., None]
        index = ops.where(valid[..., 0], labels, -1)
        truth = ops.one_hot(index, y_pred.shape[-1], dtype="float32")
        shares = ops.where(valid, ops.softmax(ops.cast(y_pred, "float32")), 0.0)
        occurs = ops.cast(ops.max(truth, axis=(1, 2)) > 0, "float32")
        losses = self.of_classes(truth, shares)
        return ops.sum(losses * occurs, axis=1) / ops.maximum(ops.sum(occurs, axis=1), 1.0)

    def of_classes(self, truth: Any, shares: Any) -> Any:
        """One-hot labels and probabilities `[B, H, W, C]`, 0 where void, to float32 `[B, C]`."""
        raise NotImplementedError

    def weighted_sum(self, y_true: Any, y_pred: Any) -> Any:
        """Sum of the images' losses."""
        return ops.sum(self.call(y_true, y_pred))

    def total_weight(self, y_true: Any) -> Any:
        """Number of images with a valid pixel, float32."""
        valid = ops.not_equal(ops.cast(y_true, "int32"), IGNORE)
        return ops.sum(ops.cast(ops.any(valid, axis=(1, 2)), "float32"))


@keras.saving.register_keras_serializable(package="gcn_keras")
class Dice(_OfImages):
    """1 - 2·|A∩B| / (|A| + |B|) of soft label maps, over each image's classes (Milletari 2016).

    Call arguments:
        y_true: labels `[B, H, W]` or `[B, H, W, 1]`, integers, 255 for void.
        y_pred: logits `[B, H, W, C]`.
    """

    def of_classes(self, truth: Any, shares: Any) -> Any:
        return keras.losses.dice(truth, shares, axis=(1, 2))


@keras.saving.register_keras_serializable(package="gcn_keras")
class Lovasz(_OfImages):
    """The Lovász extension of 1 - IoU, over each image's classes (Berman et al. 2018).

    Call arguments:
        y_true: labels `[B, H, W]` or `[B, H, W, 1]`, integers, 255 for void.
        y_pred: logits `[B, H, W, C]`.
    """

    def of_classes(self, truth: Any, shares: Any) -> Any:
        shape = (ops.shape(truth)[0], -1, truth.shape[-1])
        truth, shares = ops.reshape(truth, shape), ops.reshape(shares, shape)
        errors = ops.abs(truth - shares)  # 0 where void, and so behind all others
        order = ops.argsort(-errors, axis=1)
        errors = ops.take_along_axis(errors, order, axis=1)
        truth = ops.take_along_axis(truth, order, axis=1)
        # 1 - IoU where the pixels with the largest errors so far are all wrong.
        count = ops.sum(truth, axis=1, keepdims=True)
        union = count + ops.cumsum(1.0 - truth, axis=1)
        jaccard = 1.0 - (count - ops.cumsum(truth, axis=1)) / ops.maximum(union, 1.0)
        steps = jaccard - ops.pad(jaccard, ((0, 0), (1, 0), (0, 0)))[:, :-1]
        return ops.sum(errors * steps, axis=1)


@keras.saving.register_keras_serializable(package="gcn_keras")
class SumOfLosses(keras.losses.Loss):
    """The sum of several losses of this module.

    Its `weighted_sum` and `total_weight` have a number for each; the loss is the sum of the
    quotients.

    Args:
        losses: the losses.
        name: the loss's name.

    Raises:
        ValueError: when it is called with a `sample_weight` and one of its losses takes none.
    """

    def __init__(self, losses: Sequence[keras.losses.Loss], name: str = "sum_of_losses"):
        super().__init__(name=name)
        self.losses = list(losses)

    def __call__(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        return sum(loss(y_true, y_pred, sample_weight) for loss in self.losses)

    def weighted_sum(self, y_true: Any, y_pred: Any) -> Any:
        """float32 `[number of losses]`."""
        return ops.stack([loss.weighted_sum(y_true, y_pred) for loss in self.losses])

    def total_weight(self, y_true: Any) -> Any:
        """float32 `[number of losses]`."""
        return ops.stack([loss.total_weight(y_true) for loss in self.losses])

    def get_config(self) -> dict:
        parts = [keras.saving.serialize_keras_object(loss) for loss in self.losses]
        return {"losses": parts, "name": self.name}

    @classmethod
    def from_config(cls, config: dict) -> "SumOfLosses":
        losses = [keras.saving.deserialize_keras_object(part) for part in config["losses"]]
        return cls(losses, config["name"])


def _quotient(loss: Any, name: str, y_true: Any, y_pred: Any, sample_weight: Any) -> Any:
    if sample_weight is not None:
        raise ValueError(f"{name} takes no sample weights, received some")
    weighted_sum = loss.weighted_sum(y_true, y_pred)
    return weighted_sum / ops.maximum(loss.total_weight(y_true), keras.config.epsilon())


def _class_weights(class_weights: Any) -> list[float]:
    """Finite numbers of at least 0; else a ValueError."""
    given = np.asarray(class_weights, object)
    if given.ndim != 1 or not all(map(is_number, given)):
        raise ValueError(
            f"class_weights must be a number for each class, or None, received {class_weights!r}"
        )
    weights = list(map(float, given))
    if not all(0 <= weight < math.inf for weight in weights):
        raise ValueError(f"class_weights must be finite and at least 0, received {weights}")
    return weights


def _sample_weights(sample_weight: Any, labels: Any) -> Any:
    """float32 `[]`, `[B, 1, 1]` or `[B, H, W]`. A wrong shape Keras would broadcast."""
    weights = ops.cast(sample_weight, "float32")
    given, expected = known_shape(weights, "sample weights"), tuple(labels.shape)
    if not given:
        return weights
    if len(given) == len(expected) + 1 and given[-1] == 1:
        weights = ops.squeeze(weights, -1)
    elif len(given) == 1:
        weights = ops.reshape(weights, (-1,) + (1,) * (len(expected) - 1))
    found = tuple(weights.shape)
    fits = all(a in (b, None) or b is None for a, b in zip(found, expected, strict=False))
    is_of_images = found[:1] == expected[:1] and set(found[1:]) <= {1}
    if len(found) != len(expected) or not (fits or is_of_images):
        raise ValueError(
            "sample weights must be one for each image, or one for each pixel, received "
            f"{given} for labels {expected}"
        )
    return weights


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
        labels = labels_of_scores(y_true, y_pred)
        return super().call(ops.one_hot(labels, y_pred.shape[-1], dtype=y_pred.dtype), y_pred)

    def weighted_sum(self, y_true: Any, y_pred: Any) -> Any:
        """Sum of the images' losses, float32."""
        return ops.sum(self.call(y_true, ops.cast(y_pred, "float32")))

    def total_weight(self, y_true: Any) -> Any:
        """Number of images, float32."""
        return ops.sum(ops.ones_like(y_true, dtype="float32"))

    def get_config(self) -> dict:
        return {"label_smoothing": self.label_smoothing, "name": self.name}

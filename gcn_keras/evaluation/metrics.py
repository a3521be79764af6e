"""What is counted over a data set: mean IoU and the like, and the accuracy of a classifier."""

import abc
import math
from collections.abc import Callable, Iterable, Sequence

import numpy as np

from pipelines.base.labels import IGNORE, check_class_names, check_num_classes
from pipelines.base.plurals import count_of


class NoSuchClass(ValueError):
    """A label or a prediction that is none of the classes."""


def iou_of(hits: np.ndarray, of_label: np.ndarray, of_prediction: np.ndarray) -> np.ndarray:
    """Intersection over union of pixels in both, in the label and in the prediction: float64 of
    their shape, NaN where there are none."""
    union = of_label + of_prediction - hits
    return np.divide(hits, union, out=np.full(union.shape, np.nan), where=union > 0)


def mean_of(iou: np.ndarray) -> np.ndarray:
    """Mean of `[…, C]` over the classes that are not NaN: float64 `[…]`; NaN where all are."""
    number = (~np.isnan(iou)).sum(axis=-1)
    total = np.nansum(iou, axis=-1)
    return np.divide(total, number, out=np.full(number.shape, np.nan), where=number > 0)


def or_none(value: float) -> float | None:
    """A measure for JSON, which has no NaN."""
    return None if math.isnan(value) else float(value)


def by_class(values: Iterable[float], class_names: Sequence[str]) -> dict[str, float | None]:
    """A measure of each class for JSON, as in `or_none`."""
    return dict(zip(class_names, map(or_none, values), strict=True))


class Counts(abc.ABC):
    """What is counted on the images of a data set, and adds up over its parts.

    Attributes:
        counts: int64, of a shape of its own.
    """

    def __init__(self, counts: np.ndarray):
        self.counts = counts

    @abc.abstractmethod
    def update(self, labels: np.ndarray, predictions: np.ndarray) -> None:
        """Adds images."""

    def merge(self, summed: Callable[[np.ndarray], np.ndarray]) -> None:
        """Adds what other processes counted; `summed` is the sum over all of them."""
        self.counts = summed(self.counts)


class ConfusionMatrix(Counts):
    """Counts of (label, prediction) pairs over a whole data set.

    The measures follow the standard definitions on the summed counts; nothing is ever averaged
    over images. Classes that occur neither as label nor as prediction have no IoU: they are
    left out of the mean and listed in `absent`.

    Args:
        num_classes: C, at most 255.
        counts: int64 `[C, C]`, rows are labels, columns are predictions, to which images are added
            in place; None for zeros.

    Raises:
        ValueError: a C that is no integer in 1…255; counts of another shape or dtype, or below 0.
    """

    def __init__(self, num_classes: int, counts: np.ndarray | None = None):
        size = check_num_classes(num_classes)
        if counts is None:
            counts = np.zeros((size, size), np.int64)
        if not isinstance(counts, np.ndarray):
            raise ValueError(f"counts must be an array, received a {type(counts).__name__}")
        if counts.shape != (size, size) or counts.dtype != np.int64:
            raise ValueError(
                f"counts must be int64 {(size, size)}, received {counts.dtype} {counts.shape}"
            )
        if counts.min() < 0:
            raise ValueError(f"counts must be at least 0, received {counts.min()}")
        super().__init__(counts)

    def update(self, labels: np.ndarray, predictions: np.ndarray) -> None:
        """Adds images.

        Args:
            labels: integers of any shape, 255 for void, which does not count.
            predictions: integers of the same shape, below C.

        Raises:
            NoSuchClass: a value that is none.
            ValueError: shapes that differ, or no integers.
        """
        labels, predictions = np.asarray(labels), np.asarray(predictions)
        for name, values in (("labels", labels), ("predictions", predictions)):
            if values.dtype.kind not in "bui":
                raise ValueError(f"{name} must be integers, received {values.dtype}")
        if labels.shape != predictions.shape:
            raise ValueError(f"labels {labels.shape} and predictions {predictions.shape} differ")
        valid = labels != IGNORE
        labels, predictions = labels[valid].astype(np.int64), predictions[valid].astype(np.int64)
        size = len(self.counts)
        for name, values, void in (
            ("labels", labels, f" or {IGNORE}"),
            ("predictions", predictions, ""),  # which have no void
        ):
            if values.size and not 0 <= values.min() <= values.max() < size:
                raise NoSuchClass(
                    f"{name} must be below {size}{void}, found {values.min()}…{values.max()}"
                )
        pairs = np.bincount(labels * size + predictions, minlength=size * size)
        self.counts += pairs.reshape(size, size)

    @property
    def iou(self) -> np.ndarray:
        """float64 `[C]`: intersection over union; NaN for absent classes."""
        return iou_of(np.diag(self.counts), self.counts.sum(axis=1), self.counts.sum(axis=0))

    @property
    def absent(self) -> list[int]:
        """Classes that occur neither as label nor as prediction."""
        return np.flatnonzero(np.isnan(self.iou)).tolist()

    @property
    def mean_iou(self) -> float:
        """Mean of `iou` over the classes that occur; NaN if there is no valid pixel."""
        return float(mean_of(self.iou))

    @property
    def pixel_accuracy(self) -> float:
        """Share of valid pixels that are right; NaN if there is no valid pixel."""
        return float(np.trace(self.counts) / self.counts.sum()) if self.counts.any() else np.nan

    @property
    def mean_accuracy(self) -> float:
        """Mean over the classes that have labels of the share of their pixels that is right; NaN
        if there is no valid pixel."""
        labels = self.counts.sum(axis=1)
        seen = labels > 0
        return float(np.mean(np.diag(self.counts)[seen] / labels[seen])) if seen.any() else np.nan

    def summary(self, class_names: Sequence[str]) -> dict:
        """All measures as JSON-ready values; None for NaN, as the IoU of an absent class.

        Raises:
            ValueError: not one name a class, or one twice.
        """
        self._check_names(class_names)
        return {
            "mean_iou": or_none(self.mean_iou),
            "pixel_accuracy": or_none(self.pixel_accuracy),
            "iou": by_class(self.iou, class_names),
        }

    def table(self, class_names: Sequence[str]) -> str:
        """The measures in per cent, a class a line, to be read in a terminal.

        Raises:
            ValueError: as in `summary`.
        """
        self._check_names(class_names)
        width = max(map(len, (*class_names, "pixel accuracy")))
        lines = [f"{'class':<{width}}  IoU %"]
        for name, value in zip(class_names, self.iou, strict=True):
            shown = "absent" if np.isnan(value) else f"{100 * value:.1f}"
            lines.append(f"{name:<{width}}  {shown:>6}")
        lines.append(f"{'mean IoU':<{width}}  {100 * self.mean_iou:>6.1f}")
        lines.append(f"{'pixel accuracy':<{width}}  {100 * self.pixel_accuracy:>6.1f}")
        if self.absent:
            names = ", ".join(class_names[i] for i in self.absent)
            lines.append(f"absent from labels and predictions, not in the mean: {names}")
        return "\n".join(lines)

    def _check_names(self, class_names: Sequence[str]) -> None:
        if len(class_names) != len(self.counts):
            raise ValueError(
                f"class_names must be one for each of {count_of(len(self.counts), 'class')}, "
                f"received {len(class_names)}"
            )
        check_class_names(class_names)


class Accuracy(Counts):
    """How often the right class is the first, and among the first five.

    Args:
        counts: int64 `[3]`: images, those that were right, those that were right in five; None
            for zeros.
    """

    def __init__(self, counts: np.ndarray | None = None):
        super().__init__(np.zeros(3, np.int64) if counts is None else counts)

    def update(self, labels: np.ndarray, predictions: np.ndarray) -> None:
        """Adds images.

        Args:
            labels: integers `[B]`.
            predictions: logits, float `[B, C]`. Of equal ones all others count as larger, so that a
                model which does not tell classes apart is never right; NaN is never right.
        """
        own = np.take_along_axis(predictions, labels[:, None], axis=1)
        # Counted from 1; 0 where the label's own logit is NaN.
        place = (predictions >= own).sum(axis=1)
        right, right_in_five = ((place >= 1) & (place <= best) for best in (1, 5))
        self.counts += [len(labels), int(right.sum()), int(right_in_five.sum())]

    @property
    def top1_accuracy(self) -> float:
        """Share in 0…1; NaN without an image."""
        return self._share(1)

    @property
    def top5_accuracy(self) -> float:
        """Share in 0…1; NaN without an image."""
        return self._share(2)

    def _share(self, index: int) -> float:
        return float(self.counts[index] / self.counts[0]) if self.counts[0] else float("nan")

"""How well a model does at the boundaries of labels, and how well inside them.

Three measures: accuracy within a band along the boundaries and elsewhere (the paper's Table 5),
the same against the band's width (the trimap curve of Kohli et al. 2009 and DeepLab), and Boundary
IoU (Cheng et al. 2021).

What a boundary is, the paper leaves open ("pixels located close to objects' boundary"). Our choice:
void is first filled with the nearest class, and boundaries run where two classes then touch. So a
ring of void between two objects, as VOC and `shapes` have them, holds one boundary in its middle;
void inside one class, or between a class and the image's border, makes none, and nor does the
border itself. Void pixels never count, so that bands as narrow as half a ring are empty.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy import ndimage

from gcn_keras.evaluation.metrics import (
    ConfusionMatrix,
    Counts,
    NoSuchClass,
    by_class,
    iou_of,
    mean_of,
    or_none,
)
from pipelines.base.labels import IGNORE

# The paper's band, Table 5, in pixels.
WIDTH = 7
# The literature's widths, in pixels.
TRIMAP_WIDTHS = (1, 2, 3, 5, 7, 10, 15, 20, 30, 40)
# Of Boundary IoU's contours, as a share of the image's diagonal (Cheng et al., Section 5).
CONTOUR_SHARE = 0.02


def fill_void(label: np.ndarray) -> np.ndarray:
    """Gives each void pixel the class of the nearest pixel that has one, by Euclidean distance.

    Args:
        label: uint8 `[H, W]`, 255 is void.

    Returns:
        uint8 `[H, W]`; void only if all of it is. Of several classes at the same distance any one
        is taken, always the same.
    """
    void = label == IGNORE
    if not void.any() or void.all():
        return label
    nearest = ndimage.distance_transform_edt(void, return_distances=False, return_indices=True)
    return label[tuple(nearest)]


def boundary_distance(label: np.ndarray) -> np.ndarray:
    """Euclidean distance of each pixel to the nearest pixel at a boundary.

    Args:
        label: uint8 `[H, W]`, 255 is void, which `fill_void` fills.

    Returns:
        float64 `[H, W]`, pixels: 0 for those that touch another class on one of their four sides,
        infinite where nothing does. Below w are w pixels on each side of a straight boundary.
    """
    four_sides = ndimage.generate_binary_structure(2, 1)
    touches = _is_mixed(fill_void(label), footprint=four_sides, mode="nearest")
    if not touches.any():
        return np.full(label.shape, np.inf)
    return ndimage.distance_transform_edt(~touches)


def _is_mixed(label: np.ndarray, **window: Any) -> np.ndarray:
    """Whether the window around a pixel, as in `ndimage.maximum_filter`, shows several values."""
    return ndimage.maximum_filter(label, **window) != ndimage.minimum_filter(label, **window)


class BandMatrices(Counts):
    """Confusion matrices of the pixels near boundaries and of all others, for several widths.

    Attributes:
        widths: rising, pixels.
        counts: int64 `[N + 1, C, C]`, rows are labels, columns are predictions: of pixels whose
            `boundary_distance` is below the first width, from there to below the second, …, and
            from the last on.
    """

    def __init__(self, num_classes: int, widths: Sequence[int]):
        self.widths = tuple(sorted(set(widths)))
        super().__init__(np.zeros((len(self.widths) + 1, num_classes, num_classes), np.int64))

    def update(self, labels: np.ndarray, predictions: np.ndarray) -> None:
        """Adds images, uint8 `[B, H, W]`; otherwise as `ConfusionMatrix.update`."""
        _check_shapes(labels, predictions)
        for label, prediction in zip(labels, predictions, strict=True):
            interval = np.searchsorted(self.widths, boundary_distance(label), side="right")
            for index in np.unique(interval):
                inside = interval == index
                self._matrix(self.counts[index]).update(label[inside], prediction[inside])

    def within(self, width: int) -> ConfusionMatrix:
        """Of the pixels less than `width`, one of `widths`, away from a boundary pixel."""
        return self._matrix(self.counts[: self.widths.index(width) + 1].sum(axis=0))

    def beyond(self, width: int) -> ConfusionMatrix:
        """Of all others: the paper's "internal" pixels."""
        return self._matrix(self.counts[self.widths.index(width) + 1 :].sum(axis=0))

    def _matrix(self, counts: np.ndarray) -> ConfusionMatrix:
        return ConfusionMatrix(len(counts), counts)


def _check_shapes(labels: np.ndarray, predictions: np.ndarray) -> None:
    if labels.ndim != 3 or labels.shape != predictions.shape:
        raise ValueError(
            f"labels and predictions must be [B, H, W], both, not {labels.shape} and "
            f"{predictions.shape}"
        )


def inner_band(label: np.ndarray, distance: int) -> np.ndarray:
    """The pixels from which the end of their own region is at most `distance` pixels away.

    As in the published code of Boundary IoU, distance is the greater one of rows and columns, and
    a region also ends at the border of the image.

    Args:
        label: uint8 `[H, W]`, classes.
        distance: at least 1.

    Returns:
        bool `[H, W]`; at distance 1 the pixels that touch another class or the image's border.
    """
    return _is_mixed(label, size=2 * distance + 1, mode="constant", cval=IGNORE)


class ContourCounts(Counts):
    """Boundary IoU of each class: intersection over union of the bands along its inner contours.

    An image's bands are as wide as `share` of its diagonal, rounded, and at least 1 pixel. Void in
    a label is filled before its contours are found (our choice, as above), and does not count.

    Attributes:
        counts: int64 `[3, C]`: pixels in the bands of both label and prediction, of the label, of
            the prediction.
    """

    def __init__(self, num_classes: int, share: float = CONTOUR_SHARE):
        self.share = share
        super().__init__(np.zeros((3, num_classes), np.int64))

    def update(self, labels: np.ndarray, predictions: np.ndarray) -> None:
        """Adds images, uint8 `[B, H, W]`; otherwise as `ConfusionMatrix.update`."""
        _check_shapes(labels, predictions)
        size = self.counts.shape[1]
        for label, prediction in zip(labels, predictions, strict=True):
            valid = label != IGNORE
            distance = max(1, round(self.share * math.hypot(*label.shape)))
            of_label = inner_band(fill_void(label), distance) & valid
            of_prediction = inner_band(prediction, distance) & valid
            agreed = of_label & of_prediction & (label == prediction)
            bands = label[agreed], label[of_label], prediction[of_prediction]
            found = [np.bincount(values, minlength=size) for values in bands]
            if max(map(len, found)) > size:
                raise NoSuchClass(
                    f"labels must be below {size} or {IGNORE}, and predictions below {size}"
                )
            self.counts += found

    @property
    def iou(self) -> np.ndarray:
        """float64 `[C]`: Boundary IoU; NaN for classes without a contour in either."""
        return iou_of(*self.counts)

    @property
    def mean_iou(self) -> float:
        """Mean of `iou` over the classes that have one; NaN if there is none."""
        return float(mean_of(self.iou))


class BoundaryReport:
    """What `evaluate` measures and says of boundaries.

    Attributes:
        measures: the counts to be updated; none if nothing is asked.

    Args:
        width: of the band, pixels; None to leave out Table 5 and Boundary IoU.
        share: of Boundary IoU.
        trimap: widths of the curve; none to leave it out.
    """

    def __init__(
        self,
        num_classes: int,
        width: int | None = WIDTH,
        share: float = CONTOUR_SHARE,
        trimap: Sequence[int] = (),
    ):
        self.width, self.trimap = width, tuple(sorted(set(trimap)))
        self._bands = BandMatrices(num_classes, (*self.trimap, *([width] if width else [])))
        self._contours = ContourCounts(num_classes, share)
        self.measures: list[Counts] = [self._bands] if width or trimap else []
        self.measures += [self._contours] if width else []

    def summary(self, class_names: Sequence[str]) -> dict:
        """All of it as JSON-ready values; None where there is no pixel to measure on."""
        found: dict[str, Any] = {}
        if self.width:
            within, beyond = self._bands.within(self.width), self._bands.beyond(self.width)
            found["boundaries"] = {
                "width": self.width,
                "boundary_accuracy": or_none(within.pixel_accuracy),
                "internal_accuracy": or_none(beyond.pixel_accuracy),
                "boundary_mean_accuracy": or_none(within.mean_accuracy),
                "internal_mean_accuracy": or_none(beyond.mean_accuracy),
                "contour_share": self._contours.share,
                "mean_boundary_iou": or_none(self._contours.mean_iou),
                "boundary_iou": by_class(self._contours.iou, class_names),
            }
        if self.trimap:
            found["trimap"] = [
                {
                    "width": width,
                    "pixel_accuracy": or_none(self._bands.within(width).pixel_accuracy),
                    "mean_iou": or_none(self._bands.within(width).mean_iou),
                }
                for width in self.trimap
            ]
        return found

    def table(self) -> str:
        """All of it in per cent, to be read in a terminal; a dash where there is no pixel."""
        rows = self._near_and_elsewhere()
        longest = max(map(len, rows), default=0)
        lines = [f"{name:<{longest}}  {_percent(value)}" for name, value in rows.items()]
        if self.trimap:
            lines.append("within px  accuracy %  mean IoU %")
            for width in self.trimap:
                band = self._bands.within(width)
                accuracy, mean_iou = _percent(band.pixel_accuracy), _percent(band.mean_iou)
                lines.append(f"{width:>9}  {accuracy:>10}  {mean_iou:>10}")
        return "\n".join(lines)

    def rows(self) -> dict[str, float]:
        """Each figure, 0…1, by what `table` calls it; NaN where there is no pixel."""
        rows = self._near_and_elsewhere()
        for width in self.trimap:
            band = self._bands.within(width)
            rows[f"accuracy within {width} px"] = band.pixel_accuracy
            rows[f"mean IoU within {width} px"] = band.mean_iou
        return rows

    def _near_and_elsewhere(self) -> dict[str, float]:
        if not self.width:
            return {}
        within, beyond = self._bands.within(self.width), self._bands.beyond(self.width)
        return {
            f"accuracy within {self.width} px of a boundary": within.pixel_accuracy,
            "accuracy elsewhere (internal)": beyond.pixel_accuracy,
            "… mean over classes, near": within.mean_accuracy,
            "… mean over classes, elsewhere": beyond.mean_accuracy,
            "mean Boundary IoU": self._contours.mean_iou,
        }


def _percent(value: float) -> str:
    return f"{'–' if math.isnan(value) else f'{100 * value:.1f}':>6}"

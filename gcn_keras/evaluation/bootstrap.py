"""How far the difference between models depends on the images: the paired bootstrap.

The images of a split stand for those that it might have held (Efron 1979): of N images N are drawn
with replacement, many times, and each time every model is scored on the same ones. What models
share, such as an image that is hard for all, so leaves their difference alone.

Training runs that differ by their seed alone may stand for a model together: its score is then the
mean of theirs, and runs are drawn as images are. Models with as many runs have the same ones drawn,
the first of each with the first of the other, as runs of one seed share their crops.

An interval tells of the images, and of runs where there are several, and of nothing else; that of a
few images or runs, or of frames of one video that resemble each other, is too narrow; and of twenty
pairs of equal models one, on average, is taken for different.
"""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from gcn_keras.evaluation.metrics import ConfusionMatrix, iou_of, mean_of

CONFIDENCE = 0.95
RESAMPLES = 2_000
# Whose sums are in memory together.
_TOGETHER = 64


class CountsByImage:
    """Hits, label pixels and predicted pixels of each class, image by image.

    They are all that mean IoU, the IoU of a class and pixel accuracy need, in 24·C bytes an image
    where its confusion matrix would be 8·C²: of 2,000 images with 150 classes 7 MiB and not 343.
    """

    def __init__(self, num_classes: int):
        self._num_classes = num_classes
        self._images: list[np.ndarray] = []

    def update(self, labels: np.ndarray, predictions: np.ndarray) -> None:
        """Adds images, `[B, H, W]`; otherwise as `ConfusionMatrix.update`."""
        for label, prediction in zip(labels, predictions, strict=True):
            matrix = ConfusionMatrix(self._num_classes)
            matrix.update(label, prediction)
            counts = matrix.counts
            self._images.append(np.stack([np.diag(counts), counts.sum(axis=1), counts.sum(axis=0)]))

    @property
    def counts(self) -> np.ndarray:
        """int64 `[N, 3, C]`, in the order in which the images came."""
        return np.array(self._images, np.int64).reshape(-1, 3, self._num_classes)


def mean_iou(counts: np.ndarray) -> np.ndarray:
    """Mean IoU as in `ConfusionMatrix.mean_iou`, of sums of what `CountsByImage` counts.

    Args:
        counts: `[…, 3, C]`: pixels that both label and prediction give to a class, its label
            pixels, its predicted pixels.

    Returns:
        float64 `[…]`, 0…1: the mean over the classes that occur; NaN if none does.
    """
    return mean_of(iou_of(*np.moveaxis(counts, -2, 0)))


@dataclass(frozen=True)
class Difference:
    """How far the second of two models is ahead of the first.

    Attributes:
        first, second: their places among the models, from 0.
        value: score of the second less that of the first, on all images.
        low, high: ends of its interval, which covers `CONFIDENCE` of the resamples.
    """

    first: int
    second: int
    value: float
    low: float
    high: float

    @property
    def is_decided(self) -> bool:
        """Whether the interval leaves 0 out."""
        return self.low > 0 or self.high < 0


def paired_bootstrap(
    counts: Sequence[np.ndarray | Sequence[np.ndarray]],
    score: Callable[[np.ndarray], np.ndarray] = mean_iou,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> list[Difference]:
    """Percentile intervals of the differences between models that saw the same images.

        for difference in paired_bootstrap([baseline.counts, gcn.counts]): …

    Args:
        counts: of each of M ≥ 2 models `[N, …]`, what was counted on N ≥ 2 images, in one order:
            of `CountsByImage`, or others that add up over images; integers, whose sums below 2⁵³
            are exact. Or a list of such, of several runs.
        score: from sums over images, `[…, *shape]`, to scores `[…]`.
        resamples: how often N images, and runs, are drawn.
        seed: of the draws, which depend only on N and the number of runs.

    Returns:
        One for each pair of models: (0, 1), (0, 2), …, (1, 2), …. Resamples on which a score is
        not defined (NaN, as without a valid pixel) are left out.

    Raises:
        ValueError: a single model or image, models that counted different images, no resamples, or
            a score that is not defined on all images.
    """
    groups = [[each] if isinstance(each, np.ndarray) else list(each) for each in counts]
    runs = [run for group in groups for run in group]
    shapes = [run.shape for run in runs]
    fit = len(set(shapes)) == 1 and len(groups) >= 2 and all(groups)
    if not fit or shapes[0][0] < 2 or resamples < 1:
        raise ValueError(
            "counts must be those of two models or more on the same two images or more, and "
            f"resamples at least 1, received shapes {shapes} and {resamples} resamples"
        )
    images, *shape = shapes[0]
    flat = np.stack([run.reshape(images, -1) for run in runs], axis=1).astype(np.float64)
    flat = flat.reshape(images, -1)
    of_runs = score(flat.sum(axis=0).reshape(len(runs), *shape))
    random = np.random.default_rng(seed)
    parts = []
    for start in range(0, resamples, _TOGETHER):
        draws = random.integers(images, size=(min(_TOGETHER, resamples - start), images))
        # How often each image is drawn: sums over the drawn ones are then a matrix product.
        times = np.stack([np.bincount(draw, minlength=images) for draw in draws])
        sums = times.astype(np.float64) @ flat
        parts.append(score(sums.reshape(-1, len(runs), *shape)))
    sizes = [len(group) for group in groups]
    whole = _means(of_runs[None], [np.full((1, size), 1 / size) for size in sizes])[0]
    scores = _means(np.concatenate(parts), [_shares(size, resamples, seed) for size in sizes])
    scores = scores[~np.isnan(scores).any(axis=1)]
    if np.isnan(whole).any() or not len(scores):
        raise ValueError(f"no score without a valid pixel, received scores {whole.tolist()}")
    tails = 50 * (1 - CONFIDENCE), 50 * (1 + CONFIDENCE)
    found = []
    for first, second in itertools.combinations(range(len(groups)), 2):
        low, high = np.percentile(scores[:, second] - scores[:, first], tails)
        value = whole[second] - whole[first]
        found.append(Difference(first, second, float(value), float(low), float(high)))
    return found


def _shares(runs: int, resamples: int, seed: int) -> np.ndarray:
    """How much each run counts in each resample: `[resamples, runs]`."""
    draws = np.random.default_rng([seed, runs]).integers(runs, size=(resamples, runs))
    return np.stack([np.bincount(draw, minlength=runs) for draw in draws]) / runs


def _means(scores: np.ndarray, shares: Sequence[np.ndarray]) -> np.ndarray:
    """Of `[resamples, all runs]` the mean of each model's own: `[resamples, M]`."""
    ends = np.cumsum([share.shape[1] for share in shares])[:-1]
    parts = zip(np.split(scores, ends, axis=1), shares, strict=True)
    return np.stack([(part * share).sum(axis=1) for part, share in parts], axis=1)

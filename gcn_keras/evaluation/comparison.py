"""Models side by side on the same images: `evaluate --compare A B C`."""

from __future__ import annotations

import math
import string
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from gcn_keras.evaluation.bootstrap import (
    CONFIDENCE,
    RESAMPLES,
    CountsByImage,
    Difference,
    paired_bootstrap,
)
from gcn_keras.evaluation.boundaries import BoundaryReport
from gcn_keras.evaluation.measure import check_labels, measure, open_for
from gcn_keras.evaluation.metrics import ConfusionMatrix
from gcn_keras.evaluation.options import EvaluationOptions
from pipelines.base.errors import ArgumentError, UsageError, UserError

if TYPE_CHECKING:
    from pipelines.datasets import PreparedDataset

# What models are called beside each other: their paths are too long for a table.
LETTERS = string.ascii_uppercase
# Fewer have no tails from which an interval of 95 % could be read.
FEWEST_RESAMPLES = 100


@dataclass(frozen=True)
class ComparisonOptions:
    """Which models are compared, and how their differences are judged."""

    compare: Annotated[tuple[str, ...] | None, tyro.conf.arg(metavar="MODEL")] = None
    """Models to be measured side by side, two or more, in the place of MODEL: each one's figures,
    differences by class, and how far the images alone may have moved the difference of mean IoU, a
    95 % interval of the paired bootstrap."""
    resamples: int = RESAMPLES
    """Number of times that the bootstrap draws the images."""
    seed: int = 0
    """Seed of the bootstrap's draws."""

    def check(self, model: str | None, options: EvaluationOptions) -> tuple[str, ...]:
        """The models to be measured; refuses what is invalid.

        Args:
            model: the one to be measured where none are compared.
            options: of the measurement.

        Raises:
            UsageError: naming the field, the value and what it can be.
        """
        models, fewest = self.compare, FEWEST_RESAMPLES
        if models is None:
            for name in ("resamples", "seed"):
                if getattr(self, name) != getattr(ALONE, name):
                    raise ArgumentError(name, "is about {compare}, which is missing")
            if model is None:
                raise UsageError.naming("name a MODEL, or several by {compare} MODEL MODEL")
            return (model,)
        twice = next((each for each in models if models.count(each) > 1), None)
        for name, valid, reason in (
            ("compare", model is None, f"names all of the models: name {model} there, too"),
            ("compare", twice is None, f"names {twice} twice"),
            (
                "compare",
                2 <= len(models) <= len(LETTERS),
                f"takes 2 to {len(LETTERS)} models, got {len(models)}",
            ),
            (
                "resamples",
                self.resamples >= fewest,
                f"must be at least {fewest}, got {self.resamples}",
            ),
            ("seed", self.seed >= 0, f"must be at least 0, got {self.seed}"),
            ("submission", not options.submission, "is of one model: omit {compare}"),
        ):
            if not valid:
                raise ArgumentError(name, reason)
        return models


ALONE = ComparisonOptions()


@dataclass(frozen=True)
class Comparison:
    """What was measured of models on the same images.

    Attributes:
        models: their paths or addresses.
        matrices, reports: of each model, as of `measure`.
        images: number of images.
        differences: of mean IoU, of each pair of models.
        options: the number of resamples, and the seed.
    """

    models: Sequence[str]
    matrices: Sequence[ConfusionMatrix]
    reports: Sequence[BoundaryReport]
    images: int
    differences: Sequence[Difference]
    options: ComparisonOptions

    def summary(self, class_names: Sequence[str]) -> dict[str, Any]:
        """All of it as JSON-ready values; None where a class is absent or no pixel is measured.

        `models`: of each what `evaluate` writes of one. `differences`: of each pair of models by
        how much `model` is ahead of `than`, and the interval of mean IoU.
        """
        measured = [
            {"model": model} | matrix.summary(class_names) | report.summary(class_names)
            for model, matrix, report in zip(self.models, self.matrices, self.reports, strict=True)
        ]
        return {
            "images": self.images,
            "resamples": self.options.resamples,
            "seed": self.options.seed,
            "confidence": CONFIDENCE,
            "models": measured,
            "differences": [self._pair(each, class_names) for each in self.differences],
        }

    def _pair(self, difference: Difference, class_names: Sequence[str]) -> dict[str, Any]:
        first, second = self.matrices[difference.first], self.matrices[difference.second]
        ious = (second.iou - first.iou).tolist()
        return {
            "model": self.models[difference.second],
            "than": self.models[difference.first],
            "mean_iou": difference.value,
            "interval": [difference.low, difference.high],
            "decided": difference.is_decided,
            "pixel_accuracy": second.pixel_accuracy - first.pixel_accuracy,
            "iou": {
                name: None if math.isnan(iou) else iou
                for name, iou in zip(class_names, ious, strict=True)
            },
        }

    def table(self, class_names: Sequence[str]) -> str:
        """Every figure in per cent, and its differences from the first model's in points."""
        columns = []
        for matrix, report in zip(self.matrices, self.reports, strict=True):
            whole = {"mean IoU": matrix.mean_iou, "pixel accuracy": matrix.pixel_accuracy}
            columns.append([*matrix.iou, *whole.values(), *report.rows().values()])
        names = [*class_names, *whole, *report.rows()]
        letters = LETTERS[: len(self.models)]
        heads = [*letters, *(f"{letter}−A" for letter in letters[1:])]
        width = max(map(len, names))
        lines = [f"{letter}  {model}" for letter, model in zip(letters, self.models, strict=True)]
        lines.append(f"{'IoU %':<{width}}" + "".join(f"{head:>8}" for head in heads))
        for name, *values in zip(names, *columns, strict=True):
            cells = [_shown(value, ".1f") for value in values]
            cells += [_shown(value - values[0], "+.1f") for value in values[1:]]
            lines.append(f"{name:<{width}}" + "".join(f"{cell:>8}" for cell in cells))
        if any(matrix.absent for matrix in self.matrices):
            lines.append("–: a class absent from labels and predictions, not in the model's mean")
        return "\n".join(lines)

    def sentences(self) -> str:
        """Which model is better than which, or that it is undecided, a line for each pair."""
        head = (
            f"mean IoU in points, with its {100 * CONFIDENCE:.0f} % interval over {self.images:,} "
            f"images (paired bootstrap, {self.options.resamples:,} resamples, seed "
            f"{self.options.seed}):"
        )
        return "\n".join([head, *map(_sentence, self.differences)])


def _shown(value: float, form: str) -> str:
    return "–" if math.isnan(value) else f"{100 * value:{form}}".replace("-", "−")


def _sentence(difference: Difference) -> str:
    worse, better = LETTERS[difference.first], LETTERS[difference.second]
    numbers = difference.value, difference.low, difference.high
    if difference.high < 0:
        worse, better = better, worse
        numbers = -difference.value, -difference.high, -difference.low
    value, low, high = (_shown(number, "+.2f") for number in numbers)
    interval = f"{value} (95 %: {low} … {high})"
    if difference.is_decided:
        return f"{better} is better than {worse}: {interval}"
    return f"undecided between {worse} and {better}: {better}−{worse} is {interval}"


def compare(
    models: Sequence[str],
    dataset: PreparedDataset,
    split: str,
    options: EvaluationOptions,
    comparison: ComparisonOptions = ALONE,
) -> Comparison:
    """Measures models one after the other on the same images.

    One model is in memory at a time, and of each image and model 24 bytes a class. All models are
    opened once before the first is measured, so that one of other classes is refused at once.

    Args:
        models: paths or addresses, two or more.
        dataset, split, options: as of `measure`.
        comparison: number of resamples, and the seed; which models it names is not read.

    Raises:
        UsageError, UserError: as of `measure`; fewer than two images; no label but void.
    """
    images = min(options.limit or math.inf, dataset.splits[split])
    if images < 2:
        raise UserError(
            f"images are drawn to compare models, at least two: there is {images:g} in split "
            f"{split!r} of {dataset.name!r}"
        )
    check_labels(dataset, split, options)
    for model in models:
        open_for(model, dataset, options)
    matrices, reports, counts = [], [], []
    for letter, model in zip(LETTERS, models, strict=False):
        by_image = CountsByImage(dataset.num_classes)
        matrix, report = measure(model, dataset, split, options, [by_image], f"evaluate {letter}")
        matrices.append(matrix)
        reports.append(report)
        counts.append(by_image.counts)
    if not matrices[0].counts.any():
        raise UserError(f"split {split!r} of {dataset.name!r} has no label but void: no score")
    differences = paired_bootstrap(counts, resamples=comparison.resamples, seed=comparison.seed)
    return Comparison(models, matrices, reports, len(counts[0]), differences, comparison)

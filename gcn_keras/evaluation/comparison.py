"""Models side by side on the same images: `evaluate --compare A B C`."""

from __future__ import annotations

import glob
import itertools
import math
import string
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import numpy as np
import tyro

from gcn_keras.evaluation.bootstrap import (
    CONFIDENCE,
    RESAMPLES,
    CountsByImage,
    Difference,
    paired_bootstrap,
)
from gcn_keras.evaluation.boundaries import BoundaryReport
from gcn_keras.evaluation.measure import (
    check_labels,
    measure,
    number_of_images,
    open_for,
)
from gcn_keras.evaluation.metrics import ConfusionMatrix, by_class
from gcn_keras.evaluation.options import EvaluationOptions
from pipelines.base.errors import ArgumentError, UsageError, UserError, argument
from pipelines.base.plurals import count_of
from pipelines.base.progress import note_once

if TYPE_CHECKING:
    from pipelines.datasets import PreparedDataset

# What models are called beside each other: their paths are too long for a table.
LETTERS = string.ascii_uppercase
# Of the runs by which a row of a table chooses its learning rate: they count nowhere.
TUNING_SEED = 1000
# Fewer have no tails from which an interval of 95 % could be read.
FEWEST_RESAMPLES = 100


@dataclass(frozen=True)
class ComparisonOptions:
    """Which models are compared, and how their differences are judged."""

    compare: Annotated[tuple[str, ...] | None, tyro.conf.arg(metavar="MODEL")] = None
    """Models to be measured side by side, two or more, in the place of MODEL: each one's figures,
    differences by class, and how far the images alone may have moved the difference of mean IoU, a
    95 % interval of the paired bootstrap. A quoted pattern, such as 'runs/gcn15-seed*/best.keras',
    stands for runs of one kind, which are drawn, too; not for one that chose a learning rate."""
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
                    raise ArgumentError(name, f"is about {argument('compare')}, which is missing")
            if model is None:
                raise UsageError(f"name a MODEL, or several by {argument('compare')} MODEL MODEL")
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
            ("submission", not options.submission, f"is of one model: omit {argument('compare')}"),
        ):
            if not valid:
                raise ArgumentError(name, reason)
        return models


ALONE = ComparisonOptions()


def runs_of(model: str) -> list[str]:
    """What a pattern stands for, sorted; or the path or address itself, if it is none.

    Runs with `TUNING_SEED` are left out where there are others, and a note says so.

    Raises:
        ArgumentError: nothing matches the pattern.
    """
    # The brackets of an IPv6 address are no pattern.
    if "://" in model or not glob.has_magic(model) or Path(model).exists():
        return [model]
    found = sorted(glob.glob(model))
    if not found:
        raise ArgumentError("compare", f"{model}: there is no such model")
    tuning = [path for path in found if Path(path).parent.name.endswith(f"-seed{TUNING_SEED}")]
    if len(tuning) == len(found):  # which are asked for
        return found
    for path in tuning:
        note_once(f"note: {path} is left out: it chose a learning rate")
    return [path for path in found if path not in tuning]


class Measured(NamedTuple):
    """A run's path or address, and what `measure` found."""

    path: str
    matrix: ConfusionMatrix
    report: BoundaryReport

    @property
    def figures(self) -> np.ndarray:
        """Its column of the table, shares; NaN where a class is absent."""
        matrix = self.matrix
        whole = (matrix.mean_iou, matrix.pixel_accuracy, *self.report.rows().values())
        return np.array([*matrix.iou, *whole])

    def summary(self, class_names: Sequence[str]) -> dict[str, Any]:
        """As `evaluate` writes it of one model."""
        own = self.matrix.summary(class_names) | self.report.summary(class_names)
        return {"model": self.path} | own


@dataclass(frozen=True)
class Comparison:
    """What was measured of models on the same images.

    Attributes:
        models: what they were called: a path, an address or a pattern.
        runs: of each model.
        images: number of images.
        differences: of mean IoU, of each pair of models.
        options: the number of resamples, and the seed.
    """

    models: Sequence[str]
    runs: Sequence[Sequence[Measured]]
    images: int
    differences: Sequence[Difference]
    options: ComparisonOptions

    def summary(self, class_names: Sequence[str]) -> dict[str, Any]:
        """All of it as JSON-ready values; None where a class is absent or no pixel is measured.

        `models`: of each what `evaluate` writes of one; of several runs their mean, and that of
        each. `differences`: of each pair of models by how much `model` is ahead of `than`, and the
        interval of mean IoU.
        """
        return {
            "images": self.images,
            "resamples": self.options.resamples,
            "seed": self.options.seed,
            "confidence": CONFIDENCE,
            "models": [
                self._model(model, runs, class_names)
                for model, runs in zip(self.models, self.runs, strict=True)
            ],
            "differences": [self._pair(each, class_names) for each in self.differences],
        }

    def _model(
        self, model: str, runs: Sequence[Measured], class_names: Sequence[str]
    ) -> dict[str, Any]:
        summaries = [run.summary(class_names) for run in runs]
        if len(summaries) == 1:
            return summaries[0]
        ious, mean_iou, pixel_accuracy = _parts(_mean(runs), len(class_names))
        means = {"mean_iou": mean_iou, "pixel_accuracy": pixel_accuracy}
        return {"model": model, **means, "iou": by_class(ious, class_names), "runs": summaries}

    def _pair(self, difference: Difference, class_names: Sequence[str]) -> dict[str, Any]:
        first, second = difference.first, difference.second
        ahead = _mean(self.runs[second]) - _mean(self.runs[first])
        ious, _, pixel_accuracy = _parts(ahead, len(class_names))
        return {
            "model": self.models[second],
            "than": self.models[first],
            "mean_iou": difference.value,
            "interval": [difference.low, difference.high],
            "decided": difference.is_decided,
            "pixel_accuracy": pixel_accuracy,
            "iou": by_class(ious, class_names),
        }

    def table(self, class_names: Sequence[str]) -> str:
        """Every figure in per cent, of several runs the mean, and its differences from the first
        model's in points."""
        columns = [_mean(runs) for runs in self.runs]
        report = self.runs[0][0].report
        names = [*class_names, "mean IoU", "pixel accuracy", *report.rows()]
        letters = LETTERS[: len(self.models)]
        heads = [*letters, *(f"{letter}−A" for letter in letters[1:])]
        width = max(map(len, names))
        lines = [
            f"{letter}  {model}" + (f", mean of {len(runs)} runs" if len(runs) > 1 else "")
            for letter, model, runs in zip(letters, self.models, self.runs, strict=True)
        ]
        lines.append(f"{'IoU %':<{width}}" + "".join(f"{head:>8}" for head in heads))
        for name, *values in zip(names, *columns, strict=True):
            cells = [_shown(value, ".1f") for value in values]
            cells += [_shown(value - values[0], "+z.1f") for value in values[1:]]
            lines.append(f"{name:<{width}}" + "".join(f"{cell:>8}" for cell in cells))
        if any(run.matrix.absent for runs in self.runs for run in runs):
            lines.append("–: a class absent from labels and predictions, not in the model's mean")
        return "\n".join(lines)

    def sentences(self) -> str:
        """Which model is better than which, or that it is undecided, a line for each pair."""
        drawn = " and the runs" if any(len(runs) > 1 for runs in self.runs) else ""
        head = (
            f"mean IoU in points, with its {100 * CONFIDENCE:.0f} % interval over "
            f"{count_of(self.images, 'image')}{drawn} (paired bootstrap, "
            f"{count_of(self.options.resamples, 'resample')}, seed {self.options.seed}):"
        )
        return "\n".join([head, *map(_sentence, self.differences)])


def _mean(runs: Sequence[Measured]) -> np.ndarray:
    return np.mean([run.figures for run in runs], axis=0)


def _parts(figures: np.ndarray, classes: int) -> tuple[list[float], float, float]:
    """Of a column: IoU of each class, mean IoU and pixel accuracy."""
    values = figures.tolist()
    return values[:classes], values[classes], values[classes + 1]


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
        models: paths, addresses or patterns (`runs_of`), two or more.
        dataset, split, options: as in `measure`.
        comparison: number of resamples, and the seed; which models it names is not read.

    Raises:
        UsageError, UserError: as in `measure`; fewer than two images.
    """
    images = number_of_images(dataset, split, options.limit)
    if images < 2:
        raise UserError(
            f"images are drawn to compare models, at least two: there is {images} in split "
            f"{split!r} of {dataset.name!r}"
        )
    check_labels(dataset, split, options)
    paths = [runs_of(model) for model in models]
    for path in itertools.chain(*paths):
        open_for(path, dataset, options)
    measured, counts = [], []
    for letter, group in zip(LETTERS, paths, strict=False):
        runs, of_runs = [], []
        for path in group:
            by_image = CountsByImage(dataset.num_classes)
            title = f"evaluate {letter}"
            runs.append(Measured(path, *measure(path, dataset, split, options, [by_image], title)))
            of_runs.append(by_image.counts)
        measured.append(runs)
        counts.append(of_runs)
    differences = paired_bootstrap(counts, resamples=comparison.resamples, seed=comparison.seed)
    return Comparison(models, measured, len(counts[0][0]), differences, comparison)

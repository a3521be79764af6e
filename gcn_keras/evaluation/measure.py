"""Measures a model on a split."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING, Protocol

import numpy as np
from tqdm import tqdm

from gcn_keras.evaluation.boundaries import TRIMAP_WIDTHS, BoundaryReport
from gcn_keras.evaluation.metrics import ConfusionMatrix, NoSuchClass
from gcn_keras.evaluation.options import EvaluationOptions
from gcn_keras.evaluation.submission import layout_of, write_submission
from gcn_keras.inference.batches import same_sized
from gcn_keras.inference.memory import naming_large_image
from gcn_keras.inference.options import segment_function
from gcn_keras.inference.segmenters import Segment, check_same_classes, open_segmenter
from gcn_keras.inference.threads import done_behind, read_ahead
from pipelines.base.errors import ArgumentError, UsageError, UserError, argument

if TYPE_CHECKING:
    from pipelines.datasets import PreparedDataset

# Images in a chunk. No batch spans two chunks, so several workers, each taking every n-th chunk,
# form the same batches as one.
CHUNK = 16


class Measure(Protocol):
    """What is counted on images: `metrics.Counts`, or `bootstrap.CountsByImage`."""

    def update(self, labels: np.ndarray, predictions: np.ndarray) -> None:
        """Adds images, uint8 `[B, H, W]`."""


def measure(
    model: str,
    dataset: PreparedDataset,
    split: str,
    options: EvaluationOptions,
    measures: Sequence[Measure] = (),
    title: str = "evaluate",
) -> tuple[ConfusionMatrix, BoundaryReport]:
    """Measures a model in any form, and writes its label maps where a submission is asked for.

    Args:
        model: its path or address.
        dataset: what it is measured on.
        split: of the data set; its labels may be missing where there is a submission.
        options: checked; their split is not read.
        measures: others that are updated.
        title: of the progress bar.

    Raises:
        UsageError: the options do not fit the data set.
        UserError: the model cannot be used, or does not belong to the data set; that cannot be
            read, or has no label but void, and there is no submission; that cannot be written.
    """
    import tensorflow as tf

    check_labels(dataset, split, options)
    file = options.submission
    writing = write_submission(file, layout_of(dataset, file)) if file else nullcontext()
    segment = open_for(model, dataset, options)
    report = BoundaryReport(
        dataset.num_classes,
        options.boundary_width if options.boundaries else None,
        options.contour_share,
        () if options.trimap is None else options.trimap or TRIMAP_WIDTHS,
    )
    measures = [*report.measures, *measures]
    count = number_of_images(dataset, split, options.limit)
    try:
        with writing as keep, tqdm(total=count, desc=title, unit=" images") as bar:
            matrix = evaluate_model(
                segment, dataset, split, options.limit, measures, keep, bar.update
            )
    except tf.errors.OpError as error:
        raise UserError(f"{dataset.name!r} cannot be read: {error.message}") from error
    except NoSuchClass as error:  # a form that does not carry how many classes it knows
        raise UserError(f"{model} and {dataset.name!r} do not belong together: {error}") from error
    if not file:
        check_scored(matrix, dataset, split)
    return matrix, report


def number_of_images(dataset: PreparedDataset, split: str, limit: int | None) -> int:
    """How many images of a split are measured on, where at most `limit` are, None for all."""
    count = dataset.splits[split]
    return count if limit is None else min(limit, count)


def what_is_measured(dataset: PreparedDataset, split: str, limit: int | None) -> str:
    """What is measured on: "shapes, split validation, the first 100 of 400 images"."""
    taken, count = number_of_images(dataset, split, limit), dataset.splits[split]
    part = f", the first {taken:,} of {count:,} images" if taken < count else ""
    return f"{dataset.name}, split {split}{part}"


def check_scored(matrix: ConfusionMatrix, dataset: PreparedDataset, split: str) -> None:
    """Refuses what was measured where no label is but void.

    Raises:
        UserError: naming the split.
    """
    if not matrix.counts.any():
        raise UserError(f"split {split!r} of {dataset.name!r} has no label but void: no score")


def check_labels(dataset: PreparedDataset, split: str, options: EvaluationOptions) -> None:
    """Refuses what needs labels where a split has none.

    Raises:
        UsageError: naming the options.
    """
    if split not in dataset.unlabelled_splits:
        return
    if options.boundaries or options.trimap is not None:
        raise ArgumentError(
            f"{argument('boundaries')} and {argument('trimap')}",
            f"measure by labels, and {dataset.name!r} has none for split {split!r}",
        )
    if not options.submission:
        raise UsageError(
            f"{dataset.name!r} has no labels for split {split!r}, so that nothing can be "
            f"measured: {argument('submission')} FILE writes what its test server measures"
        )


def open_for(model: str, dataset: PreparedDataset, options: EvaluationOptions) -> Segment:
    """Opens a model that is to be measured on a data set.

    Raises:
        UserError: it cannot be used, knows other classes, or does not give what the options need.
    """
    segmenter = open_segmenter(model)
    check_same_classes(segmenter, model, dataset)
    return segment_function(segmenter, options.inference, model)


def evaluate_model(
    segment: Segment,
    dataset: PreparedDataset,
    split: str,
    limit: int | None = None,
    measures: Sequence[Measure] = (),
    keep: Callable[[list[str], np.ndarray], None] | None = None,
    count: Callable[[int], object] | None = None,
) -> ConfusionMatrix:
    """The confusion matrix of a split, whose images are segmented whole and at their own size.

    While a batch is segmented, the next is read and the last is counted. At most 2 × `CHUNK` images
    are in memory.

    Args:
        segment: function from images to labels.
        dataset, split: whose images are segmented.
        limit: stop after so many images; None for all.
        measures: others that are updated, such as `boundaries.BandMatrices`.
        keep: function that gets every batch's image ids, a list, and predictions; None for none.
        count: function that gets every batch's number of images; None for none.
    """
    matrix = ConfusionMatrix(dataset.num_classes)

    def add(labels: np.ndarray, predictions: np.ndarray, image_ids: list[str]) -> None:
        for counts in (matrix, *measures):
            counts.update(labels, predictions)
        if keep:
            keep(image_ids, predictions)
        if count:
            count(len(labels))

    given = evaluation_batches(dataset, split, limit)
    with read_ahead(given) as batches, done_behind() as behind:
        for images, labels, image_ids in batches:
            with naming_large_image(", ".join(image_ids)):
                predictions = segment(images)
            behind(add, labels, predictions, image_ids)
    return matrix


def evaluation_batches(
    dataset: PreparedDataset,
    split: str,
    limit: int | None = None,
    worker: int = 0,
    workers: int = 1,
) -> Iterator[tuple[np.ndarray, np.ndarray, list[str]]]:
    """The images of a split in batches of one size each.

    Args:
        dataset, split, limit: as in `evaluate_model`.
        worker, workers: this process's number, and how many share the work.

    Yields:
        Images, uint8 `[B, H, W, 3]`, labels, uint8 `[B, H, W]`, and image ids; at most `CHUNK` of
        them.
    """
    from pipelines.stream.evaluation import evaluation_examples

    examples = evaluation_examples(dataset, split, limit, part=(worker, workers, CHUNK))
    examples = examples.as_numpy_iterator()
    while chunk := list(itertools.islice(examples, CHUNK)):
        for batch in same_sized(chunk, lambda example: example["label"].shape):
            images = np.stack([example["image"] for example in batch])
            labels = np.stack([example["label"] for example in batch])
            yield images, labels, [example["image_id"].decode() for example in batch]

"""Measures a model on a split."""

import itertools
from collections.abc import Iterator, Sequence

import numpy as np

from gcn_keras.evaluation.metrics import ConfusionMatrix

# Images go through a model together in batches of one size: at most so many pixels, and never
# across the border of such a run of images, so that several workers, of which each takes every
# n-th run, measure in the same batches as one.
BATCH_PIXELS = 2**20
RUN = 16


def evaluate_model(
    segment, dataset, split: str, limit: int | None = None, measures: Sequence = (), keep=None
) -> ConfusionMatrix:
    """Segments every image of a split, whole and at its own size.

    Args:
        segment: function from images, uint8 `[B, H, W, 3]`, to labels, uint8 `[B, H, W]`.
        dataset: `pipelines.datasets.PreparedDataset`.
        split: one of its splits.
        limit: stop after so many images; None for all.
        measures: others with an `update(labels, predictions)`, such as `boundaries.BandMatrices`.
        keep: function that gets every batch's image ids, a list, and predictions; None for none.

    Returns:
        The confusion matrix of the whole split.
    """
    matrix = ConfusionMatrix(dataset.num_classes)
    for images, labels, image_ids in evaluation_batches(dataset, split, limit, with_ids=True):
        predictions = segment(images)
        for measure in (matrix, *measures):
            measure.update(labels, predictions)
        if keep:
            keep(image_ids, predictions)
    return matrix


def evaluation_batches(
    dataset,
    split: str,
    limit: int | None = None,
    worker: int = 0,
    workers: int = 1,
    with_ids: bool = False,
) -> Iterator[tuple]:
    """The images of a split in batches of one size each.

    Args:
        dataset, split, limit: as of `evaluate_model`.
        worker, workers: this process's number, and how many share the work.
        with_ids: whether the image ids come with them.

    Yields:
        Images, uint8 `[B, H, W, 3]`, labels, uint8 `[B, H, W]`, and a list of image ids, if they
        are wanted; at most RUN of them.
    """
    from pipelines.stream.segmentation import evaluation_examples

    examples = evaluation_examples(dataset, split, limit, part=(worker, workers, RUN))
    examples = examples.as_numpy_iterator()
    while run := list(itertools.islice(examples, RUN)):
        for batch in _same_sized(run):
            images = np.stack([example["image"] for example in batch])
            labels = np.stack([example["label"] for example in batch])
            image_ids = [example["image_id"].decode() for example in batch]
            yield (images, labels, image_ids) if with_ids else (images, labels)


def _same_sized(examples):
    """Groups consecutive examples of one size into lists of at most BATCH_PIXELS."""
    batch = []
    for example in examples:
        height, width = example["label"].shape
        full = (len(batch) + 1) * height * width > BATCH_PIXELS
        if batch and (full or batch[0]["label"].shape != (height, width)):
            yield batch
            batch = []
        batch.append(example)
    yield batch

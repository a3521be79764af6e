"""Measures a model in any form: `python -m gcn_keras.evaluate MODEL --dataset NAME`."""

import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import numpy as np
import tyro

from gcn_keras.environment import prepare_tensorflow
from gcn_keras.images import replacing
from gcn_keras.metrics import ConfusionMatrix
from gcn_keras.segmenters import check_exists, open_segmenter
from gcn_keras.test_time import ONCE, Procedure, segment_function
from gcn_keras.test_time import check as check_procedure
from pipelines import datasets
from pipelines.errors import UsageError, UserError, run_command

# Pictures go through a model together in batches of one size: at most so many pixels, and never
# across the border of such a run of pictures, so that several workers, of which each takes every
# n-th run, measure in the same batches as one.
BATCH_PIXELS = 2**20
RUN = 16


def evaluate_model(segment, dataset, split: str, limit: int | None = None) -> ConfusionMatrix:
    """Segments every picture of a split, whole and at its own size.

    Args:
        segment: function from pictures, uint8 `[B, H, W, 3]`, to labels, uint8 `[B, H, W]`.
        dataset: `pipelines.datasets.PreparedDataset`.
        split: one of its splits.
        limit: stop after so many pictures; None for all.

    Returns:
        The confusion matrix of the whole split.
    """
    matrix = ConfusionMatrix(dataset.num_classes)
    for images, labels in evaluation_batches(dataset, split, limit):
        matrix.update(labels, segment(images))
    return matrix


def evaluation_batches(
    dataset, split: str, limit: int | None = None, worker: int = 0, workers: int = 1
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The pictures of a split in batches of one size each.

    Args:
        dataset, split, limit: as of `evaluate_model`.
        worker, workers: this process's number, and how many share the work.

    Yields:
        Images, uint8 `[B, H, W, 3]`, and labels, uint8 `[B, H, W]`, at most RUN of them.
    """
    from pipelines.input_pipeline import evaluation_examples

    examples = evaluation_examples(dataset, split, limit, part=(worker, workers, RUN))
    examples = examples.as_numpy_iterator()
    while run := list(itertools.islice(examples, RUN)):
        for batch in _same_sized(run):
            images = np.stack([example["image"] for example in batch])
            yield images, np.stack([example["label"] for example in batch])


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


def evaluate(
    model: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="MODEL")],
    dataset: str,
    data_dir: Annotated[Path, tyro.conf.arg(metavar="DIR")] = Path(datasets.DEFAULT_DATA_DIR),
    split: str | None = None,
    limit: int | None = None,
    json_file: Annotated[Path | None, tyro.conf.arg(name="json", metavar="FILE")] = None,
    procedure: Annotated[Procedure, tyro.conf.arg(name="")] = ONCE,
) -> None:
    """Measure mean IoU, IoU of each class and pixel accuracy of a model on a data set.

    Args:
        model: A .keras file, a SavedModel folder, a .tflite file or the address of a server,
            http://HOST:8501/v1/models/NAME or grpc://HOST:8500/NAME.
        dataset: Prepared data set.
        data_dir: Where prepared data sets live.
        split: Split to measure on; by default val or validation.
        limit: Stop after so many pictures.
        json_file: Write the figures here, too.
        procedure: Look more than once.
    """
    datasets.parse_name(dataset)
    if limit is not None and limit < 1:
        raise UsageError(f"--limit must be at least 1, got {limit}")
    check_procedure(procedure)
    check_exists(model)
    prepare_tensorflow()
    import tensorflow as tf

    prepared = datasets.load(dataset, data_dir)
    split = prepared.validation_split(split)
    segmenter = open_segmenter(model)
    if segmenter.num_classes not in (None, prepared.num_classes):
        raise UserError(
            f"{model} knows {segmenter.num_classes} classes and {dataset!r} has "
            f"{prepared.num_classes}: they do not belong together"
        )
    if json_file and not json_file.parent.is_dir():
        raise UserError(f"--json {json_file}: there is no folder {json_file.parent}")
    try:
        segment = segment_function(segmenter, procedure, model)
        matrix = evaluate_model(segment, prepared, split, limit)
    except tf.errors.OpError as error:
        raise UserError(f"{dataset!r} cannot be read: {error.message}") from error
    except ValueError as error:  # a form that does not tell how many classes it knows
        raise UserError(f"{model} and {dataset!r} do not belong together: {error}") from error
    print(f"{model} on {dataset}, split {split}")
    print(matrix.table(prepared.class_names))
    if json_file:
        summary = {"model": model, "dataset": dataset, "split": split}
        with replacing(json_file) as temporary:
            content = {**summary, **matrix.summary(prepared.class_names)}
            temporary.write_text(json.dumps(content, indent=2) + "\n")


def main() -> None:
    """Entry point of the command."""
    tyro.cli(evaluate, prog="python -m gcn_keras.evaluate")


if __name__ == "__main__":
    run_command(main)

"""Measures a model: `python -m gcn_keras.evaluate MODEL --dataset NAME --data-dir DIR`."""

import json
import os
from pathlib import Path
from typing import Annotated

import numpy as np
import tyro

from gcn_keras.images import replacing
from gcn_keras.metrics import ConfusionMatrix
from pipelines import datasets
from pipelines.errors import UsageError, UserError, run_command

BATCH_PIXELS = 2**20  # of pictures that go through the model together


def evaluate_model(model, dataset, split: str, limit: int | None = None) -> ConfusionMatrix:
    """Segments every picture of a split, whole and at its own size.

    Args:
        model: a Keras model from pictures to logits.
        dataset: `pipelines.datasets.PreparedDataset`.
        split: one of its splits.
        limit: stop after so many pictures; None for all.

    Returns:
        The confusion matrix of the whole split.
    """
    from gcn_keras.inference import segment
    from pipelines.input_pipeline import evaluation_examples

    matrix = ConfusionMatrix(dataset.num_classes)
    examples = evaluation_examples(dataset, split, limit).as_numpy_iterator()
    for batch in _same_sized(examples):
        labels = np.stack([example["label"] for example in batch])
        images = np.stack([example["image"] for example in batch])
        matrix.update(labels, segment(model, images))
    return matrix


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
    if batch:
        yield batch


def load_model(path):
    """Loads a `.keras` file, in safe mode.

    Raises:
        UserError: if there is none, or the file holds no segmentation model.
    """
    import keras

    path = Path(path)
    if not path.is_file() or path.suffix != ".keras":
        raise UserError(f"there is no model at {path}: expected a .keras file, as `fit` writes")
    try:
        model = keras.models.load_model(path, compile=False, safe_mode=True)
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise UserError(f"{path} cannot be loaded as a Keras model: {error}") from error
    shapes = [tensor.shape for tensor in (*model.inputs, *model.outputs)]
    if [len(shape) for shape in shapes] != [4, 4] or shapes[0][-1] != 3:
        raise UserError(f"{path} is no segmentation model: inputs and outputs are {shapes}")
    return model


def evaluate(
    model: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="MODEL")],
    dataset: str,
    data_dir: Annotated[Path, tyro.conf.arg(metavar="DIR")] = Path(datasets.DEFAULT_DATA_DIR),
    split: str | None = None,
    limit: int | None = None,
    json_file: Annotated[Path | None, tyro.conf.arg(name="json", metavar="FILE")] = None,
) -> None:
    """Measure mean IoU, IoU of each class and pixel accuracy of a model on a data set.

    Args:
        model: A .keras file.
        dataset: Prepared data set.
        data_dir: Where prepared data sets live.
        split: Split to measure on; by default val or validation.
        limit: Stop after so many pictures.
        json_file: Write the figures here, too.
    """
    datasets.parse_name(dataset)
    if limit is not None and limit < 1:
        raise UsageError(f"--limit must be at least 1, got {limit}")
    if not model.is_file():
        raise UserError(f"there is no model at {model}: expected a .keras file, as `fit` writes")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    import tensorflow as tf

    prepared = datasets.load(dataset, data_dir)
    split = prepared.validation_split(split)
    network = load_model(model)
    if network.output.shape[-1] != prepared.num_classes:
        raise UserError(
            f"{model} knows {network.output.shape[-1]} classes and {dataset!r} has "
            f"{prepared.num_classes}: they do not belong together"
        )
    if json_file and not json_file.parent.is_dir():
        raise UserError(f"--json {json_file}: there is no folder {json_file.parent}")
    try:
        matrix = evaluate_model(network, prepared, split, limit)
    except tf.errors.OpError as error:
        raise UserError(f"{dataset!r} cannot be read: {error.message}") from error
    print(f"{model} on {dataset}, split {split}")
    print(matrix.table(prepared.class_names))
    if json_file:
        summary = {"model": str(model), "dataset": dataset, "split": split}
        with replacing(json_file) as temporary:
            content = {**summary, **matrix.summary(prepared.class_names)}
            temporary.write_text(json.dumps(content, indent=2) + "\n")


def main() -> None:
    """Entry point of the command."""
    tyro.cli(evaluate, prog="python -m gcn_keras.evaluate")


if __name__ == "__main__":
    run_command(main)

"""Exports a trained model: `python -m gcn_keras.export MODEL --out saved_models/NAME`."""

from pathlib import Path
from typing import Annotated

import numpy as np
import tyro

from gcn_keras.deployment.deployable import (
    MOST_PIXELS,
    WARM_UP_SIZE,
    Deployable,
    Precision,
    check_most_pixels,
    check_precision,
)
from gcn_keras.deployment.forms import Format, export_model, path_of
from gcn_keras.inference.keras_model import check_keras_file
from gcn_keras.inference.segmenters import files_of
from pipelines import datasets
from pipelines.base import extras
from pipelines.base.errors import UsageError, as_options, run_command
from pipelines.base.files import check_folder, check_target, write_json

# What makes each form and tries it, beyond the package's own requirements.
_PACKAGES: dict[Format, tuple[str, ...]] = {
    "savedmodel": (),
    "tflite": ("ai_edge_litert",),
    "tflite-fp16": ("ai_edge_litert",),
    "tflite-int8": ("ai_edge_litert",),
    "onnx": ("tf2onnx", "onnxruntime"),
}


def export(
    model: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="MODEL")],
    out: Annotated[Path, tyro.conf.arg(metavar="DIR")],
    formats: tuple[Format, ...] = ("savedmodel",),
    size: Annotated[tuple[int, int] | None, tyro.conf.arg(metavar="H W")] = None,
    dataset: str | None = None,
    data_dir: Annotated[Path, tyro.conf.arg(metavar="DIR")] = Path(datasets.DEFAULT_DATA_DIR),
    split: str | None = None,
    budget: float | None = None,
    most_pixels: int | None = None,
    precision: Precision = "float32",
    json_file: Annotated[Path | None, tyro.conf.arg(name="json", metavar="FILE")] = None,
) -> None:
    """Export a model for servers and phones: batch norms folded into the convolutions.

    With --dataset, every form is measured on it beside the model that it was made from.

    Args:
        model: A .keras file.
        out: Folder to write to, such as saved_models/NAME: the SavedModel as its next version
            folder, the others as NAME.tflite, NAME-fp16.tflite, NAME-int8.tflite and NAME.onnx,
            with names and colours of the classes beside each.
        formats: What to write.
        size: Height and width of the images that TFLite files take, for good; the other
            formats take what the model takes, and are timed and warmed up with this size.
        dataset: Prepared data set of the model's classes to measure on; an int8 model is
            calibrated with its split train.
        data_dir: Where prepared data sets live.
        split: Split to measure on; by default val or validation.
        budget: How many points of mean IoU int8 may lose: sensitive layers stay in float until it
            fits, or nothing is written.
        most_pixels: Pixels that a SavedModel's serve_bytes takes in one request, all its images
            together; 67,108,864 if not given. It bounds a server's memory, see serving/README.md.
        precision: Number type of a SavedModel's weights and of what it computes: bfloat16 is half
            the size, and faster on CPUs that have units for it.
        json_file: Write the figures here, too.
    """
    formats = tuple(dict.fromkeys(formats))
    _check_options(formats, size, dataset, split, budget)
    if "savedmodel" not in formats and most_pixels is not None:
        raise UsageError("--most-pixels is about a server: add savedmodel to --formats")
    most_pixels = MOST_PIXELS if most_pixels is None else most_pixels
    with as_options():
        if "savedmodel" in formats:
            check_most_pixels(most_pixels, size or WARM_UP_SIZE)
        check_precision(precision, formats)
    check_keras_file(model)
    check_folder(out)
    written = [path_of(kind, out) for kind in formats if kind != "savedmodel"]
    written += [path.with_suffix(".json") for path in written]
    check_target(json_file, "--json", *files_of(model), *written, made=out)
    if dataset:
        datasets.check_prepared(dataset, data_dir)
    prepared = datasets.load(dataset, data_dir) if dataset else None
    deployable = Deployable.load(model, prepared, precision)
    with as_options():
        figures = export_model(deployable, out, formats, size, prepared, split, budget, most_pixels)
    if json_file:
        write_json(json_file, figures)


def _check_options(formats, size, dataset, split, budget) -> None:
    """Refuses options that do not go together, before anything slow is imported."""
    if not formats:
        raise UsageError("--formats must name at least one")
    if size is not None and min(size) < 1:
        raise UsageError(
            f"--size must be a height and a width of at least 1, got {size[0]} and {size[1]}"
        )
    if dataset is not None:
        datasets.parse_name(dataset)
    elif "tflite-int8" in formats:
        raise UsageError(
            "tflite-int8 needs --dataset: the ranges of its integers are measured on images of "
            "the training split"
        )
    elif split is not None:
        raise UsageError("--split is about a data set: name it by --dataset")
    if budget is not None:
        if dataset is None:
            raise UsageError("--budget needs --dataset: mean IoU is measured on it")
        if "tflite-int8" not in formats:
            raise UsageError("--budget is about int8: add tflite-int8 to --formats")
        if not 0 <= budget < np.inf:
            raise UsageError(f"--budget must be 0 or more points of mean IoU, got {budget}")
    modules = [module for kind in formats for module in _PACKAGES[kind]]
    extras.check(f"--formats {' '.join(formats)} needs", *modules)


def main() -> None:
    """Entry point of the command."""
    tyro.cli(export, prog="python -m gcn_keras.export")


if __name__ == "__main__":
    run_command(main)

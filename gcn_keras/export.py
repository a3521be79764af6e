"""Exports a trained model: `python -m gcn_keras.export MODEL --out saved_models/NAME`."""

import os
from pathlib import Path
from typing import Annotated

import tyro

from gcn_keras.deployment.export import export_model
from gcn_keras.deployment.export_folder import path_of
from gcn_keras.deployment.options import DEFAULT, ExportOptions
from gcn_keras.inference.keras_model import check_keras_file
from gcn_keras.inference.legend import file_beside
from gcn_keras.inference.segmenters import files_of
from pipelines import datasets
from pipelines.base.errors import as_options, run_command
from pipelines.base.files import check_figures_file, check_folder, write_json


def export(
    model: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="MODEL")],
    out: Annotated[Path, tyro.conf.arg(metavar="DIR")],
    options: Annotated[ExportOptions, tyro.conf.arg(name="")] = DEFAULT,
    dataset: str | None = None,
    data_dir: Annotated[Path, tyro.conf.arg(metavar="DIR")] = Path(datasets.DEFAULT_DATA_DIR),
    json_file: Annotated[Path | None, tyro.conf.arg(name="json", metavar="FILE")] = None,
) -> None:
    """Export a model for servers and phones: batch norms folded into the convolutions.

    With --dataset, every form is measured on it beside the model that it was made from.

    Args:
        model: A .keras file.
        out: Folder to write to, such as saved_models/NAME: the SavedModel as its next version
            folder, the others as NAME.tflite, NAME-fp16.tflite, NAME-int8.tflite and NAME.onnx,
            with names and colours of the classes beside each.
        options: What is written.
        dataset: Prepared data set of the model's classes to measure on; an int8 model is
            calibrated with its split train.
        data_dir: Where prepared data sets live.
        json_file: Write the figures here, too.
    """
    if dataset is not None:
        datasets.parse_name(dataset)
    with as_options():
        options.check(has_dataset=dataset is not None)
    check_keras_file(model)
    check_folder(out)
    written = [path_of(kind, out) for kind in options.formats if kind != "savedmodel"]
    written += [file_beside(path) for path in written]
    check_figures_file(json_file, {"model", "graph"}, *files_of(model), *written, made=out)
    if dataset:
        datasets.check_prepared(dataset, data_dir)
    prepared = datasets.load(dataset, data_dir) if dataset else None
    with as_options():
        figures = export_model(model, out, options, prepared)
    if json_file:
        write_json(json_file, figures)


def main() -> None:
    """Entry point of the command."""
    os.environ["KERAS_BACKEND"] = "tensorflow"  # which makes all forms, whatever trained the model
    tyro.cli(export, prog="python -m gcn_keras.export")


if __name__ == "__main__":
    run_command(main)

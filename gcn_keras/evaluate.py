"""Measures a model in any form, or compares several: `python -m gcn_keras.evaluate MODEL …`."""

import functools
from pathlib import Path
from typing import Annotated

import tyro

from gcn_keras.evaluation.comparison import ALONE, ComparisonOptions, compare, runs_of
from gcn_keras.evaluation.measure import measure, number_of_images, what_is_measured
from gcn_keras.evaluation.options import DEFAULT, EvaluationOptions
from gcn_keras.evaluation.submission import layout_of
from gcn_keras.inference.segmenters import check_exists, files_of
from pipelines import datasets
from pipelines.base.errors import printable, run_command
from pipelines.base.files import check_figures_file, write_json
from pipelines.base.plurals import count_of


def evaluate(
    model: Annotated[tyro.conf.Positional[str | None], tyro.conf.arg(metavar="MODEL")],
    dataset: str,
    data_dir: Annotated[Path, tyro.conf.arg(metavar="DIR")] = Path(datasets.DEFAULT_DATA_DIR),
    options: Annotated[EvaluationOptions, tyro.conf.arg(name="")] = DEFAULT,
    json_file: Annotated[Path | None, tyro.conf.arg(name="json", metavar="FILE")] = None,
    comparison: Annotated[ComparisonOptions, tyro.conf.arg(name="")] = ALONE,
) -> None:
    """Measure mean IoU, IoU of each class and pixel accuracy of a model on a data set.

    Args:
        model: A .keras file, a SavedModel folder, a .tflite or .onnx file, or a server:
            http://HOST:8501/v1/models/NAME or grpc://HOST:8500/NAME. A SavedModel is code: open
            only one that you trust.
        dataset: Prepared data set.
        data_dir: Where prepared data sets live.
        options: What is measured, on which images.
        json_file: File for the figures.
        comparison: Several models instead of one.
    """
    datasets.parse_name(dataset)
    models = comparison.check(model, options)
    taken = [options.submission] if options.submission else []
    for each in models:
        for path in runs_of(each) if comparison.compare else [each]:
            options.check_for(path)
            check_exists(path)
            taken += files_of(path)
    check_figures_file(json_file, {"dataset", "split", "images"}, *taken)
    prepared = datasets.load(dataset, data_dir)
    split = prepared.validation_split(options.split)
    images = number_of_images(prepared, split, options.limit)
    content: dict = {"dataset": dataset, "split": split, "images": images}
    measured = what_is_measured(prepared, split, options.limit)
    if procedure := options.inference.command_line():
        content["procedure"] = procedure
    if comparison.compare:
        compared = compare(models, prepared, split, options, comparison)
        _print_head(f"{len(models)} models", measured, procedure)
        print(printable(compared.table(prepared.class_names)))
        print(compared.sentences())
        content |= compared.summary(prepared.class_names)
    else:
        [model] = models
        content = {"model": model, **content}
        matrix, report = measure(model, prepared, split, options)
        _print_head(model, measured, procedure)
        if matrix.counts.any():
            print(printable(matrix.table(prepared.class_names)))
            content |= matrix.summary(prepared.class_names) | report.summary(prepared.class_names)
        else:
            none = "labels" if split in prepared.unlabelled_splits else "label but void"
            print(f"no score: this split has no {none}")
        if report.measures:
            print(report.table())
        if options.submission:
            server = layout_of(prepared, options.submission).server
            print(
                f"{count_of(images, 'label map')} for the server of {server}: {options.submission}"
            )
    if json_file:
        write_json(json_file, content)


def _print_head(subject: str, measured: str, procedure: str) -> None:
    print(f"{subject} on {measured}")
    if procedure:
        print(f"procedure {procedure}")


def main() -> None:
    """Entry point of the command."""
    # Without MODEL --compare names several.
    tyro.cli(functools.partial(evaluate, model=None), prog="python -m gcn_keras.evaluate")


if __name__ == "__main__":
    run_command(main)

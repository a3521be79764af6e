"""Measures a model in any form: `python -m gcn_keras.evaluate MODEL --dataset NAME`."""

import functools
import json
import math
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated

import tyro
from tqdm import tqdm

from gcn_keras.evaluation.boundaries import (
    CONTOUR_SHARE,
    TRIMAP_WIDTHS,
    WIDTH,
    BoundaryReport,
    check_options,
)
from gcn_keras.evaluation.measure import evaluate_model
from gcn_keras.evaluation.submission import check_file, layout_of, write_submission
from gcn_keras.inference.options import ONCE, Procedure, options_of, segment_function
from gcn_keras.inference.options import check as check_procedure
from gcn_keras.inference.segmenters import check_exists, check_same_classes, open_segmenter
from pipelines import datasets
from pipelines.base.environment import prepare_tensorflow
from pipelines.base.errors import UsageError, UserError, run_command
from pipelines.base.files import check_target, replacing


def evaluate(
    model: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="MODEL")],
    dataset: str,
    data_dir: Annotated[Path, tyro.conf.arg(metavar="DIR")] = Path(datasets.DEFAULT_DATA_DIR),
    split: str | None = None,
    limit: int | None = None,
    boundaries: tyro.conf.FlagCreatePairsOff[bool] = False,
    boundary_width: int = WIDTH,
    contour_share: float = CONTOUR_SHARE,
    trimap: Annotated[tuple[int, ...] | None, tyro.conf.arg(metavar="PIXELS")] = None,
    submission: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None,
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
        limit: Stop after so many images.
        boundaries: Also accuracy near boundaries of labels and elsewhere, and Boundary IoU.
        boundary_width: How near, in pixels.
        contour_share: Width of Boundary IoU's contours, as a share of an image's diagonal.
        trimap: Also accuracy and mean IoU in bands along boundaries, of these widths; without any,
            1, 2, 3, 5, 7, 10, 15, 20, 30 and 40.
        submission: Write the label maps here, too, as the test server wants them: .tgz for data
            sets with VOC's classes, .tgz or .zip for Cityscapes. The split needs no labels.
        json_file: Write the figures here, too.
        procedure: More than one look at each image, and a dense CRF.
    """
    datasets.parse_name(dataset)
    _check_values(limit, boundary_width, contour_share, trimap, boundaries, submission)
    check_exists(model)
    check_procedure(procedure, model)
    check_target(json_file, "--json")
    prepare_tensorflow()
    import tensorflow as tf

    prepared = datasets.load(dataset, data_dir)
    split = prepared.validation_split(split)
    is_labelled = split not in prepared.unlabelled_splits
    if not is_labelled and (boundaries or trimap is not None):
        raise UsageError(
            f"--boundaries and --trimap measure by labels, and {dataset!r} has none for split "
            f"{split!r}"
        )
    if not is_labelled and not submission:
        raise UsageError(
            f"{dataset!r} has no labels for split {split!r}, so that nothing can be measured: "
            "--submission FILE writes what its test server measures"
        )
    layout = layout_of(prepared, submission) if submission else None
    segmenter = open_segmenter(model)
    check_same_classes(segmenter, model, prepared)
    report = BoundaryReport(
        prepared.num_classes,
        boundary_width if boundaries else None,
        contour_share,
        () if trimap is None else trimap or TRIMAP_WIDTHS,
    )
    images = prepared.splits[split]
    writing = write_submission(submission, layout, images) if submission else nullcontext()
    try:
        segment = segment_function(segmenter, procedure, model)
        count = min(limit or math.inf, images)
        with writing as keep, tqdm(total=count, desc="evaluate", unit=" images") as bar:
            segment = _counted(segment, bar)
            matrix = evaluate_model(segment, prepared, split, limit, report.measures, keep)
    except tf.errors.OpError as error:
        raise UserError(f"{dataset!r} cannot be read: {error.message}") from error
    except ValueError as error:  # a form that does not tell how many classes it knows
        raise UserError(f"{model} and {dataset!r} do not belong together: {error}") from error
    print(f"{model} on {dataset}, split {split}")
    content = {"model": model, "dataset": dataset, "split": split}
    if not procedure.is_default:
        content["procedure"] = options_of(procedure)
        print(f"procedure {content['procedure']}")
    if is_labelled:
        print(matrix.table(prepared.class_names))
        content |= matrix.summary(prepared.class_names) | report.summary(prepared.class_names)
    else:
        print("no score: this split has no labels")
    if report.measures:
        print(report.table())
    if submission:
        print(f"{images:,} label maps for the server of {layout.server}: {submission}")
    if json_file:
        with replacing(json_file) as temporary:
            temporary.write_text(json.dumps(content, indent=2) + "\n")


def _check_values(limit, boundary_width, contour_share, trimap, boundaries, submission) -> None:
    if limit is not None and limit < 1:
        raise UsageError(f"--limit must be at least 1, got {limit}")
    check_options(boundary_width, contour_share, trimap, boundaries)
    if submission:
        check_file(submission, limit)


def check_measurement(options: Sequence[str]) -> None:
    """Refuses options for measuring a `.keras` file that cannot be meant, before there is one.

    Args:
        options: of the command, without model and data set.

    Raises:
        UsageError: naming the option, the value and what it can be.
        UserError: a package is missing.
        SystemExit: from tyro, status 2, for an unknown option.
    """

    @functools.wraps(evaluate)
    def check(model, limit=None, boundary_width=WIDTH, contour_share=CONTOUR_SHARE, trimap=None,
              boundaries=False, submission=None, procedure=ONCE, **_):  # fmt: skip
        _check_values(limit, boundary_width, contour_share, trimap, boundaries, submission)
        check_procedure(procedure, model)

    arguments = ["best.keras", "--dataset", "any", *options]
    tyro.cli(check, args=arguments, prog="python -m gcn_keras.evaluate")


def _counted(segment, bar: tqdm):
    """The same function, which moves a progress bar."""

    def segment_and_count(images):
        labels = segment(images)
        bar.update(len(images))
        return labels

    return segment_and_count


def main() -> None:
    """Entry point of the command."""
    tyro.cli(evaluate, prog="python -m gcn_keras.evaluate")


if __name__ == "__main__":
    run_command(main)

"""The dense CRF that follows some models, and a search for its parameters.

    python -m gcn_keras.crf search MODEL --dataset NAME --limit 100 --bilateral-xy 49 67

Krähenbühl and Koltun 2011, computed by pydensecrf. Tables 7 and 9 of the paper end with it; its
parameters are not given there.
"""

import dataclasses
from pathlib import Path
from typing import Annotated

import tyro

from gcn_keras.evaluation.crf_search import grid, measure
from gcn_keras.evaluation.measure import number_of_images, what_is_measured
from gcn_keras.inference.dense_crf import DEEPLAB, require
from gcn_keras.inference.multi_scale import ONE_VIEW, MultiScale
from gcn_keras.inference.options import InferenceOptions
from gcn_keras.inference.segmenters import (
    check_exists,
    check_gives_logits,
    check_same_classes,
    files_of,
    logits_of,
    open_segmenter,
)
from pipelines import datasets
from pipelines.base.errors import ArgumentError, UsageError, UserError, run_command
from pipelines.base.files import check_figures_file, write_json


def search(
    model: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="MODEL")],
    dataset: str,
    data_dir: Annotated[Path, tyro.conf.arg(metavar="DIR")] = Path(datasets.DEFAULT_DATA_DIR),
    split: str | None = None,
    limit: int | None = 100,
    weight: tuple[float, ...] = (3.0,),
    sigma: tuple[float, ...] = (1.0, 3.0),
    bilateral_weight: tuple[float, ...] = (3.0, 4.0),
    bilateral_xy: tuple[float, ...] = (49.0, 67.0),
    bilateral_rgb: tuple[float, ...] = (3.0, 5.0),
    iterations: tuple[int, ...] = (10,),
    json_file: Annotated[Path | None, tyro.conf.arg(name="json", metavar="FILE")] = None,
    views: Annotated[MultiScale, tyro.conf.arg(name="")] = ONE_VIEW,
) -> None:
    """Try every combination of parameters on some images, and print the best first.

    Each image goes through the model once, and no probabilities are kept. Search on images that
    the final score is not measured on.

    Args:
        model: A .keras file, or a SavedModel folder, which is code: open only one that you trust.
        dataset: Prepared data set.
        data_dir: Where prepared data sets live.
        split: Split to search on; by default val or validation.
        limit: Number of images, the first ones; None for all.
        weight: Values to try for evaluate's --crf.weight; the next options likewise.
        sigma: Values to try.
        bilateral_weight: Values to try.
        bilateral_xy: Values to try.
        bilateral_rgb: Values to try.
        iterations: Values to try.
        json_file: File for the table.
        views: Views of each image, before the CRF.
    """
    datasets.parse_name(dataset)
    if limit is not None and limit < 1:
        raise UsageError(f"--limit must be at least 1, got {limit}")
    values: dict[str, tuple] = dict(weight=weight, sigma=sigma, bilateral_weight=bilateral_weight)
    values |= dict(bilateral_xy=bilateral_xy, bilateral_rgb=bilateral_rgb, iterations=iterations)
    for name, given in values.items():
        if not given:
            raise ArgumentError(name, "needs at least one value to try, got none")
    candidates = grid(**values)
    for parameters in candidates:
        parameters.check()
    views.check()
    require()
    check_gives_logits(model)
    check_exists(model)
    check_figures_file(json_file, {"options", "parameters"}, *files_of(model), are_listed=True)
    import tensorflow as tf

    prepared = datasets.load(dataset, data_dir)
    split = prepared.validation_split(split)
    if split in prepared.unlabelled_splits:
        raise UsageError(f"{dataset!r} has no labels for split {split!r} to measure by")
    segmenter = open_segmenter(model)
    check_same_classes(segmenter, model, prepared)
    logits = logits_of(segmenter, model)
    try:
        scores = measure(logits, prepared, split, limit, candidates, views)
    except tf.errors.OpError as error:
        raise UserError(f"{dataset!r} cannot be read: {error.message}") from error
    images = number_of_images(prepared, split, limit)
    measured = {"model": model, "dataset": dataset, "split": split, "images": images}
    content = []
    print(f"{model} on {what_is_measured(prepared, split, limit)}")
    print(f"{'mean IoU %':>10}  options of evaluate and predict")
    for tried, score in sorted(scores.items(), key=lambda row: -row[1]):
        options = InferenceOptions(
            **dataclasses.asdict(views), dense_crf=bool(tried), crf_parameters=tried or DEEPLAB
        ).command_line()
        print(f"{100 * score:>10.2f}  {options or '(none)'}")
        fields = tried and dataclasses.asdict(tried)
        content.append({**measured, "mean_iou": score, "options": options, "parameters": fields})
    if json_file:
        write_json(json_file, content)


def main() -> None:
    """Entry point of the command."""
    tyro.extras.subcommand_cli_from_dict({"search": search}, prog="python -m gcn_keras.crf")


if __name__ == "__main__":
    run_command(main)

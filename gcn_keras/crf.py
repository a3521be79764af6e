"""The dense CRF that follows some models, and a search for its parameters.

    python -m gcn_keras.crf search MODEL --dataset NAME --limit 100 --bilateral-xy 49 67

Krähenbühl and Koltun 2011, computed by pydensecrf. Tables 7 and 9 of the paper end with it; its
parameters are not told there.
"""

import dataclasses
import itertools
import json
import math
from pathlib import Path
from typing import Annotated

import numpy as np
import tyro
from tqdm import tqdm

from gcn_keras.inference import multi_scale
from gcn_keras.inference.dense_crf import Parameters, check, option, options_of, refine, require
from gcn_keras.inference.segmenters import (
    check_exists,
    check_gives_logits,
    check_same_classes,
    logits_of,
    open_segmenter,
)
from pipelines import datasets
from pipelines.base.environment import prepare_tensorflow
from pipelines.base.errors import UsageError, UserError, run_command
from pipelines.base.files import check_target, replacing


def grid(**values) -> list[Parameters]:
    """Every combination of the values of each parameter."""
    return [
        Parameters(**dict(zip(values, combination, strict=True)))
        for combination in itertools.product(*values.values())
    ]


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
    look: Annotated[multi_scale.Looks, tyro.conf.arg(name="")] = multi_scale.ONE_LOOK,
) -> None:
    """Try every combination of parameters on some images, and print the best first.

    Each image goes through the model once, and no probabilities are kept. Search on images that
    the final score is not measured on.

    Args:
        model: A .keras file or a SavedModel folder.
        dataset: Prepared data set.
        data_dir: Where prepared data sets live.
        split: Split to search on; by default val or validation.
        limit: Only so many images, the first ones; None for all.
        weight: Values to try, as of evaluate's --crf.weight; the following ones, too.
        sigma: Values to try.
        bilateral_weight: Values to try.
        bilateral_xy: Values to try.
        bilateral_rgb: Values to try.
        iterations: Values to try.
        json_file: Write the table here, too.
        look: More than one look at each image, before the CRF.
    """
    datasets.parse_name(dataset)
    if limit is not None and limit < 1:
        raise UsageError(f"--limit must be at least 1, got {limit}")
    values = {
        "weight": weight,
        "sigma": sigma,
        "bilateral_weight": bilateral_weight,
        "bilateral_xy": bilateral_xy,
        "bilateral_rgb": bilateral_rgb,
        "iterations": iterations,
    }
    for name, given in values.items():
        if not given:
            raise UsageError(f"{option(name, '--')} needs at least one value to try, got none")
    candidates = grid(**values)
    for parameters in candidates:
        check(parameters, "--")
    multi_scale.check(look)
    require()
    check_exists(model)
    check_gives_logits(model)
    check_target(json_file, "--json")
    prepare_tensorflow()
    import tensorflow as tf

    prepared = datasets.load(dataset, data_dir)
    split = prepared.validation_split(split)
    if split in prepared.unlabelled_splits:
        raise UsageError(f"{dataset!r} has no labels for split {split!r} to measure by")
    segmenter = open_segmenter(model)
    check_same_classes(segmenter, model, prepared)
    logits = logits_of(segmenter, model)
    try:
        scores = measure(logits, prepared, split, limit, candidates, look)
    except tf.errors.OpError as error:
        raise UserError(f"{dataset!r} cannot be read: {error.message}") from error
    rows = sorted(scores.items(), key=lambda row: -row[1])
    lines = [
        (score, " ".join([*multi_scale.options_of(look), *_crf_options(parameters)]))
        for parameters, score in rows
    ]
    print(f"{'mean IoU %':>10}  options of evaluate and predict")
    for score, options in lines:
        print(f"{100 * score:>10.2f}  {options or '(none)'}")
    if json_file:
        content = [
            {"mean_iou": score, "options": options, "parameters": p and dataclasses.asdict(p)}
            for (p, _), (score, options) in zip(rows, lines, strict=True)
        ]
        with replacing(json_file) as temporary:
            temporary.write_text(json.dumps(content, indent=2) + "\n")


def _crf_options(parameters: Parameters | None) -> list[str]:
    return [] if parameters is None else ["--crf", options_of(parameters)]


def measure(
    logits,
    dataset,
    split: str,
    limit: int | None,
    candidates,
    look: multi_scale.Looks = multi_scale.ONE_LOOK,
) -> dict:
    """Mean IoU without a CRF, under the key None, and with each of the candidates.

    Args:
        logits: as of `looks.probabilities`.
        dataset: `pipelines.datasets.PreparedDataset`.
        split: one of its splits.
        limit: stop after so many images; None for all.
        candidates: `Parameters` to try.
        look: how the images are looked at.
    """
    from gcn_keras.evaluation.metrics import ConfusionMatrix
    from pipelines.stream.segmentation import evaluation_examples

    matrices = {key: ConfusionMatrix(dataset.num_classes) for key in (None, *candidates)}
    examples = evaluation_examples(dataset, split, limit).as_numpy_iterator()
    count = min(limit or math.inf, dataset.splits[split]) * len(matrices)
    with tqdm(total=count, desc="search", unit=" label maps", mininterval=0.5) as bar:
        for example in examples:
            image, label = example["image"], example["label"]
            scores = multi_scale.probabilities(logits, image, look)
            for parameters, matrix in matrices.items():
                refined = scores if parameters is None else refine(image, scores, parameters)
                matrix.update(label, np.argmax(refined, axis=-1).astype(np.uint8))
                bar.update()
    return {key: matrix.mean_iou for key, matrix in matrices.items()}


def main() -> None:
    """Entry point of the command."""
    tyro.extras.subcommand_cli_from_dict({"search": search}, prog="python -m gcn_keras.crf")


if __name__ == "__main__":
    run_command(main)

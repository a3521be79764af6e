"""The dense CRF that follows some models, and a search for its parameters.

    python -m gcn_keras.crf search MODEL --dataset NAME --limit 100 --bilateral-xy 49 67

Krähenbühl and Koltun 2011, computed by pydensecrf. Tables 7 and 9 of the paper end with it; its
parameters are not told there.
"""

import dataclasses
import itertools
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import tyro
from tqdm import tqdm

from gcn_keras import looks
from gcn_keras.environment import prepare_tensorflow
from gcn_keras.images import check_target, replacing
from gcn_keras.segmenters import (
    check_exists,
    check_gives_logits,
    check_same_classes,
    logits_of,
    open_segmenter,
)
from pipelines import datasets
from pipelines.errors import UsageError, UserError, run_command

_LEAST = 1e-8  # of a probability, whose logarithm the CRF takes


@dataclass(frozen=True)
class Parameters:
    """Two Potts terms. The defaults are DeepLab v2's on VOC (our choice)."""

    weight: float = 3.0
    """Of the term that makes labels smooth."""
    sigma: float = 1.0
    """Its reach in pixels."""
    bilateral_weight: float = 4.0
    """Of the term that makes pixels of one colour agree."""
    bilateral_xy: float = 67.0
    """Its reach in pixels."""
    bilateral_rgb: float = 3.0
    """Its reach in steps of colour, 0…255."""
    iterations: int = 10
    """Of the mean field."""


DEEPLAB = Parameters()


def check(parameters: Parameters, prefix: str = "--crf.") -> None:
    """Refuses values that cannot be meant.

    Args:
        parameters: the values.
        prefix: what the names of their options begin with.

    Raises:
        UsageError: naming the option, the value and what it can be.
    """
    for name, value in dataclasses.asdict(parameters).items():
        if name == "iterations":
            if value < 1:
                raise UsageError(f"{option(name, prefix)} must be at least 1, got {value}")
        elif "weight" in name:
            if not 0 <= value < math.inf:
                raise UsageError(f"{option(name, prefix)} must be at least 0, got {value:g}")
        elif not 0 < value < math.inf:
            raise UsageError(f"{option(name, prefix)} must be positive, got {value:g}")


def option(name: str, prefix: str = "--crf.") -> str:
    """The option of `evaluate` and `predict` that sets a parameter."""
    return f"{prefix}{name.replace('_', '-')}"


def options_of(parameters: Parameters) -> str:
    """The options of `evaluate` and `predict` that give these parameters."""
    given = dataclasses.asdict(parameters).items()
    return " ".join(f"{option(name)} {value:g}" for name, value in given)


def require():
    """Imports pydensecrf.

    Returns:
        Its class `DenseCRF2D`.

    Raises:
        UserError: it is not installed.
    """
    try:
        from pydensecrf.densecrf import DenseCRF2D
    except ImportError as error:
        raise UserError(
            "a dense CRF needs pydensecrf2, which is not installed: pip install 'gcn_keras[crf]'"
        ) from error
    return DenseCRF2D


def refine(
    image: np.ndarray, probabilities: np.ndarray, parameters: Parameters = DEEPLAB
) -> np.ndarray:
    """Refines a model's probabilities so that they follow the picture's colours.

    The mean field of Krähenbühl and Koltun 2011 under two Potts terms. Both kernels are Gaussians
    of standard deviation sigma, or bilateral_xy and bilateral_rgb, normalised symmetrically:
    k(i, j) / sqrt(sum k(i, ·) · sum k(j, ·)), i = j included; pydensecrf filters with them on a
    permutohedral lattice, which is an approximation.

    Args:
        image: uint8 `[H, W, 3]`, RGB.
        probabilities: float `[H, W, C]`, which sums to 1 over the classes.
        parameters: of the two terms.

    Returns:
        Probabilities of the mean field, float32 `[H, W, C]`; their argmax is the label map.

    Raises:
        ValueError: arrays of other shapes or types.
        UserError: pydensecrf is not installed.
    """
    is_image = image.dtype == np.uint8 and image.ndim == 3 and image.shape[-1] == 3
    if not is_image or probabilities.ndim != 3 or probabilities.shape[:2] != image.shape[:2]:
        raise ValueError(
            f"the CRF takes an image, uint8 [H, W, 3], and probabilities [H, W, C], received "
            f"{image.dtype} {image.shape} and {probabilities.shape}"
        )
    height, width, classes = probabilities.shape
    field = require()(width, height, classes)
    energy = -np.log(np.maximum(probabilities, _LEAST)).astype(np.float32)
    field.setUnaryEnergy(np.ascontiguousarray(energy.reshape(-1, classes).T))
    field.addPairwiseGaussian(sxy=parameters.sigma, compat=parameters.weight)
    field.addPairwiseBilateral(
        sxy=parameters.bilateral_xy,
        srgb=parameters.bilateral_rgb,
        rgbim=np.array(image, order="C"),  # which must be writable
        compat=parameters.bilateral_weight,
    )
    marginals = np.asarray(field.inference(parameters.iterations), np.float32)
    return marginals.T.reshape(height, width, classes)


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
    look: Annotated[looks.Looks, tyro.conf.arg(name="")] = looks.ONE_LOOK,
) -> None:
    """Try every combination of parameters on some pictures, and print the best first.

    Each picture goes through the model once, and no probabilities are kept. Search on pictures that
    the final score is not measured on.

    Args:
        model: A .keras file or a SavedModel folder.
        dataset: Prepared data set.
        data_dir: Where prepared data sets live.
        split: Split to search on; by default val or validation.
        limit: Only so many pictures, the first ones; None for all.
        weight: Values to try, as of evaluate's --crf.weight; the following ones, too.
        sigma: Values to try.
        bilateral_weight: Values to try.
        bilateral_xy: Values to try.
        bilateral_rgb: Values to try.
        iterations: Values to try.
        json_file: Write the table here, too.
        look: More than one look at each picture, before the CRF.
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
    looks.check(look)
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
        (score, " ".join([*looks.options_of(look), *_crf_options(parameters)]))
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
    logits, dataset, split: str, limit: int | None, candidates, look: looks.Looks = looks.ONE_LOOK
) -> dict:
    """Mean IoU without a CRF, under the key None, and with each of the candidates.

    Args:
        logits: as of `looks.probabilities`.
        dataset: `pipelines.datasets.PreparedDataset`.
        split: one of its splits.
        limit: stop after so many pictures; None for all.
        candidates: `Parameters` to try.
        look: how the pictures are looked at.
    """
    from gcn_keras.metrics import ConfusionMatrix
    from pipelines.input_pipeline import evaluation_examples

    matrices = {key: ConfusionMatrix(dataset.num_classes) for key in (None, *candidates)}
    examples = evaluation_examples(dataset, split, limit).as_numpy_iterator()
    count = min(limit or math.inf, dataset.splits[split]) * len(matrices)
    with tqdm(total=count, desc="search", unit=" label maps", mininterval=0.5) as bar:
        for example in examples:
            image, label = example["image"], example["label"]
            scores = looks.probabilities(logits, image, look)
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

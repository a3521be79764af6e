"""The dense CRF that follows some models, and a search for its parameters.

    python -m gcn_keras.crf search MODEL --dataset NAME --limit 100 --bilateral-xy 49 67

Krähenbühl and Koltun 2011, computed by pydensecrf. Tables 7 and 9 of the paper end with it; its
parameters are not told there.
"""

import dataclasses
import importlib.util
import itertools
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import tyro
from tqdm import tqdm

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


def check(parameters: Parameters) -> None:
    """Refuses values that cannot be meant.

    Raises:
        UsageError: naming the option, the value and what it can be.
    """
    for name, value in dataclasses.asdict(parameters).items():
        option = f"--crf.{name.replace('_', '-')}"
        if name == "iterations":
            if value < 1:
                raise UsageError(f"{option} must be at least 1, got {value}")
        elif "weight" in name:
            if not 0 <= value < math.inf:
                raise UsageError(f"{option} must be at least 0, got {value:g}")
        elif not 0 < value < math.inf:
            raise UsageError(f"{option} must be positive, got {value:g}")


def require() -> None:
    """Refuses to go on without pydensecrf.

    Raises:
        UserError: saying what to install.
    """
    if importlib.util.find_spec("pydensecrf") is None:
        raise UserError(
            "a dense CRF needs pydensecrf, which is not installed: pip install 'gcn_keras[crf]'"
        )


def refine(
    image: np.ndarray, probabilities: np.ndarray, parameters: Parameters = DEEPLAB
) -> np.ndarray:
    """Refines a model's probabilities so that they follow the picture's colours.

    Args:
        image: uint8 `[H, W, 3]`, RGB.
        probabilities: float32 `[H, W, C]`, which sums to 1 over the classes.
        parameters: of the two terms.

    Returns:
        Probabilities of the mean field, float32 `[H, W, C]`.
    """
    from pydensecrf.densecrf import DenseCRF2D

    height, width, classes = probabilities.shape
    field = DenseCRF2D(width, height, classes)
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
) -> None:
    """Try every combination of parameters on some pictures, and print the best first.

    Each picture goes through the model once. Search on pictures that the final score is not
    measured on.

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
    """
    from gcn_keras.environment import prepare_tensorflow
    from gcn_keras.segmenters import check_exists, open_segmenter

    datasets.parse_name(dataset)
    if limit is not None and limit < 1:
        raise UsageError(f"--limit must be at least 1, got {limit}")
    candidates = grid(
        weight=weight,
        sigma=sigma,
        bilateral_weight=bilateral_weight,
        bilateral_xy=bilateral_xy,
        bilateral_rgb=bilateral_rgb,
        iterations=iterations,
    )
    for parameters in candidates:
        check(parameters)
    require()
    check_exists(model)
    if json_file and not json_file.parent.is_dir():
        raise UserError(f"--json {json_file}: there is no folder {json_file.parent}")
    prepare_tensorflow()
    from gcn_keras.test_time import logits_of

    prepared = datasets.load(dataset, data_dir)
    split = prepared.validation_split(split)
    logits = logits_of(open_segmenter(model), model)
    scores = measure(logits, prepared, split, limit, candidates)
    rows = sorted(scores.items(), key=lambda row: -row[1])
    print(f"{'mean IoU %':>10}  options of evaluate and predict")
    for parameters, score in rows:
        options = "" if parameters is None else f"--crf {options_of(parameters)}"
        print(f"{100 * score:>10.2f}  {options or '(no CRF)'}")
    if json_file:
        from gcn_keras.images import replacing

        content = [
            {"mean_iou": score, "parameters": p and dataclasses.asdict(p)} for p, score in rows
        ]
        with replacing(json_file) as temporary:
            temporary.write_text(json.dumps(content, indent=2) + "\n")


def measure(logits, dataset, split: str, limit: int | None, candidates) -> dict:
    """Mean IoU without a CRF, under the key None, and with each of the candidates.

    Args:
        logits: as of `test_time.probabilities`.
        dataset: `pipelines.datasets.PreparedDataset`.
        split: one of its splits.
        limit: stop after so many pictures; None for all.
        candidates: `Parameters` to try.
    """
    from gcn_keras.metrics import ConfusionMatrix
    from gcn_keras.test_time import probabilities
    from pipelines.input_pipeline import evaluation_examples

    matrices = {key: ConfusionMatrix(dataset.num_classes) for key in (None, *candidates)}
    examples = evaluation_examples(dataset, split, limit).as_numpy_iterator()
    count = min(limit or math.inf, dataset.splits[split])
    for example in tqdm(examples, desc="search", total=count, unit=" pictures", mininterval=0.5):
        image, label = example["image"], example["label"]
        scores = probabilities(logits, image)
        for parameters, matrix in matrices.items():
            refined = scores if parameters is None else refine(image, scores, parameters)
            matrix.update(label, np.argmax(refined, axis=-1).astype(np.uint8))
    return {key: matrix.mean_iou for key, matrix in matrices.items()}


def options_of(parameters: Parameters) -> str:
    """The options of evaluate and predict that give these parameters."""
    return " ".join(
        f"--crf.{name.replace('_', '-')} {value:g}"
        for name, value in dataclasses.asdict(parameters).items()
    )


def main() -> None:
    """Entry point of the command."""
    tyro.extras.subcommand_cli_from_dict({"search": search}, prog="python -m gcn_keras.crf")


if __name__ == "__main__":
    run_command(main)

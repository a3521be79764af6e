"""A search for parameters of the dense CRF on a split of a data set."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from tqdm import tqdm

from gcn_keras.evaluation.measure import check_scored, number_of_images
from gcn_keras.evaluation.metrics import ConfusionMatrix
from gcn_keras.inference.dense_crf import Parameters, refine
from gcn_keras.inference.label_maps import label_map
from gcn_keras.inference.memory import naming_large_image
from gcn_keras.inference.multi_scale import ONE_VIEW, MultiScale, probabilities

if TYPE_CHECKING:
    from pipelines.datasets import PreparedDataset


def grid(**values: Any) -> list[Parameters]:
    """Every combination of the values of each parameter."""
    combinations = itertools.product(*values.values())
    return [Parameters(**dict(zip(values, chosen, strict=True))) for chosen in combinations]


def measure(
    logits: Callable[[np.ndarray], np.ndarray],
    dataset: PreparedDataset,
    split: str,
    limit: int | None,
    candidates: Sequence[Parameters],
    views: MultiScale = ONE_VIEW,
) -> dict[Parameters | None, float]:
    """Mean IoU without a CRF, under the key None, and with each of the candidates.

    Each image goes through the model once, and no probabilities are kept.

    Args:
        logits, views: as in `multi_scale.probabilities`.
        dataset, split, limit: as in `measure.evaluate_model`.
        candidates: parameters to try.

    Raises:
        UserError: there is no label but void.
    """
    from pipelines.stream.evaluation import evaluation_examples

    matrices = {key: ConfusionMatrix(dataset.num_classes) for key in (None, *candidates)}
    examples = evaluation_examples(dataset, split, limit).as_numpy_iterator()
    count = number_of_images(dataset, split, limit) * len(matrices)
    with tqdm(total=count, desc="search", unit=" label maps", mininterval=0.5) as bar:
        for example in examples:
            image, label = example["image"], example["label"]
            with naming_large_image(example["image_id"].decode()):
                scores = probabilities(logits, image, views)
            for parameters, matrix in matrices.items():
                refined = scores if parameters is None else refine(image, scores, parameters)
                matrix.update(label, label_map(refined))
                bar.update()
    check_scored(matrices[None], dataset, split)
    return {key: matrix.mean_iou for key, matrix in matrices.items()}

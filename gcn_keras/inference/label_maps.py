"""From scores to label maps."""

import numpy as np

from pipelines.base.errors import UserError
from pipelines.base.labels import IGNORE

NOT_A_NUMBER = (
    "the model gives NaN instead of scores: it was trained with too high a learning rate, or what "
    "it computes is too large for float16"
)


def label_map(scores: np.ndarray) -> np.ndarray:
    """The class of the highest score.

    Args:
        scores: floats `[..., C]`, logits or probabilities.

    Returns:
        uint8 `[...]`.

    Raises:
        UserError: a score is NaN.
    """
    labels = np.argmax(scores, axis=-1)
    # To numpy NaN is the highest of all.
    if np.isnan(np.take_along_axis(scores, labels[..., None], axis=-1)).any():
        raise UserError(NOT_A_NUMBER)
    return labels.astype(np.uint8)


def check_answered(labels: np.ndarray) -> np.ndarray:
    """Refuses label maps with IGNORE, which is no class: what a graph says of scores that are NaN.

    Raises:
        UserError: there is a pixel of it.
    """
    if (labels == IGNORE).any():
        raise UserError(NOT_A_NUMBER)
    return labels

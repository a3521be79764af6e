"""A label map laid over its image, to be looked at: classes have their colours, void is striped."""

from typing import Any

import numpy as np

from pipelines.base.labels import IGNORE

MASK_WEIGHT = 0.6  # of what is laid over an image
# Stripes, as no class has them: a colour of void's could be that of a class.
_STRIPE = 4  # pixels
_LIGHT, _DARK = 240, 30
# The same for a swatch of Matplotlib in a legend.
VOID_SWATCH: dict[str, Any] = {"facecolor": "white", "edgecolor": "#404040", "hatch": "/////"}


def over_gray(image: np.ndarray, label: np.ndarray, palette: np.ndarray) -> np.ndarray:
    """Lays the colours of a label map over an image made gray, and stripes where it is void.

    Gray, because the hues are then those of the classes alone. Stripes are four pixels wide, so
    scale both before.

    Args:
        image: uint8 `[H, W, 3]` RGB.
        label: uint8 `[H, W]`, class indices and 255 for void.
        palette: uint8 `[256, 3]` RGB, a colour for each class.

    Returns:
        uint8 `[H, W, 3]`.
    """
    gray = image.mean(axis=2, keepdims=True)
    rows, columns = np.indices(label.shape)
    stripes = np.where((rows + columns) // _STRIPE % 2, _LIGHT, _DARK)
    colours = np.where((label == IGNORE)[..., None], stripes[..., None], palette[label])
    return np.round((1 - MASK_WEIGHT) * gray + MASK_WEIGHT * colours).astype(np.uint8)

"""Padding to sizes that a model takes."""

import numpy as np

from pipelines.base.imagenet import MEAN_RGB

# The largest stride of any backbone's P5: sides are padded to multiples of it.
STRIDE = 32


def pad_to_stride(images: np.ndarray) -> np.ndarray:
    """Pads `[B, H, W, 3]` at the bottom and right with the mean pixel, to multiples of `STRIDE`."""
    batch, height, width, channels = images.shape
    padded_height, padded_width = (-(-side // STRIDE) * STRIDE for side in (height, width))
    if (padded_height, padded_width) == (height, width):
        return images
    padded = np.empty((batch, padded_height, padded_width, channels), images.dtype)
    padded[:] = np.rint(MEAN_RGB).astype(images.dtype)
    padded[:, :height, :width] = images
    return padded

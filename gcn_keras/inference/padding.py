"""Padding to sizes that a model takes."""

from collections.abc import Sequence

import numpy as np

from pipelines.base.imagenet import MEAN_RGB

# The largest stride of any backbone's P5: sides are padded to multiples of it.
STRIDE = 32


def padded_size(size: Sequence[int], fixed: Sequence[int | None] = (None, None)) -> tuple[int, int]:
    """Height and width that images are padded to: what of them a model has fixed, else multiples
    of `STRIDE`."""
    height, width = (
        own or -(-side // STRIDE) * STRIDE for side, own in zip(size, fixed, strict=True)
    )
    return height, width


def pad_with_mean(images: np.ndarray, height: int, width: int) -> np.ndarray:
    """Pads images `[…, H, W, 3]`, RGB 0…255, uint8 or float, below and right to a larger size.

    Returns:
        `[…, height, width, 3]` of the same dtype; the images themselves if they have that size.
    """
    *batch, old_height, old_width, channels = images.shape
    if (old_height, old_width) == (height, width):
        return images
    padded = np.empty((*batch, height, width, channels), images.dtype)
    padded[:] = np.rint(MEAN_RGB).astype(images.dtype)
    padded[..., :old_height, :old_width, :] = images
    return padded


def pad_to_stride(images: np.ndarray) -> np.ndarray:
    """Pads `[…, H, W, 3]` as `pad_with_mean` does, to multiples of `STRIDE`."""
    return pad_with_mean(images, *padded_size(images.shape[-3:-1]))

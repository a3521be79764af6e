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
    """Pads `[H, W, 3]` or `[B, H, W, 3]` as `pad_with_mean` does, to multiples of `STRIDE`.

    Raises:
        ValueError: another shape, dtype or range; floats of 0…1 among them.
    """
    forms = "[H, W, 3] or [B, H, W, 3]"
    if isinstance(images, Sequence):
        raise ValueError(f"images must be an array {forms}, received a {type(images).__name__}")
    images = np.asarray(images)
    check_images(images, forms)
    return pad_with_mean(images, *padded_size(images.shape[-3:-1]))


def check_images(images: np.ndarray, forms: str) -> None:
    """Refuses what are no images, uint8 or float in 0…255; uint8 are not read.

    Args:
        images: `[H, W, 3]` or `[B, H, W, 3]`.
        forms: in which they may come, for the message.

    Raises:
        ValueError: another shape, dtype or range; floats of 0…1 among them.
    """
    if images.ndim not in (3, 4) or images.shape[-1] != 3 or 0 in images.shape:
        fault = f"shape {images.shape}"
    elif images.dtype == np.uint8:
        return
    elif not np.issubdtype(images.dtype, np.floating):
        fault = f"dtype {images.dtype}"
    elif not (images.min() >= 0 and images.max() <= 255):  # nor NaN
        fault = f"values from {images.min()} to {images.max()}"
    elif np.any((0 < (highest := images.max(axis=(-3, -2, -1)))) & (highest <= 1)):
        fault = "an image that never exceeds 1: multiply images of 0…1 by 255"
    else:
        return
    raise ValueError(f"images must be {forms}, uint8 or float in 0…255, received {fault}")

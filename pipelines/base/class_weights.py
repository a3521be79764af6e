"""Weights that let rare classes count for more."""

import numpy as np


def median_frequency_weights(pixel_counts):
    """Class weights median(f) / f, f a class's share of the valid pixels (Eigen & Fergus 2015).

    Args:
        pixel_counts: int array `[C]` of pixels in the training split.

    Returns:
        float array `[C]`; 0 for classes without a pixel.
    """
    shares = pixel_counts / pixel_counts.sum()
    seen = shares > 0
    weights = np.zeros(len(shares))
    weights[seen] = np.median(shares[seen]) / shares[seen]
    return weights

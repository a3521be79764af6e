"""The dense CRF that follows some models."""

import dataclasses
import math
from dataclasses import dataclass

import numpy as np

from gcn_keras.inference.multi_scale import as_typed
from pipelines.base import extras
from pipelines.base.errors import ArgumentError

_LEAST = 1e-8  # of a probability, whose logarithm the CRF takes
# pydensecrf crashes the process if a coordinate divided by a reach overflows an integer.
_LEAST_REACH, _LARGEST_WEIGHT = 0.01, 1e6


@dataclass(frozen=True)
class Parameters:
    """Two Potts terms. The defaults are DeepLab v2's on VOC (our choice)."""

    weight: float = 3.0
    """Weight of the term that makes labels smooth, 0…1,000,000."""
    sigma: float = 1.0
    """Reach of that term in pixels, at least 0.01."""
    bilateral_weight: float = 4.0
    """Weight of the term that makes pixels of one colour agree, 0…1,000,000."""
    bilateral_xy: float = 67.0
    """Reach of that term in pixels, at least 0.01."""
    bilateral_rgb: float = 3.0
    """Reach of that term in steps of colour, 0…255; at least 0.01."""
    iterations: int = 10
    """Iterations of the mean field."""

    def check(self, prefix: str = "") -> None:
        """Refuses invalid values.

        Raises:
            ArgumentError: naming the argument, after the prefix, the value and what it can be.
        """
        for name, value in dataclasses.asdict(self).items():
            if name == "iterations":
                valid, wanted = value >= 1, "at least 1"
            elif "weight" in name:
                valid, wanted = 0 <= value <= _LARGEST_WEIGHT, f"in 0…{_LARGEST_WEIGHT:,.0f}"
            else:
                valid = _LEAST_REACH <= value < math.inf
                wanted = f"a number of at least {_LEAST_REACH}"
            if not valid:
                raise ArgumentError(prefix + name, f"must be {wanted}, got {as_typed(value)}")


DEEPLAB = Parameters()


def require() -> type:
    """pydensecrf's class `DenseCRF2D`; a UserError if it is not installed."""
    return extras.require("a dense CRF needs", "pydensecrf.densecrf").DenseCRF2D


def refine(
    image: np.ndarray, probabilities: np.ndarray, parameters: Parameters = DEEPLAB
) -> np.ndarray:
    """Refines a model's probabilities so that they follow the image's colours.

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
        ValueError: arrays of other shapes or types, or invalid parameters.
        UserError: pydensecrf is not installed.
    """
    is_image = image.dtype == np.uint8 and image.ndim == 3 and image.shape[-1] == 3
    if not is_image or probabilities.ndim != 3 or probabilities.shape[:2] != image.shape[:2]:
        raise ValueError(
            f"the CRF takes an image, uint8 [H, W, 3], and probabilities [H, W, C], received "
            f"{image.dtype} {image.shape} and {probabilities.shape}"
        )
    parameters.check()
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

"""The score whose receptive field is asked for: the logit of a class at a point of an image."""

from typing import TYPE_CHECKING

import numpy as np

from gcn_keras.inference.keras_model import predict_logits
from gcn_keras.inference.legend import Legend
from gcn_keras.inference.padding import padded_size
from pipelines.base.errors import ArgumentError, UsageError, UserError

if TYPE_CHECKING:
    import keras


def scores(model: "keras.Model", images: np.ndarray, at: tuple[int, int]) -> np.ndarray:
    """Every class's score at a point of each image, uint8 `[B, H, W, 3]`: float32 `[B, C]`."""
    return predict_logits(model, images)[:, at[0], at[1]]


def padded_sides(model: "keras.Model", size: tuple[int, int]) -> tuple[int, int]:
    """Height and width that an image of this size has when it goes through the model."""
    return padded_size(size, model.input.shape[1:3])


def check_point(at: tuple[int, int], size: tuple[int, int], name: str = "the image") -> None:
    """Refuses a point outside of an image.

    Raises:
        UsageError: naming the point and what it can be.
    """
    (y, x), (height, width) = at, size
    if not (0 <= y < height and 0 <= x < width):
        raise UsageError(
            f"the point {y},{x} lies outside of {name}: Y must be in 0…{height - 1} and X in "
            f"0…{width - 1}"
        )


def scored_class(
    model: "keras.Model", image: np.ndarray, at: tuple[int, int], class_index: int | None = None
) -> int:
    """The class whose logit is the score; checks the arguments that both fields take.

    Args:
        model: from `gcn_keras.gcn`, or loaded from a `.keras` file.
        image: uint8 `[H, W, 3]`, RGB, of any size.
        at: the point, (y, x) in pixels from the top left.
        class_index: whose logit; None for the class that is predicted at the point.

    Raises:
        ValueError: `image` is no image.
        UserError: the point, the class or the image's size does not fit.
    """
    if image.ndim != 3 or image.shape[-1] != 3 or image.dtype != np.uint8 or 0 in image.shape:
        raise ValueError(
            f"image must be uint8 of shape [H, W, 3], received {image.dtype} of {image.shape}"
        )
    check_point(at, image.shape[:2])
    taken = padded_sides(model, image.shape[:2])
    if any(side > most for side, most in zip(image.shape[:2], taken, strict=True)):
        raise UserError(
            f"the model takes images of at most {taken[0]}×{taken[1]} pixels, and this one has "
            f"{image.shape[0]}×{image.shape[1]}"
        )
    if class_index is None:
        return int(np.argmax(scores(model, image[None], at)))
    num_classes = model.output.shape[-1]
    if not 0 <= class_index < num_classes:
        raise UsageError(f"the class must be in 0…{num_classes - 1}, got {class_index}")
    return class_index


def class_index(text: str, legend: Legend | None, num_classes: int) -> int:
    """The class of this index or this name.

    Raises:
        ArgumentError: there is none, or no legend to look the name up in.
    """
    if text.isdecimal() and int(text) < num_classes:
        return int(text)
    if legend and text in legend.class_names:
        return legend.class_names.index(text)
    names = f" or one of {', '.join(legend.class_names)}" if legend else ""
    why = "" if legend else ": there is no labels.json beside the model to look names up in"
    raise ArgumentError(
        "class", f"must be an index in 0…{num_classes - 1}{names}, got {text!r}{why}"
    )

"""What is said where a model of somebody else fails on an image, or gives no map of its size."""

import contextlib
from collections.abc import Iterator

from gcn_keras.inference.memory import is_out_of_memory
from pipelines.base.damage import reason_of
from pipelines.base.errors import UserError
from pipelines.base.labels import IGNORE


@contextlib.contextmanager
def naming_failed_model(model: object, height: int, width: int) -> Iterator[None]:
    """In its block, what a model's own layers raise becomes a `UserError` that names the model, by
    its path or otherwise, and the size of the image. Exhausted memory is left as it is."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        kinds = {kind.__name__ for kind in type(error).__mro__}  # JAX needs no TensorFlow for it
        if is_out_of_memory(error) or not kinds & {"ValueError", "TypeError", "OpError"}:
            raise
        raise UserError(
            f"{model} fails on an image of {height}x{width}: {reason_of(error)}"
        ) from error


def check_scores(model: object, given: tuple[int, ...], sides: tuple[int, int]) -> None:
    """Refuses a model, named by its path or otherwise, whose map of scores has not the sides of
    the image, with a UserError."""
    if tuple(given) != sides:
        raise UserError(
            f"{model} gives {'x'.join(map(str, given))} scores for an image of "
            f"{sides[0]}x{sides[1]}: a segmentation model has one for each pixel"
        )


def check_classes(model: object, classes: int) -> None:
    """Refuses a model, named by its path or otherwise, whose number of scores a pixel makes no
    label map, with a UserError."""
    if classes > IGNORE:
        raise UserError(f"{model} has {classes} classes; label maps of 8 bits can hold {IGNORE}")
    if classes == 1:
        raise UserError(
            f"{model} gives 1 score a pixel, and the highest of several is the label: give it one "
            "for the background, too"
        )

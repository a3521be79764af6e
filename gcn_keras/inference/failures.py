"""What is said where a model takes no image of this size, fails on one, or gives no map of it."""

import contextlib
import re
from collections.abc import Iterator, Sequence

from gcn_keras.inference.memory import is_out_of_memory
from gcn_keras.inference.padding import padded_size
from pipelines.base.damage import reason_of
from pipelines.base.errors import UserError, argument
from pipelines.base.labels import IGNORE

_LIMIT = r"(\d+|any)x(\d+|any)"
# How Keras reports an error of a layer; of layers within each other the innermost is the last.
_OF_LAYER = (
    r".*Exception encountered when calling ([\w.]+)(?:\(\))?\.\s+(?:\x1b\[1m)?(.+?)(?:\x1b\[0m)?"
    r"\s+Arguments received by"
)


def limit_of(fixed: Sequence[int | None]) -> str:
    """The fixed height and width of a model's input in a word, such as "64x96" or "anyx96"."""
    return "x".join(str(side or "any") for side in fixed)


def fixed_of(limit: str | None) -> tuple[int | None, ...]:
    """What `limit_of` was given; two None for something else."""
    found = re.fullmatch(_LIMIT, limit or "anyxany")
    sides = found.groups() if found else ("any", "any")
    return tuple(None if side == "any" else int(side) for side in sides)


def check_fits(
    model: object,
    fixed: Sequence[int | None],
    size: tuple[int, int],
    gives_logits: bool = True,
) -> tuple[int, int]:
    """Height and width that an image is padded to for a model; a UserError if it is larger.

    Args:
        model: its path or otherwise, for the message.
        fixed: height and width of the model's input, None where it takes any.
        size: of the image.
        gives_logits: whether tiles can go through this form of the model.
    """
    sides = height, width = padded_size(size, fixed)
    if size[0] <= height and size[1] <= width:
        return sides
    tiles = f"take tiles of that size, {argument('tile')} {height} {width}"
    raise UserError(
        f"{model} takes images of at most {height}x{width}, got {size[0]}x{size[1]}: "
        f"{tiles if gives_logits else f'cut it into parts, or give the .keras file and {tiles}'}"
    )


def limit_message(fixed: Sequence[int | None]) -> str:
    """How the assertion of a deployed graph begins; the size of the image follows."""
    return f"the model takes images of at most {limit_of(fixed)}, and one is of"


def check_not_beyond_limit(model: object, said: str, gives_logits: bool = True) -> None:
    """Raises what `check_fits` does if the assertion of a deployed graph is in what was said."""
    if found := re.search(rf"of at most ({_LIMIT}), and one is of\W+(\d+) (\d+)", said):
        limit, *_, height, width = found.groups()
        check_fits(model, fixed_of(limit), (int(height), int(width)), gives_logits)


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
        is_known = kinds & {"ValueError", "TypeError", "OpError"}
        is_onnx = type(error).__module__.startswith("onnxruntime.")  # which have no common base
        if is_out_of_memory(error) or not (is_known or is_onnx):
            raise
        check_not_beyond_limit(model, str(error))
        raise UserError(
            f"{model} fails on an image of {height}x{width}: {_reason(error)}"
        ) from error


def _reason(error: Exception) -> str:
    """What a layer says, by its name: Keras and AutoGraph put frames and arguments around it."""
    if found := re.search(_OF_LAYER, str(error), re.DOTALL):
        if "symbolic `tf.Tensor`" in found[2]:  # a size that a graph has yet to learn
            return (
                f"{found[1]} needs to know sizes beforehand: build the model on a keras.Input with "
                "a height and a width"
            )
        return f"{found[1]} says {' '.join(found[2].split())[:300]}"
    return reason_of(error)


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

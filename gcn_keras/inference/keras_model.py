"""Images of any size in, label maps of the same size out."""

from __future__ import annotations

import errno
import functools
import operator
import os
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import numpy as np

from gcn_keras.inference import multi_scale
from gcn_keras.inference.failures import (
    check_classes,
    check_fits,
    check_scores,
    naming_failed_model,
)
from gcn_keras.inference.label_maps import label_map
from gcn_keras.inference.legend import legend_of_keras
from gcn_keras.inference.padding import check_images, pad_with_mean
from gcn_keras.inference.softmax import TINY, ends_in_softmax
from pipelines.base.damage import DAMAGE, check_archive, reason_of
from pipelines.base.errors import UserError
from pipelines.base.files import checked_path

if TYPE_CHECKING:
    import keras

# Of the temporary folder, into which Keras unpacks files that hold a legend, too.
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def check_keras_file(path: Path) -> None:
    """Refuses what is no `.keras` file, before anything slow is imported.

    Raises:
        UserError: nothing lies there, or a model in another form.
    """
    if not path.exists():
        raise UserError(f"there is no model at {path}: expected a .keras file, as `fit` writes")
    if not path.is_file() or path.suffix != ".keras":
        models = sorted(file.name for file in path.glob("*.keras"))  # none in a file
        hint = f": name a model in it, {', '.join(models)}" if models else ""
        raise UserError(f"this takes a .keras file, as `fit` writes, not {path}{hint}")


def load_any_model(path: str | Path) -> keras.Model:
    """Loads a `.keras` file of any functional or sequential model, in safe mode.

    Returns:
        A functional model.

    Raises:
        UserError: if there is none, it cannot be loaded, or holds another kind of model.
    """
    import keras

    path = checked_path(path)
    check_keras_file(path)
    try:
        check_archive(path)
        model = keras.models.load_model(path, compile=False, safe_mode=True)
    except DAMAGE as error:
        if getattr(error, "errno", None) in _NO_ROOM:
            folder = tempfile.gettempdir()
            raise UserError(
                f"there is no room to unpack {path} in {folder}: free some, or set TMPDIR"
            ) from error
        reason = reason_of(error)
        if "safe_mode=False" in str(error):  # which no command can pass
            reason = (
                "it holds Python code, as of a Lambda layer, and files are loaded in Keras' safe "
                "mode: build it of plain layers"
            )
        raise UserError(f"{path} cannot be loaded as a Keras model: {reason}") from error
    if not hasattr(model, "inputs"):  # one of another class, or a Sequential that was never built
        raise UserError(
            f"{path} holds a model without known inputs and outputs: save a functional model, or a "
            "keras.Sequential that begins with keras.Input"
        )
    if len(model.inputs) == len(model.outputs) == 1:
        # A Sequential has no `input` and `output`, and others may have a list or a dict of one.
        return keras.Model(model.inputs[0], model.outputs[0], name=model.name)
    return model


def load_model(path: str | Path) -> keras.Model:
    """Loads the `.keras` file of a segmentation model, in safe mode.

    The model has the names and colours of its classes, as `fit` and `save_model` write them, in two
    attributes, and `save_model` takes them from there: `class_names`, a tuple of strings, and
    `palette`, uint8 `[256, 3]` RGB. Both are None where the file has none.

    Raises:
        UserError: if there is none, or the file holds no segmentation model; a `labels.json` in it
            or beside it is damaged, or another model's.
    """
    model = load_any_model(path)
    shapes = [tensor.shape for tensor in (*model.inputs, *model.outputs)]
    if [len(shape) for shape in shapes] != [4, 4] or shapes[0][-1] != 3:
        raise UserError(f"{path} is no segmentation model: inputs and outputs are {shapes}")
    if (classes := shapes[1][-1]) is None:
        raise UserError(
            f"{path} is no segmentation model: the number of its classes is not known, its output "
            f"is {shapes[1]}"
        )
    check_classes(path, classes)
    legend = legend_of_keras(Path(path), classes)
    model.class_names = legend.class_names if legend else None
    model.palette = legend.palette if legend else None
    return model


@overload
def segment(model: keras.Model, images: np.ndarray) -> np.ndarray: ...
@overload
def segment(model: keras.Model, images: Sequence[np.ndarray]) -> list[np.ndarray]: ...
def segment(model, images):
    """Labels every pixel.

    Args:
        model: from `gcn_keras.gcn`, or loaded from a `.keras` file.
        images: RGB, uint8, or float in 0…255: one image `[H, W, 3]`, a batch `[B, H, W, 3]`, or a
            sequence of images of different sizes. Any height and width, up to those of a model
            whose input has a fixed size.

    Returns:
        Label maps, uint8: `[H, W]`, `[B, H, W]`, or a list of `[H, W]`, as the images came.

    Raises:
        ValueError: another shape, dtype or range; floats of 0…1 among them; no Keras model.
        UserError: as in `predict_logits`. What is larger than a model takes goes through
            `probabilities(tile=…)`.
    """

    def of_batch(batch: np.ndarray) -> np.ndarray:
        return label_map(predict_logits(model, batch))

    return _as_given(images, of_batch)


def probabilities(
    model: keras.Model,
    images: np.ndarray | Sequence[np.ndarray],
    *,
    scales: Sequence[float] = (1.0,),
    flip: bool = False,
    tile: tuple[int, int] | None = None,
    overlap: int = 0,
) -> np.ndarray | list[np.ndarray]:
    """Probabilities of the classes, averaged over several views; see `inference.multi_scale`.

        scores = gcn_keras.probabilities(model, image, scales=(0.75, 1, 1.25), flip=True)
        labels = scores.argmax(axis=-1)

    Args:
        model, images: as in `segment`; images go through the model one by one.
        scales: of the image, above 0.
        flip: whether there are views of the mirrored image, too.
        tile: height and width of tiles; None for the whole image.
        overlap: pixels by which neighbouring tiles overlap at least.

    Returns:
        float32 `[H, W, C]`, `[B, H, W, C]`, or a list of `[H, W, C]`, as the images came; they
        sum to 1 over the classes.

    Raises:
        ValueError: as in `segment`; invalid scales, an invalid tile or overlap.
        UserError: as in `predict_logits`.
    """
    try:
        if isinstance(scales, str):  # whose characters would be numbers
            raise TypeError
        sides: Any = tile if tile is None else tuple(map(operator.index, tile))
        views = multi_scale.MultiScale(
            tuple(map(float, scales)), flip, sides, operator.index(overlap)
        )
    except (TypeError, ValueError) as error:
        raise ValueError(
            "scales must be a sequence of numbers, tile two integers and overlap an integer, "
            f"received scales={scales!r}, tile={tile!r}, overlap={overlap!r}"
        ) from error
    if sides is not None and len(sides) != 2:
        raise ValueError(f"tile must be two integers, height and width, received {tile!r}")
    views.check()
    logits = functools.partial(predict_logits, model)

    def of_batch(batch: np.ndarray) -> np.ndarray:
        return np.stack([multi_scale.probabilities(logits, image, views) for image in batch])

    return _as_given(images, of_batch)


def _as_given(images, of_batch: Callable[[np.ndarray], np.ndarray]):
    """What a function makes of a batch, of one image, or of each item of a sequence."""
    forms = "[H, W, 3], [B, H, W, 3] or a list of images"
    if isinstance(images, str | os.PathLike):
        raise ValueError(
            f"images must be {forms}, uint8 or float in 0…255, received the path "
            f"{os.fspath(images)!r}: read it with gcn_keras.load_image"
        )
    if isinstance(images, Sequence):
        return [_as_given(image, of_batch) for image in images]
    images = np.asarray(images)
    check_images(images, forms)
    if images.dtype != np.uint8:
        images = images.astype(np.float32, copy=False)  # TensorFlow does not know all floats
    return of_batch(images) if images.ndim == 4 else of_batch(images[None])[0]


def check_on_tensorflow(what: str) -> None:
    """Refuses another backend of Keras, with a UserError that says what needs TensorFlow."""
    import keras

    if (backend := keras.backend.backend()) != "tensorflow":
        raise UserError(
            f"{what} TensorFlow, and Keras computes with {backend}: set KERAS_BACKEND=tensorflow"
        )


def predict_logits(model: keras.Model, images: np.ndarray) -> np.ndarray:
    """Logits of images of any size, or up to that of a model whose input has a fixed one.

    If the model ends in a softmax, they are the logarithms of its output.

    Args:
        model: from `gcn_keras.gcn`, or loaded from a `.keras` file.
        images: RGB `[B, H, W, 3]`, 0…255, uint8 or float.

    Returns:
        float32 `[B, H, W, C]`.

    Raises:
        ValueError: `model` is no Keras model.
        UserError: the model takes smaller images only, or more than images; it fails, has not one
            score map of the image's size for each class, or not 2…255 classes.
    """
    if not hasattr(model, "predict_on_batch") or isinstance(model, type):
        is_class = isinstance(model, type)
        found = f"the class {model.__name__}" if is_class else f"a {type(model).__name__}"
        raise ValueError(
            f"model must be a Keras model, received {found}: read a file with gcn_keras.load_model"
        )
    height, width = images.shape[1:3]
    inputs = getattr(model, "inputs", None) or []  # of a class of its own nobody knows them
    if len(inputs) > 1:
        raise UserError(
            f"{model.name} takes {len(inputs)} inputs: a segmentation model takes images alone"
        )
    fixed = inputs[0].shape[1:3] if inputs else (None, None)
    sides = check_fits(model.name, fixed, (height, width))
    with naming_failed_model(model.name, *sides):
        outputs = model.predict_on_batch(pad_with_mean(images, *sides))
    if isinstance(outputs, dict):
        outputs = list(outputs.values())
    logits, *others = outputs if isinstance(outputs, list | tuple) else [outputs]
    shapes = [np.shape(output) for output in (logits, *others)]
    if others or len(shapes[0]) != 4:
        raise UserError(
            f"{model.name} gives {', '.join(map(str, shapes))} for {sides[0]}x{sides[1]}: "
            "a segmentation model gives one map of scores, [B, H, W, C]"
        )
    # Of a model that was built for several replicas each of them gives the whole batch.
    logits = logits[: len(images)]
    check_scores(model.name, logits.shape[1:3], sides)
    check_classes(model.name, logits.shape[-1])
    logits = logits[:, :height, :width].astype(np.float32, copy=False)
    return np.log(np.maximum(logits, TINY)) if ends_in_softmax(model) else logits

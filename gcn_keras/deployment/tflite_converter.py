"""TensorFlow's converter to TFLite, for the function from an image to its label map."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING

from gcn_keras.inference.padding import padded_size
from gcn_keras.inference.tflite_model import quiet_stderr
from pipelines.base import extras
from pipelines.base.errors import UserError

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

# The name scope of what happens to the pixels before the model sees them.
PIXELS = "pixels"


def make_converter(
    model: keras.Model, size: tuple[int, int], dtype: tf.DType, integers: bool
) -> tf.lite.TFLiteConverter:
    """A converter for the function from an image of type `dtype` to its label map.

    Other arguments and errors are as in `tflite.convert`; `integers` tells whether it will be
    quantized.
    """
    import tensorflow as tf

    from gcn_keras.deployment.batch_norm_folding import fold_batch_norm, is_float32
    from gcn_keras.deployment.graphs import labels_of, pad
    from gcn_keras.deployment.xnnpack import for_xnnpack

    extras.check("TFLite needs", "ai_edge_litert")
    fixed, size = model.input.shape[1:3], (int(size[0]), int(size[1]))
    _check_size(fixed, size)
    if not is_float32(model):
        model = fold_batch_norm(model)  # a copy that computes in float32

    def segment(image):
        with tf.name_scope(PIXELS):
            image = tf.cast(pad(image, (1, *size), fixed), tf.float32)
        labels = labels_of(model(image, training=False))
        if size != padded_size(size, fixed):
            labels = tf.slice(labels, (0, 0, 0), (1, *size))
        return {"labels": labels}

    taken = tf.TensorSpec((1, *size, 3), dtype, name="image")
    with for_xnnpack(model, integers):
        concrete = tf.function(segment, input_signature=[taken]).get_concrete_function()
    converter = tf.lite.TFLiteConverter.from_concrete_functions([concrete], model)
    # Through a SavedModel the weights would stay variables.
    converter.experimental_lower_to_saved_model = False
    return converter


def _check_size(fixed, size) -> None:
    height, width = size
    if min(size) < 1:
        raise UserError(f"the size must be at least 1x1, got {height}x{width}")
    most = padded_size(size, fixed)
    if height > most[0] or width > most[1]:
        raise UserError(
            f"the model takes images of at most {most[0]}x{most[1]}, so it cannot be converted "
            f"for {height}x{width}"
        )


@contextlib.contextmanager
def converting(kind: str) -> Iterator[None]:
    """Silences the converter, and says in one sentence why it failed."""
    try:
        with quiet_stderr(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except Exception as error:  # ConverterError, RuntimeError, ValueError: they share no base
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise UserError(f"{kind} cannot be made: the converter says {lines[0]!r}") from error

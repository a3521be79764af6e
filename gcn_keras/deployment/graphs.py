"""TensorFlow graphs around a network: padding to its stride and back."""

from collections.abc import Sequence
from contextlib import AbstractContextManager

import keras
import numpy as np
import tensorflow as tf

from gcn_keras.inference.failures import limit_message
from gcn_keras.inference.padding import STRIDE
from gcn_keras.inference.softmax import TINY, ends_in_softmax
from pipelines.base.checked import checked
from pipelines.base.imagenet import MEAN_RGB

IMAGES = tf.TensorSpec((None, None, None, 3), tf.uint8, name="images")


def logits_graph(model: keras.Model) -> tf.types.experimental.ConcreteFunction:
    """The graph from images, uint8 `[B, H, W, 3]` of any size, to logits, float32 `[B, H, W, C]`.

    Args:
        model: Keras model from images to logits, or to their softmax; of any sides that are
            multiples of `STRIDE`, or of fixed ones, which smaller images are padded to and larger
            ones refused. The caller must keep it: the graph refers to its variables, but does not
            keep them.
    """
    fixed = model.input_shape[1:3]

    @tf.function(input_signature=[IMAGES])
    def logits(images):
        shape = tf.shape(images)
        if any(fixed):
            most = [own or tf.int32.max for own in fixed]
            fits = tf.reduce_all(shape[1:3] <= most)
            # All that is padded and cut follows from the shape: nothing else can fail first.
            shape = checked(shape, fits, limit_message(fixed), shape[1:3])
        sizes = tf.unstack(shape[:3])
        # Layers that resize need the sides that a model of one size has.
        padded = tf.ensure_shape(pad(images, sizes, fixed), (None, *fixed, 3))
        scores = tf.cast(model(padded, training=False), tf.float32)
        logits = tf.math.log(tf.maximum(scores, TINY)) if ends_in_softmax(model) else scores
        return logits[:, : shape[1], : shape[2]]

    return logits.get_concrete_function()


def vectors_as_constants(model: keras.Model) -> AbstractContextManager:
    """Within it, a graph of the model holds its weights of one axis, which are small, as constants;
    kernels stay variables, of which TensorFlow makes no copies when it loads the graph."""
    vectors = [variable for variable in model.variables if len(variable.shape) == 1]
    values = [(v, keras.ops.convert_to_numpy(v)) for v in vectors]
    return keras.StatelessScope([(v, tf.constant(value, v.dtype)) for v, value in values])


def labels_of(logits: tf.Tensor) -> tf.Tensor:
    """Logits `[B, H, W, C]` to labels, uint8 `[B, H, W]`."""
    return tf.cast(tf.argmax(logits, axis=-1, output_type=tf.int32), tf.uint8)


def noise(height: int, width: int) -> np.ndarray:
    """An image on which graphs are compared: uint8 `[1, H, W, 3]`, always the same."""
    return np.random.default_rng(0).integers(0, 256, (1, height, width, 3)).astype(np.uint8)


def pad(
    images: tf.Tensor, shape: Sequence[int | tf.Tensor], fixed: Sequence[int | None]
) -> tf.Tensor:
    """Pads `[B, H, W, 3]`, RGB 0…255 of any number type, to `inference.padding.padded_size`.

    `shape` is B, H and W: numbers where the graph has one size, else tensors.
    """
    sizes, mean = [*shape, 3], np.rint(MEAN_RGB).astype(images.dtype.as_numpy_dtype)
    for axis, own in ((1, fixed[0]), (2, fixed[1])):
        # Never of a negative number: ONNX Runtime gives its remainder the other sign.
        more = own - sizes[axis] if own else (STRIDE - sizes[axis] % STRIDE) % STRIDE
        if isinstance(more, int) and more == 0:
            continue
        # Rows or columns of pixels: `tf.pad` has one value for all three channels. Where there is
        # one size they are constants, as TFLite's converter does not make them.
        size = [*sizes[:axis], more, *sizes[axis + 1 :]]
        is_fixed = all(isinstance(side, int) for side in size)
        pixels = np.broadcast_to(mean, size) if is_fixed else tf.broadcast_to(mean, size)
        images = tf.concat([images, pixels], axis)
        sizes[axis] += more
    return images

"""TensorFlow graphs around a network: padding to its stride and back."""

from collections.abc import Sequence

import keras
import numpy as np
import tensorflow as tf

from gcn_keras.inference.padding import STRIDE
from pipelines.base.imagenet import MEAN_RGB

IMAGES = tf.TensorSpec((None, None, None, 3), tf.uint8, name="images")


def logits_graph(model: keras.Model) -> tf.types.experimental.ConcreteFunction:
    """The graph from images, uint8 `[B, H, W, 3]` of any size, to logits, float32 `[B, H, W, C]`.

    Args:
        model: Keras model from images, whose sides are multiples of `STRIDE`, to logits. The
            caller must keep it: the graph refers to its variables, but does not keep them.
    """

    @tf.function(input_signature=[IMAGES])
    def logits(images):
        shape = tf.shape(images)
        padded = pad_to_stride(images, tf.unstack(shape[:3]))
        logits = model(padded, training=False)[:, : shape[1], : shape[2]]
        return tf.cast(logits, tf.float32)

    return logits.get_concrete_function()


def pad_to_stride(images: tf.Tensor, shape: Sequence[int | tf.Tensor]) -> tf.Tensor:
    """Pads `[B, H, W, 3]`, RGB 0…255 of any number type, as `inference.padding.pad_to_stride`.

    `shape` is B, H and W: numbers where the graph has one size, else tensors.
    """
    sizes, mean = [*shape, 3], np.rint(MEAN_RGB).astype(images.dtype.as_numpy_dtype)
    for axis in (1, 2):
        # Of no negative number: ONNX Runtime has another sign for the rest of those.
        more = (STRIDE - sizes[axis] % STRIDE) % STRIDE
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

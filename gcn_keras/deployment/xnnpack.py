"""The same function in operations that XNNPACK, TFLite's kernels for CPUs, is fast at.

GCN on MobileNetV3-Small in int8, 21 classes, 512×512, on one core with VNNI: 71 ms as Keras has it,
58 with hard swish in parts, 55 with one mean for all channels too, and 49 with all of it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import keras
import numpy as np
import tensorflow as tf


@contextlib.contextmanager
def for_xnnpack(model: keras.Model, integers: bool) -> Iterator[None]:
    """Within its block a model computes in operations that XNNPACK is fast at, as before outside.

    - A transposed convolution is a plain one, with channels for each of the pixels that it makes of
      one, which are then put side by side.
    - A `Normalization` that treats all channels alike takes numbers instead of vectors of three.
    - In integers hard swish is a clipped sum and two products. XNNPACK has it in float alone;
      elsewhere it runs on one core, and each one splits the graph.

    Args:
        model: any Keras model. Models that are layers of it are left as they are.
        integers: whether the graph that is traced within the block will be quantized.
    """
    changed = []
    try:
        for layer in model.layers:
            call = _call_of(layer, integers)
            if call is not None:
                layer.call = call
                changed.append(layer)
        yield
    finally:
        for layer in changed:
            vars(layer).pop("call")


def _call_of(layer: keras.Layer, integers: bool) -> Callable | None:
    """What to call instead of `layer.call`; None for most layers."""
    if type(layer) is keras.layers.Conv2DTranspose and _has_square_blocks(layer):
        return _side_by_side(layer)
    if type(layer) is keras.layers.Normalization and not layer.invert:
        mean, variance = map(keras.ops.convert_to_numpy, (layer.mean, layer.variance))
        if np.ptp(mean) == np.ptp(variance) == 0:
            return lambda images: (images - mean.flat[0]) / np.sqrt(variance.flat[0])
    if integers and type(layer) is keras.layers.Activation:
        return _hard_swish if layer.activation is keras.activations.hard_silu else None
    return None


def _has_square_blocks(layer) -> bool:
    return (
        layer.padding == "same"
        and layer.strides[0] == layer.strides[1] > 1
        and {*layer.dilation_rate} == {1}
        and layer.output_padding is None
        and layer.data_format == "channels_last"
    )


def _side_by_side(layer) -> Callable:
    """A transposed convolution with stride s as a convolution, and s×s pixels made of each.

    With a kernel of n·s, s×s of the pixels that it writes depend on the same n×n of those that it
    reads. The first such block begins where the first pixel's kernel does, `before` the image.
    """
    stride, (*sides, outputs, inputs) = layer.strides[0], layer.kernel.shape
    before = [max(side - stride, 0) // 2 for side in sides]
    reach = [-(-side // stride) for side in sides]  # n, for each axis
    kernel = keras.ops.convert_to_numpy(layer.kernel)
    missing = [(0, n * stride - side) for n, side in zip(reach, sides, strict=True)]
    kernel = np.pad(kernel, [*missing, (0, 0), (0, 0)])
    kernel = kernel.reshape(reach[0], stride, reach[1], stride, outputs, inputs)
    # What lies before has the later part of its kernel here.
    kernel = kernel[::-1, :, ::-1].transpose(0, 2, 5, 1, 3, 4)
    kernel = kernel.reshape(*reach, inputs, stride * stride * outputs)
    bias = np.zeros(outputs, np.float32)
    if layer.use_bias:
        bias = keras.ops.convert_to_numpy(layer.bias)
    around = [[0, 0], *([n - 1, n - 1] for n in reach), [0, 0]]

    def call(images):
        blocks = tf.nn.conv2d(tf.pad(images, around), kernel, 1, "VALID")
        pixels = tf.nn.depth_to_space(blocks + np.tile(bias, stride * stride), stride)
        rows, columns = (
            slice(first, first + stride * side)
            for first, side in zip(before, images.shape[1:3], strict=True)
        )
        return layer.activation(pixels[:, rows, columns])

    return call


def _hard_swish(x):
    # Not x * (relu6(x + 3) / 6), by which the converter would know it.
    return tf.nn.relu6(x + 3.0) * (x / 6.0)

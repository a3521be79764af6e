"""k×1 and 1×k convolutions on CPUs, several times as fast, with the same results up to rounding.

oneDNN, whose kernels TensorFlow uses on CPUs, computes a convolution with a long kernel over a map
of two axes as a matrix product over copies of the map; over a map of one axis it computes it
directly. A 1×k convolution sees each row by itself, so the rows of a batch may as well be a batch
of rows, and the columns likewise for k×1. `benchmarks/line_convolutions.py` shows both.
"""

import contextlib
from collections.abc import Iterator

import keras

# With fewer input channels there is nothing to gain.
FEWEST_CHANNELS = 128


def convolve_along_lines(model: keras.Model) -> int:
    """Lets a model compute its 1×k and k×1 convolutions line by line, where that is faster.

    Only the computation within this process changes, not what is saved. Nothing is done where
    TensorFlow has a GPU, or where Keras computes with something else.

    Args:
        model: any functional model.

    Returns:
        How many layers compute that way now.
    """
    if keras.backend.backend() != "tensorflow":
        return 0
    import tensorflow as tf

    if tf.config.list_physical_devices("GPU"):
        return 0
    changed = 0
    for layer in model.layers:
        if type(layer) is keras.layers.Conv2D and _is_line(layer):
            # Keras' own place for another way to compute a convolution.
            layer.convolution_op = _by_rows if layer.kernel_size[0] == 1 else _by_columns
            changed += 1
    return changed


@contextlib.contextmanager
def by_lines(model: keras.Model) -> Iterator[None]:
    """Within its block a model computes as by `convolve_along_lines`, and afterwards as before."""
    others = [layer for layer in model.layers if "convolution_op" not in vars(layer)]
    convolve_along_lines(model)
    try:
        yield
    finally:
        for layer in others:
            vars(layer).pop("convolution_op", None)


def _is_line(layer) -> bool:
    return (
        min(layer.kernel_size) == 1
        and max(layer.kernel_size) > 1
        and layer.kernel.shape[2] >= FEWEST_CHANNELS
        and layer.padding == "same"
        and layer.data_format == "channels_last"
        and {*layer.strides, *layer.dilation_rate, layer.groups} == {1}
    )


def _by_rows(images, kernel):
    """1×k: `[B, H, W, C]` as `[B·H, 1, W, C]`."""
    import tensorflow as tf

    kernel = keras.ops.convert_to_tensor(kernel)  # in the type that is computed in
    batch, height, width = tf.unstack(tf.shape(images)[:3])
    rows = tf.reshape(images, (batch * height, 1, width, images.shape[-1]))
    rows = tf.nn.conv2d(rows, kernel, 1, "SAME")
    return tf.reshape(rows, (batch, height, width, kernel.shape[-1]))


def _by_columns(images, kernel):
    """k×1: the same with the axes exchanged."""
    import tensorflow as tf

    kernel = tf.transpose(keras.ops.convert_to_tensor(kernel), (1, 0, 2, 3))
    exchanged = _by_rows(tf.transpose(images, (0, 2, 1, 3)), kernel)
    return tf.transpose(exchanged, (0, 2, 1, 3))

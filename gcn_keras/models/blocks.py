"""The paper's two blocks and their rivals, as functions on Keras' functional API.

They are made of built-in layers only, so `model.summary()` reads like the paper's figures and a
saved model loads in plain Keras.
"""

import keras

from pipelines.base.numeric import is_integer


def global_convolution(
    x: keras.KerasTensor, filters: int, kernel_size: int, name: str
) -> keras.KerasTensor:
    """Global Convolutional Network block: a k×k view for O(2/k) of its cost (Figure 2 B).

    Two separable branches, k×1 then 1×k and 1×k then k×1, are summed. There is no nonlinearity
    and no batch norm inside: the block is one linear map. From a channel to another it is a k×k
    kernel that is the sum of `filters` separable ones of each branch, so of rank 2·`filters` at
    most.

    Args:
        x: map `[B, H, W, C]`.
        filters: output channels; the paper uses the number of classes.
        kernel_size: odd k, so that the output stays aligned with the input.
        name: prefix of the layers' names.

    Returns:
        Map `[B, H, W, filters]`.

    Raises:
        ValueError: if `kernel_size` is not a positive odd integer.
    """
    k = odd_kernel_size(kernel_size)
    left = _convolution(filters, (k, 1), f"{name}_left_1")(x)
    left = _convolution(filters, (1, k), f"{name}_left_2")(left)
    right = _convolution(filters, (1, k), f"{name}_right_1")(x)
    right = _convolution(filters, (k, 1), f"{name}_right_2")(right)
    return keras.layers.Add(name=f"{name}_sum")([left, right])


def boundary_refinement(x: keras.KerasTensor, name: str) -> keras.KerasTensor:
    """Boundary Refinement block: S + conv3×3(ReLU(conv3×3(S))) (Figure 2 C).

    The last convolution starts at zero, so that before training the block passes scores through
    unchanged: nine random blocks in a row would garble them (our choice; the paper names no
    initialisation).

    Args:
        x: score map S, `[B, H, W, C]`.
        name: prefix of the layers' names.

    Returns:
        Score map `[B, H, W, C]`.
    """
    channels = x.shape[-1]
    residual = _convolution(channels, (3, 3), f"{name}_conv1")(x)
    residual = keras.layers.ReLU(name=f"{name}_relu")(residual)
    residual = _convolution(channels, (3, 3), f"{name}_conv2", "zeros")(residual)
    return keras.layers.Add(name=f"{name}_sum")([x, residual])


def plain_convolution(
    x: keras.KerasTensor, filters: int, kernel_size: int, name: str
) -> keras.KerasTensor:
    """One k×k convolution: GCN's rival in Table 2 and, with k = 1, the baseline of Table 1.

    Arguments, result and errors as in `global_convolution`.
    """
    k = odd_kernel_size(kernel_size)
    return _convolution(filters, (k, k), f"{name}_conv")(x)


def convolution_stack(
    x: keras.KerasTensor, filters: int, kernel_size: int, name: str, width: int | None = None
) -> keras.KerasTensor:
    """(k - 1) / 2 convolutions 3×3, which together reach k×k: GCN's rival in Tables 3 and 4.

    As in the paper there is no nonlinearity between them. `width` are the channels between the
    convolutions, m in Table 4; None keeps those of `x`. Other arguments and the result are as in
    `global_convolution`.

    Raises:
        ValueError: if `kernel_size` is not an odd integer of at least 3.
    """
    k = odd_kernel_size(kernel_size)
    if k < 3:
        raise ValueError(f"a stack of 3x3 convolutions reaches at least 3 pixels: kernel_size={k}")
    channels = [x.shape[-1] if width is None else width] * ((k - 3) // 2) + [filters]
    for i, size in enumerate(channels, 1):
        x = _convolution(size, (3, 3), f"{name}_conv{i}")(x)
    return x


def odd_kernel_size(kernel_size: int) -> int:
    """Returns `kernel_size` if it is a positive odd integer; else a ValueError."""
    if not is_integer(kernel_size) or kernel_size < 1 or kernel_size % 2 == 0:
        raise ValueError(
            f"kernel_size must be a positive odd integer, so that the output stays aligned with "
            f"the input: received {kernel_size!r}"
        )
    return int(kernel_size)


def _convolution(filters, kernel_size, name, initializer="glorot_uniform"):
    return keras.layers.Conv2D(
        filters, kernel_size, padding="same", kernel_initializer=initializer, name=name
    )

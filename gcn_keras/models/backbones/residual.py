"""Residual networks of this project's own, for small images and small data sets."""

import keras

from gcn_keras.models.backbones import Backbone, Pyramid

_Kernel = int | tuple[int, int]


def build(backbone: Backbone, x: keras.KerasTensor, weights: None = None) -> Pyramid:
    """See `backbones.build`."""
    stem, block = _PARTS[backbone.name]
    x = stem(x)
    pyramid = {}
    for level, filters, count in zip(range(2, 6), backbone.channels, backbone.blocks, strict=True):
        for i in range(1, count + 1):
            stride = 2 if level > 2 and i == 1 else 1
            x = block(x, filters, stride, f"p{level}_block{i}")
        pyramid[f"P{level}"] = x
    return pyramid


def _slim_stem(x):
    """With it, ResNet-18 (He et al. 2015, Table 1) at half its width has 2.8 M parameters."""
    x = conv_bn_relu(x, 32, 3, 2, "stem")
    return keras.layers.MaxPooling2D(3, strides=2, padding="same", name="stem_pool")(x)


def _tiny_stem(x):
    x = conv_bn_relu(x, 16, 3, 2, "stem_1")
    return conv_bn_relu(x, 32, 3, 2, "stem_2")


def _nearsighted_stem(x):
    """Stride 2, so that what lies beyond 35 pixels must come from the head: on a 128×128 image
    P5 is 8×8, where k = 15 reaches from every position to every other, and k = 7 does not."""
    return conv_bn_relu(x, 16, 3, 2, "stem")


def _basic_block(x, filters, stride, name):
    y = conv_bn_relu(x, filters, 3, stride, f"{name}_1")
    y = conv_bn(y, filters, 3, 1, f"{name}_2")
    return residual_sum(x, y, stride, name)


def _bottleneck_block(x, filters, stride, name):
    width = max(filters // 2, 16)
    y = conv_bn_relu(x, width, 1, 1, f"{name}_1")
    y = conv_bn_relu(y, width, 3, stride, f"{name}_2")
    y = conv_bn(y, filters, 1, 1, f"{name}_3")
    return residual_sum(x, y, stride, name)


# What stands before the stages, and what they are made of.
_PARTS = {
    "resnet18_slim": (_slim_stem, _basic_block),
    "resnet14_tiny": (_tiny_stem, _basic_block),
    "resnet_nearsighted": (_nearsighted_stem, _bottleneck_block),
}


def residual_sum(
    x: keras.KerasTensor, y: keras.KerasTensor, stride: int, name: str
) -> keras.KerasTensor:
    """ReLU(x + y); where shapes differ, x goes through a 1×1 convolution with batch norm."""
    if stride != 1 or x.shape[-1] != y.shape[-1]:
        x = conv_bn(x, y.shape[-1], 1, stride, f"{name}_shortcut")
    return keras.layers.ReLU(name=f"{name}_out")(keras.layers.Add(name=f"{name}_sum")([x, y]))


def conv_bn(
    x: keras.KerasTensor, filters: int, kernel_size: _Kernel, stride: _Kernel, name: str
) -> keras.KerasTensor:
    """Convolution without bias, and batch norm."""
    x = keras.layers.Conv2D(
        filters,
        kernel_size,
        strides=stride,
        padding="same",
        use_bias=False,
        kernel_initializer="he_normal",
        name=f"{name}_conv",
    )(x)
    return keras.layers.BatchNormalization(name=f"{name}_bn")(x)


def conv_bn_relu(
    x: keras.KerasTensor, filters: int, kernel_size: _Kernel, stride: _Kernel, name: str
) -> keras.KerasTensor:
    """Convolution without bias, batch norm and ReLU."""
    x = conv_bn(x, filters, kernel_size, stride, name)
    return keras.layers.ReLU(name=f"{name}_relu")(x)

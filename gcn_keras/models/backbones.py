"""Backbones: functions from an image to a pyramid `{"P2": ..., "P3": ..., "P4": ..., "P5": ...}`.

Every backbone takes a normalised image `[B, H, W, 3]` (a Keras tensor) and gives four maps, each
at half the resolution of the one before. A ResNet's P2 has stride 4, its P5 stride 32.

    resnet50, resnet101, resnet152   keras.applications; ImageNet weights
    resnet50_gcn                     ResNet-50 with large kernels in res-4 and res-5 (Table 11)
    resnet18, resnet34               keras-cv (imported only when asked for; needs TensorFlow)
    resnet18_slim                    basic blocks at half the width, for small data sets
    resnet14_tiny                    32 to 88 channels, for small images
    resnet_nearsighted               one bottleneck a stage, stem stride 2: a P5 pixel is 16
                                     pixels wide and sees 35
"""

from pathlib import Path

import keras
import numpy as np
from keras import layers

from pipelines.base.imagenet import STD_RGB

# Constructor, blocks in each stage, and MD5 of the weights without top that Keras publishes.
_APPLICATIONS = {
    "resnet50": (
        keras.applications.ResNet50,
        (3, 4, 6, 3),
        "4d473c1dd8becc155b73f8504c6f6626",
    ),
    "resnet101": (
        keras.applications.ResNet101,
        (3, 4, 23, 3),
        "88cf7a10940856eca736dc7b7e228a21",
    ),
    "resnet152": (
        keras.applications.ResNet152,
        (3, 8, 36, 3),
        "ee4c566cf9a93f14d82f913c2dc6dd0c",
    ),
}
# Basic blocks in each stage.
_KERAS_CV = {"resnet18": (2, 2, 2, 2), "resnet34": (3, 4, 6, 3)}
_WEIGHTS_PAGE = "https://storage.googleapis.com/tensorflow/keras-applications/resnet/"


def build(name: str, x, weights: str | None = None) -> dict:
    """Builds the backbone called `name` on top of `x`.

    Args:
        name: one of `NAMES`.
        x: normalised image `[B, H, W, 3]`: (RGB - MEAN_RGB) / STD_RGB, both of
            `pipelines.base.imagenet`.
        weights: None for random weights; for resnet50, resnet101 and resnet152 also "imagenet",
            or the path of the `*_notop.h5` file that Keras publishes.

    Returns:
        `{"P2": ..., "P3": ..., "P4": ..., "P5": ...}`.

    Raises:
        ValueError: unknown name, or weights that this backbone has not.
    """
    if name not in NAMES:
        raise ValueError(f"unknown backbone {name!r}: choose one of {', '.join(NAMES)}")
    if name in _APPLICATIONS:
        return _applications_resnet(name, x, weights)
    if weights is not None:
        raise ValueError(
            f"there are no published weights for backbone {name!r}, received weights={weights!r}: "
            f"choose one of {', '.join(_APPLICATIONS)}, or weights=None"
        )
    if name in _KERAS_CV:
        return _keras_cv_resnet(name, x)
    return _OWN[name](x)


def _applications_resnet(name, x, weights) -> dict:
    constructor, blocks, md5 = _APPLICATIONS[name]
    path = _imagenet_file(name, md5) if weights == "imagenet" else weights
    network = constructor(include_top=False, weights=None, input_tensor=x)
    if path is not None:
        _load_imagenet(network, constructor, path)
    stages = zip(range(2, 6), blocks, strict=True)
    return {f"P{i}": network.get_layer(f"conv{i}_block{n}_out").output for i, n in stages}


def _imagenet_file(name, md5) -> str:
    file = f"{name}_weights_tf_dim_ordering_tf_kernels_notop.h5"
    try:
        return keras.utils.get_file(
            file, _WEIGHTS_PAGE + file, cache_subdir="models", file_hash=md5
        )
    except Exception as error:  # urllib, socket and hash errors have no common base
        raise ValueError(
            f"the ImageNet weights of {name} could not be downloaded ({error}): fetch "
            f"{_WEIGHTS_PAGE}{file} by hand and give its path as weights"
        ) from error


def _load_imagenet(network, constructor, path) -> None:
    """Copies published weights into `network`, made fit for RGB images of unit variance.

    The published first kernel expects BGR minus the mean. Its input channels are flipped once
    here and scaled by the standard deviation that the model's `Normalization` divides by, so the
    network computes exactly what it did on ImageNet.
    """
    if not Path(path).is_file():
        raise ValueError(f"no weights file at {path}")
    try:
        published = constructor(include_top=False, weights=str(path))
    except (OSError, ValueError, KeyError) as error:
        raise ValueError(f"{path} holds no weights of {network.name} without top: {error}") from (
            error
        )
    for layer in published.layers:
        if not layer.weights:
            continue
        values = layer.get_weights()
        if layer.name == "conv1_conv":
            scale = np.reshape(STD_RGB, (1, 1, 3, 1))
            values[0] = values[0][:, :, ::-1, :] * scale
        network.get_layer(layer.name).set_weights(values)


def _keras_cv_resnet(name, x) -> dict:
    try:
        import keras_cv
    except ImportError as error:
        raise ValueError(f"backbone {name!r} needs the package keras-cv ({error})") from error
    # ResNet18Backbone and ResNet34Backbone would fetch this configuration from Kaggle.
    network = keras_cv.models.ResNetBackbone(
        stackwise_filters=[64, 128, 256, 512],
        stackwise_blocks=_KERAS_CV[name],
        stackwise_strides=[1, 2, 2, 2],
        include_rescaling=False,
        block_type="basic_block",
        input_tensor=x,
    )
    return {
        level: network.get_layer(layer).output
        for level, layer in network.pyramid_level_inputs.items()
    }


def _resnet50_gcn(x) -> dict:
    """ResNet50-GCN (Figure 5, Table 11): large kernels in res-4 and res-5.

    Stem, res-2 and res-3 are those of Keras' ResNet-50, with their names. Our choice is where the
    stride sits, of which the paper says only that a convolution has it: each axis is halved by the
    convolutions along that axis, (1×k, stride 1×2) and (k×1, stride 2×1). So both branches see
    every pixel of the map; a 1×k convolution of stride 2×2 would pass over every other row.

    Multiply-adds of the convolutions at 224×224: 3,765 M; 3,589 M with strides of 2×2. Table 11
    has 3,700 M, and the same for ResNet-50, where Keras' takes 3,856 M.
    """
    # Of Keras' network only what leads to P2 and P3 becomes part of the model.
    pyramid = _applications_resnet("resnet50", x, weights=None)
    x = pyramid["P3"]
    stages = ((4, 1024, 85, 5, 6), (5, 2048, 128, 7, 3))  # Table 11
    for level, filters, width, kernel_size, count in stages:
        for i in range(1, count + 1):
            stride = 2 if i == 1 else 1
            x = _gcn_bottleneck(x, filters, width, kernel_size, stride, f"conv{level}_block{i}")
        pyramid[f"P{level}"] = x
    return pyramid


def _gcn_bottleneck(x, filters, width, k, stride, name):
    """Figure 5 B: two branches of large kernels, each convolution with batch norm and ReLU."""
    left = _conv_bn_relu(x, width, (1, k), (1, stride), f"{name}_left_1")
    left = _conv_bn_relu(left, width, (k, 1), (stride, 1), f"{name}_left_2")
    right = _conv_bn_relu(x, width, (k, 1), (stride, 1), f"{name}_right_1")
    right = _conv_bn_relu(right, width, (1, k), (1, stride), f"{name}_right_2")
    y = layers.Add(name=f"{name}_branches")([left, right])
    y = _conv_bn(y, filters, 1, 1, f"{name}_3")
    return _residual_sum(x, y, stride, name)


def _resnet18_slim(x) -> dict:
    """ResNet-18 (He et al. 2015, Table 1) at half its width, stem 3×3: 2.8 M parameters."""
    x = _conv_bn_relu(x, 32, 3, 2, "stem")
    x = layers.MaxPooling2D(3, strides=2, padding="same", name="stem_pool")(x)
    return _stages(x, _basic_block, channels=(32, 64, 128, 256), blocks=(2, 2, 2, 2))


def _resnet14_tiny(x) -> dict:
    """One block where maps are large, two where they are small."""
    x = _conv_bn_relu(x, 16, 3, 2, "stem_1")
    x = _conv_bn_relu(x, 32, 3, 2, "stem_2")
    return _stages(x, _basic_block, channels=(32, 64, 88, 88), blocks=(1, 1, 2, 2))


def _resnet_nearsighted(x) -> dict:
    """A backbone that sees little: what lies beyond 35 pixels must come from the head.

    Stem 3×3 with stride 2, then one bottleneck a stage. On a 128×128 image P5 is 8×8: there
    k = 15 reaches from every position to every other, and k = 7 does not.
    """
    x = _conv_bn_relu(x, 16, 3, 2, "stem")
    return _stages(x, _bottleneck_block, channels=(32, 64, 128, 128), blocks=(1, 1, 1, 1))


def _stages(x, block, channels, blocks) -> dict:
    pyramid = {}
    for level, filters, count in zip(range(2, 6), channels, blocks, strict=True):
        for i in range(1, count + 1):
            stride = 2 if level > 2 and i == 1 else 1
            x = block(x, filters, stride, f"p{level}_block{i}")
        pyramid[f"P{level}"] = x
    return pyramid


def _basic_block(x, filters, stride, name):
    y = _conv_bn_relu(x, filters, 3, stride, f"{name}_1")
    y = _conv_bn(y, filters, 3, 1, f"{name}_2")
    return _residual_sum(x, y, stride, name)


def _bottleneck_block(x, filters, stride, name):
    width = max(filters // 2, 16)
    y = _conv_bn_relu(x, width, 1, 1, f"{name}_1")
    y = _conv_bn_relu(y, width, 3, stride, f"{name}_2")
    y = _conv_bn(y, filters, 1, 1, f"{name}_3")
    return _residual_sum(x, y, stride, name)


def _residual_sum(x, y, stride, name):
    if stride != 1 or x.shape[-1] != y.shape[-1]:
        x = _conv_bn(x, y.shape[-1], 1, stride, f"{name}_shortcut")
    return layers.ReLU(name=f"{name}_out")(layers.Add(name=f"{name}_sum")([x, y]))


def _conv_bn(x, filters, kernel_size, stride, name):
    x = layers.Conv2D(
        filters,
        kernel_size,
        strides=stride,
        padding="same",
        use_bias=False,
        kernel_initializer="he_normal",
        name=f"{name}_conv",
    )(x)
    return layers.BatchNormalization(name=f"{name}_bn")(x)


def _conv_bn_relu(x, filters, kernel_size, stride, name):
    x = _conv_bn(x, filters, kernel_size, stride, name)
    return layers.ReLU(name=f"{name}_relu")(x)


_OWN = {
    "resnet50_gcn": _resnet50_gcn,
    "resnet18_slim": _resnet18_slim,
    "resnet14_tiny": _resnet14_tiny,
    "resnet_nearsighted": _resnet_nearsighted,
}
NAMES = (*_APPLICATIONS, *_KERAS_CV, *_OWN)

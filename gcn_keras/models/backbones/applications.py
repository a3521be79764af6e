"""The networks of keras.applications, with the ImageNet weights that Keras publishes."""

import re
import warnings
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import keras
import numpy as np

from gcn_keras.models.backbones import Backbone, Pyramid
from gcn_keras.models.weights import set_weights
from pipelines.base.damage import DAMAGE, reason_of
from pipelines.base.errors import ArgumentError, argument


class _Network(NamedTuple):
    """A network of keras.applications.

    Attributes:
        construct: takes `include_top`, `weights` and `input_tensor`.
        stages: what the names of the layers begin with that lead to P2, P3, P4 and P5; the last
            such layer gives the map.
        file: of the published weights without top, below `_PAGE`.
        options: further arguments of `construct`.
    """

    construct: Callable[..., keras.Model]
    stages: tuple[str, str, str, str]
    file: str
    options: dict[str, bool]


_PAGE = "https://storage.googleapis.com/tensorflow/keras-applications/"


def _resnet(construct, name) -> _Network:
    file = f"resnet/{name}_weights_tf_dim_ordering_tf_kernels_notop.h5"
    return _Network(construct, ("conv2_", "conv3_", "conv4_", "conv5_"), file, {})


def _without_preprocessing(construct, stages, file) -> _Network:
    """What would be the preprocessing is done by the `Normalization` of the model."""
    return _Network(construct, stages, file, {"include_preprocessing": False})


def _mobilenet_v3(construct, size, stages) -> _Network:
    file = f"mobilenet_v3/weights_mobilenet_v3_{size}_224_1.0_float_no_top_v2.h5"
    return _without_preprocessing(construct, (*stages, ""), file)


def _efficientnet_v2(construct, size) -> _Network:
    stages = ("block2", "block3", "block5", "top_activation")
    file = f"efficientnet_v2/efficientnetv2-{size}_notop.h5"
    return _without_preprocessing(construct, stages, file)


_NETWORKS = {
    "resnet50": _resnet(keras.applications.ResNet50, "resnet50"),
    "resnet101": _resnet(keras.applications.ResNet101, "resnet101"),
    "resnet152": _resnet(keras.applications.ResNet152, "resnet152"),
    "mobilenet_v2": _Network(
        keras.applications.MobileNetV2,
        ("block_2_", "block_5_", "block_12_", "out_relu"),
        "mobilenet_v2/mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_224_no_top.h5",
        {},
    ),
    "mobilenet_v3_large": _mobilenet_v3(
        keras.applications.MobileNetV3Large,
        "large",
        ("expanded_conv_2_", "expanded_conv_5_", "expanded_conv_11_"),
    ),
    "mobilenet_v3_small": _mobilenet_v3(
        keras.applications.MobileNetV3Small,
        "small",
        ("expanded_conv_project", "expanded_conv_2_", "expanded_conv_7_"),
    ),
    "efficientnet_v2_b0": _efficientnet_v2(keras.applications.EfficientNetV2B0, "b0"),
    "efficientnet_v2_b1": _efficientnet_v2(keras.applications.EfficientNetV2B1, "b1"),
    "efficientnet_v2_b2": _efficientnet_v2(keras.applications.EfficientNetV2B2, "b2"),
    "efficientnet_v2_b3": _efficientnet_v2(keras.applications.EfficientNetV2B3, "b3"),
    "convnext_tiny": _without_preprocessing(
        keras.applications.ConvNeXtTiny,
        tuple(f"convnext_tiny_stage_{i}_" for i in range(3)) + ("",),
        "convnext/convnext_tiny_notop.h5",
    ),
}


def build(backbone: Backbone, x: keras.KerasTensor, weights: str | Path | None = None) -> Pyramid:
    """See `backbones.build`."""
    network = _NETWORKS[backbone.name]
    # Loaded first: this may fail.
    published = None if weights is None else _own_layers(_published(backbone, network, weights))
    model = network.construct(include_top=False, weights=None, input_tensor=x, **network.options)
    layers = _own_layers(model)
    if published is not None:
        if backbone.blocks:
            _expect_rgb(published, backbone)
        for layer, source in zip(layers, published, strict=True):
            set_weights(layer, source.get_weights())
    ends = [
        max(i for i, layer in enumerate(layers) if layer.name.startswith(beginning))
        for beginning in network.stages
    ]
    pyramid = {f"P{level}": _output(model, layers[end]) for level, end in enumerate(ends, 2)}
    if not backbone.blocks:
        _name_by_stage(layers, ends)
    return pyramid


def _output(model: keras.Model, layer: keras.layers.Layer) -> keras.KerasTensor:
    """What a stage gives that ends with a layer, and with the operations after it that are none:
    ConvNeXt adds what comes into a block to what the block's last layer gives."""
    output = layer.output
    for operation in model.operations[model.operations.index(layer) + 1 :]:
        if isinstance(operation, keras.layers.Layer):
            break
        output = operation.output
    return output


def _own_layers(model: keras.Model) -> list[keras.layers.Layer]:
    """A network's layers without what stands before it."""
    before = keras.layers.InputLayer, keras.layers.Normalization
    return [layer for layer in model.layers if not isinstance(layer, before)]


def _name_by_stage(layers: list[keras.layers.Layer], ends: list[int]) -> None:
    """Gives layers names as those of this project's own: "p3_…" leads to P3.

    Keras numbers some layers of these networks through the whole process; here they are numbered
    from the network's beginning, so that equal networks have equal names.
    """
    counts: Counter[str] = Counter()
    for number, layer in enumerate(layers):
        level = 2 + sum(number > end for end in ends[:-1])
        name = re.sub(r"_\d+$", "", layer.name)
        if name.replace("_", "") == type(layer).__name__.lower():
            counts[name] += 1
            layer.name = f"p{level}_{name}_{counts[name]}"
        else:
            layer.name = f"p{level}_{layer.name}"


def _published(backbone: Backbone, network: _Network, weights: str | Path) -> keras.Model:
    """The network with the weights of a file, or those that Keras downloads."""
    load = partial(network.construct, include_top=False, weights=weights, **network.options)
    if weights == "imagenet":
        try:
            with warnings.catch_warnings():  # Keras warns of weights that fit every size
                warnings.filterwarnings("ignore", "`input_shape` is undefined")
                return load()
        except Exception as error:  # urllib, socket and hash errors have no common base
            raise ArgumentError(
                "weights",
                f"imagenet of {backbone.name} could not be downloaded ({error}): fetch "
                f"{_PAGE}{network.file} by hand and give {argument('weights')} its path; "
                f"{argument('weights')} None begins with random ones",
            ) from error
    if not Path(weights).is_file():
        raise ValueError(f"no weights file at {weights}")
    try:
        return load()
    except DAMAGE as error:
        raise ValueError(
            f"{weights} holds no weights of {backbone.name} without top: {reason_of(error)}"
        ) from error


def _expect_rgb(layers: list[keras.layers.Layer], backbone: Backbone) -> None:
    """Turns the first kernel of Keras' ResNets, which expects BGR minus the mean.

    Its input channels are flipped and scaled by the standard deviation that the model's
    `Normalization` divides by, so the network computes exactly what it did on ImageNet.
    """
    first = next(layer for layer in layers if layer.name == "conv1_conv")
    kernel, bias = first.get_weights()
    first.set_weights([kernel[:, :, ::-1, :] * np.reshape(backbone.std, (1, 1, 3, 1)), bias])

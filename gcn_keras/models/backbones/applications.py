"""The ResNets of keras.applications, with the ImageNet weights that Keras publishes."""

from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np

from gcn_keras.models.backbones import Backbone, Pyramid
from pipelines.base.damage import DAMAGE, reason_of
from pipelines.base.imagenet import STD_RGB

# Constructor, and MD5 of the weights without top that Keras publishes.
_PUBLISHED = {
    "resnet50": (keras.applications.ResNet50, "4d473c1dd8becc155b73f8504c6f6626"),
    "resnet101": (keras.applications.ResNet101, "88cf7a10940856eca736dc7b7e228a21"),
    "resnet152": (keras.applications.ResNet152, "ee4c566cf9a93f14d82f913c2dc6dd0c"),
}
_WEIGHTS_PAGE = "https://storage.googleapis.com/tensorflow/keras-applications/resnet/"


def build(backbone: Backbone, x: keras.KerasTensor, weights: str | None = None) -> Pyramid:
    """See `backbones.build`."""
    constructor, md5 = _PUBLISHED[backbone.name]
    path = _imagenet_file(backbone.name, md5) if weights == "imagenet" else weights
    network = constructor(include_top=False, weights=None, input_tensor=x)
    if path is not None:
        _load_imagenet(network, constructor, path)
    stages = zip(range(2, 6), backbone.blocks, strict=True)
    return {f"P{i}": network.get_layer(f"conv{i}_block{n}_out").output for i, n in stages}


def _imagenet_file(name: str, md5: str) -> str:
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


def _load_imagenet(network: keras.Model, constructor: Callable, path: str) -> None:
    """Copies published weights into `network`, made fit for RGB images of unit variance.

    The published first kernel expects BGR minus the mean. Its input channels are flipped once
    here and scaled by the standard deviation that the model's `Normalization` divides by, so the
    network computes exactly what it did on ImageNet.
    """
    if not Path(path).is_file():
        raise ValueError(f"no weights file at {path}")
    try:
        published = constructor(include_top=False, weights=str(path))
    except DAMAGE as error:
        reason = reason_of(error)
        raise ValueError(f"{path} holds no weights of {network.name} without top: {reason}") from (
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

"""Large Kernel Matters (Peng et al. 2017) in Keras 3: train, evaluate and export GCN + BR.

    model = gcn_keras.gcn(num_classes=21, backbone="resnet50", kernel_size=15)
    labels = gcn_keras.segment(model, images)

The names are imported when they are first used, so that commands can refuse a wrong option
without waiting for TensorFlow.
"""

import importlib

_HOMES = {
    "gcn": "gcn_keras.model",
    "segment": "gcn_keras.inference",
    "probabilities": "gcn_keras.inference",
    "load_image": "gcn_keras.images",
    "overlay": "gcn_keras.images",
    "ConfusionMatrix": "gcn_keras.metrics",
    "PixelCrossentropy": "gcn_keras.losses",
    "Recipe": "gcn_keras.recipes",
    "RECIPES": "gcn_keras.recipes",
}
__all__ = [*_HOMES, "blocks"]


def __getattr__(name):
    if name == "blocks":
        return importlib.import_module("gcn_keras.blocks")
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__():
    return sorted(__all__)

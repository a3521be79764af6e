"""Large Kernel Matters (Peng et al. 2017) in Keras 3: train, evaluate and export GCN + BR.

    model = gcn_keras.gcn(num_classes=21, backbone="resnet50", kernel_size=15)
    labels = gcn_keras.segment(model, images)

The names are imported when they are first used, so that commands can refuse a wrong option
without waiting for TensorFlow.
"""

import importlib

_HOMES = {
    "gcn": "gcn_keras.models.gcn",
    "segment": "gcn_keras.inference.keras_model",
    "probabilities": "gcn_keras.inference.keras_model",
    "load_image": "gcn_keras.inference.images",
    "overlay": "gcn_keras.inference.images",
    "ConfusionMatrix": "gcn_keras.evaluation.metrics",
    "PixelCrossentropy": "gcn_keras.training.losses",
    "Recipe": "gcn_keras.recipes.recipe",
    "RECIPES": "gcn_keras.recipes.catalogue",
}
__all__ = [*_HOMES, "blocks"]


def __getattr__(name):
    if name == "blocks":
        return importlib.import_module("gcn_keras.models.blocks")
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__():
    return sorted(__all__)

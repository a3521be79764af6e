"""Large Kernel Matters (Peng et al. 2017) in Keras 3: train, evaluate and export GCN + BR.

    model = gcn_keras.gcn(num_classes=21, backbone="resnet50", kernel_size=15)
    labels = gcn_keras.segment(model, images)

The names are imported when they are first used, so that commands can refuse a wrong option
without waiting for TensorFlow.
"""

import pkgutil
from typing import TYPE_CHECKING, Any

from pipelines.base.environment import installed_version

if TYPE_CHECKING:  # what editors and type checkers see; the same as _HOMES
    from gcn_keras.evaluation.mean_iou import MeanIoU as MeanIoU
    from gcn_keras.evaluation.metrics import ConfusionMatrix as ConfusionMatrix
    from gcn_keras.inference.images import load_image as load_image
    from gcn_keras.inference.keras_file import save_model as save_model
    from gcn_keras.inference.keras_model import load_model as load_model
    from gcn_keras.inference.keras_model import probabilities as probabilities
    from gcn_keras.inference.keras_model import segment as segment
    from gcn_keras.inference.overlays import overlay as overlay
    from gcn_keras.inference.padding import pad_to_stride as pad_to_stride
    from gcn_keras.inference.segmenters import open_segmenter as open_segmenter
    from gcn_keras.inference.serving_client import Client as Client
    from gcn_keras.models import blocks as blocks
    from gcn_keras.models.gcn import gcn as gcn
    from gcn_keras.recipes.catalogue import RECIPES as RECIPES
    from gcn_keras.recipes.recipe import ClassificationRecipe as ClassificationRecipe
    from gcn_keras.recipes.recipe import Recipe as Recipe
    from gcn_keras.recipes.recipe import SegmentationRecipe as SegmentationRecipe
    from gcn_keras.training.losses import PixelCrossentropy as PixelCrossentropy
    from pipelines import datasets
    from pipelines.stream.evaluation import evaluation_examples as evaluation_examples
    from pipelines.stream.segmentation import training_batches as training_batches

    load_dataset = datasets.load
    __version__: str

# Where each name is, for `pkgutil.resolve_name`.
_HOMES = {
    "ClassificationRecipe": "gcn_keras.recipes.recipe:ClassificationRecipe",
    "Client": "gcn_keras.inference.serving_client:Client",
    "ConfusionMatrix": "gcn_keras.evaluation.metrics:ConfusionMatrix",
    "MeanIoU": "gcn_keras.evaluation.mean_iou:MeanIoU",
    "PixelCrossentropy": "gcn_keras.training.losses:PixelCrossentropy",
    "RECIPES": "gcn_keras.recipes.catalogue:RECIPES",
    "Recipe": "gcn_keras.recipes.recipe:Recipe",
    "SegmentationRecipe": "gcn_keras.recipes.recipe:SegmentationRecipe",
    "blocks": "gcn_keras.models.blocks:",
    "evaluation_examples": "pipelines.stream.evaluation:evaluation_examples",
    "gcn": "gcn_keras.models.gcn:gcn",
    "load_dataset": "pipelines.datasets:load",
    "load_image": "gcn_keras.inference.images:load_image",
    "load_model": "gcn_keras.inference.keras_model:load_model",
    "open_segmenter": "gcn_keras.inference.segmenters:open_segmenter",
    "overlay": "gcn_keras.inference.overlays:overlay",
    "pad_to_stride": "gcn_keras.inference.padding:pad_to_stride",
    "probabilities": "gcn_keras.inference.keras_model:probabilities",
    "save_model": "gcn_keras.inference.keras_file:save_model",
    "segment": "gcn_keras.inference.keras_model:segment",
    "training_batches": "pipelines.stream.segmentation:training_batches",
}

__all__ = [*_HOMES]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return installed_version("gcn_keras")
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return pkgutil.resolve_name(_HOMES[name])


def __dir__() -> list[str]:
    return sorted(__all__)

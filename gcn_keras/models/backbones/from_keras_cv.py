"""The ResNets of keras-cv: all that this project takes from that package."""

import keras

from gcn_keras.models.backbones import Backbone, Pyramid
from pipelines.base import extras
from pipelines.base.errors import ArgumentError, UserError


def build(backbone: Backbone, x: keras.KerasTensor, weights: None = None) -> Pyramid:
    """See `backbones.build`."""
    try:
        keras_cv = extras.require(f"{backbone.name} needs", "keras_cv")
    except UserError as error:
        raise ArgumentError("backbone", str(error)) from error
    # ResNet18Backbone and ResNet34Backbone would fetch this configuration from Kaggle.
    network = keras_cv.models.ResNetBackbone(
        stackwise_filters=list(backbone.channels),
        stackwise_blocks=backbone.blocks,
        stackwise_strides=[1, 2, 2, 2],
        include_rescaling=False,
        block_type="basic_block",
        input_tensor=x,
    )
    return {
        level: network.get_layer(layer).output
        for level, layer in network.pyramid_level_inputs.items()
    }

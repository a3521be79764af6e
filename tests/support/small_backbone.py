"""A backbone for tests alone: a convolution a stage, so that little time goes into making models.

Importing this adds it to those of the package, which must be before the recipes are imported.
"""

import sys

from gcn_keras.models import backbones
from gcn_keras.models.backbones import Backbone

NAME = "small"


def build(backbone: Backbone, x, weights: None = None) -> backbones.Pyramid:
    """See `backbones.build`; names and layers are those of the package's own ResNets."""
    from gcn_keras.models.backbones.residual import conv_bn_relu

    pyramid = {}
    for level, filters in zip(range(2, 6), backbone.channels, strict=True):
        x = conv_bn_relu(x, filters, 3, 2, f"p{level}_block1_1")
        pyramid[f"P{level}"] = x
    return pyramid


# The package looks for a backbone's module within itself.
sys.modules[f"{backbones.__name__}.{NAME}"] = sys.modules[__name__]
backbones.BACKBONES[NAME] = Backbone(NAME, NAME, (1, 1, 1, 1), (16, 32, 64, 64), p2_stride=2)
backbones.NAMES = tuple(backbones.BACKBONES)

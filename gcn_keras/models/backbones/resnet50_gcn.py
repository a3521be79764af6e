"""ResNet50-GCN (Figure 5, Table 11): large kernels in res-4 and res-5.

Stem, res-2 and res-3 are those of Keras' ResNet-50, with their names. Our choice is where the
stride sits, of which the paper says only that a convolution has it: each axis is halved by the
convolutions along that axis, (1×k, stride 1×2) and (k×1, stride 2×1). So both branches see every
pixel of the map; a 1×k convolution of stride 2×2 would pass over every other row.

Multiply-adds of the convolutions at 224×224: 3,765 M; 3,589 M with strides of 2×2. Table 11 has
3,700 M, and the same for ResNet-50, where Keras' takes 3,856 M.
"""

import keras

from gcn_keras.models.backbones import BACKBONES, Backbone, Pyramid, applications
from gcn_keras.models.backbones.residual import conv_bn, conv_bn_relu, residual_sum

_WIDTHS_AND_KERNELS = {4: (85, 5), 5: (128, 7)}  # Table 11


def build(backbone: Backbone, x: keras.KerasTensor, weights: None = None) -> Pyramid:
    """See `backbones.build`."""
    # Of Keras' network only what leads to P2 and P3 becomes part of the model.
    pyramid = applications.build(BACKBONES["resnet50"], x)
    x = pyramid["P3"]
    for level, (width, kernel_size) in _WIDTHS_AND_KERNELS.items():
        filters = backbone.channels[level - 2]
        for i in range(1, backbone.blocks[level - 2] + 1):
            stride = 2 if i == 1 else 1
            x = _gcn_bottleneck(x, filters, width, kernel_size, stride, f"conv{level}_block{i}")
        pyramid[f"P{level}"] = x
    return pyramid


def _gcn_bottleneck(x, filters, width, k, stride, name):
    """Figure 5 B: two branches of large kernels, each convolution with batch norm and ReLU."""
    left = conv_bn_relu(x, width, (1, k), (1, stride), f"{name}_left_1")
    left = conv_bn_relu(left, width, (k, 1), (stride, 1), f"{name}_left_2")
    right = conv_bn_relu(x, width, (k, 1), (stride, 1), f"{name}_right_1")
    right = conv_bn_relu(right, width, (1, k), (1, stride), f"{name}_right_2")
    y = keras.layers.Add(name=f"{name}_branches")([left, right])
    y = conv_bn(y, filters, 1, 1, f"{name}_3")
    return residual_sum(x, y, stride, name)

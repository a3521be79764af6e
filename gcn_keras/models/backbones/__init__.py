"""Backbones: functions from an image to a pyramid `{"P2": ..., "P3": ..., "P4": ..., "P5": ...}`.

Every backbone takes a normalised image `[B, H, W, 3]` (a Keras tensor) and gives four maps, each
at half the resolution of the one before. What is known of each without building it is in
`BACKBONES`: Keras is not imported before a network is built.

    resnet50, resnet101, resnet152   keras.applications; ImageNet weights
    resnet18, resnet34               keras-cv (an extra; needs TensorFlow)
    resnet50_gcn                     ResNet-50 with large kernels in res-4 and res-5 (Table 11)
    resnet18_slim                    basic blocks at half the width, for small data sets
    resnet14_tiny                    32 to 88 channels, for small images
    resnet_nearsighted               one bottleneck a stage, stem stride 2: a P5 pixel is 16
                                     pixels wide and sees 35
    mobilenet_v2, mobilenet_v3_large, mobilenet_v3_small   keras.applications; ImageNet weights
    efficientnet_v2_b0 … b3, convnext_tiny                 likewise
"""

import importlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from gcn_keras.models.layer_names import NORMALIZATION
from pipelines.base import extras
from pipelines.base.errors import ArgumentError
from pipelines.base.imagenet import MEAN_RGB, STD_RGB

if TYPE_CHECKING:
    import keras

Pyramid = dict[str, "keras.KerasTensor"]


@dataclass(frozen=True)
class Backbone:
    """A network that makes four maps of an image.

    Attributes:
        name: as options and models name it.
        module: of this package; its `build` takes this object, an image and weights.
        blocks: number of residual blocks in each stage of a ResNet.
        channels: of P2, P3, P4 and P5.
        p2_stride: pixels of the image to a pixel of P2, a power of two.
        has_imagenet_weights: whether Keras publishes weights of it.
        package: the module of another package that builds it, an extra of this one.
        mean, std: of RGB on the scale 0…255; the backbone takes (RGB - mean) / std.
    """

    name: str
    module: str
    blocks: tuple[int, ...]
    channels: tuple[int, int, int, int]
    p2_stride: int = 4
    has_imagenet_weights: bool = False
    package: str | None = None
    mean: tuple[float, float, float] = MEAN_RGB
    std: tuple[float, float, float] = STD_RGB

    @property
    def p5_stride(self) -> int:
        """Pixels of the image to a pixel of P5."""
        return 8 * self.p2_stride


def _application(name, channels, mean, std) -> Backbone:
    return Backbone(
        name, "applications", (), channels, has_imagenet_weights=True, mean=mean, std=std
    )


_WIDE, _NARROW = (256, 512, 1024, 2048), (64, 128, 256, 512)
# What published weights were trained with: RGB in -1…1, or as torchvision has it.
_CENTRED = (127.5,) * 3, (127.5,) * 3
_TORCH = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
_ALL = (
    Backbone("resnet50", "applications", (3, 4, 6, 3), _WIDE, has_imagenet_weights=True),
    Backbone("resnet101", "applications", (3, 4, 23, 3), _WIDE, has_imagenet_weights=True),
    Backbone("resnet152", "applications", (3, 8, 36, 3), _WIDE, has_imagenet_weights=True),
    Backbone("resnet18", "from_keras_cv", (2, 2, 2, 2), _NARROW, package="keras_cv"),
    Backbone("resnet34", "from_keras_cv", (3, 4, 6, 3), _NARROW, package="keras_cv"),
    Backbone("resnet50_gcn", "resnet50_gcn", (3, 4, 6, 3), _WIDE),
    Backbone("resnet18_slim", "residual", (2, 2, 2, 2), (32, 64, 128, 256)),
    Backbone("resnet14_tiny", "residual", (1, 1, 2, 2), (32, 64, 88, 88)),
    Backbone("resnet_nearsighted", "residual", (1, 1, 1, 1), (32, 64, 128, 128), p2_stride=2),
    _application("mobilenet_v2", (24, 32, 96, 1280), *_CENTRED),
    _application("mobilenet_v3_large", (24, 40, 112, 960), *_CENTRED),
    _application("mobilenet_v3_small", (16, 24, 48, 576), *_CENTRED),
    _application("efficientnet_v2_b0", (32, 48, 112, 1280), *_TORCH),
    _application("efficientnet_v2_b1", (32, 48, 112, 1280), *_TORCH),
    _application("efficientnet_v2_b2", (32, 56, 120, 1408), *_TORCH),
    _application("efficientnet_v2_b3", (40, 56, 136, 1536), *_TORCH),
    _application("convnext_tiny", (96, 192, 384, 768), *_TORCH),
)
BACKBONES = {backbone.name: backbone for backbone in _ALL}
NAMES = tuple(BACKBONES)
WITH_IMAGENET_WEIGHTS = tuple(b.name for b in _ALL if b.has_imagenet_weights)


def on_image(
    name: str, image: "keras.KerasTensor", weights: str | Path | None = None
) -> tuple[Pyramid, int]:
    """Normalises an image, as the backbone wants it, and builds the backbone on it.

    Args:
        name: one of `NAMES`.
        image: `[B, H, W, 3]`, RGB, 0…255.
        weights: as in `build`.

    Returns:
        The maps, and pixels of the image to a pixel of P2.

    Raises:
        ValueError: as in `build` and `check_image`.
    """
    import keras

    backbone = _named(name)
    check_image(image, backbone.p5_stride)
    variance = [value * value for value in backbone.std]
    x = keras.layers.Normalization(mean=backbone.mean, variance=variance, name=NORMALIZATION)
    return build(name, x(image), weights), backbone.p2_stride


def check_image(image: "keras.KerasTensor", p5_stride: int) -> None:
    """Refuses an image that no network can be built on.

    Raises:
        ValueError: a side is no multiple of P5's stride, or Keras is set to channels_first.
    """
    import keras

    if keras.config.image_data_format() != "channels_last":
        raise ValueError(
            "images must have their channels last, received Keras' image_data_format "
            "'channels_first': call keras.config.set_image_data_format('channels_last')"
        )
    shape = tuple(image.shape[1:])
    if any(side is not None and side % p5_stride for side in shape[:2]):
        raise ValueError(
            f"input_shape must have sides that are multiples of {p5_stride} or None, received "
            f"{shape}"
        )


def build(name: str, x: "keras.KerasTensor", weights: str | Path | None = None) -> Pyramid:
    """Builds the backbone called `name` on top of `x`.

    Args:
        name: one of `NAMES`.
        x: image `[B, H, W, 3]`, normalised as `on_image` does it.
        weights: None for random weights; for backbones with ImageNet weights also "imagenet",
            or the path of the `*_notop.h5` file that Keras publishes.

    Raises:
        ValueError: unknown name, weights that this backbone has not, or a package that is missing.
    """
    backbone = _named(name)
    if weights is not None and not isinstance(weights, str | Path):
        raise ValueError(f'weights must be None, "imagenet" or a path, received {weights!r}')
    if weights is not None and not backbone.has_imagenet_weights:
        raise ValueError(
            f"there are no published weights for backbone {name!r}, received weights={weights!r}: "
            f"choose one of {', '.join(WITH_IMAGENET_WEIGHTS)}, or weights=None"
        )
    module = importlib.import_module(f"{__name__}.{backbone.module}")
    return module.build(backbone, x, weights)


def check_installed(name: str) -> None:
    """Refuses a backbone whose package is missing; imports nothing.

    Raises:
        ArgumentError: naming backbone.
        ValueError: unknown name.
    """
    package = _named(name).package
    if package and (sentence := extras.missing(f"{name} needs", package)):
        raise ArgumentError("backbone", sentence)


def _named(name: str) -> Backbone:
    if not isinstance(name, str) or name not in BACKBONES:
        raise ValueError(f"unknown backbone {name!r}: choose one of {', '.join(NAMES)}")
    return BACKBONES[name]

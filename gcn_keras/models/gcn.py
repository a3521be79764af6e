"""The network of Figure 2 A: a ResNet, a large-kernel block on each stage, and the way back up.

Read `gcn` from top to bottom beside the figure.
"""

from collections.abc import Sequence
from pathlib import Path

import keras
import numpy as np

from gcn_keras.models import backbones, blocks
from gcn_keras.models.backbones import from_keras_model
from gcn_keras.models.batch_norms import set_batch_norms
from gcn_keras.models.block_names import BLOCKS
from pipelines.base.errors import check_flags
from pipelines.base.labels import IGNORE
from pipelines.base.numeric import is_integer

LEVELS = ("P2", "P3", "P4", "P5")


def gcn(
    num_classes: int = 21,
    backbone: "str | keras.Model" = "resnet50",
    kernel_size: int | Sequence[int] = 15,
    block: str = "gcn",
    boundary_refinement: bool = True,
    weights: str | Path | None = None,
    freeze_batch_norm: bool = False,
    input_shape: tuple[int | None, int | None, int] = (None, None, 3),
    name: str | None = None,
    *,
    stack_width: int | None = None,
    batch_norm_momentum: float | None = None,
) -> keras.Model:
    """Builds "Large Kernel Matters" (Peng et al. 2017, Figure 2 A) as a functional Keras model.

    Args:
        num_classes: classes, background included: channels of every score map.
        backbone: one of `gcn_keras.models.backbones.NAMES`, or a functional model from RGB images,
            0…255, to P2, P3, P4 and P5.
        kernel_size: odd k, or one for each of P2, P3, P4, P5. 15 is global on a 16×16 map.
        block: what turns a stage's map into a score map: "gcn"; "conv1x1", the baseline of
            Table 1; "conv", a plain k×k convolution (Table 2); "stack", 3×3 convolutions of the
            same reach (Tables 3 and 4).
        boundary_refinement: False leaves the BR blocks out, as in Tables 1 to 4.
        weights: of the backbone: None, "imagenet" or a path, see `backbones.build`.
        freeze_batch_norm: True keeps the batch norms at their stored statistics, scale and shift
            (our choice for the paper's batch size of 1).
        input_shape: `(H, W, 3)`, multiples of P5's stride; None leaves a side free.
        name: the model's name.
        stack_width: channels inside "stack", m in Table 4; None keeps the stage's channels.
        batch_norm_momentum: of the moving statistics, at least 0 and below 1; None leaves the
            backbone's own.

    Returns:
        A model from RGB images `[B, H, W, 3]`, 0…255, float or uint8, whose sides are multiples
        of P5's stride (32 for a ResNet), to float32 logits `[B, H, W, num_classes]`.

    Raises:
        ValueError: an invalid argument, with the value received; Keras is set to channels_first.
    """
    check_flags(boundary_refinement=boundary_refinement, freeze_batch_norm=freeze_batch_norm)
    sizes = kernel_sizes(kernel_size)
    if block not in BLOCKS:
        raise ValueError(f"unknown block {block!r}: choose one of {', '.join(BLOCKS)}")
    if not is_integer(num_classes) or not 2 <= num_classes <= IGNORE:
        raise ValueError(
            f"num_classes must be an integer in 2…{IGNORE} (label {IGNORE} is void), "
            f"received {num_classes!r}"
        )
    if stack_width is not None and not (is_integer(stack_width) and stack_width >= 1):
        raise ValueError(f"stack_width must be a positive integer, received {stack_width!r}")
    if stack_width is not None and block != "stack":
        raise ValueError(
            f"stack_width {stack_width} means nothing for block {block!r}: leave it out"
        )
    if not isinstance(input_shape, tuple | list) or len(input_shape) != 3 or input_shape[-1] != 3:
        raise ValueError(f"input_shape must be (H, W, 3), received {input_shape!r}")
    if not all(side is None or is_integer(side) and side >= 1 for side in input_shape):
        raise ValueError(
            "input_shape must have sides that are positive integers or None, received "
            f"{input_shape!r}"
        )

    # NumPy's integers must not get into the model's configuration.
    num_classes, stack_width = int(num_classes), stack_width and int(stack_width)
    sides = [side and int(side) for side in input_shape]

    # === Image ===
    image = keras.Input(sides, name="image")

    # === Backbone ===
    if isinstance(backbone, keras.Model):
        pyramid, p2_stride = from_keras_model.on_image(backbone, image, weights)
    else:
        pyramid, p2_stride = backbones.on_image(backbone, image, weights)

    # === A score map of each stage ===
    scores = {}
    for level in LEVELS:
        prefix, x, k = level.lower(), pyramid[level], sizes[level]
        score = _score_map(x, block, num_classes, k, f"gcn_{prefix}", stack_width)
        scores[level] = _refine(score, boundary_refinement, f"br_{prefix}")

    # === From coarse to fine ===
    score = scores["P5"]
    for level in ("P4", "P3", "P2"):
        prefix = level.lower()
        score = upsampling_deconvolution(score, f"deconv_{prefix}")
        score = keras.layers.Add(name=f"fuse_{prefix}")([score, scores[level]])
        score = _refine(score, boundary_refinement, f"br_{prefix}_sum")

    # === Up to the image's resolution: once for each factor of two in P2's stride ===
    doublings = p2_stride.bit_length() - 1
    for i in range(1, doublings + 1):
        score = upsampling_deconvolution(score, f"deconv_up{i}")
        score = _refine(score, boundary_refinement, f"br_up{i}")

    # Softmax and loss want float32, also where a mixed precision policy computes in 16 bits.
    logits = keras.layers.Activation("linear", dtype="float32", name="logits")(score)
    model = keras.Model(
        image, logits, name=name or f"{block}_{getattr(backbone, 'name', backbone)}"
    )
    set_batch_norms(model, freeze_batch_norm, batch_norm_momentum)
    return model


def kernel_sizes(kernel_size: int | Sequence[int]) -> dict[str, int]:
    """`{"P2": k, ...}` from one odd number or one for each level; else a ValueError."""
    if isinstance(kernel_size, np.ndarray):
        kernel_size = kernel_size.tolist()
    if isinstance(kernel_size, Sequence) and not isinstance(kernel_size, str):
        sizes = list(kernel_size)
    else:
        sizes = [kernel_size]
    if len(sizes) == 1:
        sizes = sizes * len(LEVELS)
    if len(sizes) != len(LEVELS):
        raise ValueError(
            f"kernel_size takes one number or one for each of {', '.join(LEVELS)}: "
            f"received {len(sizes)} numbers, {kernel_size}"
        )
    return {level: blocks.odd_kernel_size(k) for level, k in zip(LEVELS, sizes, strict=True)}


def upsampling_deconvolution(x: keras.KerasTensor, name: str) -> keras.KerasTensor:
    """×2 transposed convolution, 4×4, that interpolates bilinearly before any training.

    Kernel size and initialisation are our choice (the paper says only "deconvolution"). From a
    score map `[B, H, W, C]` to `[B, 2H, 2W, C]`.
    """
    layer = keras.layers.Conv2DTranspose(x.shape[-1], 4, strides=2, padding="same", name=name)
    y = layer(x)
    layer.set_weights([bilinear_kernel(x.shape[-1]), np.zeros(x.shape[-1], "float32")])
    return y


def bilinear_kernel(channels: int) -> np.ndarray:
    """Kernel float32 `[4, 4, channels, channels]` that doubles each channel's size bilinearly."""
    line = np.array([0.25, 0.75, 0.75, 0.25], "float32")
    kernel = np.zeros((4, 4, channels, channels), "float32")
    kernel[:, :, np.arange(channels), np.arange(channels)] = np.outer(line, line)[..., None]
    return kernel


def _score_map(x, block, num_classes, kernel_size, name, stack_width):
    if block == "stack":
        return blocks.convolution_stack(x, num_classes, kernel_size, name, stack_width)
    make, k = {
        "gcn": (blocks.global_convolution, kernel_size),
        "conv": (blocks.plain_convolution, kernel_size),
        "conv1x1": (blocks.plain_convolution, 1),
    }[block]
    return make(x, num_classes, k, name)


def _refine(score, boundary_refinement, name):
    return blocks.boundary_refinement(score, name) if boundary_refinement else score

"""Values of a recipe that cannot be meant, each refused in one sentence."""

import importlib.util
import math
from pathlib import Path

from gcn_keras.models.pyramids import IMAGENET_BACKBONES, P2_STRIDES
from pipelines import datasets
from pipelines.base import addresses
from pipelines.base.errors import UsageError
from pipelines.datasets import classification

# Options that mean nothing for a task.
_FOREIGN = {
    "segmentation": ("area", "label_smoothing"),
    "classification": (
        *("block", "kernel_size", "stack_width", "boundary_refinement", "freeze_batch_norm"),
        *("mode", "scale", "class_weights", "saved_model", "export"),
    ),
}


def check(recipe, named) -> None:
    """Refuses values that cannot be meant.

    Args:
        recipe: a `Recipe`.
        named: the recipe of that name, whose values `recipe` has replaced some of.

    Raises:
        UsageError: naming the option, the value and what it can be.
    """
    _check_task(recipe, named)
    _check_weights(recipe)
    _check_crop(recipe)
    if recipe.task == "segmentation":
        _check_kernels(recipe)
    _check_stream(recipe)
    _check_devices(recipe)
    at_least_one = ("batch", "epochs", "validate_every", "steps_per_epoch", "stack_width")
    at_least_one += ("shuffle_mib", "accumulate", "checkpoint_steps", "keep_checkpoints")
    for field in at_least_one:
        value = getattr(recipe, field)
        if value is not None and value < 1:
            raise UsageError(f"--{_option(field)} must be at least 1, got {value}")
    if not 0 <= recipe.seed < 2**32:
        raise UsageError(f"--seed must be in 0…{2**32 - 1}, got {recipe.seed}")
    for field in ("weight_decay", "warmup_steps"):
        if not 0 <= getattr(recipe, field) < math.inf:
            raise UsageError(
                f"--{_option(field)} must be a number of at least 0, got {getattr(recipe, field)}"
            )
    if not 0 < recipe.learning_rate < math.inf:
        raise UsageError(f"--learning-rate must be positive, got {recipe.learning_rate}")
    for field in ("momentum", "batch_norm_momentum"):
        if not 0 <= getattr(recipe, field) < 1:
            raise UsageError(
                f"--{_option(field)} must be at least 0 and below 1, got {getattr(recipe, field)}"
            )
    if not 0 <= recipe.jitter <= 1:
        raise UsageError(f"--jitter must be in 0…1, got {recipe.jitter}")
    smallest, largest = recipe.scale
    if not 0 < smallest <= largest < math.inf:
        raise UsageError(
            f"--scale takes the smallest and the largest factor, got {smallest} {largest}"
        )
    if recipe.schedule == "constant" and recipe.warmup_steps:
        raise UsageError("--warmup-steps needs --schedule poly or cosine, got constant")


def _check_task(recipe, named) -> None:
    for field in _FOREIGN[recipe.task]:
        value = getattr(recipe, field)
        if value != getattr(named, field):
            raise UsageError(
                f"--{_option(field)} means nothing for --recipe {recipe.name}, which trains a "
                f"model for {recipe.task}: leave it out, got {_shown(value)}"
            )
    if recipe.task == "segmentation":
        datasets.parse_name(recipe.dataset)
        return
    classification.check_name(recipe.dataset)
    smallest, largest = recipe.area
    if not 0 < smallest <= largest <= 1:
        raise UsageError(
            f"--area takes the smallest and the largest share, above 0 and up to 1, got "
            f"{smallest} {largest}"
        )
    if not 0 <= recipe.label_smoothing < 1:
        raise UsageError(
            f"--label-smoothing must be at least 0 and below 1, got {recipe.label_smoothing}"
        )


def _shown(value) -> str:
    return " ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _check_weights(recipe) -> None:
    weights = recipe.weights
    if weights is None:
        return
    if weights != "imagenet" and not Path(weights).is_file():
        raise UsageError(f"--weights {weights}: there is no such file")
    if not weights.endswith(".keras") and recipe.backbone not in IMAGENET_BACKBONES:
        raise UsageError(
            f"--weights {weights}: Keras publishes ImageNet weights of "
            f"{', '.join(IMAGENET_BACKBONES)}, not of --backbone {recipe.backbone}: give a .keras "
            "file by --weights, or --weights None"
        )


def _check_crop(recipe) -> None:
    stride = 8 * P2_STRIDES[recipe.backbone]
    if any(side < stride or side % stride for side in recipe.crop):
        raise UsageError(
            f"--crop must be multiples of {stride}, the stride of {recipe.backbone}'s P5, "
            f"got {recipe.crop[0]} {recipe.crop[1]}"
        )


def _check_stream(recipe) -> None:
    if recipe.mode == "pad" and recipe.scale != (1.0, 1.0):
        raise UsageError(
            f"--mode pad resizes nothing: --scale must be 1 1, got "
            f"{recipe.scale[0]} {recipe.scale[1]}"
        )
    cache = recipe.cache
    if cache is not None and (not cache or Path(cache).is_file()):
        raise UsageError(f"--cache must be memory or a folder, got {cache!r}")
    if recipe.data_service is None:
        return
    addresses.check_address(recipe.data_service, "--data-service")
    if cache is not None:
        raise UsageError(
            f"--data-service excludes --cache: its workers read the records themselves, got "
            f"--cache {cache}"
        )


def _check_devices(recipe) -> None:
    if recipe.accumulate > 0 and recipe.batch % recipe.accumulate:
        raise UsageError(
            f"--batch must be a multiple of --accumulate {recipe.accumulate}, got {recipe.batch}"
        )
    if recipe.strategy in ("mirrored", "multiworker"):
        if recipe.backend == "jax":
            raise UsageError(
                f"--backend jax trains on one device, got --strategy {recipe.strategy}"
            )
        if recipe.jit_compile:
            raise UsageError(
                f"--jit-compile needs one device: devices exchange values within a step, got "
                f"--strategy {recipe.strategy}"
            )
    if recipe.backend == "jax" and importlib.util.find_spec("jax") is None:
        raise UsageError(
            '--backend jax needs JAX, which is not installed: pip install "gcn_keras[jax]"'
        )


def _check_kernels(recipe) -> None:
    sizes = recipe.kernel_size
    if len(sizes) not in (1, 4):
        raise UsageError(f"--kernel-size takes one number or four (P2 to P5), got {len(sizes)}")
    for k in sizes:
        if k < 1 or k % 2 == 0:
            raise UsageError(
                f"--kernel-size must be odd, so that the score map stays aligned with the "
                f"image, got {k}"
            )
    if recipe.block == "conv1x1":
        return
    if recipe.block == "stack" and min(sizes) < 3:
        raise UsageError(f"--block stack needs a --kernel-size of at least 3, got {min(sizes)}")
    for i, k in enumerate(sizes * (4 if len(sizes) == 1 else 1)):
        side = max(recipe.crop) // (P2_STRIDES[recipe.backbone] * 2**i)
        if k > 2 * side - 1:
            raise UsageError(
                f"--kernel-size {k} is too large for P{i + 2}, which is {side} pixels wide for "
                f"--crop {recipe.crop[0]} {recipe.crop[1]}: beyond {2 * side - 1} the kernel sees "
                f"only padding; give a smaller k, one for each level, or larger crops"
            )


def _option(field) -> str:
    return field.replace("_", "-")

"""Checks of a recipe's values, each refused in one sentence."""

import dataclasses
import math
import re
from collections.abc import Collection, Sequence
from pathlib import Path

from gcn_keras.models.backbones import BACKBONES, WITH_IMAGENET_WEIGHTS, check_installed
from gcn_keras.recipes.catalogue import RECIPES
from gcn_keras.recipes.recipe import LOSSES, ClassificationRecipe, Recipe, SegmentationRecipe
from pipelines import datasets
from pipelines.base import extras
from pipelines.base.errors import ArgumentError, argument, check_flags, flags_of
from pipelines.base.plurals import count_of
from pipelines.datasets import classification

# What a value must be, and the fields that it is asked of; None is always valid. Those of the
# stream alone are asked of its options.
_RANGES = (
    ("at least 1", lambda x: x >= 1, "batch epochs validate_every steps_per_epoch stack_width"),
    ("at least 1", lambda x: x >= 1, "accumulate checkpoint_steps keep_checkpoints patience"),
    ("at least 0", lambda x: x >= 0, "tensorboard_samples"),
    ("in 0…1", lambda x: 0 <= x <= 1, "backbone_learning_rate_factor"),
    ("in 0…4294967295", lambda x: 0 <= x < 2**32, "seed"),
    ("a finite number of at least 0", lambda x: 0 <= x < math.inf, "weight_decay warmup_steps"),
    ("a finite number above 0", lambda x: 0 < x < math.inf, "learning_rate gradient_clip"),
    ("at least 0 and below 1", lambda x: 0 <= x < 1, "momentum batch_norm_momentum"),
    ("at least 0 and below 1", lambda x: 0 <= x < 1, "label_smoothing ema"),
    ("above 0 and at most 1", lambda x: 0 < x <= 1, "ohem"),
)


def check(recipe: Recipe) -> None:
    """Refuses invalid values, and values that do not go together.

    Raises:
        UsageError: with the value and what it can be; mostly an `ArgumentError`.
    """
    check_flags(**flags_of(recipe))
    _check_weights(recipe)
    _check_crop(recipe)
    if isinstance(recipe, SegmentationRecipe):
        _check_from_data(recipe)
        datasets.parse_name(recipe.dataset)
        _check_kernels(recipe)
        _check_loss(recipe)
        tile = recipe.validation_tile
        if tile and min(tile) < 1:
            raise ArgumentError(
                "validation_tile", f"must be at least 1 pixel, got {tile[0]} {tile[1]}"
            )
    elif isinstance(recipe, ClassificationRecipe):
        classification.check_name(recipe.dataset)
    for wanted, is_valid, fields in _RANGES:
        for field in fields.split():
            value = getattr(recipe, field, None)
            if value is not None and not is_valid(value):
                raise ArgumentError(field, f"must be {wanted}, got {value}")
    recipe.stream(**recipe.stream_fields()).check()
    own = RECIPES.get(recipe.name, type(recipe))
    for field, reason in without_effect(recipe).items():
        if (value := getattr(recipe, field)) != getattr(own, field):  # which nobody gave
            raise ArgumentError(field, f"{reason}: leave it out, got {value}")
    check_installed(recipe.backbone)
    _check_devices(recipe)
    if recipe.accept_changes and not recipe.resume:
        raise ArgumentError(
            "accept_changes", f"needs {argument('resume')}: a new run has nothing to differ from"
        )
    _check_results(recipe)
    if recipe.schedule == "constant" and recipe.warmup_steps:
        raise ArgumentError(
            "warmup_steps",
            f"needs {argument('schedule')} poly or cosine, got {recipe.warmup_steps} with "
            f"constant: give {argument('warmup_steps')} 0",
        )


def without_effect(recipe: Recipe) -> dict[str, str]:
    """Fields that mean nothing beside the values of others, whatever their own; and why."""
    found = {}
    if recipe.optimizer != "sgd":
        found["momentum"] = f"means nothing for {argument('optimizer')} {recipe.optimizer}"
    if recipe.cache == "memory":  # which is shuffled as a whole
        found["shuffle_mib"] = f"means nothing for {argument('cache')} memory"
    if not isinstance(recipe, SegmentationRecipe):
        return found
    if recipe.block != "stack":
        found["stack_width"] = f"means nothing for {argument('block')} {recipe.block}"
    if recipe.freeze_batch_norm and "freeze_batch_norm" not in recipe.from_data:
        found["batch_norm_momentum"] = f"means nothing with {argument('freeze_batch_norm')}"
    if not recipe.export:
        found["saved_model"] = f"means nothing without {argument('export')}"
    return found


def reset_idle(recipe: Recipe, given: Collection[str] = ()) -> Recipe:
    """The recipe with its own values in the fields that are `without_effect` and not given."""
    own = RECIPES[recipe.name]
    idle = without_effect(recipe).keys() - set(given)
    return dataclasses.replace(recipe, **{field: getattr(own, field) for field in idle})


def _check_from_data(recipe: SegmentationRecipe) -> None:
    if not recipe.dataset:
        raise ArgumentError(
            "dataset",
            f"must name the data set to train on: recipe {recipe.name} has none of its own; your "
            "own images are image_folder/NAME once they are prepared",
        )
    if recipe.mode == "pad" and "crop" in recipe.from_data:
        raise ArgumentError(
            "crop",
            f"must be given with {argument('mode')} pad, where every image has to fit into it",
        )


def check_weights_file(recipe: Recipe) -> None:
    """Refuses a run whose starting weights are not there; one that goes on has its own.

    Raises:
        ArgumentError: naming the file.
    """
    weights = recipe.weights
    if weights and weights != "imagenet" and not Path(weights).is_file():
        found = "is no file" if Path(weights).exists() else "there is no such file"
        raise ArgumentError("weights", f"{weights}: {found}")


def _check_weights(recipe: Recipe) -> None:
    weights = recipe.weights
    if weights is None:
        if recipe.backbone_learning_rate_factor == 0:
            raise ArgumentError(
                "backbone_learning_rate_factor",
                f"must be above 0 with {argument('weights')} None: a backbone of random weights "
                "would stay random, got 0",
            )
        return
    if not weights:
        raise ArgumentError(
            "weights",
            f"must name the model that recipe {recipe.name} goes on from, such as "
            "runs/camvid/best.keras; None trains from scratch",
        )
    if weights != "imagenet" and not weights.endswith((".keras", ".h5")):
        raise ArgumentError(
            "weights",
            "takes imagenet, Keras' file of them (.h5) or a .keras file, as fit writes, not "
            f"{weights}",
        )
    if not weights.endswith(".keras") and not BACKBONES[recipe.backbone].has_imagenet_weights:
        raise ArgumentError(
            "weights",
            f"{weights}: Keras publishes ImageNet weights of {', '.join(WITH_IMAGENET_WEIGHTS)}, "
            f"not of {argument('backbone')} {recipe.backbone}: give a .keras file by "
            f"{argument('weights')}, or {argument('weights')} None",
        )


def _check_crop(recipe: Recipe) -> None:
    stride = BACKBONES[recipe.backbone].p5_stride
    if any(side < stride or side % stride for side in recipe.crop):
        raise ArgumentError(
            "crop",
            f"must be multiples of {stride}, the stride of {recipe.backbone}'s P5, got "
            f"{recipe.crop[0]} {recipe.crop[1]}",
        )


def _check_loss(recipe: SegmentationRecipe) -> None:
    parts = recipe.loss.split("+")
    unknown = [part for part in parts if part not in LOSSES]
    if unknown or len(set(parts)) < len(parts):
        raise ArgumentError(
            "loss",
            f"must be one of {', '.join(LOSSES)}, or several of them with + between, got "
            f"{recipe.loss!r}",
        )
    weights = recipe.class_weights
    if not isinstance(weights, str) and not (
        weights and all(0 <= weight < math.inf for weight in weights) and any(weights)
    ):
        raise ArgumentError(
            "class_weights",
            "must be none, sqrt, median-frequency, or a finite number of at least 0 for each "
            f"class, got {' '.join(map(str, weights))}",
        )
    if not set(parts) & {"cross-entropy", "focal"}:
        for field, default in (("ohem", 1.0), ("class_weights", "none")):
            if getattr(recipe, field) != default:
                raise ArgumentError(
                    field,
                    f"is for {argument('loss')} cross-entropy and focal, got {argument('loss')} "
                    f"{recipe.loss}: give {argument(field)} {default}",
                )


def _check_results(recipe: Recipe) -> None:
    function = recipe.callbacks
    if function is not None and not re.fullmatch(r"\w+(\.\w+)*:\w+(\.\w+)*", function):
        raise ArgumentError("callbacks", f"must be MODULE:FUNCTION, got {function!r}")
    if recipe.show_batch is not None:
        file = Path(recipe.show_batch)
        if file.suffix.lower() != ".png":
            raise ArgumentError("show_batch", f"must name a file that ends in .png, got {file}")
        if file.exists():
            raise ArgumentError("show_batch", f"{file} exists: name another file")


def _check_devices(recipe: Recipe) -> None:
    # What follows from the data is made a multiple.
    follows = isinstance(recipe, SegmentationRecipe) and "batch" in recipe.from_data
    if not follows and recipe.batch % recipe.accumulate:
        raise ArgumentError(
            "batch",
            f"must be a multiple of {argument('accumulate')} {recipe.accumulate}, got "
            f"{recipe.batch}",
        )
    if recipe.strategy in ("mirrored", "multiworker"):
        check_takes_several_devices(recipe, f"{argument('strategy')} {recipe.strategy}")
    if recipe.deterministic and recipe.data_service:
        raise ArgumentError(
            "deterministic",
            f"and {argument('data_service')} exclude each other: its workers answer in no certain "
            "order",
        )
    if recipe.backend == "jax" and (sentence := extras.missing("jax needs", "jax")):
        raise ArgumentError("backend", sentence)


def needs_one_device(recipe: Recipe) -> bool:
    """Whether a recipe cannot train on several devices."""
    return recipe.backend == "jax" or recipe.jit_compile


def check_takes_several_devices(recipe: Recipe, got: str) -> None:
    """Refuses a recipe that cannot train on the several devices that it would get.

    Raises:
        ArgumentError: naming backend or jit_compile, and what was `got`.
    """
    if not needs_one_device(recipe):
        return
    if recipe.backend == "jax":
        raise ArgumentError("backend", f"jax trains on one device, got {got}")
    reason = f"needs one device: devices exchange values within a step, got {got}"
    raise ArgumentError("jit_compile", reason)


def check_block(block: str, sizes: Sequence[int]) -> None:
    """Refuses kernel sizes that no block has.

    Raises:
        ArgumentError: naming kernel_size or block.
    """
    if len(sizes) not in (1, 4):
        raise ArgumentError("kernel_size", f"takes one number or four (P2 to P5), got {len(sizes)}")
    for k in sizes:
        if k < 1 or k % 2 == 0:
            raise ArgumentError(
                "kernel_size",
                f"must be odd, so that the score map stays aligned with the image, got {k}",
            )
    if block == "stack" and min(sizes) < 3:
        raise ArgumentError(
            "block", f"stack needs a {argument('kernel_size')} of at least 3, got {min(sizes)}"
        )


def _check_kernels(recipe: SegmentationRecipe) -> None:
    sizes = recipe.kernel_size
    check_block(recipe.block, sizes)
    # What follows from the data is checked once it is known.
    if recipe.block == "conv1x1" or {"crop", "kernel_size"} & {*recipe.from_data}:
        return
    for i, k in enumerate(sizes * (4 if len(sizes) == 1 else 1)):
        side = max(recipe.crop) // (BACKBONES[recipe.backbone].p2_stride * 2**i)
        if k > 2 * side - 1:
            raise ArgumentError(
                "kernel_size",
                f"{k} is too large for P{i + 2}, which is {count_of(side, 'pixel')} wide for "
                f"{argument('crop')} {recipe.crop[0]} {recipe.crop[1]}: beyond {2 * side - 1} the "
                "kernel sees only padding; give a smaller k, one for each level, or larger crops",
            )

"""What a recipe leaves to its data set: `SegmentationRecipe.from_data`.

All of it is our choice, made for a few hundred to a few thousand photographs.
"""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from gcn_keras.models.backbones import BACKBONES
from gcn_keras.recipes import checks
from gcn_keras.recipes.recipe import SegmentationRecipe
from pipelines.base.errors import UsageError, UserError, argument
from pipelines.base.plurals import count_of
from pipelines.datasets import PreparedDataset
from pipelines.stream.evaluation import image_sizes

MOST_IMAGES = 200  # whose sizes are read
LARGEST_CROP = 512  # the paper's
SMALL_SHARE = 0.1  # of an image: crops that show less get a warning
LARGEST_KERNEL = 15  # the paper's, for crops of 512
LARGEST_BATCH = 8
MOST_PIXELS = LARGEST_BATCH * 384**2  # at once, which is what a step's memory grows with
LEAST_FOR_STATISTICS = 8  # crops, the fewest that batch norm can learn from
# A run sees so many crops times the square root of the number of images: each image 80 times where
# there are 100, 25 times where there are 1,000. CamVid's 367 are seen 42 times.
CROPS = 800
MOST_EPOCHS = 20  # each is validated

Following = tuple[dict[str, Any], str]


def resolve(
    recipe: SegmentationRecipe, dataset: PreparedDataset, replicas: int = 1
) -> tuple[SegmentationRecipe, list[str]]:
    """Gives the options that a recipe leaves to the data set their values.

    Args:
        recipe: a checked recipe.
        dataset: the one that it names.
        replicas: that share a batch, see `Team`.

    Returns:
        The recipe that leaves nothing open, checked; and a line for each value that says why.

    Raises:
        UsageError: there is no such split, a given option does not go with what follows, or there
            are too few images for the parts of a batch.
        UserError: no image can be used.
        DATA_ERRORS: an image is damaged.
    """
    if not recipe.from_data:
        return recipe, []
    dataset.check_split(recipe.train_split)
    lines = []
    for fields, follow in _FOLLOWING.items():
        if {*fields} & {*recipe.from_data}:
            values, line = follow(recipe, dataset, replicas)
            recipe = dataclasses.replace(recipe, **values)
            lines.append(line)
    recipe = dataclasses.replace(recipe, from_data=())
    checks.check(recipe)
    return recipe, lines


def _crop(recipe: SegmentationRecipe, dataset: PreparedDataset, replicas: int) -> Following:
    """A square as large as most images have room for."""
    sizes = image_sizes(dataset, recipe.train_split, MOST_IMAGES, recipe.skip_errors)
    if not len(sizes):
        raise UserError(f"none of the images of {dataset.name!r} can be used")
    stride = BACKBONES[recipe.backbone].p5_stride
    shorter = int(np.median(sizes.min(axis=1)))
    side = max(stride, min(LARGEST_CROP, shorter) // stride * stride)
    images = f"images of split {recipe.train_split!r}"
    if dataset.splits[recipe.train_split] > MOST_IMAGES:
        images = f"the first {MOST_IMAGES} {images}"
    line = f"crop {side}×{side}: {images} {_extent(sizes, shorter)}"
    if (share := side * side / np.median(sizes.prod(axis=1))) < SMALL_SHARE:
        line += (
            f", and a crop shows {100 * share:.1g} % of the median image: where objects are larger "
            "than that, prepare smaller images"
        )
    return {"crop": (side, side)}, line


def _extent(sizes: np.ndarray, shorter: int) -> str:
    """What can be said of all images; of several sizes also what the crop is chosen from, the
    median of the shorter sides, a square that fits into half of the images."""
    by_area = sorted(sizes.tolist(), key=lambda size: (math.prod(size), size))
    smallest, largest = (f"{height}×{width}" for height, width in (by_area[0], by_area[-1]))
    if smallest == largest:
        return f"are {smallest} pixels"
    share = "all" if sizes.min() >= shorter else "half"
    return f"measure {smallest} to {largest} pixels, {share} of them at least {shorter}×{shorter}"


def _kernel_size(recipe: SegmentationRecipe, dataset: PreparedDataset, replicas: int) -> Following:
    """The paper's k, or less where that reaches from one end of P5 to the other."""
    side = max(recipe.crop) // BACKBONES[recipe.backbone].p5_stride
    k = min(LARGEST_KERNEL, 2 * side - 1)
    return {"kernel_size": (k,)}, f"kernel size {k}: P5 is {count_of(side, 'pixel')} wide"


def _batch(recipe: SegmentationRecipe, dataset: PreparedDataset, replicas: int) -> Following:
    """A power of two that leaves a step's memory moderate; or the next multiple of the parts that a
    batch is divided into, if there are images enough."""
    images, parts = dataset.splits[recipe.train_split], replicas * recipe.accumulate
    if parts > max(1, images):
        raise UsageError(
            f"split {recipe.train_split!r} has {count_of(images, 'image')}, and a batch {parts} "
            f"parts ({count_of(replicas, 'device')} × {argument('accumulate')} "
            f"{recipe.accumulate}) of at least one crop each: give a smaller "
            f"{argument('accumulate')}, or {argument('strategy')} one"
        )
    most = MOST_PIXELS * recipe.accumulate // math.prod(recipe.crop)
    most = max(1, min(LARGEST_BATCH, most, images))
    power = 2 ** (most.bit_length() - 1)
    batch = max(1, min(math.ceil(power / parts), images // parts)) * parts
    megapixels = batch * math.prod(recipe.crop) / 1e6
    line = f"batch {batch}: {megapixels:.2g} million pixels a step"
    if batch != power:
        line += f", in {parts} parts"
    return {"batch": batch}, line


def _schedule(recipe: SegmentationRecipe, dataset: PreparedDataset, replicas: int) -> Following:
    """Epochs and their steps, or what is left open of them.

    The passes over few images make fewer and longer epochs: each is validated and saved. Their
    length does not depend on their number: half of the epochs take half of the time.
    """
    images = dataset.splits[recipe.train_split]
    crops = CROPS * math.sqrt(images)
    epochs, steps = recipe.epochs, recipe.steps_per_epoch
    if "steps_per_epoch" in recipe.from_data and crops > MOST_EPOCHS * images:
        steps = max(1, round(crops / MOST_EPOCHS / recipe.batch))
    # With more crops a batch than there are images: that is refused where the run begins.
    length = steps or max(1, images // recipe.batch)
    if "epochs" in recipe.from_data:
        epochs = max(1, round(crops / recipe.batch / length))
    seen = epochs * length * recipe.batch
    passes = seen / images
    of_each = f"{passes:,.0f}" if passes >= 100 else f"{passes:.3g}"
    line = (
        f"epochs {epochs}, of {count_of(length, 'step')}: {count_of(seen, 'crop')}, {of_each} of "
        f"each of the {count_of(images, 'image')} in split {recipe.train_split!r}"
    )
    return {"epochs": epochs, "steps_per_epoch": steps}, line


def _freeze_batch_norm(
    recipe: SegmentationRecipe, dataset: PreparedDataset, replicas: int
) -> Following:
    """Whether the pretrained weights have better statistics than the crops of a step."""
    crops = recipe.batch // recipe.accumulate
    freeze = recipe.weights is not None and crops < LEAST_FOR_STATISTICS
    done = "keeps the statistics of its weights" if freeze else "learns"
    return {"freeze_batch_norm": freeze}, f"batch norm {done}: {count_of(crops, 'crop')} at once"


# In this order: each may depend on those before it.
_FOLLOWING: dict[
    tuple[str, ...], Callable[[SegmentationRecipe, PreparedDataset, int], Following]
] = {
    ("crop",): _crop,
    ("kernel_size",): _kernel_size,
    ("batch",): _batch,
    ("epochs", "steps_per_epoch"): _schedule,
    ("freeze_batch_norm",): _freeze_batch_norm,
}

"""The valid receptive field: how the score moves under a patch of noise."""

import itertools
import math
from typing import TYPE_CHECKING

import numpy as np
from tqdm import tqdm

from gcn_keras.experiments.receptive_fields.score import padded_sides, scored_class, scores
from gcn_keras.inference.batches import BATCH_PIXELS
from pipelines.base.errors import ArgumentError

if TYPE_CHECKING:
    import keras


def valid_receptive_field(
    model: "keras.Model",
    image: np.ndarray,
    at: tuple[int, int],
    class_index: int | None = None,
    *,
    patch: int | None = None,
    stride: int | None = None,
    draws: int = 1,
    seed: int = 0,
    batch: int | None = None,
    description: str | None = None,
) -> np.ndarray:
    """How much the score moves when noise covers a pixel (Zhou et al. 2014; the paper's Figure 3).

    A square patch of uniform noise, 0…255 in each pixel and channel, is slid over the image. Its
    positions are `stride` apart, count from the point, and reach as far over the border as the
    patch still touches the image, so that border and middle are covered equally often. The
    move of a position is the mean of |score - score of the whole image| over `draws` of noise;
    a pixel's is the mean over the positions whose patch covers it. So a model that sees one pixel
    has a field of 2 patch - 1 pixels: the method does not resolve less than a patch.

    Args:
        model, image, at, class_index: as in `score.scored_class`.
        patch: side of the patch in pixels, odd; None for a twentieth of the image's
            shorter side: Zhou et al. took 11 of 227 pixels.
        stride: pixels from one position to the next, at most `patch`; None for a third of it,
            rounded down: Zhou et al. took 3 for 11, which makes about 5,000 positions.
        draws: of noise, at each position.
        seed: of the noise, which does not depend on `batch`.
        batch: images at a time; None for as many as have BATCH_PIXELS once they are
            padded; never more than there are positions.
        description: shows a progress bar with this text on standard error; None shows none.

    Returns:
        float32 `[H, W]`, at least 0, in logits.

    Raises:
        ValueError, UserError: as in `score.scored_class`.
        ArgumentError: as in `patch_and_stride` and `check_noise`.
    """
    class_index = scored_class(model, image, at, class_index)
    check_noise(draws, seed, batch)
    height, width, _ = image.shape
    patch, stride = patch_and_stride(height, width, patch, stride)

    rows = patch_centres(height, at[0], patch, stride)
    columns = patch_centres(width, at[1], patch, stride)
    positions = list(itertools.product(range(draws), rows, columns))
    if batch is None:
        batch = max(1, BATCH_PIXELS // math.prod(padded_sides(model, (height, width))))
    batch = min(batch, len(positions))
    # Patches reach over the border by all but one of their pixels.
    margin = patch - 1
    padded = np.zeros((batch, height + 2 * margin, width + 2 * margin, 3), np.uint8)
    images = padded[:, margin : margin + height, margin : margin + width]
    images[:] = image
    whole = scores(model, images, at)[0, class_index]
    rng = np.random.default_rng(seed)
    moves = []
    bar_options = {"unit": " patches", "mininterval": 0.5, "disable": description is None}
    with tqdm(total=len(positions), desc=description, **bar_options) as bar:
        for start in range(0, len(positions), batch):
            chunk = positions[start : start + batch]
            images[:] = image  # the last batch is filled up with it
            for covered, (_, row, column) in zip(padded, chunk, strict=False):
                top, left = row + patch // 2, column + patch // 2
                noise = rng.integers(0, 256, (patch, patch, 3), np.uint8)
                covered[top : top + patch, left : left + patch] = noise
            covered_scores = scores(model, images, at)[: len(chunk), class_index]
            moves.append(np.abs(covered_scores.astype(np.float64) - whole))
            bar.update(len(chunk))
    moves = np.concatenate(moves).reshape(draws, len(rows), len(columns)).mean(axis=0)
    return spread(moves, rows, columns, patch, (height, width)).astype(np.float32)


def patch_and_stride(
    height: int, width: int, patch: int | None = None, stride: int | None = None
) -> tuple[int, int]:
    """Side and stride of the patch on an image, where None stands for the default.

    Raises:
        ArgumentError: one of them is invalid, or the patch larger than the image.
    """
    shorter = min(height, width)
    if patch is None:
        patch = max(1, 2 * round((shorter / 20 - 1) / 2) + 1)  # the nearest odd number
    if patch < 1 or patch % 2 == 0:
        raise ArgumentError("patch", f"must be odd, so that it has a centre, got {patch}")
    if patch > shorter:
        raise ArgumentError(
            "patch", f"must fit into the image of {height}×{width} pixels, got {patch}"
        )
    if stride is None:
        stride = max(1, patch // 3)
    if stride < 1:
        raise ArgumentError("stride", f"must be at least 1, got {stride}")
    if stride > patch:
        raise ArgumentError(
            "stride",
            f"must be at most the patch's side {patch}, so that every pixel is covered, got "
            f"{stride}",
        )
    return patch, stride


def check_noise(draws: int, seed: int, batch: int | None) -> None:
    """Refuses invalid options of `valid_receptive_field` that concern no image.

    Raises:
        ArgumentError: naming the option, the value and the valid values.
    """
    for name, value, least in (("draws", draws, 1), ("seed", seed, 0), ("batch", batch, 1)):
        if value is not None and value < least:
            raise ArgumentError(name, f"must be at least {least}, got {value}")


def patch_centres(length: int, point: int, patch: int, stride: int) -> np.ndarray:
    """Where patches are centred along a side of `length` pixels: at the point, and every `stride`.

    Returns:
        Every such coordinate whose patch touches the image, int `[N]`, ascending.
    """
    radius = patch // 2
    first = point - (point + radius) // stride * stride
    return np.arange(first, length + radius, stride)


def spread(
    moves: np.ndarray, rows: np.ndarray, columns: np.ndarray, patch: int, size: tuple[int, int]
) -> np.ndarray:
    """Puts what was measured at patches on the pixels: the mean over the patches that cover one.

    Args:
        moves: `[len(rows), len(columns)]`.
        rows, columns: where the patches are centred, at most `patch` pixels apart.
        patch: their side.
        size: height and width of the image.

    Returns:
        float64 `[H, W]`.
    """
    covers = [
        (abs(np.arange(side)[:, None] - centres) <= patch // 2).astype(np.float64)
        for side, centres in zip(size, (rows, columns), strict=True)
    ]
    covers = [cover / cover.sum(axis=1, keepdims=True) for cover in covers]
    return covers[0] @ moves @ covers[1].T

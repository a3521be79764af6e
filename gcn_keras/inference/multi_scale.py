"""Several looks at one image, averaged: scales, mirrored, through tiles (Sections 4.2 and 4.3).

What is averaged are probabilities, the softmax of the logits, at the image's own size (our
choice: the paper says "multi-scale" and "score maps fused").

The paper's four 1024×1024 crops of a 1024×2048 image are `--tile 1024 1024 --overlap 682`: they
begin at 0, 342, 684 and 1024, a third of a tile apart, and so share two thirds (our choice: the
paper does not tell where its crops lie).
"""

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import tyro
from PIL import Image

from pipelines.base.errors import UsageError

LARGEST_SCALE = 8


@dataclass(frozen=True)
class Looks:
    """How an image is looked at; the default is once and whole."""

    scales: tuple[float, ...] = (1.0,)
    """Look at the image at these scales and average the probabilities."""
    flip: tyro.conf.FlagCreatePairsOff[bool] = False
    """Look at it mirrored, too."""
    tile: Annotated[tuple[int, int] | None, tyro.conf.arg(metavar="H W")] = None
    """Look through tiles of this size, whatever the scale; the model sees one at a time."""
    overlap: int = 0
    """Pixels by which neighbouring tiles overlap at least."""


ONE_LOOK = Looks()


def check(looks: Looks) -> None:
    """Refuses values that cannot be meant.

    Raises:
        UsageError: naming the option, the value and what it can be.
    """
    if not looks.scales or not all(0 < scale <= LARGEST_SCALE for scale in looks.scales):
        raise UsageError(
            f"--scales must be above 0 and at most {LARGEST_SCALE}, got {_shown(looks.scales)}"
        )
    if looks.tile is None and looks.overlap:
        raise UsageError(f"--overlap needs --tile H W, got --overlap {looks.overlap} alone")
    if looks.tile is not None:
        smallest = min(looks.tile)
        if smallest < 1:
            raise UsageError(f"--tile must be at least 1 pixel, got {_shown(looks.tile)}")
        if not 0 <= looks.overlap < smallest:
            raise UsageError(
                f"--overlap must be at least 0 and below the tile's sides {_shown(looks.tile)}, "
                f"got {looks.overlap}"
            )


def options_of(looks: Looks) -> list[str]:
    """The options of `evaluate` and `predict` that give these looks; [] for the default."""
    options = []
    if looks.scales != ONE_LOOK.scales:
        options.append(f"--scales {_shown(looks.scales)}")
    if looks.flip:
        options.append("--flip")
    if looks.tile:
        options.append(f"--tile {_shown(looks.tile)}")
    if looks.overlap:
        options.append(f"--overlap {looks.overlap}")
    return options


def probabilities(logits: Callable, image: np.ndarray, looks: Looks = ONE_LOOK) -> np.ndarray:
    """Mean probabilities of one image over scales, mirrored looks and tiles.

    A scaled image is resized bilinearly, with a filter that grows as it shrinks (antialiasing),
    and rounded to uint8; its probabilities are resized to the image's own size in the same way,
    without rounding. Tiles are cut from the scaled image, so that a model always sees sizes like
    those it was trained on; an image smaller than a tile is one tile. Each scale weighs the same.

    Memory: what the model needs for one tile; one map float32 `[H, W, C]` for the mean; and another
    of the scaled image's size while a scale other than 1 is looked at.

    Args:
        logits: from uint8 `[1, h, w, 3]` of any size to float32 `[1, h, w, C]`.
        image: uint8 `[H, W, 3]`, RGB.
        looks: what to average over.

    Returns:
        float32 `[H, W, C]`, which sums to 1 over the classes.
    """
    steps = (1, -1) if looks.flip else (1,)
    share = 1 / (len(looks.scales) * len(steps))
    mean = None
    for scale in looks.scales:
        size = tuple(max(1, round(scale * side)) for side in image.shape[:2])
        is_scaled = size != image.shape[:2]
        seen = _resize(image, size) if is_scaled else image
        for step in steps:
            if is_scaled:
                # The map of this look has no name here, so that it is gone before the next one.
                mean = _add_resized(
                    mean, _add_look(None, logits, seen, looks, step, 1.0), share, image.shape[:2]
                )
            else:
                mean = _add_look(mean, logits, seen, looks, step, share)
    return mean


def tile_starts(length: int, tile: int, overlap: int) -> list[int]:
    """Where tiles begin along a side: whole tiles that cover it, the last one moved inwards.

    Args:
        length: of the side in pixels; with a shorter side there is one tile, which is that side.
        tile: of a tile.
        overlap: pixels that neighbours share at least, below `tile`.
    """
    if length <= tile:
        return [0]
    return [*range(0, length - tile, tile - overlap), length - tile]


def _add_look(mean, logits, image, looks: Looks, step: int, share: float) -> np.ndarray:
    """Adds the probabilities of one look, times `share`, to float32 `[H, W, C]`; None is zeros.

    Args:
        step: 1, or -1 for the mirrored image, whose scores are mirrored back.
    """
    height, width = image.shape[:2]
    sides = looks.tile or (height, width)
    rows = tile_starts(height, sides[0], looks.overlap)
    columns = tile_starts(width, sides[1], looks.overlap)
    # Tiles form a grid: how often a pixel is seen is how often its row is times its column.
    row_weights = share / _times_seen(height, rows, sides[0])
    column_weights = 1 / _times_seen(width, columns, sides[1])
    for y, x in itertools.product(rows, columns):
        down, across = slice(y, y + sides[0]), slice(x, x + sides[1])
        scores = _softmax(logits(image[:, ::step][down, across][None])[0])
        scores *= row_weights[down, None, None]
        scores *= column_weights[across, None]
        if mean is None:
            mean = np.zeros((height, width, scores.shape[-1]), np.float32)
        mean[:, ::step][down, across] += scores
    return mean


def _times_seen(length: int, starts: list[int], tile: int) -> np.ndarray:
    """float32 `[length]`: how many tiles show each pixel of a side."""
    times = np.zeros(length, np.float32)
    for start in starts:
        times[start : start + tile] += 1
    return times


def _softmax(logits: np.ndarray) -> np.ndarray:
    scores = logits - logits.max(axis=-1, keepdims=True)
    np.exp(scores, out=scores)
    scores /= scores.sum(axis=-1, keepdims=True)
    return scores


def _resize(pixels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """uint8 `[h, w, 3]` or float32 `[h, w]` at another height and width."""
    image = Image.fromarray(np.ascontiguousarray(pixels))
    return np.asarray(image.resize(size[::-1], Image.Resampling.BILINEAR))


def _add_resized(mean, look: np.ndarray, share: float, size: tuple[int, int]) -> np.ndarray:
    """Adds float32 `[h, w, C]`, resized and times `share`, to `[H, W, C]`; None is zeros."""
    if mean is None:
        mean = np.zeros((*size, look.shape[-1]), np.float32)
    for channel in range(look.shape[-1]):
        mean[..., channel] += np.float32(share) * _resize(look[..., channel], size)
    return mean


def _shown(values) -> str:
    return " ".join(f"{value:g}" for value in values) or "none"

"""Several views of one image, averaged: scales, mirrored, through tiles (Sections 4.2 and 4.3).

What is averaged are probabilities, the softmax of the logits, at the image's own size (our
choice: the paper says "multi-scale" and "score maps fused"). The paper's four 1024×1024 crops of a
1024×2048 image are tiles that overlap by 682 (our choice: it does not say where its crops lie).
"""

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import tyro
from PIL import Image

from gcn_keras.inference.tiles import tile_starts
from pipelines.base.errors import ArgumentError, argument, check_flags, flags_of

LARGEST_SCALE = 8


@dataclass(frozen=True)
class MultiScale:
    """The views of an image; the default is one, of the whole image at its own size."""

    scales: tuple[float, ...] = (1.0,)
    """Scales of the image whose probabilities are averaged."""
    flip: tyro.conf.FlagCreatePairsOff[bool] = False
    """Views of the mirrored image, too."""
    tile: Annotated[tuple[int, int] | None, tyro.conf.arg(metavar="H W")] = None
    """Size of tiles, whatever the scale; the model sees one at a time."""
    overlap: int = 0
    """Pixels by which neighbouring tiles overlap at least."""

    def check(self) -> None:
        """Raises an ArgumentError that names a field, its value and what it can be."""
        check_flags(**flags_of(self))
        tile, overlap, largest = self.tile, self.overlap, LARGEST_SCALE
        if not self.scales or not all(0 < scale <= largest for scale in self.scales):
            given = as_typed(*self.scales) or "none"
            raise ArgumentError("scales", f"must be above 0 and at most {largest}, got {given}")
        if tile is None and overlap:
            raise ArgumentError(
                "overlap",
                f"needs {argument('tile')} H W, got {argument('overlap')} {overlap} alone",
            )
        if tile and min(tile) < 1:
            raise ArgumentError("tile", f"must be at least 1 pixel, got {as_typed(*tile)}")
        if tile and not 0 <= overlap < min(tile):
            reason = (
                f"must be at least 0 and below the tile's sides {as_typed(*tile)}, got {overlap}"
            )
            raise ArgumentError("overlap", reason)


ONE_VIEW = MultiScale()


def as_typed(*values: float) -> str:
    """Numbers as a command takes them, exactly: 1 for 1.0."""
    return " ".join(str(value).removesuffix(".0") for value in values)


def probabilities(logits: Callable, image: np.ndarray, views: MultiScale = ONE_VIEW) -> np.ndarray:
    """Mean probabilities of one image over scales, mirrored views and tiles.

    A scaled image is resized bilinearly, with a filter that grows as it shrinks (antialiasing),
    and rounded to uint8; its probabilities are resized to the image's own size in the same way,
    without rounding. Tiles are cut from the scaled image, so that a model always sees sizes like
    those it was trained on; an image smaller than a tile is one tile. Each scale weighs the same.

    Memory: what the model needs for one tile; one map float32 `[H, W, C]` for the mean; and another
    of the scaled image's size while a view has another scale than 1.

    Args:
        logits: from `[1, h, w, 3]` of any size and the image's dtype to float32 `[1, h, w, C]`.
        image: `[H, W, 3]`, RGB, uint8, or float32 in 0…255, which is not rounded.
        views: what to average over.

    Returns:
        float32 `[H, W, C]`, which sums to 1 over the classes.
    """
    steps = (1, -1) if views.flip else (1,)
    share = 1 / (len(views.scales) * len(steps))
    own_size = image.shape[:2]
    mean: np.ndarray | None = None
    for scale in views.scales:
        size = tuple(max(1, round(scale * side)) for side in own_size)
        is_scaled = size != own_size
        seen = _resize(image, size) if is_scaled else image
        for step in steps:
            if not is_scaled:
                mean = _add_view(mean, logits, seen, views, step, share)
                continue
            # The map of this view has no name here, so that it is gone before the next one.
            mean = _add_resized(
                mean, _add_view(None, logits, seen, views, step, 1.0), share, own_size
            )
    assert mean is not None  # there is a scale, see `MultiScale.check`
    return mean


def _add_view(mean, logits, image, views: MultiScale, step: int, share: float) -> np.ndarray:
    """Adds one view's probabilities, times `share`, to float32 `[H, W, C]`; None is zeros.

    With a `step` of -1, the image is mirrored, and its scores back.
    """
    height, width = image.shape[:2]
    sides = views.tile or (height, width)
    rows = tile_starts(height, sides[0], views.overlap)
    columns = tile_starts(width, sides[1], views.overlap)
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
    into_tile = np.arange(length)[:, None] - starts
    return ((into_tile >= 0) & (into_tile < tile)).sum(axis=1).astype(np.float32)


def _softmax(logits: np.ndarray) -> np.ndarray:
    scores = logits - logits.max(axis=-1, keepdims=True)
    np.exp(scores, out=scores)
    scores /= scores.sum(axis=-1, keepdims=True)
    return scores


def _resize(pixels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """uint8 `[h, w, 3]` or float32 `[h, w, 3]` or `[h, w]`, at another height and width."""
    if pixels.ndim == 3 and pixels.dtype != np.uint8:  # Pillow resizes floats of one channel alone
        return np.stack([_resize(channel, size) for channel in np.moveaxis(pixels, -1, 0)], axis=-1)
    image = Image.fromarray(np.ascontiguousarray(pixels))
    return np.asarray(image.resize(size[::-1], Image.Resampling.BILINEAR))


def _add_resized(mean, view: np.ndarray, share: float, size: tuple[int, int]) -> np.ndarray:
    """Adds float32 `[h, w, C]`, resized and times `share`, to `[H, W, C]`; None is zeros."""
    if mean is None:
        mean = np.zeros((*size, view.shape[-1]), np.float32)
    for channel in range(view.shape[-1]):
        mean[..., channel] += np.float32(share) * _resize(view[..., channel], size)
    return mean

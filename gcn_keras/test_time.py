"""Other ways to measure a model than one look at the whole picture: Section 4.2 and 4.3.

Multi-scale and mirrored looks, tiles for pictures that are too large, a dense CRF at the end. What
is averaged are probabilities, the softmax of the logits, at the picture's own size (our choice: the
paper says "multi-scale" and "score maps fused").
"""

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import tyro
from PIL import Image

from gcn_keras import crf
from gcn_keras.segmenters import Segmenter
from pipelines.errors import UsageError, UserError


@dataclass(frozen=True)
class Procedure:
    """How a picture is looked at; the default is once and whole."""

    scales: tuple[float, ...] = (1.0,)
    """Look at the picture at these scales and average the probabilities."""
    flip: tyro.conf.FlagCreatePairsOff[bool] = False
    """Look at it mirrored, too."""
    tile: Annotated[tuple[int, int] | None, tyro.conf.arg(metavar="H W")] = None
    """Look through tiles of this size, with whatever scale; memory is that of one tile."""
    overlap: int = 0
    """Pixels by which neighbouring tiles overlap at least."""
    dense_crf: Annotated[tyro.conf.FlagCreatePairsOff[bool], tyro.conf.arg(name="crf")] = False
    """Refine by a dense CRF. Needs pip install 'gcn_keras[crf]'."""
    crf_parameters: Annotated[crf.Parameters, tyro.conf.arg(name="crf")] = crf.DEEPLAB
    """Of the dense CRF."""

    @property
    def is_default(self) -> bool:
        """Whether one look at the whole picture is all."""
        return self == Procedure(crf_parameters=self.crf_parameters)


ONCE = Procedure()


def check(procedure: Procedure) -> None:
    """Refuses values that cannot be meant.

    Raises:
        UsageError: naming the option, the value and what it can be.
        UserError: the CRF's package is missing.
    """
    if not procedure.scales or not all(0 < s < math.inf for s in procedure.scales):
        raise UsageError(f"--scales must be positive numbers, got {_shown(procedure.scales)}")
    if procedure.tile is None and procedure.overlap:
        raise UsageError(f"--overlap needs --tile H W, got --overlap {procedure.overlap} alone")
    if procedure.tile is not None:
        smallest = min(procedure.tile)
        if smallest < 1:
            raise UsageError(f"--tile must be at least 1 pixel, got {_shown(procedure.tile)}")
        if not 0 <= procedure.overlap < smallest:
            raise UsageError(
                f"--overlap must be at least 0 and below the tile's sides "
                f"{_shown(procedure.tile)}, got {procedure.overlap}"
            )
    crf.check(procedure.crf_parameters)
    if procedure.dense_crf:
        crf.require()


def segment_function(segmenter: Segmenter, procedure: Procedure, model) -> Callable:
    """A function from pictures, uint8 `[B, H, W, 3]`, to labels, uint8 `[B, H, W]`.

    Args:
        segmenter: the model.
        procedure: with the default, `segmenter.segment` itself.
        model: its address, for the message.

    Raises:
        UserError: the procedure needs scores, and this form of a model gives none.
    """
    if procedure.is_default:
        return segmenter.segment
    logits = logits_of(segmenter, model)

    def segment(images: np.ndarray) -> np.ndarray:
        return np.stack([labels(logits, image, procedure) for image in images])

    return segment


def logits_of(segmenter: Segmenter, model) -> Callable:
    """The function of a model that gives logits.

    Raises:
        UserError: this form of a model gives none.
    """
    logits = getattr(segmenter, "logits", None)
    if logits is None:
        raise UserError(
            f"{model} gives labels and no scores, which --scales, --flip, --tile and --crf need: "
            "take a .keras file or a SavedModel folder"
        )
    return logits


def labels(logits: Callable, image: np.ndarray, procedure: Procedure) -> np.ndarray:
    """Labels of one picture, uint8 `[H, W]`; arguments as of `probabilities`."""
    scores = probabilities(logits, image, procedure)
    if procedure.dense_crf:
        scores = crf.refine(image, scores, procedure.crf_parameters)
    return np.argmax(scores, axis=-1).astype(np.uint8)


def probabilities(logits: Callable, image: np.ndarray, procedure: Procedure = ONCE) -> np.ndarray:
    """Mean probabilities of one picture over scales, mirrored looks and tiles, without the CRF.

    Pictures are scaled bilinearly (over all pixels when they shrink), and probabilities back
    to the picture's size in the same way.

    Args:
        logits: from uint8 `[B, H, W, 3]` of any size to float32 `[B, H, W, C]`; for a Keras model
            `functools.partial(gcn_keras.inference.predict_logits, model)`.
        image: uint8 `[H, W, 3]`, RGB.
        procedure: what to average over.

    Returns:
        float32 `[H, W, C]`, which sums to 1 over the classes.
    """
    height, width = image.shape[:2]
    total, count = 0.0, 0
    for scale in procedure.scales:
        size = max(1, round(scale * height)), max(1, round(scale * width))
        scaled = image if size == (height, width) else _resize(image, size)
        for mirrored in (False, True) if procedure.flip else (False,):
            step = -1 if mirrored else 1
            look = _tiled(logits, scaled[:, ::step], procedure.tile, procedure.overlap)[:, ::step]
            total = total + (look if size == (height, width) else _resize_maps(look, image.shape))
            count += 1
    return (total / count).astype(np.float32)


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


def _tiled(logits, image, tile, overlap) -> np.ndarray:
    """Probabilities `[H, W, C]`; their mean where tiles overlap."""
    if tile is None:
        return _softmax(logits(image[None])[0])
    height, width = image.shape[:2]
    total = None
    count = np.zeros((height, width, 1), np.float32)
    starts = (
        tile_starts(length, side, overlap)
        for length, side in zip((height, width), tile, strict=True)
    )
    for y, x in itertools.product(*starts):
        window = np.s_[y : y + tile[0], x : x + tile[1]]
        scores = _softmax(logits(image[window][None])[0])
        if total is None:
            total = np.zeros((height, width, scores.shape[-1]), np.float32)
        total[window] += scores
        count[window] += 1
    return total / count


def _softmax(logits: np.ndarray) -> np.ndarray:
    exponentials = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return exponentials / exponentials.sum(axis=-1, keepdims=True)


def _resize(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    return np.asarray(Image.fromarray(image).resize(size[::-1], Image.Resampling.BILINEAR))


def _resize_maps(maps: np.ndarray, shape) -> np.ndarray:
    """Each channel of float32 `[h, w, C]` to the picture's size."""
    resized = [
        Image.fromarray(np.ascontiguousarray(maps[..., c])).resize(
            (shape[1], shape[0]), Image.Resampling.BILINEAR
        )
        for c in range(maps.shape[-1])
    ]
    return np.stack(resized, axis=-1)


def _shown(values) -> str:
    return " ".join(f"{value:g}" for value in values) or "none"

"""Which layers of an int8 model to leave in float, so that quantization costs little."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from gcn_keras.inference.padding import pad_with_mean
from gcn_keras.models.layer_names import group_of
from pipelines.base.errors import ArgumentError, UserError, argument
from pipelines.base.plurals import plural

if TYPE_CHECKING:
    import keras

    from pipelines.datasets import PreparedDataset

REPRESENTATIVE = 100  # images from which the ranges of an int8 model are measured
_COMPARED = 8  # images on which the layers are compared


def representative_images(dataset: PreparedDataset, size: tuple[int, int]) -> list[np.ndarray]:
    """Images of the training split as a TFLite file of this height and width will meet them.

    Returns:
        At most `REPRESENTATIVE` arrays uint8 `[1, height, width, 3]`, none resized: windows
        anywhere in larger images; smaller ones padded with the mean pixel at the bottom and right.

    Raises:
        UsageError: the data set has no split train.
    """
    from pipelines.stream.evaluation import evaluation_examples

    examples = evaluation_examples(dataset, "train", REPRESENTATIVE)
    random = np.random.default_rng(0)
    images = []
    for example in examples.as_numpy_iterator():
        image = example["image"]
        spare = np.maximum(np.subtract(image.shape[:2], size), 0)
        top, left = (random.integers(0, most + 1) for most in spare)
        window = image[top:, left:][: size[0], : size[1]]
        images.append(pad_with_mean(window[None], *size))
    return images


@dataclass(frozen=True)
class Fitted:
    """An int8 model: its file, the names of the layers that stayed in float, its mean IoU."""

    content: bytes
    float_layers: tuple[str, ...]
    mean_iou: float


def fit_budget(
    model: keras.Model,
    size: tuple[int, int],
    representative: Iterable[np.ndarray],
    evaluate: Callable,
    reference: float,
    budget: float,
    most: int = 8,
    say: Callable[[str], None] = print,
) -> Fitted:
    """Converts to int8, and keeps the most sensitive layers in float until the loss fits.

    Layers are tried in blocks such as "br_up2" (br_up2_conv1, br_up2_conv2 …). The block that,
    alone in integers, changes most labels of a few representative images stays in float, then the
    second, too, and so on. (Layer statistics such as those of tf.lite's debugger compare each
    tensor with its own scale, and so miss a scale that is far too coarse for the labels.)

    Args:
        model, size, representative: see `gcn_keras.deployment.tflite.convert`.
        evaluate: function from a `segmenters.Segment` to the mean IoU on the data set, 0…1.
        reference: mean IoU of the float model, 0…1.
        budget: how much may be lost, in points of mean IoU (hundredths).
        most: how many blocks may stay in float.
        say: takes a line about each try.

    Raises:
        ArgumentError: a negative budget.
        UserError: no model fits, or not even the file in float does, as it pads smaller images;
            the conversion fails.
    """
    from gcn_keras.deployment import tflite, tflite_int8

    if not budget >= 0:
        raise ArgumentError("budget", f"must be 0 or more points of mean IoU, got {budget}")
    images = list(representative)
    calibrated = tflite_int8.calibrate(model, size, images)
    blocks = _blocks(layer for layer, nodes in calibrated.nodes.items() if nodes)
    kept: list[str] = []
    ranking: list[str] = []
    tries: list[tuple[float, tuple[str, ...]]] = []
    while True:
        layers = [layer for block in kept for layer in blocks[block]]
        content = calibrated.quantize(layers)
        mean_iou = _with_file(content, evaluate)
        loss = 100 * (reference - mean_iou)
        tries.append((loss, tuple(kept)))
        say(f"int8 {_in_float(kept)}: mean IoU {100 * mean_iou:.1f} %, {_change(loss, budget)}")
        if loss <= budget:
            return Fitted(content, tuple(layers), mean_iou)
        if not ranking:
            float_model = tflite.convert(model, "tflite", size)
            _check_size(size, 100 * (reference - _with_file(float_model, evaluate)), budget)
            ranking = _by_sensitivity(calibrated, blocks, float_model, images[:_COMPARED], say)
        if len(kept) == min(most, len(ranking)):
            break
        kept.append(ranking[len(kept)])
    loss, best = min(tries)
    raise UserError(
        f"no int8 model keeps within {_points(budget)} of mean IoU: the best, {_in_float(best)}, "
        f"loses {loss:.2f}; raise {argument('budget')} or leave tflite-int8 out"
    )


def _check_size(size, loss: float, budget: float) -> None:
    if loss > budget:
        raise UserError(
            f"no int8 model keeps within {_points(budget)} of mean IoU: in float a file of "
            f"{size[0]}x{size[1]} loses {loss:.2f} already, as smaller images are padded to it, "
            f"and larger ones cut into tiles; give {argument('size')} of the images, or of the "
            f"crops that the model was trained on, or raise {argument('budget')}"
        )


def _points(budget: float) -> str:
    return f"{budget:g} {plural(budget, 'point')}"


def _change(loss: float, budget: float) -> str:
    """Of mean IoU, which integers may raise by chance."""
    if round(loss, 2) < 0:
        return f"{-loss:.2f} points gained"
    return f"{abs(loss):.2f} points lost of {budget:g} allowed"


def _in_float(blocks) -> str:
    return f"with {', '.join(blocks)} in float" if blocks else "with no layer in float"


def _blocks(layers: Iterable[str]) -> dict[str, list[str]]:
    """The layers by their groups."""
    blocks: dict[str, list[str]] = {}
    for layer in layers:
        blocks.setdefault(group_of(layer), []).append(layer)
    return blocks


def _by_sensitivity(calibrated, blocks, float_model: bytes, images, say) -> list[str]:
    """The blocks, those first that cost most labels."""
    batch = np.concatenate(images)
    expected = _with_file(float_model, lambda segment: segment(batch))
    shares = {}
    for block in blocks:
        others = [layer for other in blocks if other != block for layer in blocks[other]]
        content = calibrated.quantize(others)
        labels = _with_file(content, lambda segment: segment(batch))
        shares[block] = float(np.mean(labels != expected))
        say(f"{block} alone in integers: {100 * shares[block]:.2f} % of the labels change")
    return sorted(shares, key=lambda block: shares[block], reverse=True)


def _with_file(content: bytes, use: Callable):
    """Calls `use` with the segment function of a TFLite file."""
    from gcn_keras.inference.tflite_model import TFLiteSegmenter

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model.tflite")
        try:
            path.write_bytes(content)
        except OSError as error:
            raise UserError(
                f"{tempfile.gettempdir()} cannot be written: {error.strerror}; TMPDIR names "
                "another folder for temporary files"
            ) from error
        return use(TFLiteSegmenter(path).segment)

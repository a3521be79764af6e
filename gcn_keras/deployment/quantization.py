"""What quantization costs, and which layers to leave in float so that it costs little."""

from __future__ import annotations

import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from gcn_keras.evaluation.measure import check_scored, evaluate_model
from gcn_keras.inference.padding import pad_with_mean
from gcn_keras.inference.segmenters import (
    check_same_classes,
    is_server,
    newest_version,
    open_segmenter,
)
from gcn_keras.models.layer_names import group_of
from pipelines.base.errors import ArgumentError, UserError, argument
from pipelines.base.plurals import plural

if TYPE_CHECKING:
    import keras

    from pipelines.datasets import PreparedDataset

REPRESENTATIVE = 100  # images from which the ranges of an int8 model are measured
# Images on which the layers are compared, and on which latency is measured.
_COMPARED = 8
_TIMED = 20


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


def report(models: Sequence[str | Path], dataset: PreparedDataset, split: str) -> list[dict]:
    """Measures several forms of a model on the same images.

    Args:
        models: paths or addresses, as `open_segmenter` takes them; the others are compared with
            the first.
        dataset, split: as in `evaluate_model`.

    Returns:
        A row for each: `model`; `ConfusionMatrix.summary`; `loss_points`, how many points of mean
        IoU (hundredths) are lost against the first; `size_mib`, None for a server; `latency_ms`,
        the median time of an image by itself; `size`, height and width of the images that it takes,
        None for any, and `other_sizes`, how many images had another size.

    Raises:
        UserError: a model cannot be used, or knows other classes than the data set; that has no
            label but void.
    """
    rows = [_measured(model, dataset, split) for model in models]
    for row in rows:
        row["loss_points"] = 100 * (rows[0]["mean_iou"] - row["mean_iou"])
    return rows


def _measured(model, dataset, split) -> dict:
    segmenter, images_of = open_segmenter(model), Counter[tuple]()
    check_same_classes(segmenter, model, dataset)

    def segment(images: np.ndarray) -> np.ndarray:
        images_of[images.shape[1:3]] += len(images)
        return segmenter.segment(images)

    matrix = evaluate_model(segment, dataset, split)
    check_scored(matrix, dataset, split)
    size = getattr(segmenter, "size", None)
    return {
        "model": str(model),
        **matrix.summary(dataset.class_names),
        "size_mib": None if is_server(str(model)) else mib_of(Path(model)),
        "latency_ms": _latency_ms(segmenter.segment, dataset, split),
        "size": size and list(size),
        "other_sizes": size and images_of.total() - images_of[size],
    }


def markdown(rows: list[dict]) -> str:
    """The rows of `report` as a Markdown table, a model a line, and what is to be known of it."""
    classes = list(rows[0]["iou"])
    head = ["model", "mean IoU %", "loss, points", "MiB", "ms an image", *classes]
    lines = [head, ["---", *["---:"] * (len(head) - 1)]]
    for row in rows:
        ious = [row["iou"][name] for name in classes]
        lines.append(
            [
                row["model"],
                f"{100 * row['mean_iou']:.1f}",
                f"{row['loss_points']:z.1f}",
                "–" if row["size_mib"] is None else f"{row['size_mib']:.2f}",
                f"{row['latency_ms']:.1f}",
                *("absent" if iou is None else f"{100 * iou:.1f}" for iou in ious),
            ]
        )
    table = [f"| {' | '.join(cells)} |" for cells in lines]
    for row in rows:
        if count := row.get("other_sizes"):
            height, width = row["size"]
            table.append(
                f"\n{row['model']} takes images of {height}x{width}, and {count:,} had another "
                "size: smaller ones were padded, larger ones cut into tiles, which see less around "
                "them"
            )
    return "\n".join(table)


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


def mib_of(path: Path) -> float:
    """Size of a file, or of the newest SavedModel in a folder, in MiB."""
    files = [path] if path.is_file() else newest_version(path).rglob("*")
    return sum(file.stat().st_size for file in files if file.is_file()) / 2**20


def _latency_ms(segment, dataset, split) -> float:
    """Median time of an image by itself, once everything is warm."""
    from pipelines.stream.evaluation import evaluation_examples

    seconds = []
    for example in evaluation_examples(dataset, split, _TIMED).as_numpy_iterator():
        image = example["image"][None]
        segment(image)
        start = time.perf_counter()
        segment(image)
        seconds.append(time.perf_counter() - start)
    return 1000 * float(np.median(seconds))

"""The forms of a model measured side by side: mean IoU, size and latency."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from gcn_keras.evaluation.measure import check_scored, evaluate_model
from gcn_keras.inference.segmenters import (
    check_same_classes,
    is_server,
    newest_version,
    open_segmenter,
)

if TYPE_CHECKING:
    from pipelines.datasets import PreparedDataset

_TIMED = 20  # images on which latency is measured


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
    named = [name.replace("|", r"\|") for name in classes]  # which would begin a column
    head = ["model", "mean IoU %", "loss, points", "MiB", "ms an image", *named]
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

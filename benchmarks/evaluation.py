"""How much of an evaluation is spent in the model.

    python benchmarks/evaluation.py MODEL --dataset NAME [--data-dir DIR] [--split S] [--json FILE]

Runs what `python -m gcn_keras.evaluate` runs, twice, and clocks the calls of the model in the
second run: the rest is reading, decoding, and counting. MODEL is any form that `evaluate` takes.
"""

import json
import os
import time
from pathlib import Path
from typing import Annotated

import tyro

from gcn_keras.evaluation.measure import evaluate_model
from gcn_keras.inference.segmenters import open_segmenter
from pipelines import datasets
from pipelines.base.environment import prepare_tensorflow
from pipelines.base.errors import run_command


def measure(
    model: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="MODEL")],
    dataset: str,
    data_dir: Annotated[Path, tyro.conf.arg(metavar="DIR")] = Path(datasets.DEFAULT_DATA_DIR),
    split: str | None = None,
    json_file: Annotated[Path | None, tyro.conf.arg(name="json", metavar="FILE")] = None,
) -> None:
    """Measure the share of an evaluation's time that is spent in the model.

    Args:
        model: What to evaluate.
        dataset: Prepared data set.
        data_dir: Where prepared data sets live.
        split: Split to measure on; by default val or validation.
        json_file: JSON file for the result.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    prepare_tensorflow()
    prepared = datasets.load(dataset, data_dir)
    split = prepared.validation_split(split)
    segment = open_segmenter(model).segment
    inside = 0.0

    def clocked(images):
        nonlocal inside
        start = time.perf_counter()
        labels = segment(images)
        inside += time.perf_counter() - start
        return labels

    evaluate_model(segment, prepared, split)  # every size of batch is compiled
    start = time.perf_counter()
    evaluate_model(clocked, prepared, split)
    total = time.perf_counter() - start
    row = {"images": prepared.splits[split], "seconds": total, "share_in_model": inside / total}
    print(f"{row['images']} images in {total:.2f} s, {100 * inside / total:.1f} % in the model")
    if json_file:
        json_file.write_text(json.dumps(row, indent=2) + "\n")


def main() -> None:
    """Entry point of the command."""
    tyro.cli(measure, prog="python benchmarks/evaluation.py")


if __name__ == "__main__":
    run_command(main)

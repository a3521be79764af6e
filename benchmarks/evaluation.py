"""How fast `evaluate` and `predict` are beside the model alone.

    python benchmarks/evaluation.py MODEL --dataset NAME [--images N] [--rounds N] [--json FILE] …

MODEL is any form that `evaluate` takes. Three ways take the same images of a split, in turns; of
each the fastest turn counts, as it was disturbed least:

- the model alone: batches that are in memory already, label maps that nobody looks at;
- `evaluate`: read from records, decoded, segmented, counted;
- `predict` of a folder of the images as JPEG files of quality 95: read, segmented, and a label map
  and an overlay written for each.

Reading and writing happen beside the model, but on the same cores: where it keeps all of them busy,
a way can reach no more of its speed than it has core seconds of the way's. These are printed, too.
"""

import contextlib
import io
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated

import tyro
from checks import check
from PIL import Image
from turns import best_turns

from gcn_keras.evaluation.measure import evaluate_model, evaluation_batches
from gcn_keras.inference.files import predict_files
from gcn_keras.inference.segmenters import open_segmenter
from pipelines import datasets
from pipelines.base.environment import cores
from pipelines.base.errors import run_command
from pipelines.base.files import write_json
from pipelines.base.plurals import count_of

QUALITY = 95


def compare(
    model: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="MODEL")],
    dataset: str,
    data_dir: Annotated[Path, tyro.conf.arg(metavar="DIR")] = Path(datasets.DEFAULT_DATA_DIR),
    split: str | None = None,
    images: int = 64,
    rounds: int = 3,
    json_file: Annotated[Path | None, tyro.conf.arg(name="json", metavar="FILE")] = None,
) -> None:
    """Compare the images a second of evaluate and predict with those of the model alone.

    Args:
        model: What is measured.
        dataset: Prepared data set.
        data_dir: Where prepared data sets live.
        split: Split whose images are taken; by default val or validation.
        images: Number of images, the first ones.
        rounds: Number of turns of each way, after one that does not count.
        json_file: JSON file for the rows.
    """
    check(json_file, images=images, rounds=rounds)
    prepared = datasets.load(dataset, data_dir)
    split = prepared.validation_split(split)
    segment = open_segmenter(model).segment
    batches = [batch for batch, *_ in evaluation_batches(prepared, split, images)]
    count = sum(map(len, batches))
    with tempfile.TemporaryDirectory() as scratch:
        files = [Path(scratch, f"{number:06}.jpg") for number in range(count)]
        for file, image in zip(files, (each for batch in batches for each in batch), strict=True):
            Image.fromarray(image).save(file, quality=QUALITY)

        def alone() -> None:
            for batch in batches:
                segment(batch)

        def evaluate() -> None:
            evaluate_model(segment, prepared, split, images)

        def predict() -> None:
            with (
                contextlib.redirect_stdout(io.StringIO()),
                contextlib.redirect_stderr(io.StringIO()),
            ):
                predict_files(segment, files, Path(scratch), prepared.palette, 0.5)

        ways = {"the model alone": alone, "evaluate": evaluate, "predict": predict}
        fastest = turns(ways, rounds)
    wall_alone = fastest["the model alone"][0]
    rows = [
        {
            "way": way,
            "images_per_s": count / wall,
            "of_the_model": wall_alone / wall,
            "core_ms_an_image": 1000 * busy / count,
        }
        for way, (wall, busy) in fastest.items()
    ]
    print(f"{count_of(count, 'image')} of {dataset}, split {split}, {cores()} cores\n")
    print("| way | images/s | of the model alone | core ms an image |\n|---|---:|---:|---:|")
    for row in rows:
        print(
            f"| {row['way']} | {row['images_per_s']:.2f} | {row['of_the_model']:.3f} | "
            f"{row['core_ms_an_image']:.1f} |"
        )
    if json_file:
        write_json(json_file, rows)


def turns(ways: dict[str, Callable[[], None]], rounds: int) -> dict[str, tuple[float, float]]:
    """Seconds that the fastest turn of each way takes, and core seconds that it is busy for."""
    for call in ways.values():  # every size of batch is compiled
        call()
    return best_turns({way: partial(timed, call) for way, call in ways.items()}, rounds)


def timed(call: Callable[[], None]) -> tuple[float, float]:
    """Seconds that a call takes, and core seconds that it is busy for."""
    wall, busy = time.perf_counter(), time.process_time()
    call()
    return time.perf_counter() - wall, time.process_time() - busy


def main() -> None:
    """Entry point of the command."""
    tyro.cli(compare, prog="python benchmarks/evaluation.py")


if __name__ == "__main__":
    run_command(main)

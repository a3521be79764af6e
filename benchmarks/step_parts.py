"""Where the time of a training step goes, block by block of Figure 2, from TensorFlow's profiler.

    python benchmarks/step_parts.py [--mixed-precision bfloat16] [--batch 1] [--json FILE]

The step of `benchmarks/training.py`: GCN on ResNet50, k = 15, 21 classes, 512×512, SGD. An
operation counts for the layer whose name it bears, forward or backward; what bears none is the loss
or else the optimizer and what keeps the step exact. An operation that uses all cores counts once.
"""

import collections
import re
import tempfile
from pathlib import Path
from typing import Annotated, Literal

import tyro
from checks import check
from traces import Event, events
from training import keras_step

from gcn_keras.models.layer_names import BACKBONE, FIGURE, Place, block_of_operation
from pipelines.base.errors import run_command
from pipelines.base.files import write_json

WARM_UP = 3
FORWARD, BACKWARD = "forward", "backward"
LOSS, REST = "loss", "optimizer and the rest"
_OPERATION = re.compile(r"[^:]+:\w+")
_LOSS = re.compile(r"SparseSoftmax|SelectV2|weighted_sum")


def operations(trace: list[Event]) -> dict[str, int]:
    """Picoseconds of each operation by its name, without those of operations within it."""
    total: dict[str, int] = collections.Counter()
    open_ones: list[Event] = []
    found = [event for event in trace if _OPERATION.fullmatch(event.name)]
    for event in sorted(found, key=lambda event: (event.thread, event.start, -event.duration)):
        while open_ones and not _is_within(event, open_ones[-1]):
            open_ones.pop()
        if open_ones:
            total[open_ones[-1].name] -= event.duration
        total[event.name] += event.duration
        open_ones.append(event)
    return total


def _is_within(event: Event, other: Event) -> bool:
    return event.thread == other.thread and event.start < other.start + other.duration


def part_of(operation: str) -> tuple[str, str]:
    """The block that an operation belongs to, and whether it is of the way forward or back."""
    name = operation.partition(":")[0]
    way = BACKWARD if name.startswith("gradient_tape/") else FORWARD
    if place := block_of_operation(name):
        return _title(place), way
    return (LOSS if _LOSS.search(name) else REST), way


def _title(place: Place) -> str:
    return (
        f"{BACKBONE}, {place.level}" if place.block == BACKBONE else f"{place.block} {place.level}"
    )


def measure(
    mixed_precision: Literal["none", "bfloat16"] = "none",
    batch: int = 1,
    steps: int = 5,
    json_file: Annotated[Path | None, tyro.conf.arg(name="json", metavar="FILE")] = None,
) -> None:
    """Measure how much of a training step each block takes.

    Args:
        mixed_precision: What the step computes in.
        batch: Crops a step.
        steps: Steps to profile.
        json_file: JSON file for the result.
    """
    check(json_file, batch=batch, steps=steps)
    import tensorflow as tf

    step = keras_step(batch, mixed_precision=mixed_precision)
    for _ in range(WARM_UP):
        step()
    with tempfile.TemporaryDirectory() as scratch:
        tf.profiler.experimental.start(scratch)
        for _ in range(steps):
            step()
        tf.profiler.experimental.stop()
        spent = operations(list(events(Path(scratch))))
    parts: dict[tuple[str, str], float] = collections.Counter()
    for name, picoseconds in spent.items():
        parts[part_of(name)] += picoseconds / 1e9 / steps
    total = sum(parts.values())
    order = [*dict.fromkeys(map(_title, FIGURE)), LOSS, REST]
    print(f"{mixed_precision}, batch {batch}: {total:.0f} ms of operations a step")
    print("| part | forward ms | backward ms | share % |\n|---|---:|---:|---:|")
    for title in order:
        forward, backward = (parts.get((title, way), 0.0) for way in (FORWARD, BACKWARD))
        if forward + backward:
            share = 100 * (forward + backward) / total
            print(f"| {title} | {forward:.1f} | {backward:.1f} | {share:.1f} |")
    if json_file:
        named = {f"{title}, {way}": ms for (title, way), ms in parts.items()}
        write_json(json_file, {"mixed_precision": mixed_precision, "batch": batch, "ms": named})


def main() -> None:
    """Entry point of the command."""
    tyro.cli(measure, prog="python benchmarks/step_parts.py")


if __name__ == "__main__":
    run_command(main)

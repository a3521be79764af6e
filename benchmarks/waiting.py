"""The share of a training step that is spent waiting for data, from TensorFlow's profiler.

    python benchmarks/waiting.py [--backbone resnet18] [--steps 30] [--json FILE]

Trains GCN + BR as `gcn_keras.fit` does on images of CamVid's size that are made here, profiles
the steps after the first ones, and adds up what the trace gives for `IteratorGetNext`, the only
place where a step waits for the input pipeline.
"""

import tempfile
from pathlib import Path
from typing import Annotated

import tyro
from checks import check
from input_pipeline import KINDS, write_images
from traces import events

from gcn_keras.recipes import command_line
from pipelines import datasets
from pipelines.base.errors import ArgumentError, UserError, run_command
from pipelines.base.files import write_json
from pipelines.base.plurals import count_of

WARM_UP = 5
WAITING = "IteratorGetNextOp::DoCompute"


def waiting_share(folder: Path) -> tuple[float, float]:
    """Seconds spent waiting and seconds in all, of a trace.

    Raises:
        UserError: the trace has no such event.
    """
    waits = [(event.start, event.duration) for event in events(folder) if event.name == WAITING]
    if len(waits) < 2:
        raise UserError(
            f"the trace has {count_of(len(waits), 'event')} {WAITING}: no steps were profiled"
        )
    waits.sort()
    # From the start of the first step to the start of the last: whole steps only.
    whole = waits[:-1]
    return sum(duration for _, duration in whole) / 1e12, (waits[-1][0] - waits[0][0]) / 1e12


def measure(
    backbone: str = "resnet18",
    batch: int = 4,
    steps: int = 30,
    json_file: Annotated[Path | None, tyro.conf.arg(name="json", metavar="FILE")] = None,
) -> None:
    """Measure how much of a training step is spent waiting for data.

    Args:
        backbone: The ResNet to train.
        batch: Crops a step.
        steps: Steps to profile, at least 2; the last one only tells where the one before it ends.
        json_file: JSON file for the result.
    """
    check(json_file, batch=batch)
    if steps < 2:
        raise ArgumentError("steps", f"must be at least 2, got {steps}: a step ends with the next")
    options = f"--backbone {backbone} --batch {batch} --crop 256 256 --scale 0.75 1.25"
    recipe = command_line.parse(["--recipe", "camvid", "--class-weights", "none", *options.split()])
    import tensorflow as tf

    from gcn_keras.training.devices import make_team
    from gcn_keras.training.optimizers import compile_model
    from gcn_keras.training.segmentation import Segmentation
    from gcn_keras.training.tensorflow_step import TensorFlowStep
    from pipelines.stream.segmentation import training_batches

    with tempfile.TemporaryDirectory() as scratch:
        write_images(KINDS["camvid"], Path(scratch, "images"))
        dataset = datasets.prepare(
            "image_folder/camvid", Path(scratch, "images"), Path(scratch, "data")
        )
        batches = training_batches(dataset, "train", **recipe.stream_fields())
        model = Segmentation.build(recipe, dataset.num_classes)
        compile_model(model, recipe, WARM_UP + steps)
        step = TensorFlowStep(model, make_team(recipe))
        for number, (images, labels) in enumerate(batches.take(WARM_UP + steps)):
            if number == WARM_UP:
                tf.profiler.experimental.start(scratch)
            step(images, labels)
        tf.profiler.experimental.stop()
        waited, total = waiting_share(Path(scratch))
    row = {
        "backbone": backbone,
        "batch": batch,
        "steps": steps - 1,
        "seconds_a_step": total / (steps - 1),
        "waiting_percent": 100 * waited / total,
    }
    print(
        f"{backbone}, batch {batch}, 256×256: {row['seconds_a_step']:.2f} s a step, "
        f"{row['waiting_percent']:.2f} % of it waiting for data ({count_of(steps - 1, 'step')})"
    )
    if json_file:
        write_json(json_file, row)


def main() -> None:
    """Entry point of the command."""
    tyro.cli(measure, prog="python benchmarks/waiting.py")


if __name__ == "__main__":
    run_command(main)

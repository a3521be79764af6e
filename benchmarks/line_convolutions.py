"""1×k and k×1 convolutions with TensorFlow on a CPU: over the map, and line by line.

    python benchmarks/line_convolutions.py [--json FILE]

The first convolutions of the GCN blocks on ResNet50 at 512×512 (k = 15, 21 classes), forward and
forward with gradients, each way in turn; the best of several turns counts.
"""

import time
from pathlib import Path
from typing import Annotated

import tyro
from checks import check

from pipelines.base.errors import run_command
from pipelines.base.files import write_json

MAPS = {"P2": (128, 256), "P3": (64, 512), "P4": (32, 1024), "P5": (16, 2048)}  # side, channels
KERNELS = ((1, 15), (15, 1))
CLASSES = 21


def functions(convolution):
    """Forward, and forward with gradients, as compiled functions of images."""
    import tensorflow as tf

    @tf.function
    def forward(images):
        return convolution(images)

    @tf.function
    def with_gradients(images):
        with tf.GradientTape() as tape:
            tape.watch(images)
            value = tf.reduce_sum(tf.square(convolution(images)))
        return tape.gradient(value, [images, convolution.kernel.value])

    return forward, with_gradients


def compare(
    json_file: Annotated[Path | None, tyro.conf.arg(name="json", metavar="FILE")] = None,
    turns: int = 8,
) -> None:
    """Compare ways to compute a convolution.

    Args:
        json_file: JSON file for the rows.
        turns: Turns of each way; the fastest counts.
    """
    check(json_file, turns=turns)
    import keras
    import tensorflow as tf

    from gcn_keras.models.line_convolutions import convolve_along_lines

    rows = []
    for name, (side, channels) in MAPS.items():
        for kernel in KERNELS:
            images = tf.random.normal((1, side, side, channels))
            ways = []
            for by_lines in (False, True):
                layer = keras.layers.Conv2D(CLASSES, kernel, padding="same")
                x = keras.Input((None, None, channels))
                model = keras.Model(x, layer(x))
                if by_lines:
                    convolve_along_lines(model)
                ways += functions(layer)
            best = [float("inf")] * len(ways)
            for turn in range(turns + 2):  # the first two make the functions
                for i, way in enumerate(ways):
                    start = time.perf_counter()
                    way(images)
                    if turn > 1:
                        best[i] = min(best[i], time.perf_counter() - start)
            milliseconds = dict(
                zip(
                    ("map_forward", "map_all", "lines_forward", "lines_all"),
                    (1000 * seconds for seconds in best),
                    strict=True,
                )
            )
            rows.append({"map": name, "kernel": "×".join(map(str, kernel)), **milliseconds})
    print("| map | kernel | forward ms | by lines | with gradients ms | by lines |")
    print("|---|---|---:|---:|---:|---:|")
    for row in rows:
        print(
            f"| {row['map']} | {row['kernel']} | {row['map_forward']:.1f} | "
            f"{row['lines_forward']:.1f} | {row['map_all']:.1f} | {row['lines_all']:.1f} |"
        )
    if json_file:
        write_json(json_file, rows)


def main() -> None:
    """Entry point of the command."""
    tyro.cli(compare, prog="python benchmarks/line_convolutions.py")


if __name__ == "__main__":
    run_command(main)

"""What a training crop costs, part by part.

    python benchmarks/crop_parts.py [--json FILE] [--seconds S]

For images of CamVid's and Cityscapes' size (made by the script, JPEG quality 95): milliseconds
of one core for each part of `pipelines.stream.crops.random_crop`, for all of it, and for decoding
the whole JPEG and doing nothing else. Each part is a `map` of its own over what the parts before it
give, held in memory, with all cores; the fastest of three turns counts.
"""

import os
import tempfile
import time
from pathlib import Path
from typing import Annotated

import tyro
from checks import check
from input_pipeline import KINDS, Images, write_images

from pipelines.base.errors import run_command
from pipelines.base.files import write_json

JITTER = 0.3


def parts(kind: Images, folder: Path) -> dict:
    """Name -> (elements held in memory, function of one element)."""
    import tensorflow as tf

    from pipelines.base import decoding
    from pipelines.stream import crops

    names = sorted(path.stem for path in (folder / "images").iterdir())
    images = [(folder / "images" / f"{name}.jpg").read_bytes() for name in names]
    labels = [(folder / "labels" / f"{name}.png").read_bytes() for name in names]
    size, crop = tf.constant(kind.size), (kind.crop, kind.crop)
    draws = [tf.random.stateless_uniform([9], [i, 0]) for i in range(len(names))]
    windows = [crops.draw_window(draw[:5], size, crop, kind.scale) for draw in draws]
    cut_images = [
        crops.decode_window(image, window, size)
        for image, window in zip(images, windows, strict=True)
    ]
    cut_labels = [
        crops.cut(decoding.decode_label(label), window)
        for label, window in zip(labels, windows, strict=True)
    ]
    resized = tf.stack([crops.resize_image(image, *crop) for image in cut_images])

    def elements(*columns):
        """A dataset of rows; ragged, where windows differ in size."""

        def rows():
            return zip(*columns, strict=True)

        signature = tuple(
            tf.TensorSpec([None] * len(tf.convert_to_tensor(column[0]).shape), column[0].dtype)
            for column in columns
        )
        dataset = tf.data.Dataset.from_generator(rows, output_signature=signature)
        return dataset.apply(tf.data.experimental.assert_cardinality(len(names)))

    encoded = tf.data.Dataset.from_tensor_slices((images, labels))
    window_rows = tf.data.Dataset.from_tensor_slices((images, tf.stack(windows, 0)))
    seeded = tf.data.Dataset.zip(encoded, tf.data.Dataset.range(len(names)))
    return {
        "decode the whole JPEG": (
            encoded,
            lambda image, label: tf.io.decode_jpeg(
                image, channels=3, dct_method="INTEGER_ACCURATE"
            ),
        ),
        "decode it, fast DCT": (
            encoded,
            lambda image, label: tf.io.decode_jpeg(image, channels=3, dct_method="INTEGER_FAST"),
        ),
        "decode the window": (
            window_rows,
            lambda image, window: crops.decode_window(
                image, crops.Window(*tf.unstack(window)), size
            ),
        ),
        "decode the label map": (encoded, lambda image, label: decoding.decode_label(label)),
        "resize the image": (elements(cut_images), lambda image: crops.resize_image(image, *crop)),
        "resize the label map": (
            elements(cut_labels),
            lambda label: crops.resize_label(label, *crop),
        ),
        "jitter": (
            tf.data.Dataset.from_tensor_slices((resized, tf.stack(draws)[:, 5:8])),
            lambda image, draw: crops.jitter_colours(image, draw, JITTER),
        ),
        "the crop": (
            seeded,
            lambda pair, index: crops.random_crop(
                *pair, tf.stack([index, index]), crop=crop, scale=kind.scale, jitter=JITTER
            ),
        ),
    }


def core_milliseconds(dataset, function, seconds: float) -> float:
    """Milliseconds of one core for an element, when all cores work."""
    cores = os.cpu_count()
    stream = iter(
        dataset.cache().repeat().map(function, num_parallel_calls=cores).prefetch(2 * cores)
    )
    for _ in range(len(dataset) + 10):  # what is held in memory is filled
        next(stream)
    best = float("inf")
    for _ in range(3):
        start, count = time.perf_counter(), 0
        while (elapsed := time.perf_counter() - start) < seconds / 3:
            next(stream)
            count += 1
        best = min(best, elapsed / count)
    return 1000 * cores * best


def compare(
    json_file: Annotated[Path | None, tyro.conf.arg(name="json", metavar="FILE")] = None,
    seconds: float = 3.0,
) -> None:
    """Measure the parts of a training crop.

    Args:
        json_file: JSON file for the rows.
        seconds: Length of a measurement.
    """
    check(json_file, seconds=seconds)
    rows = []
    for kind in (KINDS["camvid"], KINDS["cityscapes"]):
        with tempfile.TemporaryDirectory() as scratch:
            write_images(kind, Path(scratch))
            for name, (dataset, function) in parts(kind, Path(scratch)).items():
                cost = core_milliseconds(dataset, function, seconds)
                rows.append({"images": kind.name, "part": name, "core_ms": cost})
    print("| images | part | ms of one core | of the whole JPEG |\n|---|---|---:|---:|")
    for row in rows:
        whole = next(r["core_ms"] for r in rows if r["images"] == row["images"])
        print(
            f"| {row['images']} | {row['part']} | {row['core_ms']:.2f} | "
            f"{row['core_ms'] / whole:.2f} |"
        )
    if json_file:
        write_json(json_file, rows)


def main() -> None:
    """Entry point of the command."""
    tyro.cli(compare, prog="python benchmarks/crop_parts.py")


if __name__ == "__main__":
    run_command(main)

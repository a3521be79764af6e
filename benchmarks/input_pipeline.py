"""Crops a second of the input pipeline, beside its limit and its rivals.

    python benchmarks/input_pipeline.py [--json FILE] [--seconds S] [--rounds N] [--data-dir DIR]

Streams training crops of images of three sizes in five ways (see rival_streams.py) with all
cores, each in a process of its own, and prints crops/s, the ratio to decoding the same JPEGs
fully, and the peak memory of the process with its children, where pages that they share count
once. Every way has `--rounds` turns, one
after another; the best counts, as it was disturbed least. The images are made here;
--data-dir takes the data directory in which the real CamVid is prepared.
"""

import importlib.util
import itertools
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import tyro
from checks import check
from children import answered, in_child, memory_with_children_mib
from PIL import Image
from rival_streams import NEEDS, STREAMS, Job
from turns import best_turns

from pipelines import datasets
from pipelines.base.encoding import encode_label
from pipelines.base.errors import run_command
from pipelines.base.files import write_json


@dataclass(frozen=True)
class Images:
    """A kind of image to stream: its size, how many are made, and the crops taken."""

    name: str
    size: tuple[int, int]
    count: int
    crop: int
    scale: tuple[float, float]
    batch: int


KINDS = {
    kind.name: kind
    for kind in (
        Images("shapes", (128, 128), 256, 128, (1.0, 1.0), 8),
        Images("camvid", (360, 480), 64, 256, (0.75, 1.25), 8),
        Images("cityscapes", (1024, 2048), 16, 512, (0.75, 1.25), 4),
    )
}
QUALITY = 95  # of the JPEGs, at the usual chroma subsampling
MEMORY_READINGS = 20


def street(rng: np.random.Generator, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """An image with the statistics of a photograph, and its label map.

    Noise whose amplitude falls with its frequency, in regions of their own colours with sharp
    borders, and a camera's grain on top: it compresses like a photograph.
    """
    image = np.zeros((height, width, 3))
    label = np.zeros((height, width), np.uint8)
    y, x = np.mgrid[0:height, 0:width]
    for index in range(1, 13):
        centre = rng.uniform(0, 1, 2) * (height, width)
        half = rng.uniform(0.05, 0.3, 2) * (height, width)
        inside = (np.abs(y - centre[0]) < half[0]) & (np.abs(x - centre[1]) < half[1])
        image[inside] = rng.uniform(0, 200, 3)
        label[inside] = index
    for cell in (64, 32, 16, 8, 4, 2):
        rows, columns = -(-height // cell), -(-width // cell)
        noise = rng.normal(128, 40, (rows, columns)).clip(0, 255).astype(np.uint8)
        smooth = Image.fromarray(noise).resize((columns * cell, rows * cell), Image.BICUBIC)
        octave = np.asarray(smooth, np.float64)[:height, :width, None] - 128
        image += octave * (cell / 64) ** 0.8
    image += rng.normal(0, 1.5, image.shape)
    return np.clip(image + 28, 0, 255).astype(np.uint8), label


def write_images(kind: Images, folder: Path) -> None:
    """images/ and labels/ of a kind; classes.txt."""
    from pipelines.datasets.shapes import scenes

    for part in ("images", "labels"):
        (folder / part).mkdir(parents=True)
    for index in range(kind.count):
        rng = np.random.default_rng(index)
        if kind.name == "shapes":
            image, label = scenes.render_scene(rng, kind.size[0])
        else:
            image, label = street(rng, *kind.size)
        file = folder / "images" / f"{index:04}.jpg"
        Image.fromarray(image).save(file, quality=QUALITY)
        (folder / "labels" / f"{index:04}.png").write_bytes(encode_label(label))
    (folder / "classes.txt").write_text("\n".join(f"class {i}" for i in range(13)))


def write_camvid(data_dir: Path, folder: Path) -> None:
    """The training images of the real CamVid, from its records, as an image_folder."""
    import tensorflow as tf

    dataset = datasets.load("camvid", data_dir)
    for part in ("images", "labels"):
        (folder / part).mkdir(parents=True)
    records = tf.data.TFRecordDataset(list(dataset.files["train"]))
    for index, example in enumerate(records.map(dataset.parse)):
        (folder / "images" / f"{index:04}.jpg").write_bytes(example["image"].numpy())
        (folder / "labels" / f"{index:04}.png").write_bytes(example["label"].numpy())
    (folder / "classes.txt").write_text("\n".join(dataset.class_names))


def measure(job: dict, stream: str, seconds: float) -> dict:
    """Runs in a process of its own: crops a second and the peak memory in MiB."""
    batches = STREAMS[stream](Job(**job))
    for _ in range(10):  # threads are started, buffers filled, AUTOTUNE settled
        next(batches)
    start, count = time.perf_counter(), 0
    while (elapsed := time.perf_counter() - start) < seconds:
        next(batches)
        count += job["batch"]
    # After the measured time, as each reading takes a while.
    return {"crops_per_second": count / elapsed, "peak_mib": peak_mib(batches)}


def peak_mib(batches: Iterator) -> int:
    """Memory of this process and its children, a loader's workers: the most of some readings,
    after a batch each."""
    return max(memory_with_children_mib() for _ in itertools.islice(batches, MEMORY_READINGS))


def missing_packages(stream: str) -> list[str]:
    """The packages that a stream needs and this environment has not."""
    return [name for name in NEEDS.get(stream, ()) if importlib.util.find_spec(name) is None]


def compare(
    json_file: Annotated[Path | None, tyro.conf.arg(name="json", metavar="FILE")] = None,
    seconds: float = 6.0,
    rounds: int = 2,
    data_dir: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None,
    kinds: tuple[Literal[tuple(KINDS)], ...] = tuple(KINDS),
) -> None:
    """Compare the input pipeline with its limit and its rivals: crops a second, peak memory.

    Args:
        json_file: JSON file for the rows.
        seconds: Length of a measurement.
        rounds: Turns of each stream; the best counts.
        data_dir: Data directory of the real CamVid; without it images of its size are made.
        kinds: Kinds of images.
    """
    check(json_file, seconds=seconds, rounds=rounds)
    for stream in STREAMS:
        if missing := missing_packages(stream):
            needed = f"{' and '.join(missing)} not installed (requirements-bench.txt)"
            print(f"{stream}: left out, {needed}")
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        for kind in (KINDS[name] for name in KINDS if name in kinds):
            folder = Path(scratch, kind.name)
            if kind.name == "camvid" and data_dir:
                write_camvid(data_dir, folder)
            else:
                write_images(kind, folder)
            prepared = str(Path(scratch, "data"))
            datasets.prepare(f"image_folder/{kind.name}", folder, prepared)
            job = Job(prepared, kind.name, str(folder), kind.crop, kind.scale, kind.batch)
            streams = [stream for stream in STREAMS if not missing_packages(stream)]
            run = partial(in_child, "measure", job=asdict(job), seconds=seconds)
            ways = {stream: partial(run, stream=stream) for stream in streams}
            best = best_turns(ways, rounds, lambda turn: -turn["crops_per_second"])
            limit = best["decode only"]["crops_per_second"]
            for stream, result in best.items():
                ratio = result["crops_per_second"] / limit
                rows.append({"images": kind.name, "stream": stream, **result, "ratio": ratio})
    print(table(rows), end="")
    if json_file:
        write_json(json_file, rows)


def table(rows: list[dict]) -> str:
    """The rows in Markdown."""
    lines = [
        "| images | stream | crops/s | of decoding only | peak MiB |",
        "|---|---|---:|---:|---:|",
    ]
    for row in rows:
        lines.append(
            f"| {row['images']} | {row['stream']} | {row['crops_per_second']:,.0f} | "
            f"{row['ratio']:.2f} | {row['peak_mib']:,} |"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    """Entry point of the command."""
    if not answered(measure=measure):
        tyro.cli(compare, prog="python benchmarks/input_pipeline.py")


if __name__ == "__main__":
    run_command(main)

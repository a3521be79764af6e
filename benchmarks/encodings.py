"""What an encoding of Cityscapes-sized images and label maps costs: bytes, time, accuracy.

    python benchmarks/encodings.py [--json FILE] [--images DIR] [--rounds N]

Cityscapes comes as PNG. `prepare` writes it once, training decodes it in every epoch: the table
shows, for images of 1024x2048, the bytes, the time to decode all of an image, the time to
decode a window of 512x512 in its middle, and the peak signal-to-noise ratio against the PNG; for
label maps, which must be lossless, bytes and time by PNG filter and compression level. Times are
the process's CPU time in the fastest of `--rounds` turns that the encodings take one after
another; "x as fast" compares with the first row.

The images are made here, noise with a photograph's spectrum and sharp borders, tuned to be as
large a PNG as Cityscapes' are (11 GB for 5,000); --images takes a folder of your own.
"""

import io
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated

import numpy as np
import tyro
from checks import check
from PIL import Image, ImageDraw, ImageOps

from pipelines.base.encoding import pack_png
from pipelines.base.errors import UserError, run_command
from pipelines.base.files import write_json

HEIGHT, WIDTH, WINDOW = 1024, 2048, 512
SUFFIXES = (".png", ".jpg", ".jpeg")
PNG_FILTERS = {"none": 0, "sub": 1, "up": 2}


@dataclass(frozen=True)
class Encoding:
    """A way to store an image or a label map.

    Attributes:
        name: as printed.
        encode: uint8 `[H, W, 3]` or `[H, W]` -> bytes.
        decode: bytes -> uint8 tensor.
        decode_window: bytes -> uint8 tensor of the window; None to decode all and cut.
    """

    name: str
    encode: Callable
    decode: Callable
    decode_window: Callable | None = None


def photograph(seed: int) -> np.ndarray:
    """An image that compresses like a photograph: uint8 `[1024, 2048, 3]`.

    Noise whose amplitude falls with its frequency, mostly gray, over rectangles of their own
    colours, and a camera's grain.
    """
    rng = np.random.default_rng(seed)
    frequency = np.hypot(np.fft.fftfreq(HEIGHT)[:, None], np.fft.rfftfreq(WIDTH))
    frequency[0, 0] = 1

    def texture():
        spectrum = np.fft.rfft2(rng.normal(size=(HEIGHT, WIDTH))) / frequency**1.6
        pixels = np.fft.irfft2(spectrum, s=(HEIGHT, WIDTH))
        return pixels / pixels.std()

    image = np.full((HEIGHT, WIDTH, 3), 120.0)
    for _ in range(40):
        top, left = rng.integers(0, (HEIGHT, WIDTH))
        height, width = rng.integers(20, (HEIGHT // 2, WIDTH // 4))
        colour = rng.uniform(30, 220) + rng.normal(0, 15, 3)
        image[top : top + height, left : left + width] = colour
    image += 30 * texture()[..., None] + 5 * np.stack([texture() for _ in range(3)], axis=-1)
    image += rng.normal(0, 0.5, (HEIGHT, WIDTH, 1)) + rng.normal(0, 0.25, image.shape)
    return image.clip(0, 255).astype(np.uint8)


def label_map(seed: int) -> np.ndarray:
    """Polygons of 19 classes on void, like an annotator's: uint8 `[1024, 2048]`."""
    rng = np.random.default_rng(seed)
    image = Image.new("L", (WIDTH, HEIGHT), 255)
    draw = ImageDraw.Draw(image)
    draw.rectangle((0, 0, WIDTH, HEIGHT - 90), fill=0)
    for index in range(160):
        radius = rng.uniform(10, 400) * 0.985**index + 5
        angles = np.sort(rng.uniform(0, 2 * np.pi, rng.integers(6, 60)))
        radii = radius * rng.uniform(0.7, 1.3, len(angles))
        x = rng.uniform(0, WIDTH) + radii * np.cos(angles)
        y = rng.uniform(0, HEIGHT - 90) + radii * np.sin(angles)
        draw.polygon(list(zip(x, y, strict=True)), fill=int(rng.integers(19)))
    return np.array(image)


def read_images(folder: Path, count: int) -> list[np.ndarray]:
    """The first images of a folder, made 1024x2048.

    Smaller ones are continued in their own mirror images: resizing would take their detail.
    """
    files = sorted(path for path in folder.glob("*") if path.suffix.lower() in SUFFIXES)
    if not files:
        raise UserError(f"{folder} has no {', '.join(SUFFIXES)}")
    images = []
    for path in files[:: max(1, len(files) // count)][:count]:
        try:
            image = ImageOps.exif_transpose(Image.open(path)).convert("RGB")
        except OSError as error:
            raise UserError(f"{path} cannot be decoded: it is truncated or damaged") from error
        pixels = np.asarray(image)[:HEIGHT, :WIDTH]
        missing = (HEIGHT - pixels.shape[0], WIDTH - pixels.shape[1])
        images.append(np.pad(pixels, ((0, missing[0]), (0, missing[1]), (0, 0)), "symmetric"))
    return images


def encode(pixels: np.ndarray, format: str, **options) -> bytes:
    """Encodes with Pillow."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format=format, **options)
    return buffer.getvalue()


def encode_png(label: np.ndarray, level: int, filter_type: int) -> bytes:
    """An 8-bit grayscale PNG with one filter for all rows, which Pillow cannot choose."""
    rows = label.astype(np.int16)
    if filter_type == PNG_FILTERS["sub"]:
        rows = np.diff(rows, axis=1, prepend=0)
    if filter_type == PNG_FILTERS["up"]:
        rows = np.diff(rows, axis=0, prepend=0)
    rows = np.insert(rows.astype(np.uint8), 0, filter_type, axis=1)
    return pack_png(rows, level)


def image_encodings() -> list[Encoding]:
    """PNG, which the others are compared with, first."""
    import tensorflow as tf

    top, left = (HEIGHT - WINDOW) // 2, (WIDTH - WINDOW) // 2
    options = {"channels": 3, "dct_method": "INTEGER_ACCURATE"}  # as crops.py decodes

    def jpeg(name, quality, subsampling, **more):
        return Encoding(
            name,
            partial(encode, format="JPEG", quality=quality, subsampling=subsampling, **more),
            partial(tf.io.decode_jpeg, **options),
            partial(
                tf.image.decode_and_crop_jpeg, crop_window=[top, left, WINDOW, WINDOW], **options
            ),
        )

    def webp(data):
        return tf.constant(np.asarray(Image.open(io.BytesIO(data))))

    return [
        Encoding("PNG", partial(encode, format="PNG"), partial(tf.io.decode_png, channels=3)),
        jpeg("JPEG q95 4:4:4", 95, 0),
        jpeg("JPEG q95 4:2:0", 95, 2),
        jpeg("JPEG q95 4:2:0 progressive", 95, 2, progressive=True),
        jpeg("JPEG q90 4:4:4", 90, 0),
        jpeg("JPEG q90 4:2:0", 90, 2),
        Encoding(
            "WebP lossless (Pillow)", partial(encode, format="WEBP", lossless=True, method=0), webp
        ),
    ]


def label_encodings() -> list[Encoding]:
    """What Pillow writes by itself first."""
    import tensorflow as tf

    decode = partial(tf.io.decode_png, channels=1)
    filtered = [
        Encoding(
            f"PNG level {level}, filter {name}",
            partial(encode_png, level=level, filter_type=filter_type),
            decode,
        )
        for name, filter_type in PNG_FILTERS.items()
        for level in (1, 6, 9)
    ]
    adaptive = [
        Encoding(
            f"PNG level {level}, filters by row",
            partial(encode, format="PNG", compress_level=level),
            decode,
        )
        for level in (6, 1, 9)
    ]
    return adaptive + filtered


def measure(encodings: list[Encoding], images: list[np.ndarray], rounds: int) -> list[dict]:
    """Bytes, milliseconds and PSNR of each encoding: means over the images."""
    files = [[encoding.encode(image) for image in images] for encoding in encodings]
    full = [[float("inf")] * len(images) for _ in encodings]
    window = [[float("inf")] * len(images) for _ in encodings]
    for _ in range(rounds):
        for which, encoding in enumerate(encodings):
            for index, data in enumerate(files[which]):
                full[which][index] = min(full[which][index], _cpu_ms(encoding.decode, data))
                if encoding.decode_window:
                    spent = _cpu_ms(encoding.decode_window, data)
                    window[which][index] = min(window[which][index], spent)
    rows = []
    for which, encoding in enumerate(encodings):
        decoded = [np.asarray(encoding.decode(data)) for data in files[which]]
        rows.append(
            {
                "encoding": encoding.name,
                "bytes": round(np.mean([len(data) for data in files[which]])),
                "full_ms": float(np.mean(full[which])),
                "window_ms": float(
                    np.mean(window[which] if encoding.decode_window else full[which])
                ),
                "psnr_db": _psnr(images, decoded),
            }
        )
    for row in rows:
        for kind in ("full", "window"):
            row[f"{kind}_x"] = rows[0][f"{kind}_ms"] / row[f"{kind}_ms"]
    return rows


def _cpu_ms(function, data) -> float:
    # CPU time, since other work on the machine would show in the wall's.
    start = time.process_time()
    function(data)
    return 1000 * (time.process_time() - start)


def _psnr(images, decoded) -> float | None:
    """Decibels over all images; None where nothing was lost."""
    errors = [
        np.mean((np.float64(image) - pixels.reshape(image.shape)) ** 2)
        for image, pixels in zip(images, decoded, strict=True)
    ]
    return float(10 * np.log10(255**2 / np.mean(errors))) if any(errors) else None


def table(title: str, rows: list[dict], windows: bool) -> str:
    """The rows in Markdown."""
    columns = [f"| {title} | kB | decode ms | x as fast |", "|---|---:|---:|---:|"]
    if windows:
        columns[0] += f" {WINDOW}² window ms | x as fast | PSNR dB |"
        columns[1] += "---:|---:|---:|"
    lines = columns
    for row in rows:
        line = (
            f"| {row['encoding']} | {row['bytes'] / 1000:,.0f} | {row['full_ms']:.1f} | "
            f"{row['full_x']:.2f} |"
        )
        if windows:
            loss = "lossless" if row["psnr_db"] is None else f"{row['psnr_db']:.1f}"
            line += f" {row['window_ms']:.1f} | {row['window_x']:.2f} | {loss} |"
        lines.append(line)
    return "\n".join(lines) + "\n"


def compare(
    json_file: Annotated[Path | None, tyro.conf.arg(name="json", metavar="FILE")] = None,
    images: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None,
    rounds: int = 5,
    count: int = 3,
) -> None:
    """Compare encodings of Cityscapes-sized images and label maps.

    Args:
        json_file: JSON file for the rows.
        images: Folder of images to measure on, instead of made ones.
        rounds: Turns of each encoding; the fastest counts.
        count: Number of images and of label maps.
    """
    check(json_file, rounds=rounds, count=count)
    if images is not None and not images.is_dir():
        raise UserError(f"there is no folder {images}")
    photographs = read_images(images, count) if images else list(map(photograph, range(count)))
    label_maps = list(map(label_map, range(count)))
    rows = {
        "images": measure(image_encodings(), photographs, rounds),
        "labels": measure(label_encodings(), label_maps, rounds),
    }
    print(table("image", rows["images"], windows=True))
    print(table("label map", rows["labels"], windows=False), end="")
    if json_file:
        write_json(json_file, rows)


def main() -> None:
    """Entry point of the command."""
    tyro.cli(compare, prog="python benchmarks/encodings.py")


if __name__ == "__main__":
    run_command(main)

"""Miniature images and data sets."""

import io
from pathlib import Path

import numpy as np
from PIL import Image

REPOSITORY = Path(__file__).parents[2]


def save(path: Path, pixels: np.ndarray, **options) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **options)
    return path


def encoded(pixels: np.ndarray, format: str, **options) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format=format, **options)
    return buffer.getvalue()


def noise(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3)).astype(np.uint8)


def coordinates(height: int, width: int) -> np.ndarray:
    """An image whose red is four times the row, green four times the column, blue 7."""
    rows, columns = np.mgrid[0:height, 0:width]
    return np.stack([4 * rows, 4 * columns, np.full_like(rows, 7)], axis=-1).astype(np.uint8)


def write_pairs(folder: Path, names, labels, size=(6, 8)) -> None:
    """images/NAME.jpg and labels/NAME.png; `labels` are constants or uint8 arrays."""
    for seed, (name, label) in enumerate(zip(names, labels, strict=True)):
        if np.isscalar(label):
            label = np.full(size, label, np.uint8)
        save(folder / "images" / f"{name}.jpg", noise(*label.shape, seed), quality=90)
        save(folder / "labels" / f"{name}.png", label)

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


def prepare_in_files(source: Path, data_dir: Path, count: int):
    """Prepares an image_folder as `count` record files a split, however small it is."""
    import tensorflow_datasets as tfds

    from pipelines import datasets
    from pipelines.datasets.image_folder.image_folder_dataset_builder import Builder

    builder = Builder(data_dir=str(data_dir), config=tfds.core.BuilderConfig(name="default"))
    config = tfds.download.DownloadConfig(
        manual_dir=str(source), num_shards=count, try_download_gcs=False
    )
    builder.download_and_prepare(download_config=config)
    prepared = datasets.load("image_folder", data_dir)
    assert {len(files) for files in prepared.files.values()} == {count}
    return prepared


# The number of images in each folder of leftImg8bit, and their city.
CITYSCAPES = {
    "train": (3, "aachen"),
    "val": (2, "frankfurt"),
    "test": (1, "berlin"),
    "train_extra": (2, "bad-honnef"),
}


def write_cityscapes(folder: Path, size=(32, 64)) -> Path:
    """The tree of all four archives of Cityscapes, with the files that nobody needs.

    In fine labels, pixel i of a row of the image with the number n has the label id
    (i + n) % 34; coarse labels are 7, road, in the upper half and 0, unlabeled, below.
    """
    height, width = size
    coarse = np.zeros(size, np.uint8)
    coarse[: height // 2] = 7
    rows, columns = np.mgrid[0:height, 0:width]
    seed = 0
    for split, (count, city) in CITYSCAPES.items():
        for number in range(count):
            seed += 1
            name = f"{city}_{number:06}_000019"
            waves = [np.cos((rows * seed + columns * k) / 20) for k in (1, 2, 3)]
            picture = (128 + 100 * np.stack(waves, axis=-1)).astype(np.uint8)
            save(folder / "leftImg8bit" / split / city / f"{name}_leftImg8bit.png", picture)
            labels = {}
            if split == "test":  # published are the ego vehicle, the border and what is beyond
                labels["gtFine"] = np.tile(np.array([[1, 2, 3, 0]], np.uint8), (height, width // 4))
            elif split != "train_extra":
                labels["gtFine"] = ((columns + number) % 34).astype(np.uint8)
            if split != "test":
                labels["gtCoarse"] = coarse
            for kind, label in labels.items():
                start = folder / kind / split / city / f"{name}_{kind}"
                save(Path(f"{start}_labelIds.png"), label)
                save(Path(f"{start}_color.png"), picture)
                Path(f"{start}_polygons.json").write_text("{}")
    for file in ("license.txt", "README"):
        (folder / file).write_text("")
    return folder

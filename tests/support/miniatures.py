"""Miniature images and data sets."""

import io
import struct
import tarfile
import zipfile
import zlib
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


def png_of_16_bits(colour_type: int, channels: int) -> bytes:
    """Two pixels of which every sample is 0x0102; Pillow writes no colours of 16 bits."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        checksum = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + checksum

    head = struct.pack(">IIBBBBB", 2, 1, 16, colour_type, 0, 0, 0)
    pixels = zlib.compress(b"\0" + b"\1\2" * 2 * channels)
    chunks = chunk(b"IHDR", head), chunk(b"IDAT", pixels), chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def tiff(samples: np.ndarray, tags: dict[int, list[int]] | None = None) -> bytes:
    """Uncompressed samples `[H, W, C]`, of forms that Pillow writes and of others; RGB by default.

    Args:
        samples: of any type, its bytes as they are stored.
        tags: more numbers of the directory, or others than follow from `samples`.
    """
    height, width, channels = samples.shape
    data = samples.tobytes()
    contents = {
        256: [width], 257: [height], 258: [8 * samples.itemsize] * channels, 259: [1], 262: [2],
        273: [8], 277: [channels], 278: [height], 279: [len(data)], **(tags or {}),
    }  # fmt: skip
    place = 8 + len(data)
    beside, directory = place + 2 + 12 * len(contents) + 4, b""
    more = b""
    for tag, values in sorted(contents.items()):
        value = struct.pack(f"<{len(values)}H", *values)
        if len(value) > 4:
            value, more = struct.pack("<I", beside + len(more)), more + value
        directory += struct.pack("<HHI", tag, 3, len(values)) + value.ljust(4, b"\0")
    count = struct.pack("<H", len(contents))
    return b"II*\0" + struct.pack("<I", place) + data + count + directory + bytes(4) + more


def damaged_tiffs(whole: bytes):
    """Copies of a TIFF file that `tiff` has made, each with another byte after its pixels."""
    (start,) = struct.unpack("<I", whole[4:8])
    for place in range(start, len(whole)):
        for value in (0, 2, 5, 12, 255):
            yield whole[:place] + bytes([value]) + whole[place + 1 :]


def noise(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3)).astype(np.uint8)


def empty_archive(path: Path) -> None:
    """Writes a ZIP file without entries, which stands for that of a model."""
    zipfile.ZipFile(path, "w").close()


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
            image = (128 + 100 * np.stack(waves, axis=-1)).astype(np.uint8)
            save(folder / "leftImg8bit" / split / city / f"{name}_leftImg8bit.png", image)
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
                save(Path(f"{start}_color.png"), image)
                Path(f"{start}_polygons.json").write_text("{}")
    for file in ("license.txt", "README"):
        (folder / file).write_text("")
    return folder


# The lists of a miniature VOC 2012 and SBD. Real ids; 2008_000008 is in the SBD's list and not in
# VOC's segmentation lists, and 2009_000001's image comes only with the SBD.
VOC = {
    "train": ["2007_000032", "2007_000039"],
    "val": ["2007_000033", "2007_000042", "2007_000061"],
    "test": ["2008_000006"],
}
SBD = {
    "train": ["2007_000032", "2007_000033", "2008_000008"],
    "val": ["2007_000042", "2009_000001"],
}


def voc_label(image_id: str, size=(6, 9)) -> np.ndarray:
    """What `write_voc` labels an image with: classes that depend on the id, void below."""
    label = (np.arange(size[0] * size[1]) + int(image_id[-2:])) % 21
    label = label.reshape(size).astype(np.uint8)
    label[-1] = 255
    return label


def sbd_label(image_id: str, size=(6, 9)) -> np.ndarray:
    """What `write_sbd` labels an image with: columns of two classes that depend on the id."""
    label = np.full(size, int(image_id[-2:]) % 21, np.uint8)
    label[:, 1::2] = 20
    return label


def write_voc(folder: Path, test: bool = True) -> Path:
    """The tree of VOC's archives, with files that nobody needs; `test` with the test archive."""
    from pipelines.base.labels import voc_colour_map

    root = folder / "VOCdevkit" / "VOC2012"
    lists = root / "ImageSets" / "Segmentation"
    lists.mkdir(parents=True)
    listed = {**VOC, "trainval": sorted(VOC["train"] + VOC["val"])}
    for split, ids in listed.items():
        if split != "test" or test:
            (lists / f"{split}.txt").write_text("".join(f"{image_id}\n" for image_id in ids))
    images = listed["trainval"] + ["2008_000008"] + (listed["test"] if test else [])
    for seed, image_id in enumerate(images):
        save(root / "JPEGImages" / f"{image_id}.jpg", noise(6, 9, seed), quality=90)
        (root / "Annotations").mkdir(exist_ok=True)
        (root / "Annotations" / f"{image_id}.xml").write_text("<annotation/>")
    for image_id in listed["trainval"]:
        mask = Image.fromarray(voc_label(image_id))
        mask.putpalette(voc_colour_map().tobytes())
        for kind in ("SegmentationClass", "SegmentationObject"):
            (root / kind).mkdir(exist_ok=True)
            mask.save(root / kind / f"{image_id}.png")
    return folder


def write_mat(path: Path, label: np.ndarray, do_compression: bool = True) -> Path:
    """A label file of the SBD."""
    from scipy.io import savemat
    from scipy.sparse import csc_array

    path.parent.mkdir(parents=True, exist_ok=True)
    boundaries = np.empty((20, 1), object)
    for i in range(20):
        boundaries[i, 0] = csc_array((np.eye(*label.shape) > 0) & (i in label))
    present = np.array([[c] for c in np.unique(label) if 0 < c < 21], np.uint8)
    content = {"Boundaries": boundaries, "Segmentation": label, "CategoriesPresent": present}
    savemat(path, {"GTcls": content}, do_compression=do_compression)
    return path


def write_sbd(folder: Path) -> Path:
    """The tree of the SBD's archive; its JPEGs have other bytes than VOC's, to tell them apart."""
    root = folder / "benchmark_RELEASE" / "dataset"
    for split, ids in SBD.items():
        for seed, image_id in enumerate(ids):
            save(root / "img" / f"{image_id}.jpg", noise(6, 9, seed), quality=50)
            write_mat(root / "cls" / f"{image_id}.mat", sbd_label(image_id))
            write_mat(root / "inst" / f"{image_id}.mat", sbd_label(image_id))
        (root / f"{split}.txt").write_text("".join(f"{image_id}\n" for image_id in ids))
    (folder / "benchmark_RELEASE" / "README").write_text("")
    return folder


def pack_tar(tree: Path, archive: Path, mode: str = "w", leave_out: str | None = None) -> Path:
    """Packs all files below `tree` but those whose path has `leave_out` in it."""
    archive.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(archive, mode) as tar:
        for path in sorted(path for path in tree.rglob("*") if path.is_file()):
            inside = path.relative_to(tree).as_posix()
            if leave_out is None or leave_out not in inside:
                tar.add(path, inside)
    return archive

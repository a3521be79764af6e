"""Caches of the records, and what a stream holds in memory."""

import os
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from miniatures import prepare_in_files, write_pairs
from streams import same, take

from pipelines import datasets
from pipelines.base.errors import UserError
from pipelines.stream import record_order
from pipelines.stream.segmentation import training_batches


def test_copies_of_files_of_the_same_name(tmp_path):
    files = [tmp_path / folder / "train.tfrecord" for folder in ("one", "two")]
    for file in files:
        file.parent.mkdir()
        file.write_bytes(file.parent.name.encode())
    copies = record_order.copied(files, tmp_path / "cache")
    assert [Path(copy).read_bytes() for copy in copies] == [b"one", b"two"]


@pytest.mark.slow
def test_memory_cache_reads_once_and_augments_anew(source, data_dir):
    prepared = datasets.prepare("image_folder", source, data_dir)
    options = {"crop": (9, 9), "batch_size": 3, "jitter": 0.5, "cache": "memory", "seed": 2}
    expected = take(training_batches(prepared, "train", **options), 4)
    stream = training_batches(prepared, "train", **options)
    iterator = stream.as_numpy_iterator()
    next(iterator)
    for file in prepared.files["train"]:
        Path(file).unlink()
    rest = [next(iterator) for _ in range(3)]
    assert same(rest, expected[1:])
    assert len({image.tobytes() for images, _ in expected for image in images}) == 12


@pytest.mark.slow
def test_folder_cache_gives_the_same_stream_without_the_files(twelve, tmp_path):
    shutil.copytree(Path(twelve.files["train"][0]).parents[3], tmp_path / "data")
    prepared = datasets.load("image_folder", tmp_path / "data")
    options = {"crop": (4, 4), "batch_size": 4, "scale": (0.5, 2.0), "seed": 3}
    expected = take(training_batches(prepared, "train", **options), 7)
    stream = training_batches(prepared, "train", cache=str(tmp_path / "cache"), **options)
    for file in prepared.files["train"]:
        os.rename(file, f"{file}.away")
    assert same(take(stream, 7), expected)
    copies = [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]
    assert sorted(path.name for path in copies) == sorted(
        Path(file).name for file in prepared.files["train"]
    )


def test_folder_cache_replaces_what_is_incomplete_or_old(twelve, tmp_path):
    originals = []
    for i, file in enumerate(twelve.files["train"]):
        originals.append(Path(shutil.copy2(file, tmp_path / f"{i}.tfrecord")))
    folder = tmp_path / "cache"
    copies = [Path(copy) for copy in record_order.copied(originals, folder)]
    kept = copies[0].stat().st_ino
    copies[1].write_bytes(originals[1].read_bytes()[:-5])  # cut off
    os.utime(originals[2], (1e9, 1e9))  # prepared anew, with the same size
    copies[3].with_name(f"{copies[3].name}.incomplete-1").write_bytes(b"half")
    copies[3].unlink()
    assert [Path(copy) for copy in record_order.copied(originals, folder)] == copies
    assert copies[0].stat().st_ino == kept
    for original, copy in zip(originals, copies, strict=True):
        assert copy.read_bytes() == original.read_bytes()
        assert copy.stat().st_mtime == pytest.approx(original.stat().st_mtime)


def test_a_cache_that_cannot_be_written_is_named(ten, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=f"cannot copy .* to the cache {tmp_path}/file/cache: "):
        training_batches(
            ten, "train", crop=(4, 4), batch_size=1, cache=str(tmp_path / "file" / "cache")
        )


@pytest.mark.slow
def test_memory_stays_flat_over_epochs(tmp_path):
    """Six epochs of more than 20 MiB of records and twice that of crops: a leak would show."""
    folder = tmp_path / "source"
    for split, count in (("train", 160), ("val", 4)):
        labels = [np.indices((360, 480), np.uint8)[0] // 180] * count
        write_pairs(folder / split, [f"{i:03}" for i in range(count)], labels)
    (folder / "classes.txt").write_text("one\ntwo\n")
    prepared = prepare_in_files(folder, tmp_path / "data", 4)
    assert prepared.num_bytes["train"] > 20 * 2**20
    stream = training_batches(
        prepared, "train", crop=(256, 256), batch_size=4, scale=(0.6, 1.6), shuffle_mib=8
    )
    used = []
    for i, _ in enumerate(stream.take(6 * 40)):
        if i % 40 == 39:
            used.append(resident_mib())
    assert used[-1] - used[1] < 48, used


def resident_mib() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def test_shuffle_buffer_is_bounded_by_its_memory():
    def dataset(num_bytes, num_examples):
        return SimpleNamespace(num_bytes={"train": num_bytes}, splits={"train": num_examples})

    size = record_order.shuffle_buffer_size
    assert size(dataset(1000 * 2**20, 4000), "train", 64) == 256  # 256 KiB each
    assert size(dataset(10 * 2**20, 4000), "train", 64) == 4000  # the whole split
    assert size(dataset(100 * 2**20, 2), "train", 1) == 1  # 50 MiB each

"""The end of `prepare`: which examples are shown, and what is to be run next."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from miniatures import prepare_in_files, write_pairs

from pipelines import datasets
from pipelines.examination import examine, summary
from pipelines.examination.damaged_records import read_records, read_some


@pytest.mark.parametrize("wanted", [1, 4, 7, 24])
def test_samples_are_those_of_the_doctor(tmp_path, wanted):
    """Without reading the others: seven and three examples, in two files a split."""
    source = tmp_path / "source"
    write_pairs(source / "train", "abcdefg", [0, 1, 2, 0, 1, 2, 255])
    write_pairs(source / "val", "xyz", [0, 1, 2])
    (source / "classes.txt").write_text("sky\nroad\ncar\n")
    prepared = prepare_in_files(source, tmp_path / "data", 2)
    found = examine.some_samples(prepared, wanted)
    expected = examine.examine(prepared, samples=wanted).samples
    assert [each.image_id for each in found] == [each.image_id for each in expected]
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.split == theirs.split
        np.testing.assert_array_equal(ours.image, theirs.image)
        np.testing.assert_array_equal(ours.label, theirs.label)


@pytest.mark.parametrize(("count", "said"), [(1, "1 image was"), (12, "12 images were")])
def test_images_that_were_turned(ten, tmp_path, count, said):
    lines = list(summary.summary(replace(ten, counts={"turned": count}), tmp_path))
    assert lines[3] == (
        f"  {said} turned upright, as EXIF says: see on the sheet whether the labels fit"
    )


def test_splits_without_labels_are_not_shown(ten):
    found = examine.some_samples(replace(ten, unlabelled_splits=("val",)), 4)
    assert [each.split for each in found] == ["train"] * 4


def test_records_by_their_numbers(ten):
    (path,) = ten.files["train"]
    whole = list(read_records(path))
    assert list(read_some(path, {0, 3, 9})) == [whole[0], whole[3], whole[9]]


def test_a_file_that_ends_too_soon(ten, tmp_path):
    (path,) = ten.files["train"]
    first = next(read_records(path)).data
    cut = tmp_path / "cut"
    cut.write_bytes(Path(path).read_bytes()[: 12 + len(first) + 4 + 5])
    found = list(read_some(cut, {0, 1}))
    assert [(each.number, each.data) for each in found] == [(0, first), (1, None)]
    assert found[1].fault.startswith("the file cannot be read: ")
    (missing,) = read_some(tmp_path / "none", {0})
    assert missing.data is None and missing.fault.startswith("the file cannot be read: ")


def test_a_damaged_length_is_no_number_of_bytes_to_read(ten, tmp_path):
    (path,) = ten.files["train"]
    data = bytearray(Path(path).read_bytes())
    first = len(next(read_records(path)).data)
    data[12 + first + 4 + 5] ^= 1  # the second length is 2^40 more
    damaged = tmp_path / "damaged"
    damaged.write_bytes(data)
    for numbers in ({1}, {2}):
        (found,) = read_some(damaged, numbers)
        assert found == (
            damaged,
            1,
            None,
            f"the file cannot be read: record 1 goes beyond its end at byte {len(data):,}",
        )


@pytest.mark.parametrize(
    ("name", "splits", "options"),
    [
        ("image_folder/mine", ["train", "val"], "--recipe finetune --dataset image_folder/mine"),
        (
            "tfds:oxford_iiit_pet",
            ["test", "train"],
            "--recipe finetune --dataset tfds:oxford_iiit_pet --val-split test",
        ),
        (
            "tfds:a",
            ["train", "extra", "test"],
            "--recipe finetune --dataset tfds:a --val-split test",
        ),
        (
            "tfds:a",
            ["train", "extra", "valid"],
            "--recipe finetune --dataset tfds:a --val-split valid",
        ),
        (
            "tfds:a",
            ["test", "part_1", "part_2"],
            "--recipe finetune --dataset tfds:a --train-split part_1 --val-split test",
        ),
        (
            "tfds:a",
            ["validation", "all"],
            "--recipe finetune --dataset tfds:a --train-split all",
        ),
        ("shapes", ["train", "val", "test"], "--recipe shapes --dataset shapes"),
        ("camvid", ["train", "val"], "--recipe camvid --dataset camvid"),
        ("coco_voc/2014", ["train", "val"], "--recipe voc-stage1 --dataset stage1/2014"),
        (
            "imagenet2012",
            ["train", "validation"],
            "--recipe imagenet-pretrain --dataset imagenet2012",
        ),
    ],
)
def test_what_to_run_next(name, splits, options):
    said = list(summary.next_steps(name, splits, datasets.DEFAULT_DATA_DIR))
    assert said == [
        f"next: python -m gcn_keras.fit {options}",
        "  (--show-batch FILE.png draws what it trains on, and ends)",
    ]
    elsewhere = next(summary.next_steps(name, splits, Path("my data")))
    assert elsewhere.startswith("next: ") and "--data-dir 'my data'" in elsewhere


@pytest.mark.parametrize(
    ("splits", "has"), [(["train"], "'train' alone"), (["test"], "'test' alone"), ([], "none")]
)
def test_nothing_can_be_run_where_nothing_is_left_to_measure_on(splits, has):
    assert list(summary.next_steps("image_folder", splits, "data")) == [
        f"next: add a split with labels, to measure on; image_folder has {has}"
    ]


def test_a_folder_that_cannot_be_written(ten, tmp_path, monkeypatch):
    data_dir = Path(ten.files["train"][0]).parents[3]
    folder = datasets.prepared_folder("image_folder/ten", data_dir)
    monkeypatch.setattr(summary.os, "access", lambda path, mode: path != folder)
    lines = list(summary.summary(ten, data_dir))
    assert lines[-3] == (
        f"contact sheet: none, as {folder} cannot be written; python -m pipelines.doctor "
        f"image_folder/ten --data-dir {data_dir} --sheet FILE makes one"
    )
    assert not (folder / summary.CONTACT_SHEET).exists()

"""What `prepare` finds wrong with whole splits, what it replaces, and where it cannot write."""

import dataclasses
import json
import shutil
import subprocess
import sys
import textwrap
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import tensorflow_datasets as tfds
from miniatures import REPOSITORY, save, write_pairs
from PIL import Image

from pipelines import datasets
from pipelines.base.errors import ArgumentError, UsageError, UserError, as_options
from pipelines.base.locks import locked
from pipelines.datasets import preparation
from pipelines.datasets.image_folder.options import FolderOptions
from pipelines.stream.evaluation import class_pixel_counts

CLASSES = "sky\nroad\ncar\n"
BINARY = np.array([[0, 255, 255, 0]] * 3, np.uint8)
BOTH = "all labels hold only 0 and 255: masks of 0 and 255 were taken for index masks, in which "
NAME_BACKGROUND = "name background in classes.txt, for pixels without a region"
BACKGROUND_OR_VOID = "'background' or void (255); annotate regions of another class"
ADVICE = "or give --accept-findings to keep these labels as they are"


@pytest.fixture
def write(tmp_path):
    """A function that writes an image_folder source from the labels of its splits."""

    def write_source(train, val, folder=tmp_path / "source"):
        shutil.rmtree(folder, ignore_errors=True)
        for split, labels in (("train", train), ("val", val)):
            write_pairs(folder / split, [f"{split}{i}" for i in range(len(labels))], labels)
        (folder / "classes.txt").write_text(CLASSES)
        return folder

    return write_source


def files_of(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize(
    ("train", "val", "fault"),
    [
        ([BINARY, BINARY], [1, 2], f"train: {BOTH}255 is void and 'road' is 1"),
        # Small masks are often all object or all background.
        ([0, 255, 0], [1, 2], f"train: {BOTH}255 is void and 'road' is 1"),
        ([BINARY, 0, 255], [1, 2], f"train: {BOTH}255 is void and 'road' is 1"),
        ([1, 2], [BINARY], f"val: {BOTH}255 is void and 'road' is 1"),
        ([255, 255], [1, 2], "train: every pixel is void (255)"),
        ([0, 0], [1, 2], "train: every pixel is 'sky'"),
        ([1, 1], [1, 2], "train: every pixel is 'road'"),
        ([1, 255], [1, 2], "train: every pixel is 'road' or void (255)"),
    ],
)
def test_labels_without_a_usable_class_are_refused(write, data_dir, train, val, fault):
    with pytest.raises(UserError) as caught, as_options():
        datasets.prepare("image_folder", write(train, val), data_dir)
    assert str(caught.value) == f"{fault}; write 'sky' as 0, 'road' as 1 and so on, {ADVICE}"
    assert files_of(data_dir) == []


def test_black_and_white_masks_of_two_classes(write, data_dir):
    source = write([BINARY, BINARY], [BINARY])
    (source / "classes.txt").write_text("sky\nroad")
    with pytest.raises(UserError) as caught, as_options():
        datasets.prepare("image_folder", source, data_dir)
    assert "'road' is 1; give --binary if white is class 1, write 'sky' as 0" in str(caught.value)
    prepared = datasets.prepare(
        "image_folder", source, data_dir, options=FolderOptions(binary=True)
    )
    assert prepared.label_pixels["train"] == (12, 12, 0)


def test_masks_of_0_and_1_next_to_soft_edges(write, data_dir):
    """1 is nearly black: all would be background."""
    source = write([np.where(BINARY, 1, 0).astype(np.uint8), 0], [1])
    (source / "classes.txt").write_text("sky\nroad")
    options = FolderOptions(binary=True, nearest_colour=True)
    with pytest.raises(UserError) as caught, as_options():
        datasets.prepare("image_folder", source, data_dir, options=options)
    assert str(caught.value) == (
        "train: every pixel is 'sky'; leave --nearest-colour out, and it is said which colours "
        f"the masks hold, {ADVICE}"
    )
    options = FolderOptions(binary=True)
    prepared = datasets.prepare("image_folder", source, data_dir, options=options)
    assert prepared.label_pixels["train"] == (6 + 48, 6, 0)


def test_masks_of_0_and_1_whose_first_label_is_1(write, data_dir):
    source = write([np.where(BINARY, 1, 0).astype(np.uint8), 1], [1])
    (source / "classes.txt").write_text("sky\nroad")
    with pytest.raises(UserError) as caught, as_options():
        datasets.prepare("image_folder", source, data_dir, options=FolderOptions(first_label=1))
    assert str(caught.value) == (
        "train: the masks hold no value but 1 from 1 on; lower ones became void; write 'sky' as 1, "
        f"'road' as 2 and so on, {ADVICE}"
    )


def test_class_0_and_void_may_be_meant(write, data_dir):
    source = write([BINARY, BINARY], [255])
    prepared = datasets.prepare("image_folder", source, data_dir, accept_findings=True)
    assert prepared.splits == {"train": 2, "val": 1}
    assert prepared.label_pixels == {"train": (12, 0, 0, 12), "val": (0, 0, 0, 48)}


@pytest.mark.parametrize(
    ("train", "val"),
    [
        ([0, 1], [0]),  # one class alone is no mistake in what is not trained on
        ([BINARY, 2], [0, 1]),
        ([0, 1], [255]),
    ],
)
def test_other_labels_are_not(write, data_dir, train, val):
    assert datasets.prepare("image_folder", write(train, val), data_dir).splits["val"] == len(val)


@pytest.mark.parametrize("options", [{}, {"void": ("9",)}, {"map": ("1=1", "0=0", "2=2")}])
def test_who_says_what_masks_hold_has_not_taken_them_for_others(write, data_dir, options):
    """A split to measure on may show one class, and void."""
    source = write([1, 2], [BINARY])
    if not options:
        (source / "classes.txt").write_text("sky #0000ff\nroad #ff0000\ncar #00ff00")
        colours = np.zeros((256, 3), np.uint8)
        colours[:3] = [0, 0, 255], [255, 0, 0], [0, 255, 0]
        for path in source.rglob("labels/*.png"):
            save(path, colours[np.array(Image.open(path))])
        options = {"void": ("#000000",)}
    prepared = datasets.prepare("image_folder", source, data_dir, options=FolderOptions(**options))
    assert prepared.label_pixels["val"] == (6, 0, 0, 6)


@pytest.fixture
def annotate(tmp_path):
    """A function that writes images of 6x4, and for each the class of its left three columns."""

    def write_source(train, val, classes="", right=3):
        for split, names in ("train", train), ("val", val):
            (tmp_path / split).mkdir()
            for number, name in enumerate(names):
                Image.new("RGB", (6, 4)).save(tmp_path / split / f"{number}.png")
                points = [[0, 0], [right - 1, 3]]
                left = {"label": name, "shape_type": "rectangle", "points": points}
                content = {"shapes": [left], "imagePath": f"{number}.png"}
                (tmp_path / split / f"{number}.json").write_text(json.dumps(content))
        if classes:
            (tmp_path / "classes.txt").write_text(classes)
        return tmp_path

    return write_source


@pytest.mark.parametrize(
    ("train", "classes", "pixels"),
    [
        (["car", "car"], "", {"train": (24, 24, 0), "val": (12, 0, 12)}),
        (["car", "dog"], "dog\ncar", {"train": (12, 12, 24), "val": (0, 0, 24)}),
    ],
)
def test_regions_to_leave_out_are_no_masks_of_0_and_255(
    annotate, data_dir, capsys, train, classes, pixels
):
    source = annotate(train, ["ignore"], classes)
    assert datasets.prepare("image_folder", source, data_dir).label_pixels == pixels
    said = "; pixels without a region are void, as classes.txt names no background"
    assert (said in capsys.readouterr().err) == bool(classes)


@pytest.mark.parametrize(
    ("train", "classes", "right", "fault"),
    [
        ("dog", "dog\ncar", 3, f"'dog' or void (255); {NAME_BACKGROUND}"),
        ("ignore", "dog\ncar", 3, f"void (255); {NAME_BACKGROUND}"),
        ("ignore", "background\ncar", 6, "void (255); annotate regions of a class"),
        ("background", "background\ncar", 3, "'background'; annotate regions of another class"),
        ("car", "background\ncar", 6, "'car'; annotate regions of another class"),
        ("ignore", "background\ncar", 3, BACKGROUND_OR_VOID),
        ("dog", "dog\ncar", 6, "'dog'; annotate regions of another class"),
    ],
)
def test_regions_that_nothing_can_be_learnt_from(annotate, data_dir, train, classes, right, fault):
    source = annotate([train], ["car"], classes, right)
    with pytest.raises(UserError) as caught, as_options():
        datasets.prepare("image_folder", source, data_dir)
    assert str(caught.value) == f"train: every pixel is {fault}, {ADVICE}"


def test_a_split_to_measure_on_may_be_background_alone(annotate, data_dir):
    source = annotate(["car"], ["background"], "background\ncar")
    prepared = datasets.prepare("image_folder", source, data_dir)
    assert prepared.label_pixels == {"train": (12, 12, 0), "val": (24, 0, 0)}


def test_camvid_is_examined_too(tmp_path, data_dir):
    for split in ("train", "val", "test"):
        write_pairs(tmp_path / "camvid" / split, ["x", "y"], [0, 11])  # 11 is CamVid's void
    with pytest.raises(UserError, match="^train: all labels hold only 0 and 255: .*'building' is"):
        datasets.prepare("camvid", tmp_path / "camvid", data_dir)
    assert files_of(data_dir) == []


def test_the_pixels_of_all_classes_are_recorded(write, data_dir):
    label = np.array([[0, 1, 1, 255], [2, 2, 2, 255]], np.uint8)
    source = write([label, label, 1], [0, label])
    prepared = datasets.prepare("image_folder", source, data_dir)
    assert prepared.label_pixels == {"train": (2, 4 + 48, 6, 4), "val": (48 + 1, 2, 3, 2)}
    uncounted = dataclasses.replace(prepared, label_pixels={})
    for split, counts in prepared.label_pixels.items():
        assert class_pixel_counts(uncounted, split).tolist() == list(counts[:-1])
    assert datasets.load("image_folder", data_dir).label_pixels == prepared.label_pixels


def test_what_is_left_out_is_not_counted(write, data_dir):
    source = write([1, 2, 0], [1])
    (source / "train" / "labels" / "train0.png").write_bytes(b"")
    prepared = datasets.prepare("image_folder", source, data_dir, skip_errors=True)
    assert prepared.label_pixels["train"] == (48, 0, 48, 0)


def test_a_set_from_before_has_no_record(write, data_dir):
    prepared = datasets.prepare("image_folder", write([1, 2], [0]), data_dir)
    metadata = data_dir / "image_folder" / "default" / "1.0.0" / "metadata.json"
    metadata.write_text('{"class_names": ["sky", "road", "car"]}')
    again = datasets.load("image_folder", data_dir)
    assert again.label_pixels == {} and again.splits == prepared.splits


class TestOverwriting:
    @pytest.fixture
    def folder(self, write, data_dir):
        """A prepared set."""
        datasets.prepare("image_folder/mine", write([1, 2, 0], [1]), data_dir)
        return data_dir / "image_folder" / "mine" / "1.0.0"

    def test_without_it_nothing_is_written(self, write, data_dir, folder):
        before = {name: (folder / name).stat() for name in files_of(folder)}
        prepared = datasets.prepare("image_folder/mine", write([1], [1]), data_dir)
        assert prepared.splits == {"train": 3, "val": 1}
        assert {name: (folder / name).stat() for name in files_of(folder)} == before

    def test_the_new_one_takes_its_place(self, write, data_dir, folder):
        names = files_of(data_dir)
        source = write([1, 2], [0, 1])
        prepared = datasets.prepare("image_folder/mine", source, data_dir, overwrite=True)
        assert prepared.splits == {"train": 2, "val": 2}
        assert datasets.load("image_folder/mine", data_dir).splits == prepared.splits
        assert files_of(data_dir) == names  # nothing of the former is left

    def test_the_former_one_stays_until_the_new_one_is_whole(
        self, write, data_dir, folder, monkeypatch
    ):
        build = tfds.core.DatasetBuilder.download_and_prepare
        seen = []

        def watched(self, **options):
            build(self, **options)
            seen.append(datasets.load("image_folder/mine", data_dir).splits)

        monkeypatch.setattr(tfds.core.DatasetBuilder, "download_and_prepare", watched)
        datasets.prepare("image_folder/mine", write([1, 2], [0]), data_dir, overwrite=True)
        assert seen == [{"train": 3, "val": 1}]
        assert datasets.load("image_folder/mine", data_dir).splits == {"train": 2, "val": 1}

    @pytest.mark.parametrize("error", [UserError("no"), OSError(28, "No space left on device")])
    def test_a_fault_leaves_the_former_one(self, write, data_dir, folder, monkeypatch, error):
        before = {name: (folder / name).read_bytes() for name in files_of(folder)}
        names = files_of(data_dir)

        def fail(self, **options):
            raise error

        monkeypatch.setattr(tfds.core.DatasetBuilder, "download_and_prepare", fail)
        with pytest.raises(UserError, match="no$|No space left on device$"):
            datasets.prepare("image_folder/mine", write([1], [0]), data_dir, overwrite=True)
        assert {name: (folder / name).read_bytes() for name in files_of(folder)} == before
        assert files_of(data_dir) == names

    @pytest.mark.slow
    def test_a_kill_while_it_takes_its_place_loses_nothing(self, write, data_dir, folder):
        before = {name: (folder / name).read_bytes() for name in files_of(folder)}
        program = f"""
            import os
            from pathlib import Path
            from pipelines import datasets

            rename = Path.rename

            def dying(self, target):
                rename(self, target)
                if self.name == "1.0.0":
                    os._exit(9)

            Path.rename = dying
            source, data_dir = {str(write([1, 2], [0]))!r}, {str(data_dir)!r}
            datasets.prepare("image_folder/mine", source, data_dir, overwrite=True)
        """
        command = [sys.executable, "-c", textwrap.dedent(program)]
        assert subprocess.run(command, cwd=REPOSITORY).returncode == 9
        found = datasets.prepare("image_folder/mine", write([1, 2], [0]), data_dir)
        assert found.splits == {"train": 3, "val": 1}
        assert {name: (folder / name).read_bytes() for name in files_of(folder)} == before
        found = datasets.prepare("image_folder/mine", write([1, 2], [0]), data_dir, overwrite=True)
        assert found.splits == {"train": 2, "val": 1}
        assert [path.name for path in folder.parent.iterdir()] == ["1.0.0"]

    def test_another_one_that_takes_its_place_is_waited_for(
        self, write, data_dir, folder, monkeypatch
    ):
        source, arrived = write([1, 2], [0, 1]), threading.Event()

        def watched(place):
            arrived.set()
            return locked(place)

        monkeypatch.setattr(preparation, "locked", watched)
        with ThreadPoolExecutor() as pool:
            with locked(folder.parent):
                preparing = pool.submit(
                    datasets.prepare, "image_folder/mine", source, data_dir, overwrite=True
                )
                assert arrived.wait(60)
                assert datasets.load("image_folder/mine", data_dir).splits["train"] == 3
            assert preparing.result().splits == {"train": 2, "val": 2}
        assert [place.name for place in folder.parent.iterdir()] == ["1.0.0"]

    def test_a_set_that_is_not_there_is_simply_prepared(self, write, data_dir):
        prepared = datasets.prepare("image_folder", write([1, 2], [0]), data_dir, overwrite=True)
        assert prepared.splits == {"train": 2, "val": 1}


@pytest.mark.parametrize("command", ["prepare", "doctor", "service"])
def test_what_cannot_be_written_is_said_before_tensorflow_is_imported(
    write, tmp_path, data_dir, command
):
    source = write([1, 2], [0])
    datasets.prepare("image_folder", source, data_dir)
    (tmp_path / "file").touch()
    places = {
        "prepare": ["image_folder", "--from", source, "--data-dir", tmp_path / "file" / "data"],
        "doctor": ["image_folder", "--data-dir", data_dir, "--html", tmp_path / "file" / "x.html"],
        "service": ["dispatcher", "--port", "0", "--work-dir", tmp_path / "file" / "state"],
    }
    program = f"""
import sys
import textwrap
from pipelines import {command}
from pipelines.base.errors import UserError
sys.argv[1:] = {list(map(str, places[command]))}
try:
    {command}.main()
except UserError as error:
    print(error)
assert not {{"tensorflow", "tensorflow_datasets", "keras"}} & set(sys.modules)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=REPOSITORY, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert f"cannot write to {tmp_path}/file" in done.stdout


@pytest.mark.parametrize("there", ["", "data", "data/image_folder", "data/image_folder/mine"])
def test_a_failed_preparation_leaves_no_folder_of_its_own(write, tmp_path, there):
    """Those that were there stay, empty or not."""
    source = write([1, 2], [0])
    (source / "train/images/train0.jpg").write_bytes(b"damaged")
    (tmp_path / there).mkdir(parents=True, exist_ok=True)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(UserError, match="train0"):
        datasets.prepare("image_folder/mine", source, tmp_path / "data")
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("name", ["skip_errors", "accept_findings", "overwrite"])
def test_an_answer_in_words_is_none(tmp_path, name):
    with pytest.raises(ArgumentError, match=f"^{name} must be True or False, got 'no'$"):
        datasets.prepare("shapes", data_dir=tmp_path / "data", **{name: "no"})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["camvid", "tfds:oxford_iiit_pet"])
def test_an_empty_source_is_not_the_current_folder(name):
    with pytest.raises(UsageError) as caught, as_options(source="from"):
        preparation.check_source(name, "")
    assert str(caught.value) == "--from must be a folder, got ''"

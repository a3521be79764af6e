"""Folders in which no images and masks can be found, and what is said of them."""

from pathlib import Path

import pytest

from pipelines.base.errors import UserError, in_options
from pipelines.building.examples import all_faults
from pipelines.building.folders import Naming
from pipelines.building.layouts import find_layout, only_folder
from pipelines.building.pairs import EXPECTED


def test_one_folder_alone(tree):
    source = tree("more/mine/images/a.jpg", "more/mine/labels/a.png", "__MACOSX/._a", ".DS_Store")
    assert only_folder(source) == source / "more" / "mine"
    tree("README.md", "more/LICENSE", "more/README.dataset.txt")
    assert only_folder(source) == source / "more" / "mine"
    assert only_folder(source / "more" / "mine" / "images") == source / "more" / "mine" / "images"
    (source / "more" / "mine" / "labels").rename(source / "labels")
    assert only_folder(source) == source
    assert only_folder(source / "more" / "mine") == source / "more" / "mine"  # a known name


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
        (
            ["train/0_sat.jpg", "train/0_mask.png", "train/1_sat.jpg", "train/1_mask.png"],
            "{0}/train has no masks beside its images: give --image-suffix=_sat and "
            "--label-suffix=_mask",
        ),
        (
            ["images/image_1.jpg", "labels/mask_1.png"],
            "no label file in {0}/labels has an image's name: give --image-prefix=image_ and "
            "--label-prefix=mask_",
        ),
        (
            [
                "images/x/1_leftImg8bit.png",
                "labels/x/1_gtFine_color.png",
                "labels/x/1_gtFine_ids.png",
            ],
            "no label file in {0}/labels has an image's name: give --image-suffix=_leftImg8bit and "
            "--label-suffix=_gtFine_color (or _gtFine_ids)",
        ),
        (
            ["images/1.jpg", "labels/mask_1.png"],
            "no label file in {0}/labels has an image's name: give --label-prefix=mask_",
        ),
        (
            ["x/1.jpg", "x/2.jpg", "y/1.png", "y/2.png"],
            "{0} has no folders called images and labels: x/ and y/ hold files of the same names, "
            "so give --image-folder=x and --label-folder=y",
        ),
        (
            ["a/gt/1.png", "a/img/1.jpg", "a/seen/1.png"],
            "{0} has no folders called images and labels: a/img/, a/gt/ and a/seen/ hold files of "
            "the same names, so give --image-folder=a/img and --label-folder=a/gt (or a/seen)",
        ),
        (
            ["images/1.jpg", "annotations/trimaps/1.png"],
            "no image below {0} has a label file: images/ and annotations/trimaps/ hold files of "
            "the same names, so give --image-folder=images and --label-folder=annotations/trimaps",
        ),
        (
            ["images/1.jpg", "labels/1.npy"],
            "{0}/labels has no masks, but 1 .npy: write each array as a PNG file: "
            "PIL.Image.fromarray(array).save('NAME.png')",
        ),
        (
            ["images/1.jpg", "labels/1.txt"],
            "{0}/labels has no masks, but 1 .txt: if they are YOLO's polygons, export masks or "
            "COCO's JSON",
        ),
        (
            ["images/1.jpg", "annotations.xml", "classes.txt"],
            "{0} has images/ but no labels/, masks/ or annotations/; there is annotations.xml: "
            "export masks or COCO's JSON from the program that wrote them",
        ),
        (
            ["images/1.jpg", "outlines/2.png"],
            "{0} has images/ but no labels/, masks/ or annotations/; there is outlines/: "
            "--image-folder and --label-folder choose folders by other names",
        ),
        (
            ["Training_Input/1.jpg", "Training_GroundTruth/1_segmentation.png"],
            "{0} has no folders called images and labels: Training_Input/ holds images and "
            "Training_GroundTruth/ masks called NAME_segmentation, so give "
            "--image-folder=Training_Input and --label-folder=Training_GroundTruth and "
            "--label-suffix=_segmentation",
        ),
        (
            ["the photos/1.jpg", "masks of them/1.png"],
            "{0} has no folders called images and labels: the photos/ and masks of them/ hold "
            "files of the same names, so give --image-folder='the photos' and "
            "--label-folder='masks of them'",
        ),
        (
            ["train/rgb/1.jpg", "train/semantic/1.png", "val/rgb/2.jpg", "val/semantic/2.png"],
            "2 faults were found:\n  {0}/train has no folders called images and labels: rgb/ and "
            "semantic/ hold files of the same names, so call them images/ and masks/, in each "
            "split\n  {0}/val has no folders called images and labels: …",
        ),
        (
            ["train/rgb/1.jpg", "train/gt/1_gt.png", "val/images/2.jpg", "val/masks/2.png"],
            "{0}/train has no folders called images and labels: rgb/ holds images and gt/ masks "
            "called NAME_gt, so call them images/ and masks/, in each split and give "
            "--label-suffix=_gt",
        ),
        (
            ["train/images/1.jpg", "train/semantic/1.png"],
            "{0}/train has images/ but no labels/, masks/ or annotations/; there is semantic/: "
            "call the two folders images/ and masks/, in each split",
        ),
        (
            [
                f"Tile {tile}/{kind}/{name}.{ending}"
                for tile in (1, 2)
                for kind, ending in (("images", "jpg"), ("masks", "png"))
                for name in "ab"
            ],
            "{0} has no folders called images and labels: Tile 1/ and Tile 2/ hold images and "
            "masks each, so put all images into one folder images/, with a sub-folder for each of "
            "these, and the masks into masks/ likewise",
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
        (  # the first one of two
            [f"{place}/a.png" for place in ("images/train", "labels/train", "images/val")]
            + ["labels/test/a.png"],
            "{0}/images has the split 'val', but {0}/labels has not",
        ),
    ],
)
def test_not_understood(tree, names, message):
    source = tree(*names)
    with pytest.raises(UserError) as caught:
        find_layout(source)
    assert in_options(caught.value.template) == message.format(source)


@pytest.mark.parametrize(
    "names",
    [
        # The objects of each image.
        ["images/0.jpg", "images/1.jpg", "masks/0/0.png", "masks/0/1.png", "masks/1/0.png"],
        ["a/train/image/0.png", "a/train/label/0.png", "a/val/image/0.png", "a/val/label/0.png"],
        ["0_json/img.png", "0_json/label.png", "1_json/img.png", "1_json/label.png"],
        ["p/1.png", "q/1.png"],
        [f"{number}/{name}.png" for number in "01" for name in ("img", "label", "label_viz")],
    ],
)
def test_no_folders_are_proposed_where_which_is_which_cannot_be_told(tree, names):
    with pytest.raises(UserError) as caught:
        layout = find_layout(tree(*names))
        raise all_faults(layout.splits["all"])
    told = in_options(caught.value.template)
    assert "--image-folder=" not in told and "--label-suffix" not in told


def test_a_split_without_masks(tree):
    source = tree("train/0.jpg", "train/0_mask.png", "valid/1.jpg", "valid/2.jpg")
    with pytest.raises(UserError) as caught:
        find_layout(source, Naming(label_suffix="_mask"))
    assert str(caught.value) == (
        f"{source}/valid has no masks beside its images: none of 2 .jpg is called NAME_mask; add "
        "them, or take the folder away"
    )


def test_faults_of_all_splits_are_told_at_once(tree):
    source = tree("train/images/a.heic", "train/labels/a.png", "val/images/b.jpg", "test/c.jpg")
    with pytest.raises(UserError) as caught:
        find_layout(source)
    assert str(caught.value) == (f"{source}/val has images/ but no labels/, masks/ or annotations/")
    (source / "val" / "labels").mkdir()
    with pytest.raises(UserError) as caught:
        find_layout(source)
    assert str(caught.value).splitlines()[:2] == [
        "3 faults were found:",
        f"  {source}/train/images has no images, but 1 .heic: save them as PNG; expected "
        f"{EXPECTED}",
    ]


def test_no_image_at_all(tree):
    source = tree("images/a.heic", "images/b.heic", "labels/a.png", "images/c")
    with pytest.raises(UserError) as caught:
        find_layout(source)
    assert str(caught.value) == (
        f"{source}/images has no images, but 2 .heic, 1 without ending: save them as PNG; expected "
        f"{EXPECTED}"
    )


def test_linked_folders_are_passed_over(tree, tmp_path_factory):
    source = tree("images/a.jpg", "labels/a.png")
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    Path(elsewhere, "b.jpg").touch()
    Path(source, "images", "more").symlink_to(elsewhere)
    layout = find_layout(source)
    assert (len(layout.splits["all"]), layout.passed_over) == (1, [source / "images" / "more"])


def test_a_folder_of_nothing_but_a_linked_one(tree, tmp_path_factory):
    source = tree("images", "labels/a.png")
    (source / "images").unlink()
    (source / "images").mkdir()
    Path(source, "images", "cam").symlink_to(tmp_path_factory.mktemp("elsewhere"))
    with pytest.raises(UserError) as caught:
        find_layout(source)
    assert str(caught.value).startswith(
        f"{source}/images holds the link cam, which is not followed: link each file, or all of the "
        "folder; expected "
    )

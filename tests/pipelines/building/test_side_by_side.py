"""Images and masks in one folder: what tells them apart."""

import dataclasses
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from layout_trees import found, pairs_of, write
from miniatures import noise
from PIL import Image

from pipelines.base.errors import UserError, in_options
from pipelines.building.folders import Naming
from pipelines.building.layouts import find_layout
from pipelines.datasets.image_folder.options import FolderOptions


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


def test_masks_of_jpeg_beside_photographs_of_png(tmp_path):
    for name in "ab":
        Image.fromarray(noise(32, 32)).save(tmp_path / f"{name}.png")
        Image.fromarray(np.kron([[0, 255]], np.ones((32, 16))).astype(np.uint8)).save(
            tmp_path / f"{name}.jpg"
        )
    assert found(tmp_path) == {"all": [(name, f"{name}.png", f"{name}.jpg") for name in "ab"]}


def test_gray_photographs_of_jpeg_beside_masks_with_soft_edges(tmp_path):
    """Of 256 grays, and of more colours, most of which are at the edges."""
    edges = np.repeat(np.arange(0, 256, dtype=np.uint8)[None], 64, axis=0)
    edges = np.stack([edges, np.roll(edges, 7, axis=1), edges[:, ::-1]], axis=-1)
    mask = np.concatenate([np.full((640, 256, 3), 9, np.uint8), edges])
    for name in "ab":
        gray = np.random.default_rng(0).integers(0, 256, mask.shape[:2]).astype(np.uint8)
        Image.fromarray(gray).save(tmp_path / f"{name}.jpg")
        Image.fromarray(mask).save(tmp_path / f"{name}.png")
    assert found(tmp_path) == {"all": [(name, f"{name}.jpg", f"{name}.png") for name in "ab"]}


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


def test_prefixes(tree):
    source = tree("images/x/image_1.jpg", "labels/x/mask_1.png")
    assert found(source, image_prefix="image_", label_prefix="mask_") == {
        "all": [("x/1", "images/x/image_1.jpg", "labels/x/mask_1.png")]
    }
    source = tree("beside/mask_1.png", "beside/1.png")
    assert found(source / "beside", label_prefix="mask_") == {"all": [("1", "1.png", "mask_1.png")]}


def test_previews_of_masks_are_passed_over(tree):
    source = tree("images/a.jpg", "masks/a.jpg", "masks/a.png")
    layout = find_layout(source)
    assert pairs_of(layout, source) == {"all": [("a", "images/a.jpg", "masks/a.png")]}
    assert [path.name for path in layout.passed_over] == ["a.jpg"]


def test_a_gif_beside_its_image(tree):
    assert found(tree("a.jpg", "a.gif")) == {"all": [("a", "a.jpg", "a.gif")]}


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

"""The same scenes in every form that people have give the same examples."""

import contextlib
import json
import shutil

import numpy as np
import pytest
from miniatures import save
from own_scenes import COLOURS, COUNT, NAMES, SIDE, coco, compressed, in_colours, records
from PIL import Image

from pipelines.base.errors import UserError, in_options
from pipelines.building.examples import all_faults
from pipelines.datasets.image_folder.options import FolderOptions
from pipelines.datasets.image_folder.sources import open_source


def test_colour_masks(copy, expected):
    for path in (copy / "labels").iterdir():
        in_colours(np.array(Image.open(path))).save(path)
    lines = [f"{name} {r} {g} {b}" for name, (r, g, b) in zip(NAMES, COLOURS, strict=True)]
    (copy / "classes.txt").write_text("\n".join(lines))
    assert records(copy, void=("224,224,192",)) == expected
    assert open_source(copy, FolderOptions()).palette[1].tolist() == [70, 235, 9]


def test_only_masks_that_are_recorded_are_counted(tmp_path):
    """Of 4x6 pixels, a quarter of a nearly red one; that of `wide` does not fit its image."""
    for name, size in (("a", (4, 6)), ("b", (4, 6)), ("wide", (4, 7))):
        mask = np.full((4, 6, 3), (255, 0, 0), np.uint8)
        mask[0] = 250, 0, 0
        save(tmp_path / "masks" / f"{name}.png", mask)
        save(tmp_path / "images" / f"{name}.png", np.zeros((*size, 3), np.uint8))
    (tmp_path / "classes.txt").write_text("red 255 0 0\nblue 0 0 255")
    source = open_source(tmp_path, FolderOptions(nearest_colour=True))
    for item in (item for items in source.splits.values() for item in items):
        with contextlib.suppress(UserError):
            source.make_example(item)
    assert source.counts == {"pixels": 2 * 24, "nearest": 2 * 6}


def test_palette_masks(copy, expected):
    for path in (copy / "labels").iterdir():
        image = Image.open(path)
        image.putpalette(np.resize(np.array(COLOURS, np.uint8), (256, 3)).tobytes())
        image.save(path)
    assert records(copy) == expected
    palette = open_source(copy, FolderOptions()).palette
    assert palette[: len(COLOURS)].tolist() == [list(colour) for colour in COLOURS]


@pytest.mark.parametrize("has_names", [True, False])
def test_palettes_of_each_file_its_own(copy, expected, has_names):
    """What reduces images to palettes numbers colours anew in each file."""
    lines = [f"{name} {r} {g} {b}" for name, (r, g, b) in zip(NAMES, COLOURS, strict=True)]
    for path in (copy / "labels").iterdir():
        in_colours(np.array(Image.open(path))).quantize().save(path)
    if not has_names:
        (copy / "classes.txt").unlink()
    with pytest.raises(UserError, match=r"/s0.png and .*/s1.png show index 0 in different colours"):
        records(copy)
    (copy / "classes.txt").write_text("\n".join(lines))
    assert records(copy, void=("224,224,192",)) == expected


def test_a_damaged_palette_mask_is_told_with_all_faults(copy):
    path = copy / "labels" / "s0.png"
    Image.open(path).convert("P").save(path)
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(UserError, match=r"/s0\.png cannot be decoded: it is truncated or damaged$"):
        records(copy)


def test_side_by_side_with_suffixes(copy, expected):
    for path in (copy / "labels").iterdir():
        path.rename(copy / f"{path.stem}_mask.png")
    for path in (copy / "images").iterdir():
        path.rename(copy / path.name)
    (copy / "images").rmdir()
    (copy / "labels").rmdir()
    assert records(copy, label_suffix="_mask") == expected


def test_split_folders(copy, expected):
    for split, examples in expected.items():
        for kind, ending in ("images", "jpg"), ("labels", "png"):
            (copy / kind / split).mkdir()
            for name in examples:
                (copy / kind / f"{name}.{ending}").rename(copy / kind / split / f"{name}.{ending}")
    assert records(copy) == expected


@pytest.mark.parametrize("kind, ending", [("images", "jpg"), ("labels", "png")])
def test_a_broken_link_is_a_fault_of_its_image_alone(copy, kind, ending):
    """Whichever file it is: masks are looked at before examples are made of them."""
    for number in range(COUNT):
        path = copy / kind / f"s{number}.{ending}"
        path.rename(copy / kind / "aside")
        path.symlink_to("gone")
        assert faults_of(copy) == [f"{path} is a broken link: there is no gone"]
        path.unlink()
        (copy / kind / "aside").rename(path)


def test_a_set_without_classes_is_described_past_a_broken_link(copy):
    (copy / "classes.txt").unlink()
    path = copy / "labels" / "s0.png"
    path.unlink()
    path.symlink_to("gone")
    with pytest.raises(UserError, match="labels/ holds 4 masks with the values 0, "):
        open_source(copy, FolderOptions())


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        (
            lambda folder: (folder / "classes.txt").unlink(),
            {},
            "there is no {0}/classes.txt: labels/ holds 5 masks with the values 0, 2, 3, 4, 5, 6, "
            "255: name the classes in classes.txt, one a line, label 0 first",
        ),
        (
            lambda folder: (folder / "classes.txt").rename(folder / "Labels.txt"),
            {},
            "there is no {0}/classes.txt: labels/ holds 5 masks with the values 0, 2, 3, 4, 5, 6, "
            "255: name the classes in classes.txt, one a line, label 0 first; Labels.txt may have "
            "the names",
        ),
        (
            lambda folder: (folder / "images").rename(folder / "test"),
            {},
            "{0}/test has no masks beside its images: it holds 5 .jpg; expected images/ and "
            "labels/ (or masks/, annotations/), train/ and val/ with these in each, images/train "
            "and labels/train, each mask beside its image, or annotation files of COCO or labelme",
        ),
    ],
)
def test_refused(copy, change, options, message):
    change(copy)
    with pytest.raises(UserError) as caught:
        open_source(copy, FolderOptions(**options))
    assert in_options(caught.value.template) == message.format(copy)


def test_a_name_in_braces_is_no_option(copy):
    """Neither alone nor among other faults, with options or without."""
    for kind, ending in ("images", "jpg"), ("labels", "png"):
        (copy / kind / f"s0.{ending}").rename(copy / kind / f"{{void}} x.{ending}")
    path, other = copy / "labels" / "{void} x.png", copy / "labels" / "s1.png"
    Image.new("L", (SIDE, SIDE), 99).save(path)
    other.unlink()
    source = open_source(copy, FolderOptions())
    item = next(
        item
        for items in source.splits.values()
        for item in items
        if not isinstance(item, UserError) and item.label == path
    )
    with pytest.raises(UserError) as caught:
        source.make_example(item)
    text = in_options(caught.value.template)
    assert text.startswith(f"{path} has the label value 99, but the classes are 0 ")
    assert text.endswith(": --map, --first-label and --void say what other values stand for")
    lonely = UserError(f"{path} has no image")
    both = in_options(all_faults([caught.value, lonely]).template)
    assert both == f"2 faults were found:\n  {text}\n  {path} has no image"


def test_the_painting_order_means_nothing_for_masks(copy):
    with pytest.raises(UserError) as caught:
        open_source(copy, FolderOptions(paint_order="classes"))
    assert in_options(caught.value.template) == (
        "--paint-order is for annotation files, and there are masks"
    )


def test_values_mean_nothing_for_colours(copy):
    lines = [f"{name} {r} {g} {b}" for name, (r, g, b) in zip(NAMES, COLOURS, strict=True)]
    (copy / "classes.txt").write_text("\n".join(lines))
    for path in (copy / "labels").iterdir():
        in_colours(np.array(Image.open(path))).save(path)
    with pytest.raises(UserError) as caught:
        open_source(copy, FolderOptions(void=("2", "224,224,192")))
    assert in_options(caught.value.template) == (
        "--void 2 is for masks that hold values, and all hold colours, such as "
        f"{copy}/labels/s0.png: leave it out"
    )


def test_json_files_beside_masks_are_not_read(copy, expected):
    (copy / "labels" / "notes.json").write_text("{damaged")
    assert records(copy) == expected
    # Nor where it is said how masks are called, which pair with no image otherwise.
    for path in (copy / "labels").glob("*.png"):
        path.rename(path.with_stem(f"{path.stem}_mask"))
    assert records(copy, label_suffix="_mask") == expected
    shape = {"label": "disc", "shape_type": "rectangle", "points": [[0, 0], [9, 9]]}
    content = {"shapes": [shape], "imagePath": "s0.jpg", "imageData": None}
    (copy / "images" / "s0.json").write_text(json.dumps(content))
    assert records(copy, label_suffix="_mask") == expected


def test_a_val_split_that_is_there_already(copy):
    for split, names in ("train", "s0 s1 s2"), ("val", "s3 s4"):
        for kind, ending in ("images", "jpg"), ("labels", "png"):
            (copy / kind / split).mkdir()
            for name in names.split():
                (copy / kind / f"{name}.{ending}").rename(copy / kind / split / f"{name}.{ending}")
    with pytest.raises(UserError) as caught:
        open_source(copy, FolderOptions(val_share=0.5))
    assert in_options(caught.value.template) == (
        f"{copy} has a val split already: leave --val-share, --folds and --group out, or give a "
        "folder without it"
    )


def test_colours_are_told_before_any_mask_is_refused(copy):
    for path in (copy / "labels").iterdir():
        in_colours(np.full((SIDE, SIDE), [2] * (SIDE // 4) + [3] * (3 * SIDE // 4), np.uint8)).save(
            path
        )
    with pytest.raises(UserError) as caught:
        open_source(copy, FolderOptions())
    assert in_options(caught.value.template) == (
        f"{copy}/classes.txt gives no colours: labels/ holds 5 masks with 2 colours, #82c31b "
        "(75.0 %), #64d712 (25.0 %): name the classes in classes.txt with their colours, as in "
        '"road 128 64 128" or "road #804080"; colours without class go to --void'
    )


def test_a_photograph_among_the_masks_is_a_fault_of_its_own(copy):
    """Also if it is the first."""
    for name in ("s0", "s4"):
        shutil.copytree(copy, copy.with_name(name))
        path = copy.with_name(name) / "labels" / f"{name}.png"
        Image.open(path.parents[1] / "images" / f"{name}.jpg").save(path)
        faults = faults_of(copy.with_name(name))
        assert len(faults) == 1 and faults[0].startswith(f"{path} is an image with ")


@pytest.mark.parametrize("kind", ["L", "1"])
def test_a_gray_mask_among_coloured_ones(copy, kind):
    """Its zeros are the first class by their values, and as a colour black, which no class has."""
    for path in (copy / "labels").iterdir():
        in_colours(np.array(Image.open(path))).save(path)
    colours = [" ".join(map(str, colour)) for colour in COLOURS]
    lines = [f"{name} {colour}" for name, colour in zip(NAMES, colours, strict=True)]
    (copy / "classes.txt").write_text("\n".join(lines))
    gray = copy / "labels" / "s1.png"
    Image.new(kind, (SIDE, SIDE)).save(gray)
    assert faults_of(copy, void=("#e0e0c0",)) == [
        f"{gray} is gray, and others, such as {copy}/labels/s0.png, hold colours: save it as RGB, "
        "in the colours of its classes; or save all of them in gray"
    ]
    lines[0] = f"{NAMES[0]} {colours[0]} 0 0 0"
    (copy / "classes.txt").write_text("\n".join(lines))
    assert faults_of(copy, void=("#e0e0c0",)) == []  # either way it is the first class


def faults_of(folder, **options) -> list[str]:
    """What is wrong with the examples of a folder."""
    source = open_source(folder, FolderOptions(**options))
    faults = []
    for item in (item for items in source.splits.values() for item in items):
        try:
            source.make_example(item)
        except UserError as fault:
            faults.append(str(fault))
    return faults


def test_masks_of_which_none_has_an_images_name(copy):
    """What to call the classes is asked when there are masks that can be looked at."""
    (copy / "classes.txt").unlink()
    for path in (copy / "labels").iterdir():
        path.rename(path.with_name(f"{path.stem.replace('s', 'object')}.png"))
    with pytest.raises(UserError, match=r"^10 faults were found:\n.*/s0\.jpg has no label: "):
        open_source(copy, FolderOptions())


def test_one_folder_inside_another(copy, expected):
    (copy / "inside").mkdir()
    for name in ("images", "labels", "classes.txt"):
        (copy / name).rename(copy / "inside" / name)
    assert records(copy) == expected


def in_split(copy, split, names):
    """Moves images and labels into folders of a split."""
    for kind, ending in ("images", "jpg"), ("labels", "png"):
        (copy / kind / split).mkdir()
        for name in names.split():
            (copy / kind / f"{name}.{ending}").rename(copy / kind / split / f"{name}.{ending}")


@pytest.mark.parametrize("test", ["", "s4"])
@pytest.mark.parametrize("options", [{}, {"val_share": 0.5}, {"folds": 3, "fold": 2}])
def test_what_is_held_out_of_train_is_not_in_it(copy, test, options):
    in_split(copy, "train", "s0 s1 s2 s3" if test else "s0 s1 s2 s3 s4")
    if test:
        in_split(copy, "test", test)
    found = {split: set(examples) for split, examples in records(copy, **options).items()}
    assert found.keys() == {"train", "val", *(["test"] if test else [])}
    assert sorted(name for names in found.values() for name in names) == [f"s{i}" for i in range(5)]
    assert found["train"] and found["val"] and found.get("test", set()) == {*test.split()}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({}, "; no split val: 1 of 5 images is held out, chosen by name"),
        ({"val_share": 0.4}, "; no split val: 2 of 5 images are held out, chosen by name"),
        ({"folds": 5, "fold": 2}, "; no split val: 1 of 5 images is held out, chosen by name"),
    ],
)
@pytest.mark.parametrize("are_annotated", [False, True])
def test_what_is_held_out_is_said(copy, options, said, are_annotated):
    if are_annotated:
        coco(copy, compressed)
    assert open_source(copy, FolderOptions(**options)).words.endswith(said)


def test_a_val_that_is_there_is_not_called_held_out(copy):
    in_split(copy, "train", "s0 s1 s2")
    in_split(copy, "val", "s3 s4")
    assert open_source(copy, FolderOptions()).words == "images/train/ and labels/train/"


def test_faults_alone_in_train_are_told(tmp_path):
    for name in (
        "train/images/a.jpg",
        "train/labels/b.png",
        "val/images/c.jpg",
        "val/labels/c.png",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (8, 8)).save(tmp_path / name)
    (tmp_path / "classes.txt").write_text("a\nb")
    faults = [str(fault) for fault in open_source(tmp_path, FolderOptions()).splits["train"]]
    assert f"{tmp_path}/train/images/a.jpg has no label" in faults[0]

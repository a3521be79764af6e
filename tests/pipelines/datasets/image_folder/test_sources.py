"""The same scenes in every form that people have give the same examples."""

import base64
import contextlib
import errno
import io
import json
import re
import shutil
import struct
import sys
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from miniatures import save
from PIL import Image
from pycocotools import mask as coco_mask

from pipelines.base.errors import UserError, in_options
from pipelines.building.examples import all_faults
from pipelines.datasets.image_folder.options import FolderOptions
from pipelines.datasets.image_folder.sources import open_source
from pipelines.datasets.shapes import scenes

NAMES = scenes.CLASS_NAMES
COLOURS = tuple((40 + 30 * label, 255 - 20 * label, 9 * label) for label in range(len(NAMES)))
COUNT, SIDE = 5, 64


@pytest.fixture(scope="module")
def index_folder(tmp_path_factory):
    """images/ and labels/ of index masks."""
    folder = tmp_path_factory.mktemp("index")
    (folder / "images").mkdir()
    (folder / "labels").mkdir()
    (folder / "classes.txt").write_text("\n".join(NAMES))
    rng = np.random.default_rng(0)
    for number in range(COUNT):
        pixels, label = scenes.render_scene(rng, SIDE)
        Image.fromarray(pixels).save(folder / "images" / f"s{number}.jpg")
        Image.fromarray(label).save(folder / "labels" / f"s{number}.png")
    return folder


@pytest.fixture
def copy(index_folder, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(index_folder, folder)
    return folder


def records(folder, **options):
    source = open_source(folder, FolderOptions(**options))
    return {
        split: {key: example for key, example in map(source.make_example, items)}
        for split, items in source.splits.items()
    }


@pytest.fixture(scope="module")
def expected(index_folder):
    found = records(index_folder)
    assert {split: len(examples) for split, examples in found.items()} == {"train": 4, "val": 1}
    return found


def in_colours(label):
    colours = np.zeros((256, 3), np.uint8)
    colours[: len(COLOURS)], colours[255] = COLOURS, (224, 224, 192)
    return Image.fromarray(colours[label])


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


def coco(folder, regions):
    """Writes annotations.json in place of the masks; `regions` turns a mask into a segmentation."""
    images, annotations = [], []
    for number, path in enumerate(sorted((folder / "labels").iterdir()), 1):
        label = np.array(Image.open(path))
        images.append(
            {"id": number, "file_name": f"{path.stem}.jpg", "height": SIDE, "width": SIDE}
        )
        for category in [*range(1, len(NAMES)), 255]:
            if (label == category).any():
                segmentation = regions((label == category).astype(np.uint8))
                annotations.append(
                    {
                        "id": len(annotations) + 1, "image_id": number, "iscrowd": 1,
                        "category_id": category, "segmentation": segmentation,
                    }
                )  # fmt: skip
    shutil.rmtree(folder / "labels")
    categories = [{"id": label, "name": NAMES[label]} for label in range(len(NAMES) - 1, 0, -1)]
    categories = [{**category, "supercategory": "shapes"} for category in categories]
    categories.append({"id": 0, "name": "shapes", "supercategory": "none"})
    categories.append({"id": 255, "name": "void"})
    content = {"images": images, "annotations": annotations, "categories": categories}
    (folder / "annotations.json").write_text(json.dumps(content))


def compressed(mask):
    runs = coco_mask.encode(np.asfortranarray(mask))
    return {"size": runs["size"], "counts": runs["counts"].decode()}


def plain_runs(mask):
    flat = mask.T.reshape(-1)
    edges = np.flatnonzero(np.diff(np.concatenate([[0], flat]))) if flat.any() else []
    ends = [0, *edges, len(flat)]
    return {"size": list(mask.shape), "counts": np.diff(ends).tolist()}


@pytest.mark.parametrize("regions", [compressed, plain_runs])
def test_coco_run_lengths(copy, expected, regions):
    coco(copy, regions)
    assert records(copy) == expected


def test_coco_without_classes_txt(copy, expected):
    coco(copy, compressed)
    (copy / "classes.txt").unlink()
    source = open_source(copy, FolderOptions())
    assert source.classes.names == NAMES
    assert source.splits.keys() == expected.keys()


@pytest.mark.parametrize(
    ("of_cat", "of_dog", "of_animal", "names"),
    [
        ("cat", "dog", "animal", ["cat", "dog", "animal"]),  # each is its own group
        ("animal", "animal", "none", ["cat", "dog"]),
        ("animal", "animal", "animal", ["cat", "dog"]),
        ("cat", "dog", "dog", ["cat", "animal"]),
        (None, None, None, ["cat", "dog", "animal"]),
    ],
)
def test_a_category_that_is_but_a_group_of_others_is_no_class(
    tmp_path, of_cat, of_dog, of_animal, names
):
    Image.new("RGB", (8, 1)).save(tmp_path / "a.png")
    Image.new("RGB", (8, 1)).save(tmp_path / "b.png")
    groups = {"cat": of_cat, "dog": of_dog, "animal": of_animal}
    content = {
        "images": [{"id": 0, "file_name": "a.png"}, {"id": 1, "file_name": "b.png"}],
        "annotations": [
            {
                "id": 1,
                "image_id": 0,
                "category_id": 1,
                "segmentation": {"size": [1, 8], "counts": [0, 2, 6]},
            }
        ],  # fmt: skip
        "categories": [
            {"id": number, "name": name, **({"supercategory": group} if group else {})}
            for number, (name, group) in enumerate(groups.items(), 1)
        ],
    }
    (tmp_path / "all.json").write_text(json.dumps(content))
    assert open_source(tmp_path, FolderOptions()).classes.names == ("background", *names)


def test_a_group_that_is_called_as_its_only_class(copy):
    """As Roboflow writes a project "disc" of the class "disc"; nothing has the group's id."""
    coco(copy, compressed)
    (copy / "classes.txt").unlink()
    path = copy / "annotations.json"
    content = json.loads(path.read_text())
    content["categories"].append({"id": 300, "name": NAMES[2], "supercategory": "none"})
    path.write_text(json.dumps(content))
    assert open_source(copy, FolderOptions()).classes.names == NAMES


def test_coco_in_the_layout_of_roboflow(copy, expected):
    coco(copy, compressed)
    content = json.loads((copy / "annotations.json").read_text())
    (copy / "annotations.json").unlink()
    for split, folder in ("train", "train"), ("val", "valid"):
        (copy / folder).mkdir()
        images = [i for i in content["images"] if i["file_name"][:-4] in expected[split]]
        for image in images:
            (copy / "images" / image["file_name"]).rename(copy / folder / image["file_name"])
        ids = {image["id"] for image in images}
        annotations = [a for a in content["annotations"] if a["image_id"] in ids]
        part = {**content, "images": images, "annotations": annotations}
        (copy / folder / "_annotations.coco.json").write_text(json.dumps(part))
    assert records(copy) == expected


def test_labelme(copy, expected):
    for path in sorted((copy / "labels").iterdir()):
        label = np.array(Image.open(path))
        shapes = []
        for value in np.unique(label):
            buffer = io.BytesIO()
            Image.fromarray((label == value).astype(np.uint8) * 255).save(buffer, "PNG")
            name = "__ignore__" if value == 255 else NAMES[value]
            shapes.append(
                {
                    "label": name, "shape_type": "mask", "points": [[0, 0], [SIDE - 1, SIDE - 1]],
                    "mask": base64.b64encode(buffer.getvalue()).decode(),
                }
            )  # fmt: skip
        content = {
            "shapes": shapes, "imagePath": f"{path.stem}.jpg", "imageData": None,
            "imageHeight": SIDE, "imageWidth": SIDE,
        }  # fmt: skip
        (copy / "images" / f"{path.stem}.json").write_text(json.dumps(content))
    shutil.rmtree(copy / "labels")
    assert records(copy) == expected


def test_rectangles_of_labelme(tmp_path):
    Image.new("RGB", (6, 4)).save(tmp_path / "a.png")
    Image.new("RGB", (6, 4)).save(tmp_path / "b.png")
    shapes = [
        {"label": "car", "shape_type": "rectangle", "points": [[1, 1], [3, 2]]},
        {"label": "bus", "shape_type": "rectangle", "points": [[3, 0], [4, 3]]},
    ]
    for name in "ab":
        content = {"shapes": shapes, "imagePath": f"..\\elsewhere\\{name}.png"}
        (tmp_path / f"{name}.json").write_text(json.dumps(content))
    source = open_source(tmp_path, FolderOptions())
    assert source.classes.names == ("background", "bus", "car")
    painted = {}
    for order in ("file", "largest-first", "classes"):
        source = open_source(tmp_path, FolderOptions(paint_order=order))
        (item, *_) = source.splits["train"]
        _, example = source.make_example(item)
        painted[order] = np.array(Image.open(io.BytesIO(example["label"])))
    bus_on_top = [[0, 0, 0, 1, 1, 0], [0, 2, 2, 1, 1, 0], [0, 2, 2, 1, 1, 0], [0, 0, 0, 1, 1, 0]]
    car_on_top = [[0, 0, 0, 1, 1, 0], [0, 2, 2, 2, 1, 0], [0, 2, 2, 2, 1, 0], [0, 0, 0, 1, 1, 0]]
    assert painted["file"].tolist() == bus_on_top  # the bus comes later
    assert painted["largest-first"].tolist() == car_on_top  # 6 pixels, the bus has 8
    assert painted["classes"].tolist() == car_on_top


@pytest.mark.parametrize(
    ("names", "background", "void"),
    [
        ("", 0, 255),
        ("Car\nBackground\n", 1, 255),
        ("Car\nBus\n", 255, 255),
        ("Car\nVoid\n", 255, 1),
    ],
)
@pytest.mark.parametrize("form", ["coco", "labelme"])
def test_background_and_void_in_any_case(tmp_path, names, background, void, form):
    boxes = {"BACKGROUND": (0, 1), "IGNORE" if void == 255 else "VOID": (2, 3), "Car": (4, 5)}
    for name in "ab":
        Image.new("RGB", (8, 1)).save(tmp_path / f"{name}.png")
        shapes = [
            {"label": label, "shape_type": "rectangle", "points": [[left, 0], [right, 1]]}
            for label, (left, right) in boxes.items()
        ]
        content = {"shapes": shapes, "imagePath": f"{name}.png"}
        if form == "labelme":
            (tmp_path / f"{name}.json").write_text(json.dumps(content))
    if form == "coco":
        content = {
            "images": [
                {"id": number, "file_name": f"{name}.png", "height": 1, "width": 8}
                for number, name in enumerate("ab")
            ],
            "annotations": [
                {
                    "id": 10 * image + number, "image_id": image, "category_id": number,
                    "segmentation": {"size": [1, 8], "counts": [left, 2, 6 - left]},
                }
                for image in range(2)
                for number, (left, _) in enumerate(boxes.values())
            ],
            "categories": [{"id": number, "name": name} for number, name in enumerate(boxes)],
        }  # fmt: skip
        (tmp_path / "instances.json").write_text(json.dumps(content))
    if names:
        (tmp_path / "classes.txt").write_text(names)
    source = open_source(tmp_path, FolderOptions())
    assert source.classes.names == (tuple(names.split()) or ("background", "Car"))
    (item, *_) = source.splits["train"]
    label = np.array(Image.open(io.BytesIO(source.make_example(item)[1]["label"])))
    car = source.classes.names.index("Car")
    assert label.tolist() == [[background] * 2 + [void] * 2 + [car] * 2 + [background] * 2]


@pytest.mark.parametrize(("form", "ending"), [("WEBP", "webp"), ("TIFF", "tif"), ("BMP", "bmp")])
def test_other_images_become_png(copy, form, ending):
    path = copy / "images" / "s0.jpg"
    pixels = np.array(Image.open(path))
    options = {"lossless": True} if form == "WEBP" else {}
    Image.fromarray(pixels).save(path.with_suffix(f".{ending}"), form, **options)
    path.unlink()
    examples = {**(found := records(copy))["train"], **found["val"]}
    recorded = Image.open(io.BytesIO(examples["s0"]["image"]))
    assert recorded.format == "PNG" and (np.array(recorded) == pixels).all()


@pytest.mark.parametrize("kind, ending", [("images", "jpg"), ("labels", "png")])
def test_a_broken_link_is_a_fault_of_its_image_alone(copy, kind, ending):
    """Whichever file it is: masks are looked at before examples are made of them."""
    for number in range(COUNT):
        path = copy / kind / f"s{number}.{ending}"
        path.rename(copy / kind / "aside")
        path.symlink_to("gone")
        source = open_source(copy, FolderOptions())
        faults = []
        for item in (item for items in source.splits.values() for item in items):
            try:
                source.make_example(item)
            except UserError as fault:
                faults.append(str(fault))
        assert faults == [f"{path} is a broken link: there is no gone"]
        path.unlink()
        (copy / kind / "aside").rename(path)


def test_a_set_without_classes_is_described_past_a_broken_link(copy):
    (copy / "classes.txt").unlink()
    path = copy / "labels" / "s0.png"
    path.unlink()
    path.symlink_to("gone")
    with pytest.raises(UserError, match="labels/ holds 4 masks with the values 0, "):
        open_source(copy, FolderOptions())


def test_an_image_of_fractions_is_refused(copy):
    path = copy / "images" / "s0.tif"
    Image.fromarray(np.zeros((SIDE, SIDE), np.float32)).save(path)
    (copy / "images" / "s0.jpg").unlink()
    with pytest.raises(UserError) as caught:
        records(copy)
    assert str(caught.value) == f"{path} holds floating-point values; 8 bits a channel are needed"


def turned(folder):
    """What is counted in all examples of a folder."""
    source = open_source(folder, FolderOptions())
    for item in (item for items in source.splits.values() for item in items):
        source.make_example(item)
    return source.counts


@pytest.mark.parametrize("orientation", range(2, 9))
def test_exif_orientation_is_applied_once(tmp_path, orientation):
    pixels = np.arange(6, dtype=np.uint8).reshape(2, 3) * 40
    upright = {
        2: pixels[:, ::-1], 3: pixels[::-1, ::-1], 4: pixels[::-1], 5: pixels.T,
        6: pixels.T[:, ::-1], 7: pixels.T[::-1, ::-1], 8: pixels.T[::-1],
    }[orientation]  # fmt: skip
    exif = Image.Exif()
    exif[0x0112] = orientation
    for name in "ab":
        Image.fromarray(pixels).save(tmp_path / f"{name}.tif", exif=exif)
        Image.fromarray(np.zeros(upright.shape, np.uint8)).save(tmp_path / f"{name}.png")
    (tmp_path / "classes.txt").write_text("a\nb")
    ((_, example),) = records(tmp_path)["val"].items()
    recorded = Image.open(io.BytesIO(example["image"]))
    assert (np.array(recorded)[..., 0] == upright).all()
    assert recorded.getexif().get(0x0112) is None
    assert turned(tmp_path) == {"turned": 2}
    for name in "ab":
        labelme_file(tmp_path / f"{name}.json", f"{name}.tif")
        (tmp_path / f"{name}.png").unlink()
    (tmp_path / "classes.txt").write_text("background\ncar")
    assert turned(tmp_path) == {"turned": 2}


def test_a_rotated_jpeg_stays_jpeg(tmp_path):
    rows, columns = np.mgrid[:32, :48]
    pixels = np.stack([rows * 7, columns * 5, rows + columns], axis=-1).astype(np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6
    for name in "ab":
        Image.fromarray(pixels).save(tmp_path / f"{name}.jpg", quality=95, subsampling=0, exif=exif)
        Image.fromarray(np.zeros((48, 32), np.uint8)).save(tmp_path / f"{name}.png")
    (tmp_path / "classes.txt").write_text("a\nb")
    ((_, example),) = records(tmp_path)["val"].items()
    recorded = Image.open(io.BytesIO(example["image"]))
    difference = np.abs(np.array(recorded).astype(int) - np.rot90(pixels, -1).astype(int))
    assert recorded.format == "JPEG" and difference.max() <= 8


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


def test_options_of_masks_mean_nothing_for_annotations(copy):
    coco(copy, compressed)
    with pytest.raises(UserError) as caught:
        open_source(copy, FolderOptions(map=("1=0",), nearest_colour=True))
    assert in_options(caught.value.template) == (
        "--map and --nearest-colour are for masks, and there are annotation files, such as "
        f"{copy}/annotations.json"
    )


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
        f"{copy}/labels/s0.png: leave it away"
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


def test_pictures_beside_annotation_files_are_no_masks(copy, expected):
    coco(copy, compressed)
    (copy / "annotations").mkdir()
    (copy / "annotations.json").rename(copy / "annotations" / "instances.json")
    shutil.copy(copy / "images" / "s0.jpg", copy / "annotations" / "preview.jpg")
    assert records(copy) == expected


def test_a_val_split_that_is_there_already(copy):
    for split, names in ("train", "s0 s1 s2"), ("val", "s3 s4"):
        for kind, ending in ("images", "jpg"), ("labels", "png"):
            (copy / kind / split).mkdir()
            for name in names.split():
                (copy / kind / f"{name}.{ending}").rename(copy / kind / split / f"{name}.{ending}")
    with pytest.raises(UserError) as caught:
        open_source(copy, FolderOptions(val_share=0.5))
    assert in_options(caught.value.template) == (
        f"{copy} has a val split already: leave --val-share, --folds and --group away, or give a "
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
        source = open_source(copy.with_name(name), FolderOptions())
        faults = []
        for item in (item for items in source.splits.values() for item in items):
            try:
                source.make_example(item)
            except UserError as fault:
                faults.append(str(fault))
        assert len(faults) == 1 and faults[0].startswith(f"{path} is an image with ")


def test_masks_of_which_none_has_an_images_name(copy):
    """What to call the classes is asked when there are masks that can be looked at."""
    (copy / "classes.txt").unlink()
    for path in (copy / "labels").iterdir():
        path.rename(path.with_name(f"{path.stem.replace('s', 'object')}.png"))
    with pytest.raises(UserError, match=r"^10 faults were found:\n.*/s0\.jpg has no label: "):
        open_source(copy, FolderOptions())


def test_the_images_inside_labelme_files(tmp_path, index_folder):
    for number in range(2):
        data = (index_folder / "images" / f"s{number}.jpg").read_bytes()
        shapes = [{"label": "car", "shape_type": "rectangle", "points": [[1, 1], [3, 2]]}]
        content = {"shapes": shapes, "imagePath": f"s{number}.jpg"}
        content["imageData"] = base64.b64encode(data).decode()
        (tmp_path / f"{number}.json").write_text(json.dumps(content))
    source = open_source(tmp_path, FolderOptions())
    assert source.words == (
        "2 annotation files of 2 images, 2 of them inside these files; no split val: 1 of 2 "
        "images is held out, chosen by name"
    )
    examples = {**(found := records(tmp_path))["train"], **found["val"]}
    assert examples["0"]["image"] == (index_folder / "images" / "s0.jpg").read_bytes()
    content["imageData"] = "?"
    (tmp_path / "1.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match=r"1\.json holds a damaged image, its imageData$"):
        records(tmp_path)


def test_paths_of_windows_in_coco(copy, expected):
    coco(copy, compressed)
    path = copy / "annotations.json"
    path.write_text(path.read_text().replace('"file_name": "', '"file_name": "C:\\\\photos\\\\'))
    assert records(copy) == expected


@pytest.mark.parametrize("segmentation", [[], None, {}, [[]], [[1, 1, 9, 9]], [[], [1, 1, 9, 9]]])
def test_boxes_alone_are_no_regions(copy, segmentation):
    coco(copy, lambda mask: segmentation)
    with pytest.raises(UserError) as caught:
        open_source(copy, FolderOptions())
    assert str(caught.value) == (
        f"{copy}/annotations.json has a box and no segmentation in annotation 1: export polygons "
        "or masks"
    )


def test_polygons_without_pycocotools(copy, expected, monkeypatch):
    """Run lengths are read without it."""
    monkeypatch.setitem(sys.modules, "pycocotools", None)
    shutil.copytree(copy, copy.with_name("runs"))
    coco(copy.with_name("runs"), compressed)
    assert records(copy.with_name("runs")) == expected
    coco(copy, lambda mask: [[0, 0, 9, 0, 9, 9]])
    with pytest.raises(UserError) as caught:
        open_source(copy, FolderOptions())
    assert str(caught.value) == (
        f"{copy}/annotations.json has polygons, which need pycocotools, which is not installed: "
        'pip install "gcn_keras[data]"'
    )


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


def broken(copy, change) -> str:
    """What is said of a file of COCO after a change."""
    coco(copy, compressed)
    (copy / "classes.txt").unlink()
    path = copy / "annotations.json"
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    with pytest.raises(UserError) as caught:
        open_source(copy, FolderOptions())
    return str(caught.value).replace(str(path), "FILE")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda content: content["images"][1].update(id=1),
            "FILE is a damaged annotation file (images: the id 1 is there 2 times)",
        ),
        (
            lambda content: content["categories"].append({"id": 2, "name": "cat"}),
            "FILE is a damaged annotation file (categories: the id 2 is there 2 times)",
        ),
        (
            lambda content: content["categories"].append({"id": "9", "name": "cat"}),
            "FILE is a damaged annotation file (categories: the id '9' is no whole number)",
        ),
        (
            lambda content: content["categories"].append({"id": 9, "name": NAMES[1]}),
            f"FILE has the class {NAMES[1]!r} 2 times",
        ),
        (
            lambda content: content["categories"].append({"id": 9, "name": " "}),
            "FILE has a class without a name: give it one",
        ),
        (
            lambda content: content["categories"].extend(
                {"id": number, "name": f"c{number}"} for number in range(300, 600)
            ),
            f"FILE has {300 + len(NAMES)} classes; 8-bit masks can hold 255",
        ),
    ],
)
def test_coco_that_would_be_misread(copy, change, message):
    assert broken(copy, change) == message


def faults_and_ids(folder):
    """What is wrong in a folder, and the images that are right; all of train and val."""
    items = [item for each in open_source(folder, FolderOptions()).splits.values() for item in each]
    faults = [str(item) for item in items if isinstance(item, UserError)]
    rest = [item.image_id for item in items if not isinstance(item, UserError)]
    return [fault.replace(f"{folder}/", "") for fault in faults], sorted(rest)


FILE = "annotations.json has"
BOX = "a box and no segmentation in annotation 1: export polygons or masks"


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"segmentation": []}, BOX),
        ({"segmentation": None, "id": None}, BOX),
        ({"segmentation": [[]]}, BOX),
        ({"segmentation": [[3, 3, 9, 9]]}, BOX),
        ({"category_id": 77}, "no category 77, and annotation 1 is of it"),
    ],
)
def test_an_annotation_that_cannot_be_used_costs_its_image(copy, change, fault):
    coco(copy, compressed)
    path = copy / "annotations.json"
    content = json.loads(path.read_text())
    content["annotations"][0].update(change)
    path.write_text(json.dumps(content))
    assert faults_and_ids(copy) == ([f"{FILE} {fault}"], ["s1", "s2", "s3", "s4"])


@pytest.mark.parametrize("order", ["file", "largest-first", "classes"])
def test_a_damaged_region_is_told_by_its_number(tmp_path, order):
    for name in "ab":
        Image.new("RGB", (8, 8)).save(tmp_path / f"{name}.png")
        labelme_file(tmp_path / f"{name}.json", f"{name}.png")
        content = json.loads((tmp_path / f"{name}.json").read_text())
        content["shapes"].append({"label": "bus", "shape_type": "line", "points": [[1, 1]]})
        (tmp_path / f"{name}.json").write_text(json.dumps(content))
    with pytest.raises(UserError) as caught:
        records(tmp_path, paint_order=order)
    assert re.fullmatch(
        r".*/(\w)\.json has a damaged region, the 2\. of \1\.png \(a line with the points "
        r"\[\[1, 1\]\]\)",
        str(caught.value),
    )


def test_entries_of_coco_that_cannot_be_used_are_all_told(copy):
    coco(copy, compressed)
    path = copy / "annotations.json"
    content = json.loads(path.read_text())
    content["annotations"][0]["image_id"] = 77
    content["images"][1]["height"] = "tall"
    content["images"][2]["file_name"] = None
    content["images"][3].update(height=None, width=None)  # the image's own size then
    path.write_text(json.dumps(content))
    assert faults_and_ids(copy) == (
        [
            f"{FILE} no image 77, and annotation 1 is of it",
            f"{FILE} a damaged image 2 (height 'tall' and width 64)",
            f"{FILE} a damaged image 3 (None is no image's path)",
        ],
        ["s0", "s3", "s4"],
    )


def test_files_of_labelme_that_cannot_be_used_are_all_told(tmp_path):
    for name in "abcdefg":
        Image.new("RGB", (8, 8)).save(tmp_path / f"{name}.jpg")
        labelme_file(tmp_path / f"{name}.json", f"{name}.jpg")
    (tmp_path / "a.json").write_text('{"shapes": ')
    for name, key, value in ("b", "label", None), ("c", "label", " "):
        content = json.loads((tmp_path / f"{name}.json").read_text())
        content["shapes"].append({**content["shapes"][0], key: value})
        (tmp_path / f"{name}.json").write_text(json.dumps(content))
    (tmp_path / "d.json").write_text('{"shapes": 5, "imagePath": "d.jpg"}')
    labelme_file(tmp_path / "e.json", "f.jpg")
    assert faults_and_ids(tmp_path) == (
        [
            "f.json lists f.jpg, as e.json does already",
            "a.json is truncated or damaged (Expecting value: line 1 column 12 (char 11))",
            "b.json has a shape without a label, the 2.: give it one",
            "c.json has a shape without a label, the 2.: give it one",
            "d.json is a damaged annotation file (a value of another kind is needed)",
        ],
        ["f", "g"],
    )


def test_a_file_of_labelme_that_may_not_be_read(tmp_path, monkeypatch):
    """It is named like all that is wrong, and the others are used."""
    labelme_files(tmp_path, a="car", b="car", c="car")
    of_system = Path.read_bytes

    def refuse(path):
        if path.name == "a.json":
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return of_system(path)

    monkeypatch.setattr(Path, "read_bytes", refuse)
    assert faults_and_ids(tmp_path) == (
        ["a.json cannot be read: Permission denied"],
        ["b", "c"],
    )


def test_files_of_coco_that_are_damaged_as_a_whole_are_all_told(copy):
    coco(copy, compressed)
    (copy / "a.json").write_text("{")
    (copy / "b.json").write_text('{"images": [{}], "annotations": [], "categories": []}')
    with pytest.raises(UserError) as caught:
        open_source(copy, FolderOptions())
    assert str(caught.value).replace(f"{copy}/", "") == (
        "2 faults were found:\n"
        "  b.json is a damaged annotation file (no 'id')\n"
        "  a.json is truncated or damaged (Expecting property name enclosed in double quotes: line "
        "1 column 2 (char 1))"
    )


@pytest.mark.parametrize("form", ["coco", "labelme"])
def test_annotation_files_without_any_region_are_refused(copy, form):
    coco(copy, compressed)
    path = copy / "annotations.json"
    content = json.loads(path.read_text())
    content["annotations"] = []
    if form == "labelme":
        content = {"shapes": [], "imagePath": "s0.jpg"}
    path.write_text(json.dumps(content))
    with pytest.raises(UserError) as caught:
        open_source(copy, FolderOptions())
    assert str(caught.value) == (
        f"no annotation file below {copy} has a region, such as {path}: annotate the images"
    )


def coco_splits(folder, **classes):
    """Writes an image and a file of COCO with one region in a folder for each split."""
    for split, name in classes.items():
        (folder / split).mkdir()
        Image.new("RGB", (8, 8)).save(folder / split / "0001.jpg")
        box = {"size": [8, 8], "counts": [0, 8, 56]}
        content = {
            "images": [{"id": 1, "file_name": "0001.jpg", "height": 8, "width": 8}],
            "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "segmentation": box}],
            "categories": [{"id": 1, "name": name}],
        }
        (folder / split / "_annotations.coco.json").write_text(json.dumps(content))


@pytest.mark.parametrize("of_val", ["dog", "cat"])
def test_files_of_coco_that_number_categories_each_in_its_own_way(tmp_path, of_val):
    """What is painted are names; the first row of the image is of the class with the id 1."""
    coco_splits(tmp_path, train="cat", valid=of_val)
    path = tmp_path / "train" / "_annotations.coco.json"
    content = json.loads(path.read_text())
    content["categories"].append({"id": 2, "name": "dog"})
    path.write_text(json.dumps(content))
    assert open_source(tmp_path, FolderOptions()).classes.names == ("background", "cat", "dog")
    for split, examples in records(tmp_path).items():
        label = np.array(Image.open(io.BytesIO(examples["0001"]["label"])))
        name = {"train": "cat", "val": of_val}[split]
        assert set(label[:, 0]) == {{"cat": 1, "dog": 2}[name]} and not label[:, 1:].any()


def test_splits_of_coco_that_count_alike(tmp_path):
    """Each from 0001 on; and hidden folders are none of them."""
    coco_splits(tmp_path, train="cat", valid="cat")
    (tmp_path / ".ipynb_checkpoints").mkdir()
    shutil.copy(tmp_path / "train" / "_annotations.coco.json", tmp_path / ".ipynb_checkpoints")
    found = records(tmp_path)
    assert {split: list(examples) for split, examples in found.items()} == {
        "train": ["0001"],
        "val": ["0001"],
    }


def labelme_file(path, image):
    shapes = [{"label": "car", "shape_type": "rectangle", "points": [[1, 1], [3, 2]]}]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"shapes": shapes, "imagePath": image}))


def test_the_image_of_another_split_is_none_of_this_one(tmp_path):
    for name in ("train/images/b", "val/images/a", "val/images/b"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8)).save(tmp_path / f"{name}.jpg")
    for name in ("train/json/a", "train/json/b", "val/json/a", "val/json/b"):
        labelme_file(tmp_path / f"{name}.json", f"../images/{name[-1]}.jpg")
    splits = open_source(tmp_path, FolderOptions()).splits
    fault, *items = sorted(splits["train"], key=lambda item: not isinstance(item, UserError))
    assert str(fault) == (
        f"there is no ../images/a.jpg below {tmp_path}, which {tmp_path}/train/json/a.json names"
    )
    assert [item.path for item in items] == [tmp_path / "train/images/b.jpg"]
    assert [item.path.name for item in splits["val"]] == ["a.jpg", "b.jpg"]


def test_annotations_in_a_folder_of_any_name(tmp_path):
    """Also in one that could hold masks."""
    for name in "ab":
        (tmp_path / "labels").mkdir(exist_ok=True)
        Image.new("RGB", (8, 8)).save(tmp_path / "labels" / f"{name}.jpg")
        labelme_file(tmp_path / "labels" / f"{name}.json", f"{name}.jpg")
    found = records(tmp_path / "labels")
    assert {*found["train"], *found["val"]} == {"a", "b"}


@pytest.mark.parametrize("orientation", range(2, 9))
def test_masks_are_turned_as_their_images_are(tmp_path, orientation):
    pixels = np.arange(16, dtype=np.uint8).reshape(4, 4)
    exif = Image.Exif()
    exif[0x0112] = orientation
    for name in "ab":
        Image.fromarray(pixels).save(tmp_path / f"{name}.tif", exif=exif)
        Image.fromarray(pixels).save(tmp_path / f"{name}.png", exif=exif)
    (tmp_path / "classes.txt").write_text("\n".join(f"c{number}" for number in range(16)))
    ((_, example),) = records(tmp_path)["val"].items()
    image, label = (np.array(Image.open(io.BytesIO(example[key]))) for key in ("image", "label"))
    np.testing.assert_array_equal(label, image[..., 0])
    assert not np.array_equal(label, pixels)


def test_a_turned_image_with_an_odd_tag(tmp_path):
    """A width that is text: Pillow would write it anew, and cannot."""
    turned, odd = (
        struct.pack("<HHIHH", 0x0112, 3, 1, 3, 0),
        struct.pack("<HHI4s", 0x100, 2, 3, b"ab"),
    )
    exif = b"Exif\0\0II*\0" + struct.pack("<IH", 8, 2) + turned + odd + bytes(4)
    for name in "ab":
        Image.new("RGB", (8, 8)).save(tmp_path / f"{name}.jpg", exif=exif)
        Image.fromarray(np.zeros((8, 8), np.uint8)).save(tmp_path / f"{name}.png")
    (tmp_path / "classes.txt").write_text("a\nb")
    assert len(records(tmp_path)["val"]) == 1


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


def labelme_files(folder, **labels):
    """Writes an image and a file of labelme with one region for each name."""
    for name, label in labels.items():
        Image.new("RGB", (8, 8)).save(folder / f"{name}.png")
        labelme_file(folder / f"{name}.json", f"{name}.png")
        content = json.loads((folder / f"{name}.json").read_text())
        content["shapes"][0]["label"] = label
        (folder / f"{name}.json").write_text(json.dumps(content))


def test_annotations_of_background_and_void_alone(tmp_path):
    labelme_files(tmp_path, a="background", b="__ignore__")
    with pytest.raises(UserError, match="^the annotation files name no class$"):
        open_source(tmp_path, FolderOptions())


def test_a_blank_around_a_label_makes_no_class_of_its_own(tmp_path):
    labelme_files(tmp_path, a="cheese", b=" cheese ")
    assert open_source(tmp_path, FolderOptions()).classes.names == ("background", "cheese")


def test_a_label_in_upper_and_in_lower_case(tmp_path):
    """Two classes where classes.txt says so; nobody knows otherwise."""
    labelme_files(tmp_path, a="sky", b="Road", c="road", d="sky")
    with pytest.raises(UserError) as caught:
        open_source(tmp_path, FolderOptions())
    assert str(caught.value) == (
        f"{tmp_path}/b.json has the class 'Road' and {tmp_path}/c.json 'road': spell them alike, "
        "or, if they are two, name both in classes.txt"
    )
    (tmp_path / "classes.txt").write_text("road\nRoad\nsky\n")
    source = open_source(tmp_path, FolderOptions())
    assert source.classes.names == ("road", "Road", "sky")


def test_categories_in_upper_and_in_lower_case(copy):
    coco(copy, compressed)
    (copy / "classes.txt").unlink()
    path = copy / "annotations.json"
    content = json.loads(path.read_text())
    content["categories"][0]["name"] = NAMES[1].upper()  # they begin with the last
    path.write_text(json.dumps(content))
    with pytest.raises(UserError) as caught:
        open_source(copy, FolderOptions())
    assert str(caught.value) == (
        f"{path} has the class {NAMES[1]!r} and {path} {NAMES[1].upper()!r}: spell them alike, "
        "or, if they are two, name both in classes.txt"
    )


@pytest.mark.parametrize("of_text", ["NFC", "NFD"])
@pytest.mark.parametrize("of_json", ["NFC", "NFD"])
def test_classes_in_either_unicode_form(tmp_path, of_text, of_json):
    for name in "ab":
        Image.new("RGB", (8, 8)).save(tmp_path / f"{name}.png")
        labelme_file(tmp_path / f"{name}.json", f"{name}.png")
        content = json.loads((tmp_path / f"{name}.json").read_text())
        form = of_json if name == "a" else of_text
        content["shapes"][0]["label"] = unicodedata.normalize(form, "Käse")
        (tmp_path / f"{name}.json").write_text(json.dumps(content))
    assert open_source(tmp_path, FolderOptions()).classes.names == ("background", "Käse")
    text = unicodedata.normalize(of_text, "background\nKäse\n")
    (tmp_path / "classes.txt").write_text(text, encoding="utf-8")
    assert open_source(tmp_path, FolderOptions()).classes.names == ("background", "Käse")
    assert len(records(tmp_path)["train"]) == 1

"""Annotation files of either form in place of masks."""

import io
import json
import shutil
import unicodedata

import numpy as np
import pytest
from own_scenes import coco, compressed, labelme_file, labelme_files, records
from PIL import Image

from pipelines.base.errors import UserError, in_options
from pipelines.datasets.image_folder.options import FolderOptions
from pipelines.datasets.image_folder.sources import open_source

FORMS = ("coco", "labelme")


def annotate(folder, form, boxes):
    """Writes three images of one row of 8 pixels, each with boxes: name, first column and end."""
    images = ["a.png", "b.png", "c.png"]
    for image in images:
        Image.new("RGB", (8, 1)).save(folder / image)
    if form == "labelme":
        shapes = [
            {"label": name, "shape_type": "rectangle", "points": [[left, 0], [end - 1, 1]]}
            for name, (left, end) in boxes.items()
        ]
        for image in images:
            content = {"shapes": shapes, "imagePath": image}
            (folder / image).with_suffix(".json").write_text(json.dumps(content))
        return
    content = {
        "images": [{"id": i, "file_name": image} for i, image in enumerate(images)],
        "annotations": [
            {
                "id": 10 * i + category, "image_id": i, "category_id": category,
                "segmentation": {"size": [1, 8], "counts": [left, end - left, 8 - end]},
            }
            for i in range(3)
            for category, (left, end) in enumerate(boxes.values())
        ],
        "categories": [{"id": category, "name": name} for category, name in enumerate(boxes)],
    }  # fmt: skip
    (folder / "instances.json").write_text(json.dumps(content))


def painted_row(source):
    """The labels of the first image that `annotate` wrote."""
    (item, *_) = source.splits["train"]
    (row,) = np.array(Image.open(io.BytesIO(source.make_example(item)[1]["label"])))
    return row.tolist()


@pytest.mark.parametrize(
    ("names", "background", "void"),
    [
        ("", 0, 255),
        ("Car\nBackground\n", 1, 255),
        ("Car\nBus\n", 255, 255),
        ("Car\nVoid\n", 255, 1),
    ],
)
@pytest.mark.parametrize("form", FORMS)
def test_background_and_void_in_any_case(tmp_path, names, background, void, form):
    boxes = {"BACKGROUND": (0, 2), "IGNORE" if void == 255 else "VOID": (2, 4), "Car": (4, 6)}
    annotate(tmp_path, form, boxes)
    if names:
        (tmp_path / "classes.txt").write_text(names)
    source = open_source(tmp_path, FolderOptions())
    assert source.classes.names == (tuple(names.split()) or ("background", "Car"))
    car = source.classes.names.index("Car")
    assert painted_row(source) == [background] * 2 + [void] * 2 + [car] * 2 + [background] * 2


def test_options_of_masks_mean_nothing_for_annotations(copy):
    coco(copy, compressed)
    with pytest.raises(UserError) as caught:
        open_source(copy, FolderOptions(map=("1=0",), nearest_colour=True))
    assert in_options(caught.value.template) == (
        "--map and --nearest-colour are for masks, and there are annotation files, such as "
        f"{copy}/annotations.json"
    )


def test_pictures_beside_annotation_files_are_no_masks(copy, expected):
    coco(copy, compressed)
    (copy / "annotations").mkdir()
    (copy / "annotations.json").rename(copy / "annotations" / "instances.json")
    shutil.copy(copy / "images" / "s0.jpg", copy / "annotations" / "preview.jpg")
    assert records(copy) == expected


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


def test_annotations_of_background_and_void_alone(tmp_path):
    labelme_files(tmp_path, a="background", b="__ignore__")
    with pytest.raises(UserError, match="^the annotation files name no class$"):
        open_source(tmp_path, FolderOptions())


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


def test_regions_of_classes_that_a_file_does_not_name(tmp_path):
    """All of them in one sentence, each with the first file that has it."""
    labelme_files(tmp_path, a="car", b="tree", c="Car", d="tree", e="void")
    (tmp_path / "labelmap.txt").write_text("background:0,0,0::\ncar:255,0,0::\n")
    with pytest.raises(UserError) as caught:
        open_source(tmp_path, FolderOptions())
    assert str(caught.value) == (
        f"{tmp_path}/labelmap.txt does not name 'tree' (in {tmp_path}/b.json), 'Car' (in "
        f"{tmp_path}/c.json): add what is to be a class, and give others the name of one, or of "
        "void, as by rename tree=void"
    )


STREET = {"car": (0, 2), "bus": (2, 4), "tree": (4, 6)}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    ("rename", "names", "row"),
    [
        (["bus=car"], ["background", "car", "tree"], [1, 1, 1, 1, 2, 2, 0, 0]),
        (["car = bus"], ["background", "bus", "tree"], [1, 1, 1, 1, 2, 2, 0, 0]),
        (["tree=Void", "bus=car"], ["background", "car"], [1, 1, 1, 1, 255, 255, 0, 0]),
        (["tree=background", "bus=car"], ["background", "car"], [1, 1, 1, 1, 0, 0, 0, 0]),
    ],
)
def test_classes_are_called_otherwise(tmp_path, form, rename, names, row):
    annotate(tmp_path, form, STREET)
    source = open_source(tmp_path, FolderOptions(rename=tuple(rename)))
    assert [*source.classes.names] == names
    assert painted_row(source) == row


@pytest.mark.parametrize(
    ("form", "names", "row"),
    [
        ("coco", ["background", "zoo", "tree"], [1, 1, 1, 1, 2, 2, 0, 0]),
        ("labelme", ["background", "tree", "zoo"], [2, 2, 2, 2, 1, 1, 0, 0]),
    ],
)
def test_the_order_of_new_names(tmp_path, form, names, row):
    """Of COCO that of the first category with the name; of labelme the names' own."""
    annotate(tmp_path, form, STREET)
    source = open_source(tmp_path, FolderOptions(rename=("bus=zoo", "car=zoo")))
    assert [*source.classes.names] == names
    assert painted_row(source) == row


def test_an_image_that_was_turned_since_its_regions_were_drawn(tmp_path):
    annotate(tmp_path, "coco", STREET)
    content = json.loads((tmp_path / "instances.json").read_text())
    content["images"][0] |= {"height": 8, "width": 1}
    (tmp_path / "instances.json").write_text(json.dumps(content))
    source = open_source(tmp_path, FolderOptions())
    [item] = [item for items in source.splits.values() for item in items if item.image_id == "a"]
    with pytest.raises(UserError) as caught:
        source.make_example(item)
    assert str(caught.value) == (
        f"a.png is 8x1 pixels, but {tmp_path}/instances.json says 1x8: were its regions drawn "
        "before the image was turned upright?"
    )


@pytest.mark.parametrize("form", FORMS)
def test_two_names_change_places(tmp_path, form):
    annotate(tmp_path, form, STREET)
    source = open_source(tmp_path, FolderOptions(rename=("car=bus", "bus=car")))
    assert source.classes.names == ("background", "bus", "car", "tree")
    assert painted_row(source) == [1, 1, 2, 2, 3, 3, 0, 0]


@pytest.mark.parametrize("form", FORMS)
def test_new_names_before_those_of_classes_txt(tmp_path, form):
    annotate(tmp_path, form, STREET)
    (tmp_path / "classes.txt").write_text("vehicle\ntree\n")
    source = open_source(tmp_path, FolderOptions(rename=("car=vehicle", "bus=vehicle")))
    assert painted_row(source) == [0, 0, 0, 0, 1, 1, 255, 255]


@pytest.mark.parametrize(
    ("form", "names"), [("coco", "car, bus, tree"), ("labelme", "bus, car, tree")]
)
def test_a_new_name_of_a_class_that_is_not_there(tmp_path, form, names):
    annotate(tmp_path, form, STREET)
    with pytest.raises(UserError) as caught:
        open_source(tmp_path, FolderOptions(rename=("lorry=car",)))
    assert str(caught.value) == (
        f"rename lorry: the annotation files name no such class, but {names}"
    )

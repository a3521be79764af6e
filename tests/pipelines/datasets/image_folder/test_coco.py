"""COCO's annotation files."""

import io
import json
import shutil
import sys

import numpy as np
import pytest
from own_scenes import NAMES, coco, compressed, faults_and_ids, plain_runs, records
from PIL import Image

from pipelines.base.errors import UserError
from pipelines.datasets.image_folder.options import FolderOptions
from pipelines.datasets.image_folder.sources import open_source


@pytest.mark.parametrize("regions", [compressed, plain_runs])
def test_coco_run_lengths(copy, expected, regions):
    coco(copy, regions)
    assert records(copy) == expected


def test_images_without_a_region_are_counted(copy):
    """As where somebody has not come to them yet."""
    coco(copy, compressed)
    (file,) = copy.rglob("*.json")
    content = json.loads(file.read_text())
    first, second, *_ = [image["id"] for image in content["images"]]
    content["annotations"] = [
        each for each in content["annotations"] if each["image_id"] not in (first, second)
    ]
    file.write_text(json.dumps(content))
    words = "1 annotation file of 5 images, 2 of them without a region: all "
    assert open_source(copy, FolderOptions()).words.startswith(f"{words}background")
    (copy / "classes.txt").write_text("\n".join(NAMES[1:]))
    assert open_source(copy, FolderOptions()).words.startswith(f"{words}void")


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
            "FILE is a damaged annotation file (categories: the id '9' is no whole number, which "
            "COCO writes without quotes)",
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
        f"as by rename {NAMES[1].upper()}={NAMES[1]}, or, if they are two, name both in classes.txt"
    )

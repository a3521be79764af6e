"""labelme's annotation files."""

import base64
import errno
import io
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from own_scenes import NAMES, SIDE, faults_and_ids, labelme_file, labelme_files, records
from PIL import Image

from pipelines.base.errors import UserError
from pipelines.datasets.image_folder.options import FolderOptions
from pipelines.datasets.image_folder.sources import open_source


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
        r".*/(\w)\.json has a damaged region, number 2 of \1\.png \(a line with the points "
        r"\[\[1, 1\]\]\)",
        str(caught.value),
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
            "e.json lists f.jpg, as f.json does already",
            "a.json is truncated or damaged (Expecting value: line 1 column 12 (char 11))",
            "b.json: shape 2 has no label: give it one",
            "c.json: shape 2 has no label: give it one",
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
        "as by rename road=Road, or, if they are two, name both in classes.txt"
    )
    (tmp_path / "classes.txt").write_text("road\nRoad\nsky\n")
    source = open_source(tmp_path, FolderOptions())
    assert source.classes.names == ("road", "Road", "sky")

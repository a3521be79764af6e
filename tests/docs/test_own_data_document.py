"""docs/your-own-data.md: its commands have the options they show, its examples are imported."""

import base64
import io
import json
import re

import numpy as np
import pytest
from documented import commands, parsed
from PIL import Image
from places import REPOSITORY

from pipelines.datasets.image_folder.sources import open_source

TEXT = (REPOSITORY / "docs" / "your-own-data.md").read_text()
EXAMPLES = {
    heading: block
    for heading, block in re.findall(r"^### (.+)\n\n((?: {4}.+\n)+)", TEXT, re.MULTILINE)
}
NAMES = ("background", "disc", "square")
COLOURS = np.array([[0, 0, 0], [128, 0, 0], [0, 128, 0]], np.uint8)
HEIGHT, WIDTH = 24, 32


def boxes(number):
    """Label, left, top, right and bottom of two boxes that do not touch."""
    return [(1, 1 + number, 3, 13, 9), (2, 15, 10 + number, 28, 23)]


def label_map(number):
    label = np.zeros((HEIGHT, WIDTH), np.uint8)
    for value, left, top, right, bottom in boxes(number):
        label[top:bottom, left:right] = value
    return label


def coloured(label):
    return COLOURS[label]


def with_white_edges(label):
    pixels = coloured(label)
    pixels[:, :2] = 255
    return pixels


MASKS = {
    'CVAT\'s "Segmentation mask"': coloured,
    "A class_dict.csv": coloured,
    "Colours": coloured,
    "Several colours for a class, and void": with_white_edges,
    "Soft edges, or JPEG": coloured,
    "Black and white": lambda label: np.where(label, 255, 0).astype(np.uint8),
    "Numbers from 1 on": lambda label: label + np.uint8(1),
    "Any other numbers": lambda label: np.array([7, 8, 11], np.uint8)[label],
}
EXPECTED = {
    "Several colours for a class, and void": lambda label: np.where(
        np.arange(WIDTH) < 2, 255, label > 0
    ),
    "Black and white": lambda label: label > 0,
    "Classes with other names": lambda label: np.where(label == 2, 255, label),
}


def is_mask(heading, path):
    """Whether a file of an example is a mask: by its folder, its name, or being the PNG."""
    folders = "/".join(path.split("/")[:-1]).lower()
    name = path.rpartition("/")[2]
    if re.search("label|mask|segmentationclass|gtfine", f"{folders}/{name}".replace("mine/", "")):
        return True
    return heading == "Beside each other" and name.endswith(".png")


def coco(numbers):
    entries = [
        {
            "id": 10 * number + label, "image_id": number, "category_id": label, "iscrowd": 0,
            "segmentation": [[left, top, right, top, right, bottom, left, bottom]],
        }
        for number in numbers
        for label, left, top, right, bottom in boxes(number)
    ]  # fmt: skip
    images = [
        {"id": number, "file_name": f"{number:04}.jpg", "height": HEIGHT, "width": WIDTH}
        for number in numbers
    ]
    categories = [{"id": label, "name": NAMES[label]} for label in (1, 2)]
    return {"images": images, "annotations": entries, "categories": categories}


def labelme(number):
    shapes = [
        {
            "label": NAMES[label], "shape_type": "rectangle",
            "points": [[left, top], [right - 1, bottom - 1]],
        }
        for label, left, top, right, bottom in boxes(number)
    ]  # fmt: skip
    return {"shapes": shapes, "imagePath": f"{number:04}.jpg", "imageData": None}


def write(heading, path, text, tree):
    """Writes the files that a path with 0001 or 0002 stands for, or a text file."""
    found = re.search("000[12]", path)
    numbers = range(int(found[0]), 11, 2) if found else [0]
    for number in numbers:
        place = tree / path.replace(found[0], f"{number:04}") if found else tree / path
        place.parent.mkdir(parents=True, exist_ok=True)
        if text:
            place.write_text(text.replace(" / ", "\n"))
        elif place.suffix == ".json":
            first = 2 if place.parent.name == "valid" else 1
            content = labelme(number) if number else coco(range(first, 11, 2))
            place.write_text(json.dumps(content))
        elif is_mask(heading, path):
            pixels = MASKS.get(heading, lambda label: label)(label_map(number))
            Image.fromarray(pixels).save(place, quality=95, subsampling=0)
        else:
            rng = np.random.default_rng(number)
            Image.fromarray(rng.integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)).save(place)


def build(heading, tree):
    """Builds the tree of an example; returns its command."""
    *lines, command = [line.strip() for line in EXAMPLES[heading].splitlines()]
    for line in lines:
        paths = re.findall(r"mine/\S+", line)
        text = line.removeprefix(paths[0]).strip() if len(paths) == 1 else ""
        for path in paths:
            write(heading, path, text, tree)
    return command


def test_every_example_has_four_lines_or_is_a_list():
    assert len(EXAMPLES) == len(re.findall("^### ", TEXT, re.MULTILINE)) == 28
    assert {*MASKS, *EXPECTED} <= EXAMPLES.keys()
    assert max(block.count("\n") for block in EXAMPLES.values()) <= 6


@pytest.mark.parametrize("heading", EXAMPLES)
def test_examples_are_imported(heading, tmp_path):
    command = build(heading, tmp_path)
    options = parsed(command)["own"]
    options.check()
    source = open_source(tmp_path / "mine", options)
    assert source.splits.keys() == {"train", "val"} and all(source.splits.values())
    count = 0
    for items in source.splits.values():
        for item in items:
            key, example = source.make_example(item)
            label = np.array(Image.open(io.BytesIO(example["label"])))
            number = int(re.search(r"\d{4}", key)[0])
            expected = EXPECTED.get(heading, lambda label: label)(label_map(number))
            assert (label == expected).all(), key
            count += 1
    # Where the example shows 0002 there are ten images, otherwise five; lists may name fewer.
    assert count == {"Lists of names: VOC": 4}.get(
        heading, 10 if "0002" in EXAMPLES[heading] else 5
    )


@pytest.mark.parametrize("command", commands(TEXT))
def test_commands_have_the_options_that_are_shown(command):
    assert parsed(command)


def test_links_lead_somewhere():
    headings = re.findall(r"^#+ (.+)$", TEXT, re.MULTILINE)
    anchors = {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in headings}
    for place, anchor in re.findall(r"\]\(([^)#]*)#?([^)]*)\)", TEXT):
        assert (REPOSITORY / "docs" / place).exists() if place else anchor in anchors, anchor


def test_the_sentences_of_refusal_are_those_of_the_code():
    code = "".join(path.read_text() for path in sorted((REPOSITORY / "pipelines").rglob("*.py")))
    code = re.sub(r'"\s*\n\s*f?"', "", code)  # strings that go on in the next line
    code = re.sub(r"\{[^{}\n]*\}", "…", code)
    table = TEXT.partition("## What is refused")[2].partition("Arrays of NumPy")[0]
    sentences = re.findall(r"^\| `(.+?)` \|", table, re.MULTILINE)
    assert len(sentences) == 18
    for sentence in sentences:
        assert sentence in code, sentence


def test_the_images_inside_labelme_are_said(tmp_path):
    build("labelme", tmp_path)
    for path in (tmp_path / "mine").glob("*.json"):
        image = path.with_suffix(".jpg")
        content = json.loads(path.read_text())
        content["imageData"] = base64.b64encode(image.read_bytes()).decode()
        path.write_text(json.dumps(content))
        image.unlink()
    source = open_source(tmp_path / "mine", parsed(commands(TEXT)[0])["own"])
    assert " of them inside these files" in source.words

"""Miniature trees in the layout of COCO's archives."""

import json
from pathlib import Path

from miniatures import noise, save

HEIGHT, WIDTH = 8, 10
# Ids and names as in the real files; the 20 that VOC has, in VOC's order, and another one.
CATEGORIES = {
    5: "airplane", 2: "bicycle", 16: "bird", 9: "boat", 44: "bottle", 6: "bus", 3: "car",
    17: "cat", 62: "chair", 21: "cow", 67: "dining table", 18: "dog", 19: "horse",
    4: "motorcycle", 1: "person", 64: "potted plant", 20: "sheep", 63: "couch", 7: "train",
    72: "tv", 59: "pizza",
}  # fmt: skip
IDS = {name: number for number, name in CATEGORIES.items()}


def box(left, top, right, bottom):
    return [left, top, right, top, right, bottom, left, bottom]


def thing(name, *polygons, area=None):
    """An annotation of an object, its area that of the polygons, which are boxes."""
    if area is None:
        area = sum((p[2] - p[0]) * (p[5] - p[1]) for p in polygons)
    return {
        "category_id": IDS[name], "area": area, "iscrowd": 0, "segmentation": list(polygons)
    }  # fmt: skip


def crowd(name, counts):
    segmentation = {"size": [HEIGHT, WIDTH], "counts": counts}
    return {"category_id": IDS[name], "area": 1, "iscrowd": 1, "segmentation": segmentation}


TRAIN = {
    1: [
        thing("bottle", box(2, 2, 4, 5)),  # the smaller one wins, wherever it stands in the file
        thing("dining table", box(1, 1, 9, 7)),
        thing("pizza", box(0, 0, 5, 5)),
        crowd("person", [7 * HEIGHT, 3 * HEIGHT]),  # by columns: the last three
    ],
    2: [thing("person", box(0, 0, 3, 2), box(6, 5, 9, 8)), thing("cat", box(1, 0, 3, 2))],
    3: [thing("pizza", box(0, 0, 5, 5))],
    4: [crowd("person", [0, 80])],
    5: [],
    6: [thing("cat", box(4, 4, 6, 6)), crowd("pizza", [0, 80])],
}
VAL = {
    7: [thing(name, box(i % 10, i // 10, i % 10 + 1, i // 10 + 1)) for i, name in enumerate(IDS)],
    8: [thing("couch", box(0, 0, 4, 4))],
}


def write_coco(folder: Path, year: int = 2017, train: dict = TRAIN) -> Path:
    """The tree that the archives unpack to."""
    prefixes = {2017: ("", ""), 2014: ("COCO_train2014_", "COCO_val2014_")}[year]
    for split, prefix, content in zip(("train", "val"), prefixes, (train, VAL), strict=True):
        images, annotations = [], []
        for number, objects in content.items():
            name = f"{prefix}{number:012d}.jpg"
            save(folder / f"{split}{year}" / name, noise(HEIGHT, WIDTH, 100 + number), quality=90)
            images.append({"id": number, "file_name": name, "height": HEIGHT, "width": WIDTH})
            for one in objects:
                annotations.append({"id": len(annotations) + 1, "image_id": number, **one})
        categories = [{"id": number, "name": name} for number, name in CATEGORIES.items()]
        path = folder / "annotations" / f"instances_{split}{year}.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text(
            json.dumps({"images": images, "annotations": annotations, "categories": categories})
        )
    return folder

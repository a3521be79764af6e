"""A few scenes of `shapes` in the forms that people have: files beside index masks."""

import json
import shutil

import numpy as np
from PIL import Image
from pycocotools import mask as coco_mask

from pipelines.base.errors import UserError
from pipelines.datasets.image_folder.options import FolderOptions
from pipelines.datasets.image_folder.sources import open_source
from pipelines.datasets.shapes import scenes

NAMES = scenes.CLASS_NAMES
COLOURS = tuple((40 + 30 * label, 255 - 20 * label, 9 * label) for label in range(len(NAMES)))
COUNT, SIDE = 5, 64


def records(folder, **options):
    """The examples of each split that a folder gives, by image id."""
    source = open_source(folder, FolderOptions(**options))
    return {
        split: {key: example for key, example in map(source.make_example, items)}
        for split, items in source.splits.items()
    }


def in_colours(label):
    """A label map as a colour mask, with void in a colour of its own."""
    colours = np.zeros((256, 3), np.uint8)
    colours[: len(COLOURS)], colours[255] = COLOURS, (224, 224, 192)
    return Image.fromarray(colours[label])


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
    """A mask as COCO's compressed run lengths."""
    runs = coco_mask.encode(np.asfortranarray(mask))
    return {"size": runs["size"], "counts": runs["counts"].decode()}


def plain_runs(mask):
    """A mask as COCO's run lengths in plain numbers."""
    flat = mask.T.reshape(-1)
    edges = np.flatnonzero(np.diff(np.concatenate([[0], flat]))) if flat.any() else []
    ends = [0, *edges, len(flat)]
    return {"size": list(mask.shape), "counts": np.diff(ends).tolist()}


def faults_and_ids(folder):
    """What is wrong in a folder, and the images that are right; all of train and val."""
    items = [item for each in open_source(folder, FolderOptions()).splits.values() for item in each]
    faults = [str(item) for item in items if isinstance(item, UserError)]
    rest = [item.image_id for item in items if not isinstance(item, UserError)]
    return [fault.replace(f"{folder}/", "") for fault in faults], sorted(rest)


def labelme_file(path, image):
    """Writes a file of labelme with one region, a car, of an image."""
    shapes = [{"label": "car", "shape_type": "rectangle", "points": [[1, 1], [3, 2]]}]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"shapes": shapes, "imagePath": image}))


def labelme_files(folder, **labels):
    """Writes an image and a file of labelme with one region for each name."""
    for name, label in labels.items():
        Image.new("RGB", (8, 8)).save(folder / f"{name}.png")
        labelme_file(folder / f"{name}.json", f"{name}.png")
        content = json.loads((folder / f"{name}.json").read_text())
        content["shapes"][0]["label"] = label
        (folder / f"{name}.json").write_text(json.dumps(content))

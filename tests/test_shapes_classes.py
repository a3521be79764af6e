"""The script that draws what a backbone is pretrained on."""

import shapes_classes

from pipelines.datasets import classification
from pipelines.datasets.shapes import scenes


def test_records_are_scenes_of_one_outline(tmp_path, monkeypatch):
    monkeypatch.setattr(shapes_classes, "SPLITS", {"train": (1000, 8), "validation": (2000, 3)})
    builder = shapes_classes.ShapesClasses(data_dir=tmp_path, file_format="tfrecord")
    builder.download_and_prepare()
    prepared = classification.load("shapes_classes", tmp_path)
    assert prepared.class_names == tuple(scenes.CLASS_NAMES[1:])
    examples = list(builder.as_dataset("train").as_numpy_iterator())
    assert len(examples) == 8
    assert {example["image"].shape for example in examples} == {(128, 128, 3)}
    assert len({example["label"] for example in examples}) > 1

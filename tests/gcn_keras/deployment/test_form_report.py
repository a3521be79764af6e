"""Forms of a model measured side by side."""

import json

import keras
import numpy as np
import pytest
from PIL import Image

from gcn_keras.deployment import tflite
from gcn_keras.deployment.form_report import markdown, report
from gcn_keras.inference.legend import Legend
from pipelines import datasets
from pipelines.base.errors import UserError

SIZE = (32, 32)


def largest_channel(order=(0, 1, 2)) -> keras.Model:
    """Its label is the channel with the highest value, after channels are put in an order."""
    x = keras.Input((None, None, 3))
    layer = keras.layers.Conv2D(3, 1, use_bias=False)
    model = keras.Model(x, layer(x))
    layer.set_weights([np.eye(3)[:, list(order)][None, None] / 255])
    return model


def test_markdown():
    rows = [
        {"model": "a.keras", "mean_iou": 0.75, "loss_points": -0.04, "size_mib": 5.25,
         "latency_ms": 12.34, "iou": {"sky": 0.5, "road": 1.0, "c|r": None}},
        {"model": "grpc://h:8500/a", "mean_iou": 0.7412, "loss_points": 0.88, "size_mib": None,
         "latency_ms": 3.0, "iou": {"sky": 0.4824, "road": 1.0, "c|r": 0.0}},
    ]  # fmt: skip
    assert markdown(rows).splitlines() == [
        "| model | mean IoU % | loss, points | MiB | ms an image | sky | road | c\\|r |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
        "| a.keras | 75.0 | 0.0 | 5.25 | 12.3 | 50.0 | 100.0 | absent |",
        "| grpc://h:8500/a | 74.1 | 0.9 | – | 3.0 | 48.2 | 100.0 | 0.0 |",
    ]
    rows[0] |= {"size": [32, 40], "other_sizes": 0}
    rows[1] |= {"size": [512, 1024], "other_sizes": 1234}
    assert markdown(rows).splitlines()[4:] == [
        "",
        "grpc://h:8500/a takes images of 512x1024, and 1,234 had another size: smaller ones were "
        "padded, larger ones cut into tiles, which see less around them",
    ]


@pytest.mark.slow
def test_report(tmp_path):
    """Four images of red, green and blue stripes; one label in eight is of another class."""
    for number in range(8):
        folder = tmp_path / "source" / ("train" if number < 4 else "val")
        stripes = np.arange(32).reshape(1, 32) * np.ones((32, 1), int) // 8 % 3
        image = np.eye(3)[stripes] * 255
        label = stripes.copy()
        label[:4] = 2  # of 32 rows
        for part, pixels in (("images", image), ("labels", label)):
            (folder / part).mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels.astype(np.uint8)).save(folder / part / f"{number}.png")
    (tmp_path / "source" / "classes.txt").write_text("red\ngreen\nblue")
    datasets.prepare("image_folder", tmp_path / "source", tmp_path / "data")
    prepared = datasets.load("image_folder", tmp_path / "data")

    model = largest_channel()
    model.save(tmp_path / "a.keras")
    (tmp_path / "a.tflite").write_bytes(tflite.convert(model, "tflite", SIZE))
    swapped = largest_channel((1, 0, 2))  # red and green are taken for each other
    (tmp_path / "b.tflite").write_bytes(tflite.convert(swapped, "tflite", SIZE))
    rows = report(
        [tmp_path / f"{name}" for name in ("a.keras", "a.tflite", "b.tflite")], prepared, "val"
    )

    # Stripes of eight columns: red, green, blue, red. Seven eighths of red and green are hit and
    # nothing else is called so; all 28 x 8 blue pixels below the first rows and 4 x 8 of those in
    # them are hit, and of the others there 4 x 24 are missed.
    expected = {"red": 7 / 8, "green": 7 / 8, "blue": 256 / (256 + 96)}
    for row, name in zip(rows[:2], ("a.keras", "a.tflite"), strict=True):
        assert row["model"] == str(tmp_path / name)
        assert row["iou"] == pytest.approx(expected)
        assert row["mean_iou"] == pytest.approx(sum(expected.values()) / 3)
        assert row["loss_points"] == 0
    assert rows[2]["iou"] == pytest.approx({"red": 0, "green": 0, "blue": expected["blue"]})
    assert rows[2]["loss_points"] == pytest.approx(100 * 2 / 3 * 7 / 8)
    assert rows[1]["size_mib"] == (tmp_path / "a.tflite").stat().st_size / 2**20
    assert all(row["latency_ms"] > 0 for row in rows)
    assert json.loads(json.dumps(rows)) == rows
    assert len(markdown(rows).splitlines()) == 5

    Legend.unnamed(4).write(tmp_path / "a.json")
    with pytest.raises(UserError, match="a.tflite knows 4 classes and 'image_folder' has 3"):
        report([tmp_path / "a.tflite"], prepared, "val")

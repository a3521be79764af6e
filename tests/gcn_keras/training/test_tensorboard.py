"""What TensorBoard is given: event files, read back."""

import csv
import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from matplotlib.figure import Figure
from small_runs import prepare_halves

from gcn_keras import RECIPES
from gcn_keras.inference.images import load_image
from gcn_keras.plots.style import save_figure
from gcn_keras.training import tensorboard
from gcn_keras.training.run import train
from gcn_keras.training.run_folder import RunFolder
from gcn_keras.training.tensorboard import RunLog


def events(folder: Path) -> list[tuple[str, int, np.ndarray]]:
    """Tag, step and value of each entry, in the order in which they were written."""
    return [
        (value.tag, event.step, tf.make_ndarray(value.tensor))
        for path in sorted(folder.glob("events.*"))
        for event in tf.compat.v1.train.summary_iterator(str(path))
        for value in event.summary.value
    ]


def scalars(folder: Path) -> list[tuple[str, int, float]]:
    return [(tag, step, float(v)) for tag, step, v in events(folder) if not v.shape]


class TestRunLog:
    @pytest.fixture
    def log(self, tmp_path, monkeypatch) -> RunLog:
        """Its clock shows 0, 1, 2, …"""
        ticks = iter(range(1000))
        monkeypatch.setattr(tensorboard.time, "monotonic", lambda: float(next(ticks)))
        log = RunLog(tmp_path / "logs", batch_size=4)
        log.on_train_begin()
        return log

    def test_an_epoch(self, log, tmp_path):
        figure = Figure((2, 1), 50)
        figure.text(0, 0, "a", color="red")
        log.on_epoch_begin(3)
        for step in range(5):
            log.on_train_batch_begin(step)
            log.on_train_batch_end(step, {"loss": 9.0})
        log.on_test_begin()
        log.on_test_end({"mean_iou": 0.25})
        log.add({"iou/road": 0.5}, figure)
        assert scalars(tmp_path / "logs" / "validation") == []
        log.on_epoch_end(3, {"loss": 2.5, "learning_rate": 0.125, "val_mean_iou": 0.25})
        log.on_train_end()
        # Five steps of four images in five seconds.
        assert scalars(tmp_path / "logs" / "train") == [
            ("epoch_loss", 3, 2.5),
            ("epoch_learning_rate", 3, 0.125),
            ("epoch_images_per_second", 3, 4.0),
        ]
        *values, image = events(tmp_path / "logs" / "validation")
        assert values == [("epoch_mean_iou", 3, 0.25), ("iou/road", 3, 0.5)]
        assert image[:2] == ("predictions", 3)
        width, height, encoded = image[2]
        save_figure(figure, tmp_path / "figure.png")
        found = tf.io.decode_png(encoded).numpy()
        np.testing.assert_array_equal(found, load_image(tmp_path / "figure.png"))
        assert (int(width), int(height)) == (100, 50) == found.shape[1::-1]

    def test_an_epoch_without_a_validation(self, log, tmp_path):
        for epoch in range(2):
            log.on_epoch_begin(epoch)
            log.on_train_batch_end(0)
            if epoch == 0:
                log.on_test_end({"mean_iou": 0.5})
                log.add({"iou/road": 0.5}, None)
            log.on_epoch_end(epoch, {"loss": 1.0})
        log.on_train_end()
        found = scalars(tmp_path / "logs" / "validation")
        assert found == [("epoch_mean_iou", 0, 0.5), ("iou/road", 0, 0.5)]

    def test_a_validation_that_was_stopped_is_not_there(self, log, tmp_path):
        log.on_epoch_begin(0)
        log.on_train_batch_end(0)
        log.on_test_begin()
        log.on_train_end({})
        assert events(tmp_path / "logs" / "train") == events(tmp_path / "logs" / "validation") == []

    def test_a_validation_after_the_last_epochs_end(self, log, tmp_path):
        """Of a run that a callback has ended."""
        log.on_epoch_begin(7)
        log.on_epoch_end(7, {"loss": 1.0})
        log.on_test_end({"mean_iou": 0.5})
        log.add({"iou/road": 0.75}, None)
        log.on_train_end()
        found = scalars(tmp_path / "logs" / "validation")
        assert found == [("epoch_mean_iou", 7, 0.5), ("iou/road", 7, 0.75)]
        # Epoch 7 had no step.
        assert scalars(tmp_path / "logs" / "train") == [("epoch_loss", 7, 1.0)]


@pytest.mark.slow
def test_a_run_that_goes_on_has_the_values_of_its_history(tmp_path):
    data_dir, run = prepare_halves(tmp_path), RunFolder(tmp_path / "run")
    recipe = dataclasses.replace(
        RECIPES["shapes"],
        dataset="image_folder",
        data_dir=str(data_dir),
        backbone="small",
        block="conv1x1",
        boundary_refinement=False,
        crop=(64, 64),
        batch=4,
        schedule="constant",
        warmup_steps=0,
        epochs=2,
        tensorboard_samples=3,
        out=str(run.path),
    )
    train(recipe, run)
    train(dataclasses.replace(recipe, epochs=3, resume=True), run)
    with open(run.history, newline="") as file:
        rows = list(csv.DictReader(file))
    training, validation = (events(run.logs / name) for name in ("train", "validation"))

    def logged(entries, tag):
        return [(step, np.float32(value)) for name, step, value in entries if name == tag]

    def told(column):
        return [(int(row["epoch"]) - 1, np.float32(row[column])) for row in rows]

    assert len(rows) == 3
    assert {tag for tag, *_ in training} == {
        "epoch_loss",
        "epoch_learning_rate",
        "epoch_images_per_second",
    }
    for column in ("loss", "learning_rate"):
        assert logged(training, f"epoch_{column}") == told(column)
    for score in ("mean_iou", "pixel_accuracy"):
        assert logged(validation, f"epoch_{score}") == told(f"val_{score}")
    metrics = json.loads(run.metrics.read_text())
    best = metrics["best_epoch"] - 1
    for name in ("left", "right"):
        steps, values = zip(*logged(validation, f"iou/{name}"), strict=True)
        assert steps == (0, 1, 2)
        assert values[best] == np.float32(metrics["iou"][name])
    images = [(step, value) for tag, step, value in validation if tag == "predictions"]
    assert [step for step, _ in images] == [0, 1, 2]
    for _, (width, height, encoded) in images:
        # Four columns of 64 pixels, shown as 256; three rows, a heading and a legend.
        assert (int(width), int(height)) == (4 * 256 + 3 * 13 + 2 * 26, 3 * 295 + 4 * 26)
        assert tf.io.decode_png(encoded).shape[:2] == (int(height), int(width))

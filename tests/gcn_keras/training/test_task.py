"""Splits and labels that training or a score can make nothing of; validation in tiles."""

import dataclasses
import functools

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from gcn_keras import RECIPES
from gcn_keras.inference.keras_model import predict_logits
from gcn_keras.inference.options import InferenceOptions, labels
from gcn_keras.training import segmentation, task
from gcn_keras.training.devices import Team
from gcn_keras.training.run_folder import RunFolder
from gcn_keras.training.segmentation import Segmentation
from gcn_keras.training.training_state import Progress
from gcn_keras.training.validation import evaluate_in_team
from pipelines import datasets
from pipelines.base.errors import UserError, as_options, in_options

NAMES = ("sky", "road", "dog")


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    """Training has a class of three too few, validation two."""
    folder = tmp_path_factory.mktemp("labels")
    for split, values in (("train", (0, 1)), ("val", (0, 0)), ("test", (0, 2))):
        for number, value in enumerate(values):
            for part, pixels in (
                ("images", np.full((32, 32, 3), 60 * number + value)),
                ("labels", np.full((32, 32), value)),
            ):
                path = folder / "source" / split / part / f"{split}{number}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(pixels.astype(np.uint8)).save(path)
    (folder / "source" / "classes.txt").write_text("\n".join(NAMES))
    return datasets.prepare("image_folder", folder / "source", folder / "data")


def warnings(dataset, capsys, **fields) -> list[str]:
    recipe = dataclasses.replace(RECIPES["shapes"], **fields)
    Segmentation(recipe, dataset).warn()
    printed = capsys.readouterr()
    assert printed.out == ""
    return printed.err.splitlines()


NEVER_SEEN = "warning: training never sees 1 of 3 classes, of which split 'train' has no label: dog"


def test_a_class_that_training_never_sees(dataset, capsys):
    assert warnings(dataset, capsys, val_split="test") == [NEVER_SEEN]
    assert warnings(dataset, capsys, val_split="test", skip_errors=True) == [NEVER_SEEN]


def test_one_class_to_validate_on(dataset, capsys):
    assert warnings(dataset, capsys) == [
        NEVER_SEEN,
        "warning: split 'val' must have labels of several classes, or scores say nothing about a "
        "model; it has: sky",
    ]


def test_nothing_to_validate_on(dataset, monkeypatch):
    monkeypatch.setattr(task, "occurring_classes", lambda *given, **named: set())
    with pytest.raises(UserError) as caught:
        Segmentation(RECIPES["shapes"], dataset).warn()
    assert in_options(caught.value.template) == (
        "split 'val' of 'image_folder' has no label but void, and nothing can be measured on it: "
        "name another --val-split"
    )


def test_many_classes_that_are_never_seen(dataset, capsys, monkeypatch):
    def of_val(*given, **named):
        return {0} if named else set()

    monkeypatch.setattr(task, "occurring_classes", of_val)
    many = dataclasses.replace(dataset, class_names=tuple("abcdefghijkl"))
    assert warnings(many, capsys) == [
        "warning: training never sees 12 of 12 classes, of which split 'train' has no label: "
        "a, b, c, d, e, f, g, h, i, j, …",
        "warning: split 'val' must have labels of several classes, or scores say nothing about a "
        "model; it has: a",
    ]
    assert warnings(dataset, capsys)[0].endswith("has no label: sky, road, dog")


@pytest.mark.parametrize("kind", ["sqrt", "median-frequency"])
def test_weights_of_classes_where_everything_is_void(dataset, monkeypatch, kind):
    monkeypatch.setattr(segmentation, "class_pixel_counts", lambda *_: np.zeros(3, np.int64))
    recipe = dataclasses.replace(RECIPES["shapes"], class_weights=kind)
    with pytest.raises(UserError) as caught:
        Segmentation(recipe, dataset).loss()
    assert str(caught.value) == (
        "there is nothing to train on: every pixel of 'image_folder', split 'train', is void"
    )


def test_sound_labels_are_not_spoken_of(dataset, capsys):
    two = dataclasses.replace(dataset, class_names=NAMES[:2])
    assert warnings(two, capsys, val_split="test") == []


def test_a_score_on_what_is_trained_on(dataset, capsys):
    two = dataclasses.replace(dataset, class_names=NAMES[:2])
    assert warnings(two, capsys, val_split="train") == [
        "warning: measures on split 'train', which it trains on: the score says nothing about "
        "other images"
    ]
    sharing = dataclasses.replace(two, overlapping_splits=(("val", "test"), ("test", "train")))
    assert warnings(sharing, capsys, val_split="test") == [
        "warning: measures on split 'test', which shares images with split 'train', which it "
        "trains on"
    ]


def test_batch_norms_frozen_without_statistics(dataset, capsys):
    two = dataclasses.replace(dataset, class_names=NAMES[:2])
    frozen = {"val_split": "test", "freeze_batch_norm": True}
    assert warnings(two, capsys, **frozen) == [
        "warning: batch norms are frozen and normalise nothing: their statistics come with the "
        "weights that training starts from, and there are none; let batch norms learn"
    ]
    assert warnings(two, capsys, **frozen, weights="imagenet") == []


def test_a_run_begins_with_them(dataset, capsys, tmp_path):
    Segmentation(RECIPES["shapes"], dataset).begin(RunFolder(tmp_path))
    assert capsys.readouterr().err.startswith(NEVER_SEEN)


def test_a_run_without_any_score_has_no_best_model(dataset, tmp_path):
    run = RunFolder(tmp_path)
    with pytest.raises(UserError) as caught:
        Segmentation(RECIPES["shapes"], dataset).finish(run, Progress(), steps=1, started=0.0)
    assert str(caught.value) == (
        "no epoch has a mean IoU: split 'val' of 'shapes' has no valid pixel, everything is void; "
        f"the last model is {run.model}"
    )
    assert not run.metrics.exists()


# === Tiles ===


@pytest.mark.parametrize("tile", [None, (32, 64)])
def test_images_are_validated_as_evaluate_does_it(dataset, tile):
    keras.utils.set_random_seed(0)
    x = keras.Input((None, None, 3))
    model = keras.Model(x, keras.layers.Conv2D(3, 15, padding="same")(x))
    recipe = dataclasses.replace(RECIPES["shapes"], validation_tile=tile)
    predict = Segmentation(recipe, dataset).predictor(Team(tf.distribute.get_strategy()), model)
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (2, 70, 90, 3)).astype(np.uint8)
    (found,) = predict([images])
    logits = functools.partial(predict_logits, model)
    expected, other = (
        np.stack([labels(logits, image, InferenceOptions(tile=sides)) for image in images])
        for sides in (tile, None if tile else (32, 64))
    )
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, expected)
    assert (found != other).any()


def test_an_image_that_is_too_large_is_named(dataset):
    """Where it runs out of memory after an epoch, by the option of fit."""
    task = Segmentation(RECIPES["shapes"], dataset)
    team = Team(tf.distribute.get_strategy())

    def predict(batches):
        raise tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor")

    batches = task.validation_batches(team)
    with pytest.raises(UserError) as caught, as_options(tile="validation_tile"):
        evaluate_in_team(team, predict, batches, [task.new_counts()], lambda: None)
    assert str(caught.value) == (
        "val0, val1 is too large for the memory: take tiles, --validation-tile 512 512, or smaller "
        "ones"
    )


@pytest.mark.slow
def test_the_best_model_is_measured_in_tiles(dataset, tmp_path, monkeypatch):
    x = keras.Input((None, None, 3), name="image")
    logits = keras.layers.Conv2D(3, 15, padding="same", name="logits")(x)
    model = keras.Model(x, logits)
    seen = []

    def predict_on_batch(images):
        seen.append(images.shape)
        return model(images).numpy()

    monkeypatch.setattr(model, "predict_on_batch", predict_on_batch)
    monkeypatch.setattr(segmentation, "p5_weights", lambda model: 0)
    recipe = dataclasses.replace(RECIPES["shapes"], validation_tile=(32, 16), val_split="test")
    task = Segmentation(recipe, dataset)
    summary, _ = task.report(RunFolder(tmp_path), model, Progress())
    assert summary["procedure"] == "--tile 32 16"
    task.draw(RunFolder(tmp_path), model)
    # Two halves of two images, which are padded to the stride, to measure and then to draw.
    assert seen == [(1, 32, 32, 3)] * 8
    assert (tmp_path / "samples.png").is_file()

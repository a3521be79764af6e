"""Losses of regions, of hard pixels and their sums, against values computed by hand."""

import math
import re

import keras
import numpy as np
import pytest

from gcn_keras.training.losses import Dice, Lovasz, PixelCrossentropy, SumOfLosses

# Softmax of these logits: 3/4 and 1/4.
THREE_TO_ONE = [math.log(3), 0.0]
RIGHT, WRONG = math.log(4 / 3), math.log(4)  # cross-entropy of label 0 and of label 1


def everywhere(logits, labels):
    return np.broadcast_to(np.array(logits, np.float32), (*np.shape(labels), len(logits)))


def value(loss, labels, logits):
    """By a call, and by what a step divides."""
    labels = np.array(labels, np.uint8)
    called = float(loss(labels, logits))
    total = np.maximum(np.asarray(loss.total_weight(labels)), 1e-7)
    assert np.sum(np.asarray(loss.weighted_sum(labels, logits)) / total) == pytest.approx(called)
    return called


@pytest.mark.parametrize(
    "labels, expected",
    [
        # 2 · 3/4 / (1 + 3/4) = 6/7 of class 0, which alone occurs.
        ([[[0]]], 1 / 7),
        # Class 0: 2 · 3/4 / (1 + 3/2) = 3/5. Class 1: 2 · 1/4 / (1 + 1/2) = 1/3.
        ([[[0, 1]]], (2 / 5 + 2 / 3) / 2),
        ([[[0, 255]]], 1 / 7),
        # The mean is over the images with a valid pixel.
        ([[[0, 0]], [[255, 255]]], 1 / 7),
        ([[[0, 255]], [[0, 1]]], (1 / 7 + (2 / 5 + 2 / 3) / 2) / 2),
        ([[[255, 255]]], 0.0),
    ],
)
def test_dice(labels, expected):
    assert value(Dice(), labels, everywhere(THREE_TO_ONE, labels)) == pytest.approx(expected)


@pytest.mark.parametrize(
    "labels, expected",
    [
        # One pixel of class 0, error 1/4: from IoU 1 to IoU 0.
        ([[[0]]], 1 / 4),
        # Class 0: errors 3/4 (the pixel of class 1) and 1/4. The first alone wrong makes
        # 1 - IoU = 1/2, both 1: 3/4 · 1/2 + 1/4 · 1/2. Class 1: the same errors, of which the
        # first is its own pixel: 3/4 · 1 + 1/4 · 0.
        ([[[0, 1]]], (1 / 2 + 3 / 4) / 2),
        ([[[0, 255, 255]]], 1 / 4),
        ([[[255]]], 0.0),
        ([[[0]], [[255]]], 1 / 4),
    ],
)
def test_lovasz(labels, expected):
    assert value(Lovasz(), labels, everywhere(THREE_TO_ONE, labels)) == pytest.approx(expected)


def test_lovasz_of_certain_predictions_is_one_minus_the_iou():
    rng = np.random.default_rng(0)
    labels, predictions = rng.integers(0, 3, (2, 1, 9, 9))
    labels[0, 0, :4] = 255
    logits = 200.0 * np.eye(3, dtype=np.float32)[predictions]
    valid = labels != 255
    ious = [
        ((labels == c) & (predictions == c)).sum()
        / (valid & ((labels == c) | (predictions == c))).sum()
        for c in range(3)
    ]
    assert value(Lovasz(), labels, logits) == pytest.approx(1 - np.mean(ious), abs=1e-5)


@pytest.mark.parametrize(
    "labels, weights, expected",
    [
        # (1 - p)^2 times: 1/16 where p = 3/4, 9/16 where p = 1/4.
        ([[[0]]], None, RIGHT / 16),
        ([[[1]]], None, 9 * WRONG / 16),
        ([[[0, 1, 255]]], None, (RIGHT + 9 * WRONG) / 32),
        ([[[0, 1]]], [1, 3], (RIGHT / 16 + 3 * 9 * WRONG / 16) / 4),
    ],
)
def test_focal(labels, weights, expected):
    loss = PixelCrossentropy(weights, focus=2.0)
    assert value(loss, labels, everywhere(THREE_TO_ONE, labels)) == pytest.approx(expected)


@pytest.mark.parametrize(
    "labels, weights, share, expected",
    [
        ([[[0, 1]]], None, 0.5, WRONG),
        # Two pixels: the hardest, and one of three equal ones.
        ([[[0, 0, 0, 1]]], None, 0.5, (RIGHT + WRONG) / 2),
        ([[[0, 0, 0, 1]]], [1, 3], 0.5, (RIGHT + 3 * WRONG) / 3),
        # One and a half of three.
        ([[[0, 1, 0]]], None, 0.5, (WRONG + RIGHT / 2) / 1.5),
        # Of each image the hardest half: none of the second image's void.
        ([[[0, 1, 255]], [[1, 255, 255]]], None, 0.5, WRONG),
        ([[[0, 1, 255]], [[0, 255, 255]]], None, 0.5, (WRONG + RIGHT / 2) / 1.5),
        ([[[0, 1]]], [1, 3], 0.5, 3 * WRONG / 2),
        ([[[255, 255]]], None, 0.5, 0.0),
    ],
)
def test_the_hardest_pixels(labels, weights, share, expected):
    loss = PixelCrossentropy(weights, hardest=share)
    assert value(loss, labels, everywhere(THREE_TO_ONE, labels)) == pytest.approx(expected)


@pytest.mark.parametrize("share", [1.0, 0.5, 0.25, 0.1])
@pytest.mark.parametrize("labels", [[[[0, 1], [2, 0]]], [[[255, 255], [1, 255]]], [[[1]]]])
def test_the_mean_of_equal_losses_is_theirs(labels, share):
    loss = PixelCrossentropy(hardest=share)
    assert value(loss, labels, everywhere([0.5] * 3, labels)) == pytest.approx(math.log(3))


def test_the_hardest_pixels_are_those_of_an_image_wherever_the_others_are():
    rng = np.random.default_rng(0)
    labels = rng.choice([0, 1, 255], (3, 2, 3))
    logits = rng.integers(0, 2, (3, 2, 3, 2)).astype(np.float32)  # with losses that tie
    loss = PixelCrossentropy([1, 3], hardest=0.3)
    parts = [loss.weighted_sum(labels[i : i + 1], logits[i : i + 1]) for i in range(3)]
    assert float(sum(parts)) == pytest.approx(float(loss.weighted_sum(labels, logits)))


def test_a_sum_is_the_sum_of_its_means():
    labels = [[[0, 1, 1, 255]], [[255] * 4]]
    logits = everywhere(THREE_TO_ONE, labels)
    parts = PixelCrossentropy(), Dice(), Lovasz()
    expected = sum(value(part, labels, logits) for part in parts)
    assert value(SumOfLosses(parts), labels, logits) == pytest.approx(expected)


@pytest.mark.slow
@pytest.mark.parametrize(
    "loss",
    [
        Dice(),
        Lovasz(),
        PixelCrossentropy([1, 2, 3], focus=2.0, hardest=0.3),
        SumOfLosses([PixelCrossentropy(), Dice()]),
    ],
)
def test_they_reload_from_a_compiled_model_and_learn(loss, tmp_path):
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((4, 4, 3)), keras.layers.Conv2D(3, 1)])
    model.compile("sgd", loss)
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    assert again.loss.get_config() == loss.get_config()
    rng = np.random.default_rng(0)
    images = rng.normal(size=(2, 4, 4, 3)).astype(np.float32)
    labels = rng.choice([0, 1, 2, 255], (2, 4, 4)).astype(np.uint8)
    first, *_, last = again.fit(images, labels, epochs=20, verbose=0).history["loss"]
    assert np.isfinite(last) and last < first
    assert first == pytest.approx(float(loss(labels, model(images))), rel=1e-5)


@pytest.mark.parametrize("weights", [np.ones(1), np.ones((1, 2, 2))])
@pytest.mark.parametrize(
    ("loss", "name"),
    [
        (Dice(), "Dice"),
        (SumOfLosses([PixelCrossentropy(), Lovasz()]), "Lovasz"),
        (PixelCrossentropy(hardest=0.5), "PixelCrossentropy with focus or hardest"),
        (PixelCrossentropy(focus=1), "PixelCrossentropy with focus or hardest"),
    ],
)
def test_sample_weights_are_refused(loss, name, weights):
    with pytest.raises(ValueError, match=f"^{name} takes no sample weights, received some$"):
        loss(np.zeros((1, 2, 2)), np.zeros((1, 2, 2, 3)), weights)


@pytest.mark.parametrize("loss", [Dice, Lovasz])
def test_the_mean_over_images_is_the_one_reduction(loss):
    with pytest.raises(TypeError, match="reduction"):
        loss(reduction="none")
    assert loss(name="mine").get_config() == {"name": "mine"}
    assert loss.from_config({"name": "mine"}).name == "mine"


@pytest.mark.parametrize("floatx", ["float16", "bfloat16", "float64"])
def test_lovasz_is_float32_whatever_keras_floats_are(floatx):
    labels = np.array([[[0, 1], [1, 255]]])
    logits = np.array([[[[2, 0], [0, 1]], [[1, 0], [0, 0]]]], np.float32)
    expected = float(Lovasz()(labels, logits))
    default = keras.config.floatx()
    try:
        keras.config.set_floatx(floatx)
        assert float(Lovasz()(labels, logits)) == expected
    finally:
        keras.config.set_floatx(default)


LOSSES = (
    PixelCrossentropy(),
    PixelCrossentropy([1, 2, 3]),
    PixelCrossentropy(focus=2.0),
    PixelCrossentropy(hardest=0.5),
    Dice(),
    Lovasz(),
    SumOfLosses([PixelCrossentropy(), Dice()]),
)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("images", [1, 3])  # as many as rows: shapes that NumPy would spread
def test_labels_may_have_a_last_axis_of_1(loss, images):
    rng = np.random.default_rng(0)
    labels = rng.choice([0, 1, 2, 255], (images, 3, 3))
    logits = rng.normal(size=(images, 3, 3, 3)).astype(np.float32)
    expected = value(loss, labels, logits)
    assert value(loss, labels[..., None], logits) == pytest.approx(expected)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("shape", [(1, 3, 3, 3), (1, 3, 2), (3, 3)])
def test_labels_of_another_shape_are_refused(loss, shape):
    sentence = re.escape(
        "labels must have the shape of the scores without the last axis, received "
        f"{shape} for scores (1, 3, 3, 3)"
    )
    labels, logits = np.zeros(shape, np.uint8), np.zeros((1, 3, 3, 3), np.float32)
    for of in (loss, loss.weighted_sum):
        with pytest.raises(ValueError, match=f"^{sentence}$"):
            of(labels, logits)

"""The Keras metric against ConfusionMatrix and values computed by hand."""

import keras
import numpy as np
import pytest

from gcn_keras import ConfusionMatrix, MeanIoU
from gcn_keras.evaluation import mean_iou


def measured(labels, predictions, num_classes=3) -> float:
    metric = MeanIoU(num_classes)
    metric.update_state(np.array(labels, np.uint8), np.eye(num_classes)[np.array(predictions)])
    return float(metric.result())


@pytest.mark.parametrize(
    "labels, predictions, expected",
    [
        ([[[0, 1, 2]]], [[[0, 1, 2]]], 1),
        ([[[0, 0, 1, 2]]], [[[0, 1, 1, 2]]], (1 / 2 + 1 / 2 + 1) / 3),
        # Void counts for nothing, whatever was predicted there.
        ([[[0, 255, 1, 2]]], [[[0, 1, 1, 2]]], 1),
        # A class in neither is left out of the mean; one in either of them is not.
        ([[[0, 0, 1]]], [[[0, 0, 1]]], 1),
        ([[[0, 0, 1]]], [[[0, 0, 2]]], (1 + 0 + 0) / 3),
        ([[[0, 0, 0, 0]]], [[[0, 1, 1, 1]]], (1 / 4 + 0) / 2),
    ],
)
def test_by_hand(labels, predictions, expected):
    assert measured(labels, predictions) == pytest.approx(expected)


def test_without_a_valid_pixel_it_is_nan():
    assert np.isnan(measured([[[255, 255]]], [[[0, 1]]]))
    assert np.isnan(float(MeanIoU(3).result()))


def test_nan_is_a_miss():
    """Of whatever class: [NaN, 0, 0] would be class 0, or another one, as a backend has it."""
    scores = np.eye(3, dtype=np.float32)[np.array([[[0, 0, 1, 2]]])]
    scores[0, 0, 1, 0] = scores[0, 0, 3] = np.nan
    metric = MeanIoU(3)
    metric.update_state(np.array([[[0, 0, 1, 2]]], np.uint8), scores)
    assert float(metric.result()) == pytest.approx((1 / 2 + 1 + 0) / 3)
    metric.reset_state()
    metric.update_state(np.zeros((1, 2, 2), np.uint8), np.full((1, 2, 2, 3), np.nan))
    assert float(metric.result()) == 0


def test_one_matrix_over_all_batches():
    """And not a mean over batches; with labels `[B, H, W, 1]`, too. A reset begins anew."""
    random = np.random.default_rng(0)
    matrix, metric = ConfusionMatrix(5), MeanIoU(num_classes=5)
    for last in ((), (1,)):
        metric.reset_state()
        matrix = ConfusionMatrix(5)
        for size in (3, 17, 40):
            logits = random.normal(size=(2, size, 9, 5)).astype("float32")
            labels = random.choice([0, 1, 2, 4, 255], (2, size, 9)).astype(np.uint8)
            matrix.update(labels, logits.argmax(axis=-1))
            metric.update_state(labels.reshape(*labels.shape, *last), logits)
        assert float(metric.result()) == pytest.approx(matrix.mean_iou, rel=1e-6)


def test_counts_do_not_overflow(monkeypatch):
    """Under JAX integers have 32 bits: what is above a unit is carried."""
    monkeypatch.setattr(mean_iou, "_UNIT", 8)
    random = np.random.default_rng(0)
    matrix, metric = ConfusionMatrix(2), MeanIoU(2)
    for _ in range(5):
        logits = random.normal(size=(1, 6, 7, 2)).astype("float32")
        labels = random.integers(0, 2, (1, 6, 7)).astype(np.uint8)
        matrix.update(labels, logits.argmax(axis=-1))
        metric.update_state(labels, logits)
    units, rest = map(keras.ops.convert_to_numpy, metric.variables)
    assert rest.max() < 8 < units.max() * 8
    np.testing.assert_array_equal((units * 8 + rest)[:, :-1], matrix.counts)
    assert float(metric.result()) == pytest.approx(matrix.mean_iou, rel=1e-6)


def test_what_is_refused():
    metric, labels = MeanIoU(3), np.zeros((1, 2, 2), np.uint8)
    with pytest.raises(
        ValueError, match=r"^y_pred must be \[B, H, W, 3\], received \(1, 2, 2, 4\)"
    ):
        metric.update_state(labels, np.zeros((1, 2, 2, 4)))
    with pytest.raises(ValueError, match="name it in metrics, not in weighted_metrics"):
        metric.update_state(labels, np.zeros((1, 2, 2, 3)), sample_weight=np.ones(1))


@pytest.mark.parametrize("shape", [(1, 6, 4), (2, 4, 3), (24,), (1, 4, 6, 3), (4, 6), (2, 4, 6)])
def test_labels_of_another_shape_are_refused(shape):
    """Also where there are as many, as in a batch that is transposed: pixels would be mixed up."""
    with pytest.raises(ValueError) as caught:
        MeanIoU(3).update_state(np.zeros(shape, np.uint8), np.zeros((1, 4, 6, 3)))
    assert str(caught.value) == (
        "labels must have the shape of the scores without the last axis, received "
        f"{shape} for scores (1, 4, 6, 3)"
    )


@pytest.mark.parametrize("kind", [MeanIoU, ConfusionMatrix])
@pytest.mark.parametrize("number", [0, -1, 256, 300, 2.0, "3", None, True])
def test_numbers_of_classes_that_cannot_be(kind, number):
    with pytest.raises(ValueError) as caught:
        kind(number)
    assert str(caught.value) == (
        f"num_classes must be an integer in 1…255 (label 255 is void), received {number!r}"
    )


def test_the_number_of_classes_may_be_of_numpy():
    assert measured([[[0, 0, 1, 2]]], [[[0, 1, 1, 2]]], np.int64(3)) == pytest.approx(2 / 3)
    assert ConfusionMatrix(np.int64(3)).counts.shape == (3, 3)


@pytest.mark.parametrize("classes", [1, 255])
def test_the_fewest_and_the_most_classes(classes):
    """With two pixels of the last class, of which one is right where there are others, and void."""
    last = classes - 1
    labels, predictions = np.array([[[last, last, 255]]], np.uint8), [[[last, 0, 0]]]
    matrix = ConfusionMatrix(classes)
    matrix.update(labels, np.array(predictions))
    expected = 1 if classes == 1 else (1 / 2 + 0) / 2
    assert matrix.mean_iou == expected
    assert measured(labels, predictions, classes) == pytest.approx(expected)


def test_keras_callbacks_know_that_more_is_better():
    x = keras.Input((2, 2, 1))
    model = keras.Model(x, keras.layers.Conv2D(2, 1)(x))
    model.compile("sgd", "mse", metrics=[MeanIoU(2)])
    stop = keras.callbacks.EarlyStopping("mean_iou", patience=5)
    images, labels = np.zeros((2, 1, 2, 2, 1)), np.zeros((1, 2, 2, 1))
    model.fit(images[0], labels, verbose=0, callbacks=[stop])
    assert stop.monitor_op(0.6, 0.5) and not stop.monitor_op(0.4, 0.5)


def test_config_brings_the_metric_back():
    config = keras.saving.serialize_keras_object(MeanIoU(num_classes=4, name="mine"))
    assert config["registered_name"] == "gcn_keras>MeanIoU"
    copy = keras.saving.deserialize_keras_object(config)
    assert (copy.num_classes, copy.name) == (4, "mine")

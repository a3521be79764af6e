"""One confusion matrix a data set, on images whose figures are worked out by hand."""

import numpy as np
import pytest

from gcn_keras import ConfusionMatrix

NAMES = ("sky", "road", "car")


def matrix(*pairs, classes=3) -> ConfusionMatrix:
    result = ConfusionMatrix(classes)
    for labels, predictions in pairs:
        result.update(np.array(labels, np.uint8), np.array(predictions, np.uint8))
    return result


LABELS, PREDICTIONS = [[0, 0, 1], [1, 2, 255]], [[0, 1, 1], [1, 0, 2]]


def test_by_hand():
    found = matrix((LABELS, PREDICTIONS))
    assert found.counts.dtype == np.int64
    assert found.counts.tolist() == [[1, 1, 0], [0, 2, 0], [1, 0, 0]]
    assert found.iou.tolist() == [1 / 3, 2 / 3, 0]
    assert found.mean_iou == pytest.approx(1 / 3)
    assert found.pixel_accuracy == 3 / 5
    assert found.mean_accuracy == pytest.approx((1 / 2 + 1 + 0) / 3)
    assert found.absent == []


def test_lists_are_counted():
    found = ConfusionMatrix(3)
    found.update(LABELS, PREDICTIONS)
    np.testing.assert_array_equal(found.counts, matrix((LABELS, PREDICTIONS)).counts)


@pytest.mark.parametrize("name", ["labels", "predictions"])
def test_what_is_no_integer_is_refused(name):
    arguments = {"labels": [0, 1], "predictions": [0, 1], name: np.array([0.9, 1.2])}
    with pytest.raises(ValueError, match=f"^{name} must be integers, received float64$"):
        ConfusionMatrix(3).update(**arguments)


@pytest.mark.parametrize(
    "counts, received",
    [(np.zeros((2, 2), np.int64), r"int64 \(2, 2\)"), (np.zeros((3, 3)), r"float64 \(3, 3\)")],
)
def test_counts_of_another_kind_are_refused(counts, received):
    with pytest.raises(ValueError, match=rf"^counts must be int64 \(3, 3\), received {received}$"):
        ConfusionMatrix(3, counts)


def test_counts_below_0_are_refused():
    with pytest.raises(ValueError, match="^counts must be at least 0, received -5$"):
        ConfusionMatrix(2, np.array([[1, -5], [2, 3]]))


@pytest.mark.parametrize(
    "names, sentence",
    [
        (["a"], "class_names must be one for each of 2 classes, received 1"),
        (["a", "b", "c"], "class_names must be one for each of 2 classes, received 3"),
        (["a", "a"], "class_names must differ, received 'a' 2 times"),
    ],
)
def test_names_that_are_none_of_the_classes_are_refused(names, sentence):
    for function in (ConfusionMatrix(2).summary, ConfusionMatrix(2).table):
        with pytest.raises(ValueError) as caught:
            function(names)
        assert str(caught.value) == sentence


def test_counts_that_are_no_array_are_refused():
    """Nothing could be added to them in place."""
    with pytest.raises(ValueError, match="^counts must be an array, received a list$"):
        ConfusionMatrix(1, [[0]])


def test_a_prediction_under_void_does_not_count():
    for prediction in (0, 1, 2, 255):
        found = matrix(([[0, 255]], [[0, prediction]]))
        assert found.counts.tolist() == [[1, 0, 0], [0, 0, 0], [0, 0, 0]]
        assert found.mean_iou == 1.0


def test_absent_classes_are_left_out_and_named():
    found = matrix(([[0, 0, 0, 2]], [[0, 0, 2, 2]]))
    assert found.iou[[0, 2]].tolist() == [2 / 3, 1 / 2] and np.isnan(found.iou[1])
    assert found.mean_accuracy == pytest.approx((2 / 3 + 1) / 2)
    assert found.mean_iou == pytest.approx((2 / 3 + 1 / 2) / 2)
    assert found.absent == [1]
    assert found.summary(NAMES)["iou"] == {"sky": 2 / 3, "road": None, "car": 1 / 2}
    assert found.table(NAMES).splitlines() == [
        "class           IoU %",
        "sky               66.7",
        "road            absent",
        "car               50.0",
        "mean IoU          58.3",
        "pixel accuracy    75.0",
        "absent from labels and predictions, not in the mean: road",
    ]


def test_a_class_only_predicted_is_not_absent():
    found = matrix(([[0, 0]], [[0, 1]]), classes=2)
    assert found.iou.tolist() == [1 / 2, 0] and found.absent == []
    assert found.mean_iou == 1 / 4


def test_over_the_data_set_and_not_over_images():
    # One large image, all right, and a small one, all wrong.
    large = (np.zeros((1, 8)), np.zeros((1, 8)))
    small = (np.array([[0, 1]]), np.array([[1, 0]]))
    found = matrix(large, small, classes=2)
    assert found.iou.tolist() == [8 / 10, 0]
    assert found.mean_iou == pytest.approx(0.4)
    images = [matrix(pair, classes=2).mean_iou for pair in (large, small)]
    assert images == [1, 0] and np.mean(images) != found.mean_iou


def test_shape_and_order_of_the_pixels_do_not_matter():
    random = np.random.default_rng(0)
    labels, predictions = random.integers(0, 3, (2, 4, 5, 6))
    whole = matrix((labels, predictions))
    parts = matrix(*zip(labels, predictions, strict=True))
    shuffled = random.permutation(labels.size)
    flat = matrix((labels.ravel()[shuffled], predictions.ravel()[shuffled]))
    assert whole.counts.tolist() == parts.counts.tolist() == flat.counts.tolist()
    assert whole.counts.sum() == labels.size


def test_255_classes():
    found = matrix(([[254, 253]], [[254, 254]]), classes=255)
    assert (found.counts[254, 254], found.counts[253, 254], found.counts.sum()) == (1, 1, 2)


@pytest.mark.parametrize(
    "labels, predictions, message",
    [
        ([[3, 0]], [[0, 0]], "labels must be below 3 or 255, found 0…3"),
        ([[0, 1]], [[1, 7]], "predictions must be below 3, found 1…7"),
        ([[0, 1]], [[1, 255]], "predictions must be below 3, found 1…255"),
        ([[0, -1]], [[0, 0]], "labels must be below 3 or 255, found -1…0"),
        ([[0, 1]], [0, 1], r"labels \(1, 2\) and predictions \(2,\) differ"),
    ],
)
def test_values_that_are_no_class_are_refused(labels, predictions, message):
    found = ConfusionMatrix(3)
    with pytest.raises(ValueError, match=message):
        found.update(np.array(labels), np.array(predictions))
    assert found.counts.sum() == 0


def test_without_a_valid_pixel_there_is_no_figure():
    for found in (ConfusionMatrix(3), matrix(([[255, 255]], [[0, 1]]))):
        assert np.isnan(found.mean_iou) and np.isnan(found.pixel_accuracy)
        assert found.absent == [0, 1, 2]


def test_summary_without_a_valid_pixel():
    """NaN is no JSON."""
    none = {"mean_iou": None, "pixel_accuracy": None, "iou": dict.fromkeys(NAMES)}
    assert ConfusionMatrix(len(NAMES)).summary(NAMES) == none


def test_summary_is_plain_json():
    summary = matrix((LABELS, PREDICTIONS)).summary(NAMES)
    assert summary == {
        "mean_iou": pytest.approx(1 / 3),
        "pixel_accuracy": 0.6,
        "iou": {"sky": 1 / 3, "road": 2 / 3, "car": 0.0},
    }
    values = [summary["mean_iou"], summary["pixel_accuracy"], *summary["iou"].values()]
    assert {type(value) for value in values} == {float}

"""Intervals of differences, beside a calculation in plain Python that knows the draws."""

import math
from fractions import Fraction

import numpy as np
import pytest

from gcn_keras import ConfusionMatrix
from gcn_keras.evaluation.bootstrap import CountsByImage, Difference, mean_iou, paired_bootstrap

# Three images of four pixels and three classes; 255 is void.
LABELS = np.array([[[0, 0], [1, 255]], [[1, 1], [0, 0]], [[2, 0], [0, 0]]], np.uint8)
FIRST = np.array([[[0, 1], [1, 1]], [[1, 0], [0, 0]], [[0, 0], [0, 0]]], np.uint8)
SECOND = np.array([[[0, 0], [1, 2]], [[1, 1], [1, 0]], [[2, 0], [0, 0]]], np.uint8)


def counted(predictions, labels=LABELS, classes=3) -> np.ndarray:
    found = CountsByImage(classes)
    found.update(labels[:2], predictions[:2])
    found.update(labels[2:], predictions[2:])
    return found.counts


def plain_mean_iou(labels, predictions, images) -> Fraction | None:
    """From the pixels of the drawn images, one after the other, without any matrix."""
    pairs = [
        (int(label), int(prediction))
        for image in images
        for label, prediction in zip(labels[image].flat, predictions[image].flat, strict=True)
        if label != 255
    ]
    ious = []
    for value in range(3):
        either = [pair for pair in pairs if value in pair]
        if either:
            ious.append(Fraction(either.count((value, value)), len(either)))
    return sum(ious) / len(ious) if ious else None


def plain_percentile(values, share: float) -> float:
    """Linear between the two nearest of the sorted values."""
    values = sorted(values)
    place = share * (len(values) - 1)
    below = math.floor(place)
    above = min(below + 1, len(values) - 1)
    return float(values[below] + (place - below) * (values[above] - values[below]))


def test_counts_of_each_image_by_hand():
    assert counted(FIRST).tolist() == [
        [[1, 1, 0], [2, 1, 0], [1, 2, 0]],
        [[2, 1, 0], [2, 2, 0], [3, 1, 0]],
        [[3, 0, 0], [3, 0, 1], [4, 0, 0]],
    ]
    assert CountsByImage(3).counts.shape == (0, 3, 3)


def test_whole_split_by_hand():
    """First: 6 of 9, 2 of 4, 0 of 1. Second: 6 of 7, 3 of 4, 1 of 1."""
    [found] = paired_bootstrap([counted(FIRST), counted(SECOND)])
    of_first = (Fraction(6, 9) + Fraction(2, 4) + 0) / 3
    of_second = (Fraction(6, 7) + Fraction(3, 4) + 1) / 3
    assert found.value == pytest.approx(float(of_second - of_first), abs=1e-15)
    assert plain_mean_iou(LABELS, FIRST, range(3)) == of_first
    assert plain_mean_iou(LABELS, SECOND, range(3)) == of_second


@pytest.mark.parametrize("resamples", [1, 64, 150])  # more than are summed together
@pytest.mark.parametrize("seed", [0, 7])
def test_interval_with_known_draws(resamples, seed):
    random = np.random.default_rng(seed)
    differences = []
    for _ in range(resamples):
        images = random.integers(3, size=3)
        first, second = (plain_mean_iou(LABELS, each, images) for each in (FIRST, SECOND))
        differences.append(second - first)
    [found] = paired_bootstrap([counted(FIRST), counted(SECOND)], resamples=resamples, seed=seed)
    assert found.low == pytest.approx(plain_percentile(differences, 0.025), abs=1e-12)
    assert found.high == pytest.approx(plain_percentile(differences, 0.975), abs=1e-12)
    assert resamples == 1 or found.low < found.value < found.high


def test_every_pair_has_the_draws_that_it_has_alone():
    counts = [counted(FIRST), counted(SECOND), counted(LABELS % 255)]
    found = paired_bootstrap(counts, resamples=200)
    assert [(each.first, each.second) for each in found] == [(0, 1), (0, 2), (1, 2)]
    for each in found:
        [alone] = paired_bootstrap([counts[each.first], counts[each.second]], resamples=200)
        assert (alone.value, alone.low, alone.high) == (each.value, each.low, each.high)
        turned = [counts[each.second], counts[each.first]]
        [back] = paired_bootstrap(turned, resamples=200)
        assert (back.value, back.low, back.high) == pytest.approx(
            (-each.value, -each.high, -each.low), abs=1e-15
        )


def test_models_that_are_alike():
    assert paired_bootstrap([counted(FIRST), counted(FIRST)]) == [Difference(0, 1, 0, 0, 0)]


def test_another_seed_draws_other_images():
    random = np.random.default_rng(0)
    labels, first, second = random.integers(0, 3, (3, 40, 2, 2)).astype(np.uint8)
    counts = [counted(first, labels), counted(second, labels)]
    [found], [same] = paired_bootstrap(counts), paired_bootstrap(counts)
    [other] = paired_bootstrap(counts, seed=1)
    assert found == same
    assert found.value == other.value and found.low != other.low


def test_the_score_of_many_sums_is_the_metric():
    """Absent classes are left out, of each sum by itself."""
    random = np.random.default_rng(0)
    labels, predictions = random.integers(0, 3, (2, 5, 7, 4, 5)).astype(np.uint8)
    labels[0], predictions[0] = 1, 1
    labels[1][labels[1] == 2] = 255
    predictions[1] %= 2
    matrices = []
    for each in zip(labels, predictions, strict=True):
        matrix = ConfusionMatrix(4)
        matrix.update(*each)
        matrices.append(matrix)
    assert [len(matrix.absent) for matrix in matrices] == [3, 2, 1, 1, 1]
    by_image = CountsByImage(4)
    by_image.update(labels.reshape(35, 4, 5), predictions.reshape(35, 4, 5))
    sums = by_image.counts.reshape(5, 7, 3, 4).sum(axis=1)
    assert mean_iou(sums).tolist() == pytest.approx([m.mean_iou for m in matrices], abs=1e-15)
    assert np.isnan(mean_iou(np.zeros((3, 4))))


def test_draws_without_a_valid_pixel_are_left_out():
    """Two images, one of them void: a draw of that alone has no score."""
    labels = np.array([[[0, 1]], [[255, 255]], [[255, 255]]], np.uint8)
    first, second = np.zeros((3, 1, 2), np.uint8), labels % 255
    [found] = paired_bootstrap([counted(first, labels, 2), counted(second, labels, 2)])
    assert (found.value, found.low, found.high) == (0.75, 0.75, 0.75)
    with pytest.raises(ValueError, match="no score without a valid pixel"):
        paired_bootstrap([counted(first, labels, 2)[1:], counted(second, labels, 2)[1:]])


def test_any_score_of_anything_that_adds_up():
    """Of the three values a model has 0, 1, 5 and the other 2, 2, 8."""
    counts = [np.array([[0], [1], [5]]), np.array([[2], [2], [8]])]
    [found] = paired_bootstrap(counts, score=lambda sums: sums[..., 0])
    assert found.value == 6
    random = np.random.default_rng(0)
    sums = [np.array([2, 1, 3])[random.integers(3, size=3)].sum() for _ in range(2000)]
    assert (found.low, found.high) == tuple(np.percentile(sums, [2.5, 97.5]))


class TestRuns:
    """One model's two runs count 0, 1, 5 and 2, 2, 8; the other's 1, 1, 1 and 3, 3, 3."""

    FIRST = [np.array([[0], [1], [5]]), np.array([[2], [2], [8]])]
    SECOND = [np.ones((3, 1), int), np.full((3, 1), 3)]

    def differences(self, *counts, **options):
        return paired_bootstrap(counts, score=lambda sums: sums[..., 0], **options)

    def test_by_hand(self):
        """6 and 12 beside 3 and 9; the same runs and images are drawn of both."""
        [found] = self.differences(self.FIRST, self.SECOND, resamples=300, seed=4)
        assert found.value == 6 - 9
        images, runs = np.random.default_rng(4), np.random.default_rng([4, 2])
        values = []
        for _ in range(300):
            drawn, numbers = images.integers(3, size=3), runs.integers(2, size=2)
            first = [self.FIRST[number][drawn].sum() for number in numbers]
            second = [self.SECOND[number][drawn].sum() for number in numbers]
            values.append(np.mean(second) - np.mean(first))
        expected = tuple(np.percentile(values, [2.5, 97.5]))
        assert (found.low, found.high) == pytest.approx(expected, abs=1e-12)

    def test_runs_beside_a_single_one(self):
        [found] = self.differences(self.SECOND[0], self.SECOND)
        # Of two runs the first alone, both, or the second alone: 3, 6 or 9 beside 3.
        assert (found.value, found.low, found.high) == (3, 0, 6)

    def test_a_single_run_is_no_draw(self):
        alone = self.differences(self.FIRST[0], self.SECOND[0])
        assert self.differences([self.FIRST[0]], [self.SECOND[0]]) == alone


@pytest.mark.parametrize(
    ("low", "high", "is_decided"),
    [(0.1, 0.2, True), (-0.2, -0.1, True), (0.0, 0.2, False), (-0.2, 0.0, False), (-1, 1, False)],
)
def test_decided_is_what_leaves_zero_out(low, high, is_decided):
    assert Difference(0, 1, (low + high) / 2, low, high).is_decided == is_decided


@pytest.mark.parametrize(
    ("shapes", "resamples"),
    [([(3, 3, 2)], 9), ([(3, 3, 2), (4, 3, 2)], 9), ([(1, 3, 2)] * 2, 9), ([(3, 3, 2)] * 2, 0)],
)
def test_what_is_refused(shapes, resamples):
    with pytest.raises(ValueError, match="two models or more on the same two images"):
        paired_bootstrap([np.ones(shape) for shape in shapes], resamples=resamples)

"""Distances, bands and contours: by hand on tiny maps, by their definition on random ones."""

import math

import numpy as np
import pytest
from scipy import ndimage

from gcn_keras import ConfusionMatrix
from gcn_keras.evaluation.boundaries import (
    BandMatrices,
    BoundaryReport,
    ContourCounts,
    boundary_distance,
    fill_void,
)

INFINITE = float("inf")


def array(values) -> np.ndarray:
    return np.array(values, np.uint8)


def random_images(seed=0, count=6, classes=3) -> tuple[np.ndarray, np.ndarray]:
    """Labels of blotches with void between and in them, and predictions that mostly agree."""
    random = np.random.default_rng(seed)
    coarse = random.choice([*range(classes), 255], (count, 4, 5))
    labels = array(coarse).repeat(5, axis=1).repeat(4, axis=2)
    labels[random.random(labels.shape) < 0.05] = 255
    predictions = random.integers(0, classes, labels.shape).astype(np.uint8)
    agree = (labels != 255) & (random.random(labels.shape) < 0.7)
    return labels, np.where(agree, labels, predictions)


class TestVoid:
    def test_takes_the_nearest_class(self):
        assert fill_void(array([[0, 255, 255, 1]])).tolist() == [[0, 0, 1, 1]]
        assert fill_void(array([[255, 255, 0, 2]])).tolist() == [[0, 0, 0, 2]]
        assert fill_void(array([[255, 2], [1, 2], [1, 2]]))[1:].tolist() == [[1, 2], [1, 2]]

    def test_of_two_as_near_either_but_always_the_same(self):
        label = array([[0, 255, 1]])
        assert fill_void(label)[0, 1] in (0, 1)
        np.testing.assert_array_equal(fill_void(label), fill_void(label))

    def test_nothing_to_fill_or_to_fill_with(self):
        for value in (1, 255):
            assert (fill_void(np.full((2, 3), value, np.uint8)) == value).all()

    def test_by_definition(self):
        for label in random_images()[0]:
            filled, there = fill_void(label), np.argwhere(label != 255)
            for pixel in np.ndindex(label.shape):
                distances = np.hypot(*(there - pixel).T)
                nearest = label[tuple(there[np.isclose(distances, distances.min())].T)]
                assert filled[pixel] in nearest


class TestDistance:
    def test_pixels_that_touch_another_class_are_at_0(self):
        found = boundary_distance(array([[0, 0, 0, 1, 1]]))
        assert found.dtype == np.float64 and found.tolist() == [[2, 1, 0, 0, 1]]

    def test_is_euclidean_and_corners_do_not_touch(self):
        found = boundary_distance(array([[1, 0, 0], [0, 0, 0], [0, 0, 0]]))
        root = math.sqrt
        assert found.tolist() == [[0, 0, 1], [0, 1, root(2)], [1, root(2), root(5)]]

    def test_a_ring_of_void_holds_one_boundary_in_its_middle(self):
        label = array([[0, 0, 255, 255, 255, 255, 1, 1]])
        assert boundary_distance(label).tolist() == [[3, 2, 1, 0, 0, 1, 2, 3]]

    @pytest.mark.parametrize(
        "label",
        [
            [[0, 0, 0], [0, 255, 0], [0, 0, 0]],  # void inside a class
            [[255, 0, 0], [255, 0, 0], [255, 255, 0]],  # between a class and the border
            [[1, 1], [1, 1]],
            [[255, 255]],
        ],
    )
    def test_void_and_the_border_make_no_boundary(self, label):
        assert (boundary_distance(array(label)) == INFINITE).all()

    def test_a_boundary_ends_in_void_that_it_runs_into(self):
        label = array([[0, 0, 1, 1], [0, 0, 1, 1], [255] * 4, [255] * 4])
        assert boundary_distance(label)[:2].tolist() == [[1, 0, 0, 1]] * 2


class TestBands:
    LABELS = [[[0, 0, 0, 255, 255, 1, 1, 1], [0, 0, 0, 255, 255, 1, 1, 255]]]
    PREDICTIONS = [[[0, 1, 1, 1, 0, 1, 1, 1], [1, 0, 0, 0, 0, 1, 0, 0]]]
    # Distances are 3, 2, 1, 0, 0, 1, 2, 3 in both rows.

    def bands(self, *widths) -> BandMatrices:
        found = BandMatrices(2, widths)
        found.update(array(self.LABELS), array(self.PREDICTIONS))
        return found

    def test_by_hand(self):
        found = self.bands(3, 1, 2)
        assert found.widths == (1, 2, 3) and found.counts.dtype == np.int64
        assert found.counts.tolist() == [
            [[0, 0], [0, 0]],  # the ring itself
            [[1, 1], [0, 2]],
            [[1, 1], [1, 1]],
            [[1, 1], [0, 1]],
        ]
        assert found.within(2).counts.tolist() == [[1, 1], [0, 2]]
        assert found.within(2).pixel_accuracy == 3 / 4
        assert found.within(3).counts.tolist() == [[2, 2], [1, 3]]
        assert found.within(3).iou.tolist() == [2 / 5, 3 / 6]
        assert found.beyond(2).pixel_accuracy == 4 / 7
        assert found.beyond(3).counts.tolist() == [[1, 1], [0, 1]]

    def test_a_band_without_a_pixel(self):
        found = self.bands(1, 9)
        assert math.isnan(found.within(1).pixel_accuracy)
        assert math.isnan(found.beyond(9).mean_iou)

    def test_without_a_boundary_all_is_internal(self):
        found = BandMatrices(2, (7,))
        found.update(np.zeros((1, 4, 4), np.uint8), np.ones((1, 4, 4), np.uint8))
        assert found.counts.tolist() == [[[0, 0], [0, 0]], [[0, 16], [0, 0]]]

    def test_by_definition(self):
        labels, predictions = random_images()
        found = BandMatrices(3, (1, 2, 4))
        found.update(labels, predictions)
        expected = np.zeros_like(found.counts)
        for label, prediction in zip(labels, predictions, strict=True):
            filled = fill_void(label)
            padded = np.pad(filled, 1, mode="edge")
            around = padded[:-2, 1:-1], padded[2:, 1:-1], padded[1:-1, :-2], padded[1:-1, 2:]
            edge = np.argwhere(np.any([side != filled for side in around], axis=0))
            for pixel in np.argwhere(label != 255):
                distance = np.hypot(*(edge - pixel).T).min()
                band = sum(distance >= width for width in (1, 2, 4))
                expected[band, label[tuple(pixel)], prediction[tuple(pixel)]] += 1
        assert expected.any(axis=(1, 2)).all()
        np.testing.assert_array_equal(found.counts, expected)

    def test_parts_of_a_data_set_add_up(self):
        labels, predictions = random_images()
        matrix = ConfusionMatrix(3)
        matrix.update(labels, predictions)
        for make in (lambda: BandMatrices(3, (2, 5)), lambda: ContourCounts(3, 0.1)):
            whole, one, other = make(), make(), make()
            whole.update(labels, predictions)
            one.update(labels[:2], predictions[:2])
            other.update(labels[2:], predictions[2:])
            assert one.counts.any() and other.counts.any()
            np.testing.assert_array_equal(whole.counts, one.counts + other.counts)
            if isinstance(whole, BandMatrices):
                for width in (2, 5):
                    parts = whole.within(width).counts + whole.beyond(width).counts
                    np.testing.assert_array_equal(parts, matrix.counts)


class TestContours:
    # Of 5x5 pixels the bands are one pixel wide: a ring along the border, and what touches.
    LABEL, PREDICTION = array([[0, 0, 0, 1, 1]] * 5), array([[0, 0, 1, 1, 1]] * 5)

    def test_by_hand(self):
        found = ContourCounts(3)
        found.update(self.LABEL[None], self.PREDICTION[None])
        assert found.counts.dtype == np.int64
        # Of 15 pixels in three columns 3 are inside; of 10 in two columns none is.
        assert found.counts.tolist() == [[7, 7, 0], [12, 10, 0], [10, 12, 0]]
        assert found.iou[:2].tolist() == [7 / 15, 7 / 15] and math.isnan(found.iou[2])
        assert found.mean_iou == 7 / 15

    def test_void_does_not_count_and_makes_no_contour(self):
        label = self.LABEL.copy()
        label[1:4, 1:3] = 255  # and is filled with class 0 or 1
        found = ContourCounts(2)
        found.update(label[None], fill_void(label)[None])
        assert found.iou.tolist() == [1, 1]
        assert found.counts[0].sum() == 25 - 6

    def test_nothing_to_measure(self):
        found = ContourCounts(2)
        found.update(np.full((1, 3, 3), 255, np.uint8), np.zeros((1, 3, 3), np.uint8))
        assert not found.counts.any() and math.isnan(found.mean_iou)

    @pytest.mark.parametrize("distance", [1, 2, 3])
    def test_by_the_published_code(self, distance):
        """Which erodes each class by 3x3 as often as the distance says, with nothing around."""

        def band(region):
            square = np.ones((3, 3))
            return region & ~ndimage.binary_erosion(region, square, iterations=distance)

        labels, predictions = random_images(classes=4)
        diagonal = math.hypot(*labels.shape[1:])
        found, expected = ContourCounts(4, distance / diagonal), np.zeros((3, 4), np.int64)
        found.update(labels, predictions)
        for label, prediction in zip(labels, predictions, strict=True):
            for index in range(4):
                bands = [band(fill_void(label) == index), band(prediction == index)]
                together = [bands[0] & bands[1], *bands]
                expected[:, index] += [(one & (label != 255)).sum() for one in together]
        assert (expected[1:].sum(axis=1) < (labels != 255).sum()).any()
        np.testing.assert_array_equal(found.counts, expected)

    @pytest.mark.parametrize(("share", "distance"), [(0.001, 1), (0.02, 2), (0.03, 3)])
    def test_width_follows_the_diagonal(self, share, distance):
        label = np.zeros((60, 80), np.uint8)  # whose diagonal is 100
        found = ContourCounts(1, share)
        found.update(label[None], label[None])
        inside = (60 - 2 * distance) * (80 - 2 * distance)
        assert found.counts.tolist() == [[60 * 80 - inside]] * 3


@pytest.mark.parametrize(
    ("measure", "message"),
    [
        (BandMatrices(3, (1,)), "predictions must be below 3, found 3…3"),
        (ContourCounts(3), "labels must be below 3 or 255, and predictions below 3"),
    ],
)
def test_refuses_what_is_no_pair(measure, message):
    labels = np.zeros((1, 2, 3), np.uint8)
    with pytest.raises(ValueError, match=r"must be \[B, H, W\], both, not \(1, 2, 3\) and"):
        measure.update(labels, labels[:, :1])
    with pytest.raises(ValueError, match=f"^{message}$"):
        measure.update(labels, labels + 3)
    assert not measure.counts.any()


class TestReport:
    def report(self, **options) -> BoundaryReport:
        found = BoundaryReport(2, **options)
        for measure in found.measures:
            measure.update(array(TestBands.LABELS), array(TestBands.PREDICTIONS))
        return found

    def test_all(self):
        found = self.report(width=2, trimap=(3, 1, 3))
        assert found.table().splitlines() == [
            "accuracy within 2 px of a boundary    75.0",
            "accuracy elsewhere (internal)         57.1",
            "… mean over classes, near             75.0",
            "… mean over classes, elsewhere        58.3",  # 2 of 4 and 2 of 3
            "mean Boundary IoU                     46.4",
            "within px  accuracy %  mean IoU %",
            "        1           –           –",
            "        3        62.5        45.0",
        ]
        # Of an image two pixels high all pixels are in the bands.
        assert found.summary(("a", "b")) == {
            "boundaries": {
                "width": 2,
                "boundary_accuracy": 3 / 4,
                "internal_accuracy": 4 / 7,
                "boundary_mean_accuracy": 3 / 4,
                "internal_mean_accuracy": pytest.approx(7 / 12),
                "contour_share": 0.02,
                "mean_boundary_iou": pytest.approx((3 / 7 + 4 / 8) / 2),
                "boundary_iou": {"a": 3 / 7, "b": 4 / 8},
            },
            "trimap": [
                {"width": 1, "pixel_accuracy": None, "mean_iou": None},
                {"width": 3, "pixel_accuracy": 5 / 8, "mean_iou": pytest.approx(0.45)},
            ],
        }

    def test_only_what_is_asked(self):
        assert list(self.report(width=None, trimap=(1,)).summary("ab")) == ["trimap"]
        assert list(self.report(width=7).summary("ab")) == ["boundaries"]
        nothing = self.report(width=None)
        assert nothing.measures == [] and nothing.summary("ab") == {}


@pytest.mark.parametrize(
    "share, width",
    [(0.012, 1), (0.0299, 1), (0.0301, 2), (0.032, 2), (0.048, 2), (0.051, 3), (0.0, 1)],
)
def test_the_width_of_contours_is_rounded(share, width):
    """Of a diagonal of 50 pixels; one class, whose contour is the border of the image."""
    counts = ContourCounts(1, share)
    labels = np.zeros((1, 40, 30), np.uint8)
    counts.update(labels, labels)
    inside = (40 - 2 * width) * (30 - 2 * width)
    assert counts.counts.tolist() == [[1200 - inside]] * 3

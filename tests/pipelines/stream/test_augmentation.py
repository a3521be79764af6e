"""Augmentations against pixels computed by hand."""

import numpy as np
import pytest
import tensorflow as tf

from pipelines.stream import augmentation
from pipelines.stream.crops import flipped

MEAN = (124, 117, 104)


def pair(height=6, width=8, seed=0):
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 256, (height, width, 3)).astype(np.uint8)
    return image, rng.integers(0, 5, (height, width)).astype(np.uint8)


def arrays(tensors):
    return [np.asarray(tensor) for tensor in tensors]


def test_upside_down_below_one_half():
    image, label = pair()
    for draw, expected in ((0.49, (image[::-1], label[::-1])), (0.5, (image, label))):
        turned = arrays(flipped((image, label), draw, axis=0))
        for got, wanted in zip(turned, expected, strict=True):
            np.testing.assert_array_equal(got, wanted)


@pytest.mark.parametrize("draw, turns", [(1.0, 1), (0.0, -1), (0.5, 0)])
def test_a_quarter_turn_is_exact(draw, turns):
    image, label = pair(7, 7)
    turned = arrays(augmentation.rotate(image, label, tf.constant(draw), 90.0))
    np.testing.assert_array_equal(turned[0], np.rot90(image, turns))
    np.testing.assert_array_equal(turned[1], np.rot90(label, turns))


def test_what_comes_from_outside_is_void():
    image, label = pair(9, 9)
    got_image, got_label = arrays(augmentation.rotate(image, label, tf.constant(1.0), 45.0))
    for corner in (0, 0), (0, -1), (-1, 0), (-1, -1):
        assert got_label[corner] == 255 and tuple(got_image[corner]) == MEAN
    assert got_label[4, 4] == label[4, 4] and set(np.unique(got_label)) <= {*range(5), 255}


def test_a_third_of_a_turn_swaps_the_colours():
    image = np.array([[[200, 10, 40], [7, 7, 7]]], np.uint8)
    turned = augmentation.shift_hue(image, tf.constant(1.0), 1 / 3).numpy()
    assert turned.tolist() == [[[40, 200, 10], [7, 7, 7]]]
    np.testing.assert_array_equal(augmentation.shift_hue(image, tf.constant(0.5), 0.3), image)


def test_blur_and_sharpness_of_an_edge():
    image = np.zeros((5, 6, 3), np.uint8)
    image[:, 3:] = 160
    # The binomial weights 1 4 6 4 1 / 16: sums of the last 1, 2 … of them, times 160.
    blurred = [0, 10, 50, 110, 150, 160]
    got = augmentation.sharpen(image, tf.constant(0.0), 1.0).numpy()
    assert got[2, :, 0].tolist() == blurred and (got == got[:1, :, :1]).all()
    sharper = np.clip(2 * image[0, :, 0].astype(int) - blurred, 0, 255)
    got = augmentation.sharpen(image, tf.constant(1.0), 1.0).numpy()
    assert got[2, :, 0].tolist() == sharper.tolist()
    half = augmentation.sharpen(image, tf.constant(0.0), 0.5).numpy()
    assert half[0, :, 0].tolist() == [0, 5, 25, 135, 155, 160]


@pytest.mark.parametrize("height, width", [(1, 1), (1, 5), (2, 1), (2, 3)])
def test_blur_of_images_with_few_pixels(height, width):
    """Beyond its edges an image is mirrored, again and again where it is small."""
    image = pair(height, width)[0]
    line = np.array([1, 4, 6, 4, 1]) / 16
    blurred = np.pad(image.astype(float), [(2, 2), (2, 2), (0, 0)], mode="symmetric")
    blurred = sum(weight * blurred[i : i + height] for i, weight in enumerate(line))
    blurred = sum(weight * blurred[:, i : i + width] for i, weight in enumerate(line))
    got = augmentation.sharpen(image, tf.constant(0.0), 1.0).numpy()
    np.testing.assert_array_equal(got, np.floor(blurred + 0.5))


def test_erasing():
    image, label = pair(20, 20)
    # Area 0.02 + 0.5 · 0.18 = 0.11, ratio 1: a side of sqrt(0.11) · 20 = 6.6, rounded 7; free
    # places 0 … 13, of which 0.5 is number 7 and 0.99 number 13.
    draws = tf.constant([0.1, 0.5, 0.5, 0.5, 0.99])
    got_image, got_label = arrays(augmentation.erase((image, label), draws, 0.2))
    inside = np.zeros((20, 20), bool)
    inside[7:14, 13:20] = True
    np.testing.assert_array_equal(got_label, np.where(inside, 255, label))
    np.testing.assert_array_equal(got_image, np.where(inside[..., None], MEAN, image))
    for got, given in zip(
        augmentation.erase((image, label), draws, 0.1), (image, label), strict=True
    ):
        np.testing.assert_array_equal(got, given)  # 0.1 is not below 0.1


def test_a_rectangle_of_another_image():
    first, second = pair(10, 20, 1), pair(10, 20, 2)
    # Area 0.1 + 0.375 · 0.4 = 0.25, ratio 3^0 = 1: half of each side, from row 0 and column 5.
    draws = tf.constant([0.375, 0.5, 0.0, 0.5])
    image, label = arrays(augmentation.cut_mix(first, second, draws))
    inside = np.zeros((10, 20), bool)
    inside[:5, 5:15] = True
    np.testing.assert_array_equal(label, np.where(inside, second[1], first[1]))
    np.testing.assert_array_equal(image, np.where(inside[..., None], second[0], first[0]))


@pytest.mark.parametrize(
    "kind, area, ratio, extent",
    [
        # Areas of 0.1 and 0.5, sides in the image's ratio: their roots, 0.316 and 0.707.
        ("cut", 0.0, 0.5, (32, 63)),
        ("cut", 1.0, 0.5, (71, 141)),
        # 0.1 with ratios of 1/3 and 3: the roots of 0.1/3 and 0.3, 0.1826 and 0.5477.
        ("cut", 0.0, 0.0, (18, 110)),
        ("cut", 0.0, 1.0, (55, 37)),
        # 0.5 with a ratio of 3: the root of 1.5, which is cut, and that of 0.5/3, 0.4082.
        ("cut", 1.0, 1.0, (100, 82)),
        # Areas of 0.02 and 0.2: 0.1414 and 0.4472.
        ("erase", 0.0, 0.5, (14, 28)),
        ("erase", 1.0, 0.5, (45, 89)),
    ],
)
def test_the_smallest_and_the_largest_rectangles(kind, area, ratio, extent):
    image, label = pair(100, 200)
    draws = [area, ratio, 0.0, 0.0]
    if kind == "cut":
        other = image, np.full_like(label, 255)
        _, label = augmentation.cut_mix((image, label), other, tf.constant(draws))
    else:
        _, label = augmentation.erase((image, label), tf.constant([0.0, *draws]), 1.0)
    inside = np.zeros((100, 200), bool)
    inside[: extent[0], : extent[1]] = True
    np.testing.assert_array_equal(label == 255, inside)


def test_half_of_the_classes_of_another_image():
    first = np.zeros((1, 5, 3), np.uint8), np.array([[9, 9, 9, 9, 9]], np.uint8)
    second = np.ones((1, 5, 3), np.uint8), np.array([[0, 3, 7, 255, 3]], np.uint8)
    draws = np.full(255, 0.5, np.float32)
    draws[[0, 3, 7, 1]] = 0.3, 0.2, 0.9, 0.1  # class 1 does not occur
    image, label = arrays(augmentation.class_mix(first, second, tf.constant(draws)))
    # Of three classes two: 3 and 0.
    assert label.tolist() == [[0, 3, 9, 9, 3]]
    assert image[0, :, 0].tolist() == [1, 1, 0, 0, 1]


def test_an_image_without_classes_gives_none():
    first, second = pair(), (pair()[0], np.full((6, 8), 255, np.uint8))
    mixed = augmentation.class_mix(first, second, tf.random.uniform([255]))
    np.testing.assert_array_equal(mixed[1], first[1])


@pytest.mark.slow
def test_all_run_in_a_graph_on_static_shapes():
    @tf.function
    def every(image, label, draws):
        image, label = augmentation.rotate(image, label, draws[0], 30.0)
        image = augmentation.sharpen(augmentation.shift_hue(image, draws[1], 0.1), draws[2], 1.0)
        image, label = augmentation.erase((image, label), draws[3:8], 1.0)
        return augmentation.class_mix((image, label), (image, label), draws[:255])

    image, label = every(*pair(), tf.random.uniform([300]))
    assert (image.dtype, label.dtype) == (tf.uint8, tf.uint8)
    assert image.shape == (6, 8, 3) and label.shape == (6, 8)

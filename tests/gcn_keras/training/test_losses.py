"""The loss against values computed by hand."""

import json
import math
import re

import keras
import numpy as np
import pytest
import tensorflow as tf

from gcn_keras import PixelCrossentropy
from gcn_keras.training.losses import ImageCrossentropy
from pipelines.base.labels import median_frequency_weights

# Softmax of these logits: 3/4 and 1/4.
THREE_TO_ONE = [math.log(3), 0.0]
RIGHT, WRONG = math.log(4 / 3), math.log(4)  # losses of label 0 and of label 1


def loss(labels, logits, class_weights=None) -> float:
    labels, logits = np.array(labels, np.uint8), np.array(logits, np.float32)
    return float(PixelCrossentropy(class_weights)(labels, logits))


def everywhere(logits, labels):
    return np.broadcast_to(np.array(logits, np.float32), (*np.shape(labels), len(logits)))


@pytest.mark.parametrize(
    "labels, weights, expected",
    [
        ([[[0]]], None, RIGHT),
        ([[[1]]], None, WRONG),
        ([[[0, 0], [0, 1]]], None, (3 * RIGHT + WRONG) / 4),
        # Void counts neither above nor below the fraction.
        ([[[0, 255], [255, 1]]], None, (RIGHT + WRONG) / 2),
        ([[[255, 255], [255, 1]]], None, WRONG),
        # The mean is over the batch's pixels, not of the images' means.
        ([[[0, 0]], [[1, 255]]], None, (2 * RIGHT + WRONG) / 3),
        # Σ w[y]·loss / Σ w[y].
        ([[[0, 0, 1]]], [1, 3], (2 * RIGHT + 3 * WRONG) / 5),
        ([[[0, 255, 1]]], [2, 3], (2 * RIGHT + 3 * WRONG) / 5),
        ([[[0, 0, 1]]], [0, 1], WRONG),
    ],
)
def test_by_hand(labels, weights, expected):
    logits = everywhere(THREE_TO_ONE, labels)
    assert loss(labels, logits, weights) == pytest.approx(expected)
    # What a step divides a batch by is the same fraction.
    crossentropy, labels = PixelCrossentropy(weights), np.array(labels, np.uint8)
    total = crossentropy.total_weight(labels)
    assert float(crossentropy.weighted_sum(labels, logits) / total) == pytest.approx(expected)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64"])
@pytest.mark.parametrize("options", [{}, {"class_weights": [1, 3]}, {"focus": 1}, {"hardest": 0.5}])
def test_logits_of_another_precision_cost_what_they_do_in_float32(options, dtype):
    """As in a model whose last layer computes in 16 bits; 2 and -1 are exact in each of them."""
    labels = np.array([[[0, 1], [255, 0]]], np.uint8)
    crossentropy, logits = PixelCrossentropy(**options), everywhere([2.0, -1.0], labels)
    other = keras.ops.cast(logits, dtype)
    assert float(crossentropy(labels, other)) == float(crossentropy(labels, logits))
    found, expected = (crossentropy.weighted_sum(labels, each) for each in (other, logits))
    assert keras.backend.standardize_dtype(found.dtype) == "float32"
    assert float(found) == float(expected)


def test_uniform_logits_cost_the_logarithm_of_the_classes():
    labels = np.random.default_rng(0).integers(0, 7, (2, 5, 6))
    assert loss(labels, everywhere([2.5] * 7, labels)) == pytest.approx(math.log(7))


def test_void_is_no_background():
    """Logits under void pixels have no effect, whichever class they favour."""
    labels = [[[0, 255]]]
    costs = {loss(labels, [[[THREE_TO_ONE, other]]]) for other in ([99, -99], [-99, 99], [0, 0])}
    assert len(costs) == 1
    assert costs.pop() == pytest.approx(RIGHT)


def test_scale_of_class_weights_does_not_matter():
    labels = [[[0, 1, 1, 255]]]
    logits = everywhere(THREE_TO_ONE, labels)
    expected = loss(labels, logits, [1, 3])
    assert loss(labels, logits, [100, 300]) == pytest.approx(expected)
    assert loss(labels, logits, [2, 2]) == pytest.approx(loss(labels, logits))


@pytest.mark.parametrize(
    "labels, weights", [([[[255, 255]]], None), ([[[255, 255]]], [1, 2]), ([[[0, 0]]], [0, 1])]
)
def test_without_a_counted_pixel_the_loss_is_0(labels, weights):
    assert loss(labels, everywhere(THREE_TO_ONE, labels), weights) == 0.0


def test_an_all_void_batch_moves_nothing():
    x = keras.Input((None, None, 3))
    model = keras.Model(x, keras.layers.Conv2D(2, 1)(x))
    model.compile(keras.optimizers.SGD(1.0), PixelCrossentropy())
    before = model.get_weights()
    images = np.ones((1, 4, 4, 3), "float32")
    assert model.train_on_batch(images, np.full((1, 4, 4), 255, np.uint8)) == 0.0
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(new, old)
    cost = model.train_on_batch(images, np.zeros((1, 4, 4), np.uint8))
    assert float(cost) == pytest.approx(loss(np.zeros((1, 4, 4)), _predict(before, images)))


def _predict(weights, images):
    kernel, bias = weights
    return images @ kernel[0, 0] + bias


def test_config_brings_the_loss_back():
    for weights in (None, [1.0, 2.5]):
        original = PixelCrossentropy(weights, name="mine")
        copy = PixelCrossentropy.from_config(original.get_config())
        assert (copy.class_weights, copy.name) == (weights, "mine")


@pytest.mark.parametrize(
    "arguments, sentence",
    [
        *(
            ({"hardest": value}, f"hardest must be above 0 and at most 1, received {value!r}")
            for value in (0, -1, 2, math.nan, None, "1", [0.5], True)
        ),
        *(
            ({"focus": value}, f"focus must be finite and at least 0, received {value!r}")
            for value in (-2, math.nan, math.inf, None, "2", [2], True)
        ),
        *(
            (
                {"class_weights": [1, value]},
                f"class_weights must be finite and at least 0, received [1.0, {float(value)}]",
            )
            for value in (-1, math.nan, math.inf)
        ),
        *(
            (
                {"class_weights": value},
                f"class_weights must be a number for each class, or None, received {value!r}",
            )
            for value in ("none", 2.0, ["1", "2"], [1, None], [True, 2], [[1.0, 2]], [[1], [2, 3]])
        ),
    ],
)
def test_arguments_that_cannot_be(arguments, sentence):
    with pytest.raises(ValueError, match=f"^{re.escape(sentence)}$"):
        PixelCrossentropy(**arguments)


@pytest.mark.parametrize("weights", [np.float32([0.5, 2]), (np.int64(1), np.float32(4))])
def test_numbers_may_be_of_numpy(weights):
    """What is saved of them are Python's."""
    loss = PixelCrossentropy(weights, np.float32(2), np.float64(0.5))
    expected = {"class_weights": list(weights), "focus": 2.0, "hardest": 0.5, "name": loss.name}
    assert json.loads(json.dumps(loss.get_config())) == expected


@pytest.mark.parametrize("options", [{}, {"focus": 2.0}, {"hardest": 0.5}])
@pytest.mark.parametrize("classes", [1, 256, 300])
def test_scores_of_a_number_of_classes_that_cannot_be(classes, options):
    """Class 255 would be void, and a single class costs nothing, whatever its score."""
    labels, logits = np.zeros((1, 2, 2), np.uint8), np.zeros((1, 2, 2, classes), np.float32)
    loss = PixelCrossentropy(**options)
    for of in (loss, loss.weighted_sum):
        with pytest.raises(ValueError) as caught:
            of(labels, logits)
        assert str(caught.value) == (
            f"scores must be of 2…255 classes (label 255 is void), received (1, 2, 2, {classes})"
        )


def test_the_last_of_255_classes():
    labels = [[[254, 255]]]
    assert loss(labels, everywhere([0.0] * 255, labels)) == pytest.approx(math.log(255))


@pytest.mark.parametrize("focus", [0.0, 2.0])
@pytest.mark.parametrize("weights", [[], [1.0, 2.0], [1.0, 2.0, 3.0, 4.0]])
def test_weights_of_another_number_of_classes_are_refused(weights, focus):
    labels, logits = np.zeros((1, 2, 2), np.uint8), np.zeros((1, 2, 2, 3), np.float32)
    loss = PixelCrossentropy(weights, focus)
    sentence = f"class_weights must be one for each of 3 classes, received {weights}"
    for of in (loss, loss.weighted_sum):
        with pytest.raises(ValueError, match=f"^{re.escape(sentence)}$"):
            of(labels, logits)


# Two images of two pixels: RIGHT, WRONG; void, WRONG.
LABELS = np.array([[[0, 1]], [[255, 1]]], np.uint8)


@pytest.mark.parametrize(
    "sample_weight, class_weights, expected",
    [
        (2, None, (RIGHT + 2 * WRONG) / 3),
        (2, [1, 4], (RIGHT + 8 * WRONG) / 9),
        ([[[2, 3]], [[5, 7]]], None, (2 * RIGHT + 10 * WRONG) / 12),
        ([[[2, 3]], [[5, 7]]], [1, 4], (2 * RIGHT + 40 * WRONG) / 42),
        ([2, 3], None, (2 * RIGHT + 5 * WRONG) / 7),
        ([2, 3], [1, 4], (2 * RIGHT + 20 * WRONG) / 22),
        ([[[2]], [[3]]], [1, 4], (2 * RIGHT + 20 * WRONG) / 22),
    ],
)
@pytest.mark.parametrize("last_axis", [(), (1,)])
def test_sample_weights(sample_weight, class_weights, expected, last_axis):
    weights = np.array(sample_weight, np.float32)
    if weights.ndim == 3:
        weights = weights.reshape(*weights.shape, *last_axis)
    logits = everywhere(THREE_TO_ONE, LABELS)
    found = PixelCrossentropy(class_weights)(LABELS, logits, weights)
    assert float(found) == pytest.approx(expected)


@pytest.mark.parametrize("class_weights", [None, [1, 4]])
@pytest.mark.parametrize("shape", [(3,), (1, 2), (2, 2), (2, 2, 1), (2, 1, 2, 2), (1, 1, 2)])
def test_sample_weights_of_another_shape_are_refused(shape, class_weights):
    logits = everywhere(THREE_TO_ONE, LABELS)
    sentence = (
        "sample weights must be one for each image, or one for each pixel, received "
        f"{shape} for labels (2, 1, 2)"
    )
    with pytest.raises(ValueError, match=f"^{re.escape(sentence)}$"):
        PixelCrossentropy(class_weights)(LABELS, logits, np.ones(shape, np.float32))


@pytest.mark.parametrize("focus", [0.5, 1.0, 2.0])
def test_a_pixel_without_loss_has_a_gradient(focus):
    """In float32 its loss is 0, where a power below 1 has no finite slope."""
    logits, labels = np.array([[[[40, 0], [0, 0]]]], np.float32), np.zeros((1, 1, 2), np.uint8)
    loss = PixelCrossentropy(focus=focus)
    # The derivative at a probability of 1/2, of (1 - p)^γ · -log p, over two pixels.
    half = 0.5**focus * (0.5 + focus * 0.5 * math.log(2)) / 2
    given = tf.Variable(logits)
    with tf.GradientTape() as tape:
        value = loss(labels, given)
    expected = [[[[0, 0], [-half, half]]]]
    np.testing.assert_allclose(tape.gradient(value, given), expected, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize(
    "counts, expected",
    [
        ([60, 30, 10], [0.5, 1, 3]),
        ([60, 30, 10, 0], [0.5, 1, 3, 0]),  # a class without a pixel does not shift the median
        ([10, 30], [2, 2 / 3]),
        ([5, 5], [1, 1]),
        ([0, 7], [0, 1]),
    ],
)
def test_median_frequency_weights(counts, expected):
    np.testing.assert_allclose(median_frequency_weights(np.array(counts)), expected)


class TestImages:
    def test_by_hand(self):
        """Odds of 1 : 3, so probabilities of a quarter and three quarters."""
        logits = np.log([[1.0, 3.0], [1.0, 3.0]]).astype("float32")
        labels = np.array([1, 0])
        expected = (np.log(4 / 3) + np.log(4)) / 2
        assert float(ImageCrossentropy()(labels, logits)) == pytest.approx(expected, rel=1e-6)

    def test_label_smoothing(self):
        """Of 0.2, half goes to each class: targets 0.1 and 0.9."""
        logits = np.log([[1.0, 3.0]]).astype("float32")
        expected = 0.1 * np.log(4) + 0.9 * np.log(4 / 3)
        found = float(ImageCrossentropy(0.2)(np.array([1]), logits))
        assert found == pytest.approx(expected, rel=1e-6)

    def test_labels_may_have_a_last_axis_of_1(self):
        logits, labels = np.log([[1.0, 3.0], [1.0, 3.0]]).astype("float32"), np.array([[1], [0]])
        loss, expected = ImageCrossentropy(), (np.log(4 / 3) + np.log(4)) / 2
        assert float(loss(labels, logits)) == pytest.approx(expected, rel=1e-6)
        assert float(loss.weighted_sum(labels, logits)) == pytest.approx(2 * expected, rel=1e-6)
        with pytest.raises(ValueError, match=r"received \(1, 2\) for scores \(2, 2\)$"):
            loss(labels.T, logits)

    def test_class_255_is_no_void(self):
        logits = np.zeros((2, 260), "float32")
        loss, labels = ImageCrossentropy(), np.array([255, 3])
        assert float(loss.total_weight(labels)) == 2
        assert float(loss(labels, logits)) == pytest.approx(np.log(260), rel=1e-6)

    def test_parts_add_up(self):
        random = np.random.default_rng(0)
        logits, labels = random.normal(size=(6, 5)).astype("float32"), random.integers(0, 5, 6)
        loss = ImageCrossentropy(0.1)
        total = loss.total_weight(labels)
        parts = [
            loss.weighted_sum(labels[part], logits[part]) / total
            for part in (slice(0, 2), slice(2, 6))
        ]
        assert float(sum(parts)) == pytest.approx(float(loss(labels, logits)), rel=1e-6)

    def test_config(self):
        copy = ImageCrossentropy.from_config(ImageCrossentropy(0.1, name="mine").get_config())
        assert (copy.label_smoothing, copy.name) == (0.1, "mine")


@pytest.mark.parametrize(
    ("labels", "weights", "what"),
    [(None, (1, 2, 2), "labels"), ((1, 2, 2), None, "sample weights")],
)
def test_a_rank_that_tensorflow_has_given_up(labels, weights, what):
    """So it traces a compiled model anew that was trained on arrays of another rank before."""
    shapes = labels, (1, 2, 2, 2), weights
    specs = [tf.TensorSpec(shape, tf.float32) for shape in shapes]
    traced = tf.function(PixelCrossentropy(), input_signature=specs)
    sentence = f"{what} have another shape than those that the model was trained on before: "
    with pytest.raises(ValueError, match=sentence):
        traced.get_concrete_function()

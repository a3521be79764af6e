"""The blocks against the paper's parameter counts and against arithmetic done by hand."""

import keras
import numpy as np
import pytest

from gcn_keras.models import blocks

CLASSES = 21
RES5 = 2048  # channels of the map that Tables 2 to 4 count on

LARGE = {
    "gcn": blocks.global_convolution,
    "conv": blocks.plain_convolution,
    "stack": blocks.convolution_stack,
}


def network(block, channels, *arguments, size=(None, None), **options):
    x = keras.Input((*size, channels))
    return keras.Model(x, block(x, *arguments, name="b", **options))


def kernels(model) -> list[np.ndarray]:
    return [w.numpy() for w in model.weights if w.name == "kernel"]


def kernel_weights(model) -> int:
    return sum(kernel.size for kernel in kernels(model))


def fill(model, seed=0, bias=True):
    """Small random kernels; random or no biases."""
    random = np.random.default_rng(seed)
    for weight in model.weights:
        scale = 0.5 if weight.name == "kernel" or bias else 0.0
        weight.assign(scale * random.standard_normal(weight.shape))
    return model


def ones(model):
    for weight in model.weights:
        weight.assign(np.full(weight.shape, weight.name == "kernel", "float32"))
    return model


def apply(model, images) -> np.ndarray:
    return np.asarray(model(np.asarray(images, "float32")))


def correlate(images, kernel, bias=0.0) -> np.ndarray:
    """What a convolution layer computes: zero padding, same size; `[H, W, C] -> [H, W, F]`."""
    height, width = images.shape[:2]
    up, left = kernel.shape[0] // 2, kernel.shape[1] // 2
    padded = np.pad(images.astype(np.float64), ((up, up), (left, left), (0, 0)))
    result = np.zeros((height, width, kernel.shape[3]))
    for y in range(kernel.shape[0]):
        for x in range(kernel.shape[1]):
            result += padded[y : y + height, x : x + width] @ kernel[y, x].astype(np.float64)
    return result + bias


class TestParameterCounts:
    """Weights as the paper counts them, without biases."""

    @pytest.mark.parametrize("k, paper", [(3, 260), (5, 434), (7, 608), (9, 782)])
    def test_table_2_gcn(self, k, paper):
        count = kernel_weights(network(blocks.global_convolution, RES5, CLASSES, k))
        assert count == 2 * (RES5 * CLASSES * k + CLASSES * CLASSES * k) == 86_898 * k
        assert count // 1000 == paper  # cut off: 260,694 is printed as 260K

    @pytest.mark.parametrize("k, paper", [(3, 387), (5, 1075), (7, 2107), (9, 3484)])
    def test_table_2_plain(self, k, paper):
        count = kernel_weights(network(blocks.plain_convolution, RES5, CLASSES, k))
        assert count == RES5 * CLASSES * k * k
        assert round(count / 1000) == paper  # rounded: 3,483,648 is printed as 3484K

    @pytest.mark.jax
    @pytest.mark.slow
    @pytest.mark.parametrize(
        "width, exact, paper",
        [(None, 75_884_544, 75885), (1024, 28_505_088, 28505), (210, 4_307_310, 4307)],
    )
    def test_table_4_stack(self, width, exact, paper):
        model = network(blocks.convolution_stack, RES5, CLASSES, 7, width=width)
        m = width or RES5
        assert kernel_weights(model) == 9 * (RES5 * m + m * m + m * CLASSES) == exact
        assert round(exact / 1000) == paper

    def test_boundary_refinement(self):
        model = network(blocks.boundary_refinement, CLASSES)
        assert kernel_weights(model) == 2 * 9 * CLASSES * CLASSES
        assert model.count_params() == 2 * (9 * CLASSES * CLASSES + CLASSES)


HEIGHT, WIDTH = 9, 11
PLACES = {"middle": (4, 5), "border": (0, 6), "corner": (8, 10), "other corner": (0, 0)}


def impulse(place, channels=2) -> np.ndarray:
    images = np.zeros((1, HEIGHT, WIDTH, channels), "float32")
    images[0, *place, 1] = 1
    return images


def window(place, height, width) -> np.ndarray:
    """True in the window around a place, clipped to the map."""
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    return (abs(rows - place[0]) <= height // 2) & (abs(columns - place[1]) <= width // 2)


@pytest.mark.parametrize("place", PLACES.values(), ids=PLACES)
class TestImpulse:
    @pytest.mark.parametrize("k", [3, 5, 7, 15])
    @pytest.mark.parametrize("block", LARGE.values(), ids=LARGE)
    def test_lights_up_the_window(self, block, k, place):
        lit = apply(ones(network(block, 2, 3, k)), impulse(place))[0] > 0
        for channel in range(3):
            np.testing.assert_array_equal(lit[..., channel], window(place, k, k))

    @pytest.mark.parametrize(
        "layer, size",
        [
            ("b_left_1", (5, 1)),
            ("b_left_2", (5, 5)),
            ("b_right_1", (1, 5)),
            ("b_right_2", (5, 5)),
        ],
    )
    def test_each_convolution_has_its_own_axis(self, layer, size, place):
        model = ones(network(blocks.global_convolution, 2, 3, 5))
        part = keras.Model(model.input, model.get_layer(layer).output)
        # Of the two channels one is lit, and the second convolution sums the three of the first.
        value = 3 if layer.endswith("2") else 1
        expected = value * window(place, *size)[..., None].repeat(3, axis=-1)
        np.testing.assert_array_equal(apply(part, impulse(place))[0], expected)

    @pytest.mark.parametrize("branch", ["left", "right"])
    def test_the_sum_is_of_both_branches(self, branch, place):
        model = fill(network(blocks.global_convolution, 2, 3, 5), bias=False)
        alone = keras.Model(model.input, model.get_layer(f"b_{branch}_2").output)
        expected = apply(alone, impulse(place))
        other = {"left": "right", "right": "left"}[branch]
        for i in (1, 2):
            layer = model.get_layer(f"b_{other}_{i}")
            layer.kernel.assign(np.zeros(layer.kernel.shape))
        np.testing.assert_array_equal(apply(model, impulse(place)), expected)


@pytest.mark.parametrize("k", [1, 3, 7, 15])
def test_gcn_is_a_convolution_with_kernels_of_low_rank(k):
    model = fill(network(blocks.global_convolution, 4, 3, k), bias=False)
    left_1, left_2, right_1, right_2 = (
        model.get_layer(f"b_{name}").kernel.numpy()
        for name in ("left_1", "left_2", "right_1", "right_2")
    )
    assert left_1.shape == (k, 1, 4, 3) and left_2.shape == (1, k, 3, 3)
    assert right_1.shape == (1, k, 4, 3) and right_2.shape == (k, 1, 3, 3)
    kernel = np.einsum("ycm,xmf->yxcf", left_1[:, 0], left_2[0])
    kernel += np.einsum("xcm,ymf->yxcf", right_1[0], right_2[:, 0])
    # Three channels lie between the two convolutions of each branch.
    ranks = np.linalg.matrix_rank(kernel.transpose(2, 3, 0, 1), rtol=1e-5)
    np.testing.assert_array_equal(ranks, min(k, 2 * 3))
    images = np.random.default_rng(1).standard_normal((2, HEIGHT, WIDTH, 4))
    expected = np.stack([correlate(image, kernel) for image in images])
    np.testing.assert_allclose(apply(model, images), expected, rtol=1e-4, atol=1e-4)


def test_boundary_refinement_is_a_residual_around_one_relu():
    model = fill(network(blocks.boundary_refinement, 3))
    (kernel_1, bias_1), (kernel_2, bias_2) = (
        model.get_layer(f"b_conv{i}").get_weights() for i in (1, 2)
    )
    images = np.random.default_rng(1).standard_normal((HEIGHT, WIDTH, 3))
    hidden = correlate(images, kernel_1, bias_1)
    assert (hidden < 0).any() and (hidden > 0).any()
    expected = images + correlate(np.maximum(hidden, 0), kernel_2, bias_2)
    np.testing.assert_allclose(apply(model, images[None])[0], expected, rtol=1e-4, atol=1e-4)


def test_boundary_refinement_changes_nothing_before_training():
    model = network(blocks.boundary_refinement, 3)
    assert model.get_layer("b_conv1").kernel.numpy().any()  # else no gradient would ever come
    images = np.random.default_rng(1).standard_normal((1, HEIGHT, WIDTH, 3)).astype("float32")
    np.testing.assert_array_equal(apply(model, images), images)


@pytest.mark.parametrize("block", LARGE.values(), ids=LARGE)
def test_no_nonlinearity_inside(block):
    model = fill(network(block, 4, 3, 7), bias=False)
    a, b = np.random.default_rng(1).standard_normal((2, 1, HEIGHT, WIDTH, 4))
    expected = apply(model, a) + apply(model, b)
    np.testing.assert_allclose(apply(model, a + b), expected, rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(apply(model, -a), -apply(model, a), rtol=1e-4, atol=1e-4)


def test_depth_and_width_of_the_stack():
    shapes = [k.shape for k in kernels(network(blocks.convolution_stack, 4, 3, 9, width=5))]
    assert shapes == [(3, 3, 4, 5), (3, 3, 5, 5), (3, 3, 5, 5), (3, 3, 5, 3)]
    shapes = [k.shape for k in kernels(network(blocks.convolution_stack, 4, 3, 5))]
    assert shapes == [(3, 3, 4, 4), (3, 3, 4, 3)]
    assert [k.shape for k in kernels(network(blocks.convolution_stack, 4, 3, 3))] == [(3, 3, 4, 3)]


@pytest.mark.parametrize("k", [0, -3, 4, 2.0, 3.0, "3", None])
@pytest.mark.parametrize("block", LARGE.values(), ids=LARGE)
def test_kernel_sizes_that_cannot_be_meant(block, k):
    with pytest.raises(ValueError) as caught:
        network(block, 2, 3, k)
    assert str(caught.value) == (
        f"kernel_size must be a positive odd integer, so that the output stays aligned with the "
        f"input: received {k!r}"
    )


def test_a_stack_reaches_at_least_three_pixels():
    with pytest.raises(ValueError, match="at least 3 pixels: kernel_size=1$"):
        network(blocks.convolution_stack, 2, 3, 1)

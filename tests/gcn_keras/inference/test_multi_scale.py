"""Views at several scales, mirrored and through tiles: averages that can be computed by hand."""

import tracemalloc

import keras
import numpy as np
import pytest

import gcn_keras
from gcn_keras import segment
from gcn_keras.inference import multi_scale
from gcn_keras.inference.multi_scale import MultiScale
from gcn_keras.inference.padding import pad_to_stride
from pipelines.base.errors import UsageError, as_options


def of_pixels(images):
    """A model of two classes that sees one pixel: class 1 has the logit of its red."""
    red = images[..., 0].astype(np.float32) / 64
    return np.stack([np.zeros_like(red), red], axis=-1)


def of_columns(images):
    """A model of three classes that knows nothing but the column: it tells left from right."""
    batch, height, width, _ = images.shape
    columns = np.linspace(-1, 1, width, dtype=np.float32)
    logits = np.stack([columns, -columns, 0 * columns], axis=-1)
    return np.broadcast_to(logits, (batch, height, width, 3))


def softmax(logits):
    exponentials = np.exp(logits)
    return exponentials / exponentials.sum(axis=-1, keepdims=True)


@pytest.fixture
def image():
    return np.random.default_rng(0).integers(0, 256, (13, 22, 3)).astype(np.uint8)


def test_once_is_the_softmax(image):
    np.testing.assert_allclose(
        multi_scale.probabilities(of_pixels, image), softmax(of_pixels(image[None])[0]), rtol=1e-6
    )


def test_mirrored_views_are_mirrored_back(image):
    """What sees pixels stays as it is; what tells left from right no longer does."""
    flipped = MultiScale(flip=True)
    np.testing.assert_allclose(
        multi_scale.probabilities(of_pixels, image, flipped),
        multi_scale.probabilities(of_pixels, image),
        rtol=1e-5,
    )
    scores = multi_scale.probabilities(of_columns, image, flipped)
    np.testing.assert_allclose(scores[..., 0], scores[..., 1], rtol=1e-5)
    left, right = softmax(np.array([[-1.0, 1, 0], [1, -1, 0]]))
    np.testing.assert_allclose(scores[4, 0], (left + right) / 2, rtol=1e-5)


def test_scales_are_averaged_at_the_images_size():
    """A model that answers by the size that it sees: probabilities 1/2 and sigmoid(1)."""
    sizes = []

    def by_size(images):
        sizes.append(images.shape[1:3])
        logits = np.zeros((*images.shape[:3], 2), np.float32)
        logits[..., 1] = images.shape[1] != 10
        return logits

    image = np.zeros((10, 21, 3), np.uint8)
    scores = multi_scale.probabilities(by_size, image, MultiScale(scales=(0.5, 1.0, 2.0)))
    assert sizes == [(5, 10), (10, 21), (20, 42)]  # 10.5 is rounded to the even number
    assert scores.shape == (10, 21, 2) and scores.dtype == np.float32
    sigmoid = 1 / (1 + np.exp(-1))
    np.testing.assert_allclose(scores[..., 1], (2 * sigmoid + 0.5) / 3, rtol=1e-5)


def test_a_scaled_image_has_at_least_one_pixel():
    """Of 2×20 pixels a fifth: 0.4 and 4."""
    sizes = []

    def model(images):
        sizes.append(images.shape[1:3])
        return of_pixels(images)

    image = np.full((2, 20, 3), 64, np.uint8)
    scores = multi_scale.probabilities(model, image, MultiScale(scales=(0.2,)))
    assert sizes == [(1, 4)] and scores.shape == (2, 20, 2)
    np.testing.assert_allclose(scores[..., 1], 1 / (1 + np.exp(-1)), rtol=1e-6)


def test_enlarging_is_bilinear():
    """Between the centres of two pixels the doubled image goes from 0 to 200 in a straight line."""
    seen = []

    def logits(images):
        seen.append(images)
        return np.zeros((*images.shape[:3], 2), np.float32)

    image = np.zeros((1, 2, 3), np.uint8)
    image[0, 1] = 200, 100, 40
    multi_scale.probabilities(logits, image, MultiScale((2.0,)))
    [[rows]] = seen
    for row in rows:
        assert row.tolist() == [[0, 0, 0], [50, 25, 10], [150, 75, 30], [200, 100, 40]]


def test_shrinking_takes_every_pixel():
    """Stripes of one pixel become gray, and not one of the two colours."""
    stripes = np.zeros((16, 16, 3), np.uint8)
    stripes[:, ::2] = 200
    seen = []

    def note(images):
        seen.append(images)
        return of_pixels(images)

    multi_scale.probabilities(note, stripes, MultiScale(scales=(0.5,)))
    inside = seen[0][0, 2:-2, 2:-2]
    assert inside.min() > 80 and inside.max() < 120


@pytest.mark.parametrize(("tile", "overlap"), [((8, 8), 3), ((5, 30), 4), ((40, 40), 0)])
def test_tiles_do_not_show_to_a_model_that_sees_a_pixel(image, tile, overlap):
    shapes = []

    def note(images):
        shapes.append(images.shape)
        return of_pixels(images)

    chosen = MultiScale(scales=(1.0, 2.0), flip=True, tile=tile, overlap=overlap)
    whole = MultiScale(scales=(1.0, 2.0), flip=True)
    np.testing.assert_allclose(
        multi_scale.probabilities(note, image, chosen),
        multi_scale.probabilities(of_pixels, image, whole),
        rtol=1e-5,
    )
    # One tile at a time, at every scale.
    assert all(b == 1 and h <= tile[0] and w <= tile[1] for b, h, w, _ in shapes)


def test_where_tiles_overlap_their_mean_counts():
    numbers = iter(range(3))

    def numbered(images):  # tile n is sure of class n
        logits = np.zeros((*images.shape[:3], 3), np.float32)
        logits[..., next(numbers)] = 100
        return logits

    image = np.zeros((2, 8, 3), np.uint8)
    scores = multi_scale.probabilities(numbered, image, MultiScale(tile=(2, 4), overlap=2))
    expected = np.zeros((8, 3))
    expected[0:2, 0] = expected[6:8, 2] = 1
    expected[2:4, :2] = expected[4:6, 1:] = 0.5
    np.testing.assert_allclose(scores, np.broadcast_to(expected, (2, 8, 3)), atol=1e-6)


@pytest.mark.parametrize("size", [(8, 8), (3, 40), (5, 2)])
def test_a_image_smaller_than_a_tile(size):
    image = np.random.default_rng(0).integers(0, 256, (*size, 3)).astype(np.uint8)
    shapes = []

    def note(images):
        shapes.append(images.shape[1:3])
        return of_pixels(images)

    scores = multi_scale.probabilities(note, image, MultiScale(tile=(8, 16), overlap=2))
    np.testing.assert_allclose(scores, softmax(of_pixels(image[None])[0]), rtol=1e-5)
    assert set(shapes) == {(min(size[0], 8), min(size[1], 16))}


def test_every_mean_by_hand():
    """Scales, mirrored looks and tiles together, each answered by a number of its own."""
    numbers = iter(range(8))

    def numbered(images):
        logits = np.zeros((*images.shape[:3], 8), np.float32)
        logits[..., next(numbers)] = 100
        return logits

    image = np.zeros((1, 2, 3), np.uint8)
    chosen = MultiScale(scales=(1.0, 1.0), flip=True, tile=(4, 1))
    scores = multi_scale.probabilities(numbered, image, chosen)
    left, right = np.zeros(8), np.zeros(8)
    left[[0, 3, 4, 7]] = right[[1, 2, 5, 6]] = 0.25  # mirrored looks begin at the right
    np.testing.assert_allclose(scores, [[left, right]], atol=1e-6)


def test_memory_is_that_of_one_map_and_a_tile():
    image = np.zeros((256, 512, 3), np.uint8)
    most = []

    def logits(images):
        most.append(images.shape[:3])
        return np.zeros((*images.shape[:3], 8), np.float32)

    def peak(chosen) -> float:
        """In maps of the image, float32 [256, 512, 8]."""
        tracemalloc.start()
        try:
            multi_scale.probabilities(logits, image, chosen)
            return tracemalloc.get_traced_memory()[1] / (256 * 512 * 8 * 4)
        finally:
            tracemalloc.stop()

    tiles = {"tile": (64, 64), "overlap": 16, "flip": True}
    assert peak(MultiScale(**tiles)) < 1.25
    # A scaled image has a map of its own, here of a quarter of the size; and to resize that, one
    # class at a time, takes two maps of one class.
    assert peak(MultiScale(scales=(0.5, 1), **tiles)) < 1 + 1 / 4 + 2 / 8 + 0.1
    assert set(most) == {(1, 64, 64)}
    assert peak(MultiScale(flip=True)) > 2  # what is saved


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        (MultiScale(scales=()), "--scales must be above 0 and at most 8, got none"),
        (MultiScale(scales=(1, 0)), "--scales must be above 0 and at most 8, got 1 0"),
        (MultiScale(scales=(float("nan"),)), "--scales must be above 0 and at most 8, got nan"),
        (MultiScale(scales=(1e9,)), "--scales must be above 0 and at most 8, got 1000000000"),
        (MultiScale(overlap=4), "--overlap needs --tile H W, got --overlap 4 alone"),
        (MultiScale(tile=(0, 4)), "--tile must be at least 1 pixel, got 0 4"),
        (
            MultiScale(tile=(8, 4), overlap=4),
            "--overlap must be at least 0 and below the tile's sides 8 4, got 4",
        ),
    ],
)
def test_invalid_values(chosen, message):
    """The library names its fields, and a command its options."""
    with pytest.raises(ValueError) as caught:
        chosen.check()
    assert str(caught.value) == message.replace("--", "")
    with pytest.raises(UsageError) as caught, as_options():
        chosen.check()
    assert str(caught.value) == message


# === Of a Keras model ===


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(0)
    return gcn_keras.gcn(3, "small", 3)


@pytest.mark.slow
def test_views_of_a_network_by_hand(model, image):
    """Each view padded to the stride for itself, as `segment` pads."""
    large = np.stack([multi_scale._resize(image, (26, 44))])

    def of_network(images):
        height, width = images.shape[1:3]
        logits = keras.ops.convert_to_numpy(model(pad_to_stride(images), training=False))
        return softmax(logits[0, :height, :width])

    def shrunk(scores):
        maps = [multi_scale._resize(scores[..., channel], (13, 22)) for channel in range(3)]
        return np.stack(maps, axis=-1)

    expected = of_network(image[None]) + of_network(image[None, :, ::-1])[:, ::-1]
    expected += shrunk(of_network(large)) + shrunk(of_network(large[:, :, ::-1])[:, ::-1])
    scores = gcn_keras.probabilities(model, image, scales=(1, 2), flip=True)
    assert scores.dtype == np.float32 and np.ptp(scores) > 0.01
    np.testing.assert_allclose(scores, expected / 4, atol=1e-5)


@pytest.mark.slow
def test_images_come_back_as_they_came(model, image):
    [alone] = scores = gcn_keras.probabilities(model, [image])
    assert isinstance(scores, list) and alone.shape == (13, 22, 3)
    np.testing.assert_array_equal(alone.argmax(axis=-1), segment(model, image))
    batch = gcn_keras.probabilities(model, np.stack([image, image[::-1]]), tile=(8, 8))
    assert batch.shape == (2, 13, 22, 3)
    np.testing.assert_allclose(batch.sum(axis=-1), 1, rtol=1e-5)
    np.testing.assert_allclose(batch[0], gcn_keras.probabilities(model, image, tile=(8, 8)))


@pytest.mark.parametrize(
    ("views", "message"),
    [
        *((views, "scales must be a sequence of numbers, tile two integers and overlap an "
                  f"integer, received scales={views.get('scales', (1.0,))!r}, "
                  f"tile={views.get('tile')!r}, overlap={views.get('overlap', 0)!r}")
          for views in ({"scales": 1.0}, {"scales": "12"}, {"tile": (64.5, 64)},
                        {"tile": (64, 64), "overlap": 2.5}, {"tile": (64, 64), "overlap": "2"},
                        {"overlap": None})),
        ({"tile": (64, 64, 3)}, "tile must be two integers, height and width, received "
                                "(64, 64, 3)"),
        ({"overlap": 4}, "overlap needs tile H W, got overlap 4 alone"),
        ({"flip": "no"}, "flip must be True or False, got 'no'"),
    ],
)  # fmt: skip
def test_invalid_views(model, image, views, message):
    with pytest.raises(ValueError) as caught:
        gcn_keras.probabilities(model, image, **views)
    assert str(caught.value) == message


@pytest.mark.slow
def test_floats_are_seen_as_they_are(model, image):
    """Alike at the image's own size; resized, they are not rounded to whole steps."""
    views = {"flip": True, "tile": (8, 8)}
    expected = gcn_keras.probabilities(model, image, **views)
    scores = gcn_keras.probabilities(model, image.astype(np.float64), **views)
    np.testing.assert_allclose(scores, expected, atol=1e-6)
    fine = np.array([[[0, 0.5, 1.25]] * 2, [[3.5, 1.5, 255]] * 2], np.float32)
    np.testing.assert_array_equal(multi_scale._resize(fine, (1, 1)), [[[1.75, 1, 128.125]]])

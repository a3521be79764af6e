"""Looks at several scales, mirrored and through tiles: averages that can be computed by hand."""

import functools
from types import SimpleNamespace

import numpy as np
import pytest

from gcn_keras import test_time as tt
from gcn_keras.test_time import ONCE, Procedure
from pipelines.errors import UsageError, UserError


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
        tt.probabilities(of_pixels, image), softmax(of_pixels(image[None])[0]), rtol=1e-6
    )


def test_mirrored_looks_are_mirrored_back(image):
    """What sees pixels stays as it is; what tells left from right no longer does."""
    flipped = Procedure(flip=True)
    np.testing.assert_allclose(
        tt.probabilities(of_pixels, image, flipped), tt.probabilities(of_pixels, image), rtol=1e-5
    )
    scores = tt.probabilities(of_columns, image, flipped)
    np.testing.assert_allclose(scores[..., 0], scores[..., 1], rtol=1e-5)
    left, right = softmax(np.array([[-1.0, 1, 0], [1, -1, 0]]))
    np.testing.assert_allclose(scores[4, 0], (left + right[[0, 1, 2]]) / 2, rtol=1e-5)


def test_scales_are_averaged_at_the_pictures_size():
    """A model that answers by the size that it sees: probabilities 1/2 and sigmoid(1)."""
    sizes = []

    def by_size(images):
        sizes.append(images.shape[1:3])
        logits = np.zeros((*images.shape[:3], 2), np.float32)
        logits[..., 1] = images.shape[1] != 10
        return logits

    image = np.zeros((10, 21, 3), np.uint8)
    scores = tt.probabilities(by_size, image, Procedure(scales=(0.5, 1.0, 2.0)))
    assert sizes == [(5, 10), (10, 21), (20, 42)]  # 10.5 is rounded to the even number
    assert scores.shape == (10, 21, 2) and scores.dtype == np.float32
    sigmoid = 1 / (1 + np.exp(-1))
    np.testing.assert_allclose(scores[..., 1], (2 * sigmoid + 0.5) / 3, rtol=1e-5)


def test_shrinking_looks_at_every_pixel():
    """Stripes of one pixel become gray, and not one of the two colours."""
    stripes = np.zeros((16, 16, 3), np.uint8)
    stripes[:, ::2] = 200
    seen = []

    def note(images):
        seen.append(images)
        return of_pixels(images)

    tt.probabilities(note, stripes, Procedure(scales=(0.5,)))
    inside = seen[0][0, 2:-2, 2:-2]
    assert inside.min() > 80 and inside.max() < 120


@pytest.mark.parametrize(
    ("length", "tile", "overlap", "starts"),
    [
        (2048, 1024, 682, [0, 342, 684, 1024]),  # the paper's four crops of a Cityscapes row
        (1024, 1024, 682, [0]),
        (10, 4, 0, [0, 4, 6]),
        (8, 4, 0, [0, 4]),
        (9, 4, 2, [0, 2, 4, 5]),
        (3, 4, 2, [0]),
    ],
)
def test_tiles_cover_a_side(length, tile, overlap, starts):
    assert tt.tile_starts(length, tile, overlap) == starts
    assert starts[-1] + tile >= length
    assert all(b - a <= tile - overlap for a, b in zip(starts, starts[1:], strict=False))


@pytest.mark.parametrize(("tile", "overlap"), [((8, 8), 3), ((5, 30), 4), ((40, 40), 0)])
def test_tiles_do_not_show_to_a_model_that_sees_a_pixel(image, tile, overlap):
    shapes = []

    def note(images):
        shapes.append(images.shape)
        return of_pixels(images)

    procedure = Procedure(scales=(1.0, 2.0), flip=True, tile=tile, overlap=overlap)
    whole = Procedure(scales=(1.0, 2.0), flip=True)
    np.testing.assert_allclose(
        tt.probabilities(note, image, procedure),
        tt.probabilities(of_pixels, image, whole),
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
    scores = tt.probabilities(numbered, image, Procedure(tile=(2, 4), overlap=2))
    expected = np.zeros((8, 3))
    expected[0:2, 0] = expected[6:8, 2] = 1
    expected[2:4, :2] = expected[4:6, 1:] = 0.5
    np.testing.assert_allclose(scores, np.broadcast_to(expected, (2, 8, 3)), atol=1e-6)


def test_the_default_asks_the_model_itself():
    segmenter = SimpleNamespace(segment=lambda images: "labels", logits=None)
    assert tt.segment_function(segmenter, ONCE, "a.tflite") is segmenter.segment


@pytest.mark.parametrize(
    "procedure", [Procedure(flip=True), Procedure(scales=(2.0,)), Procedure(tile=(4, 4))]
)
def test_forms_without_scores_are_refused(procedure):
    for segmenter in (SimpleNamespace(), SimpleNamespace(logits=None)):
        with pytest.raises(UserError) as caught:
            tt.segment_function(segmenter, procedure, "a.tflite")
        assert str(caught.value) == (
            "a.tflite gives labels and no scores, which --scales, --flip, --tile and --crf need: "
            "take a .keras file or a SavedModel folder"
        )


def test_pictures_of_a_batch(image):
    segmenter = SimpleNamespace(logits=of_columns)
    labels = tt.segment_function(segmenter, Procedure(scales=(1.0, 1.5)), "a")(
        np.stack([image, image])
    )
    assert labels.shape == (2, 13, 22) and labels.dtype == np.uint8
    assert (labels[:, :, :9] == 1).all() and (labels[:, :, -9:] == 0).all()


@pytest.mark.parametrize(
    ("procedure", "message"),
    [
        (Procedure(scales=()), "--scales must be positive numbers, got none"),
        (Procedure(scales=(1, 0)), "--scales must be positive numbers, got 1 0"),
        (Procedure(scales=(float("nan"),)), "--scales must be positive numbers, got nan"),
        (Procedure(overlap=4), "--overlap needs --tile H W, got --overlap 4 alone"),
        (Procedure(tile=(0, 4)), "--tile must be at least 1 pixel, got 0 4"),
        (
            Procedure(tile=(8, 4), overlap=4),
            "--overlap must be at least 0 and below the tile's sides 8 4, got 4",
        ),
    ],
)
def test_what_cannot_be_meant(procedure, message):
    with pytest.raises(UsageError) as caught:
        tt.check(procedure)
    assert str(caught.value) == message


def test_a_model_of_any_size(image):
    """A Keras model, whose pictures are padded to its stride."""
    from gcn_keras import gcn
    from gcn_keras.inference import predict_logits, segment

    model = gcn(3, "resnet14_tiny", 3)
    logits = functools.partial(predict_logits, model)
    np.testing.assert_array_equal(tt.labels(logits, image, ONCE), segment(model, image))
    scores = tt.probabilities(logits, image, Procedure(scales=(0.5, 2.0), flip=True))
    np.testing.assert_allclose(scores.sum(axis=-1), np.ones((13, 22)), rtol=1e-5)

import io

import numpy as np
import pytest
import tensorflow as tf
from miniatures import coordinates, encoded, noise
from PIL import Image

from pipelines.base import decoding
from pipelines.stream import crops

MEAN = [124, 117, 104]  # rounded


def window(*values):
    return crops.Window(*map(tf.constant, values))


def drawn(draws, size, crop, scale=(1.0, 1.0)):
    found = crops.draw_window(tf.constant(draws), tf.constant(size), crop, scale)
    return tuple(int(value) for value in found)


@pytest.mark.parametrize(
    "draws, size, crop, scale, expected",
    [
        # No scaling: 40 - 10 = 30 rows and 50 - 20 = 30 columns to choose from.
        ([0.0, 0.0, 0.0, 0, 0], (40, 50), (10, 20), (1.0, 1.0), (0, 0, 10, 20, 10, 20, 0, 0)),
        ([0.0, 0.5, 0.999, 0, 0], (40, 50), (10, 20), (1.0, 1.0), (15, 30, 10, 20, 10, 20, 0, 0)),
        # Scale 2: half as many source pixels fill the crop.
        ([1.0, 0.0, 0.0, 0, 0], (40, 50), (10, 20), (0.5, 2.0), (0, 0, 5, 10, 10, 20, 0, 0)),
        # Scale 0.5: 20 x 40 source pixels.
        ([0.0, 0.999, 0.0, 0, 0], (40, 50), (10, 20), (0.5, 2.0), (20, 0, 20, 40, 10, 20, 0, 0)),
        # Scale 0.5 wants 20 x 40, the source has 16 x 20: all of it, 8 x 10 in the crop,
        # with 2 rows and 10 columns of freedom.
        ([0.0, 0.7, 0.7, 0.999, 0.5], (16, 20), (10, 20), (0.5, 2.0), (0, 0, 16, 20, 8, 10, 2, 5)),
        # A tiny scale wants more pixels than there are numbers: all is one pixel of the crop.
        ([0.0, 0, 0, 0.0, 0.5], (40, 50), (10, 20), (1e-9, 1e-9), (0, 0, 40, 50, 1, 1, 0, 10)),
        ([0.0, 0, 0, 0.0, 0.5], (40, 50), (10, 20), (1e-50, 1.0), (0, 0, 40, 50, 1, 1, 0, 10)),
        # One side padded, the other cropped.
        ([0.0, 0.0, 0.5, 0.0, 0.0], (4, 50), (10, 20), (1.0, 1.0), (0, 15, 4, 20, 4, 20, 0, 0)),
    ],
)
def test_windows_from_given_draws(draws, size, crop, scale, expected):
    assert drawn(draws, size, crop, scale) == expected


@pytest.mark.slow
def test_windows_stay_inside_source_and_crop():
    rng = np.random.default_rng(0)
    for _ in range(200):
        size, crop = rng.integers(1, 60, 2).tolist(), tuple(rng.integers(1, 60, 2).tolist())
        values = drawn(rng.random(5, np.float32).tolist(), size, crop, (0.25, 4.0))
        top, left, height, width, out_height, out_width, out_top, out_left = values
        assert top >= 0 and left >= 0 and height >= 1 and width >= 1
        assert top + height <= size[0] and left + width <= size[1]
        assert out_top >= 0 and out_left >= 0 and out_height >= 1 and out_width >= 1
        assert out_top + out_height <= crop[0] and out_left + out_width <= crop[1]


@pytest.mark.parametrize("draw", [0, 1, 2, 3, 4, 5, 6, 7])
@pytest.mark.parametrize("crop, scale", [((33, 47), (0.3, 3.0)), ((80, 70), (0.5, 2.0))])
@pytest.mark.parametrize("in_graph", [False, True])
def test_image_and_label_show_the_same_place(draw, crop, scale, in_graph):
    """The label is the row, or the column, of the pixel that the image shows, to half a pixel."""
    height, width = 60, 62
    image = encoded(coordinates(height, width), "PNG")
    rows, columns = np.mgrid[0:height, 0:width].astype(np.uint8)
    make = tf.function(crops.random_crop) if in_graph else crops.random_crop
    for channel, label in ((0, rows), (1, columns)):
        pixels, shown = make(
            tf.constant(image),
            tf.constant(encoded(label, "PNG")),
            tf.constant([7, draw], tf.int64),
            crop=crop,
            scale=scale,
        )
        pixels, shown = pixels.numpy(), shown.numpy()
        assert pixels.shape == (*crop, 3) and pixels.dtype == np.uint8
        assert shown.shape == crop and shown.dtype == np.uint8
        padding = shown == 255
        assert (pixels[padding] == MEAN).all() and (pixels[~padding][:, 2] == 7).all()
        assert (~padding).any()
        difference = shown[~padding] - pixels[~padding][:, channel] / 4.0
        # Nearest is half a pixel off at most; rounding four times the row adds an eighth.
        assert np.abs(difference).max() <= 0.5 + 0.125 + 1e-6
        assert set(np.unique(shown)) <= set(np.unique(label)) | {255}


def test_half_pixel_centres_when_a_row_is_doubled():
    image = np.zeros((1, 2, 3), np.uint8)
    image[0, 1] = 100
    assert crops.resize_image(tf.constant(image), 1, 4).numpy()[0, :, 0].tolist() == [
        0,
        25,
        75,
        100,
    ]
    label = tf.constant([[3, 255]], tf.uint8)
    assert crops.resize_label(label, 1, 4).numpy().tolist() == [[3, 3, 255, 255]]


@pytest.mark.parametrize("size", [(5, 7), (13, 4), (7, 5), (6, 15)])
def test_labels_are_resized_as_tensorflow_does_it(size):
    label = noise(7, 5)[..., 0]
    expected = tf.image.resize(label[..., None], size, method="nearest")[..., 0]
    assert np.array_equal(crops.resize_label(tf.constant(label), *size), expected)


def test_padding_is_the_rounded_mean_pixel_and_void():
    image = tf.zeros((1, 2, 3), tf.uint8)
    label = tf.ones((1, 2), tf.uint8)
    padded, shown = crops.pad(image, label, tf.constant(1), tf.constant(0), (3, 3))
    assert shown.numpy().tolist() == [[255, 255, 255], [1, 1, 255], [255, 255, 255]]
    expected = np.full((3, 3, 3), MEAN, np.uint8)
    expected[1, :2] = 0
    assert np.array_equal(padded, expected)


def test_flip_mirrors_both_or_neither():
    image = tf.constant([[[1, 2, 3], [4, 5, 6]]], tf.uint8)
    label = tf.constant([[7, 255]], tf.uint8)
    flipped, mirrored = crops.flipped((image, label), tf.constant(0.49), axis=1)
    assert flipped.numpy().tolist() == [[[4, 5, 6], [1, 2, 3]]]
    assert mirrored.numpy().tolist() == [[255, 7]]
    same, unchanged = crops.flipped((image, label), tf.constant(0.5), axis=1)
    assert np.array_equal(same, image) and np.array_equal(unchanged, label)


@pytest.mark.slow
def test_about_half_of_the_examples_are_flipped():
    image, label = encoded(coordinates(4, 5), "PNG"), encoded(np.zeros((4, 5), np.uint8), "PNG")
    flips = 0
    for index in range(100):
        pixels, _ = crops.random_crop(image, label, [3, index], crop=(4, 5))
        assert pixels[0, 0, 1] in (0, 16)
        flips += int(pixels[0, 0, 1] == 16)
    assert 35 <= flips <= 65


def test_jitter_by_hand():
    image = tf.constant([[[100, 50, 20], [200, 10, 40]]], tf.uint8)
    unchanged = crops.jitter_colours(image, tf.fill([3], 0.5), 0.4)
    assert np.array_equal(crops.to_uint8(unchanged), image)
    # Brightness 1.2, contrast 0.8, saturation 1.4, one after the other.
    pixels = image.numpy().astype(float) * 1.2
    pixels = pixels.mean() + (pixels - pixels.mean()) * 0.8
    gray = pixels @ [0.299, 0.587, 0.114]
    pixels = gray[..., None] + (pixels - gray[..., None]) * 1.4
    jittered = crops.jitter_colours(image, tf.constant([0.75, 0.25, 1.0]), 0.4)
    np.testing.assert_allclose(jittered, pixels, rtol=1e-5)


@pytest.mark.parametrize("size", [(1, 1), (2, 4), (3, 3), (5, 16)])
def test_jitter_treats_every_pixel_alike(size):
    """Pixels are multiplied eight at a time, and their number need be no multiple of that."""
    image = tf.fill([*size, 3], 100.0) * tf.constant([1.0, 0.5, 0.2])
    jittered = crops.jitter_colours(image, tf.constant([0.75, 0.25, 1.0]), 0.4).numpy()
    assert jittered.shape == (*size, 3)
    np.testing.assert_allclose(jittered, np.broadcast_to(jittered[0, 0], (*size, 3)), rtol=1e-5)


def test_rounding_and_clipping():
    given = tf.constant([[[-3.0, -0.4, 0.4], [0.6, 254.4, 255.4], [255.6, 300.0, 17.0]]])
    assert crops.to_uint8(given).numpy().tolist() == [[[0, 0, 0], [1, 254, 255], [255, 255, 17]]]
    image = tf.constant([[[1, 2, 3]]], tf.uint8)
    assert crops.to_uint8(image) is image


def test_jitter_changes_the_image_and_not_the_label():
    image, label = encoded(noise(8, 9), "PNG"), encoded(noise(8, 9, 1)[..., 0], "PNG")
    plain = crops.random_crop(image, label, [0, 1], crop=(12, 12), flip=False)
    jittered = crops.random_crop(image, label, [0, 1], crop=(12, 12), flip=False, jitter=0.5)
    assert np.array_equal(plain[1], jittered[1])
    assert not np.array_equal(plain[0], jittered[0])
    outside = ~(plain[0].numpy() == jittered[0].numpy()).all(-1)
    assert outside.sum() <= 8 * 9  # padding stays the mean pixel


def test_same_seed_same_crop_other_seed_other_crop():
    image, label = encoded(noise(40, 40), "JPEG"), encoded(noise(40, 40)[..., 0], "PNG")
    options = {"crop": (16, 16), "scale": (0.5, 2.0), "jitter": 0.3}
    first, again, other = (
        crops.random_crop(image, label, [5, index], **options)[0].numpy() for index in (0, 0, 1)
    )
    assert np.array_equal(first, again) and not np.array_equal(first, other)


@pytest.mark.parametrize("progressive", [False, True])
def test_jpeg_window_equals_the_window_of_the_whole(progressive):
    data = encoded(noise(50, 70), "JPEG", subsampling=0, progressive=progressive)
    whole = decoding.decode_image(tf.constant(data))
    part = crops.decode_window(
        tf.constant(data), window(13, 21, 17, 19, 0, 0, 0, 0), tf.constant([50, 70])
    )
    assert np.array_equal(part, whole[13:30, 21:40])


@pytest.mark.parametrize("mode", ["L", "P", "RGBA"])
def test_png_of_any_channels_becomes_rgb(mode):
    image = Image.fromarray(noise(5, 6)).convert(mode)
    buffer = io.BytesIO()
    image.save(buffer, format="PNG")
    decoded = decoding.decode_image(tf.constant(buffer.getvalue()))
    assert np.array_equal(decoded, np.asarray(image.convert("RGB")))


@pytest.mark.parametrize("format", ["JPEG", "PNG"])
def test_image_and_label_of_different_size_are_an_error(format):
    image, label = encoded(noise(9, 9), format), encoded(np.zeros((8, 9), np.uint8), "PNG")
    with pytest.raises(decoding.DecodeError, match="differ in size"):
        crops.random_crop(image, label, [0, 0], crop=(4, 4))


@pytest.mark.parametrize("format", ["JPEG", "PNG"])
def test_truncated_bytes_are_an_error(format):
    image, label = encoded(noise(64, 64), format), encoded(np.zeros((64, 64), np.uint8), "PNG")
    with pytest.raises(decoding.DecodeError):
        crops.random_crop(image[: len(image) // 2], label, [0, 0], crop=(64, 64))


@pytest.mark.parametrize("format", ["JPEG", "PNG"])
def test_pad_shows_the_whole_image_somewhere_in_the_crop(format):
    pixels = noise(5, 7)
    image, label = encoded(pixels, format), encoded(pixels[..., 0] // 2, "PNG")
    whole, labels = decoding.decode_image(tf.constant(image)), pixels[..., 0] // 2
    places = set()
    for index in range(30):
        shown, found = crops.random_crop(
            image, label, [1, index], crop=(6, 9), mode="pad", flip=False
        )
        inside = np.argwhere(found.numpy() != 255)
        (top, left), (bottom, right) = inside.min(0), inside.max(0) + 1
        assert (bottom - top, right - left) == (5, 7)
        assert np.array_equal(shown[top:bottom, left:right], whole)
        assert np.array_equal(found[top:bottom, left:right], labels)
        outside = np.ones((6, 9), bool)
        outside[top:bottom, left:right] = False
        assert (shown.numpy()[outside] == MEAN).all() and (found.numpy()[outside] == 255).all()
        places.add((top, left))
    assert places == {(top, left) for top in (0, 1) for left in (0, 1, 2)}


@pytest.mark.parametrize("size, fits", [((8, 6), True), ((9, 6), False), ((8, 7), False)])
@pytest.mark.parametrize("in_graph", [False, True])
def test_pad_cuts_nothing(size, fits, in_graph):
    make = tf.function(crops.random_crop) if in_graph else crops.random_crop
    image, label = encoded(noise(*size), "PNG"), encoded(np.zeros(size, np.uint8), "PNG")

    def padded():
        return make(image, label, [0, 0], crop=(8, 6), mode="pad", image_id="aachen_7")

    if fits:
        assert (padded()[1].numpy() == 0).all()
    else:
        with pytest.raises(
            decoding.DecodeError,
            match=rf"image aachen_7 is {size[0]} x {size[1]} pixels \(height x width\), "
            "larger than the crop of 8 x 6; mode pad cuts nothing",
        ):
            padded()


def test_the_draws_of_a_seed_stay_what_they_were():
    """Places in the source and mirroring of examples 0 to 5 of seed 5, and windows of 0 to 3."""
    image, label = encoded(coordinates(9, 11), "PNG"), encoded(np.zeros((9, 11), np.uint8), "PNG")
    drawn = []
    for number in range(6):
        pixels = crops.random_crop(image, label, [5, number], crop=(4, 4))[0].numpy() // 4
        is_mirrored = pixels[0, 0, 1] > pixels[0, 1, 1]
        drawn.append((*pixels[0, -1 if is_mirrored else 0, :2].tolist(), bool(is_mirrored)))
    assert drawn == [
        (4, 7, False),
        (5, 0, True),
        (5, 0, True),
        (3, 6, True),
        (4, 1, False),
        (1, 4, True),
    ]
    windows = [
        crops.draw_window(
            tf.random.stateless_uniform([9], [5, number])[:5], [9, 11], (6, 6), (0.5, 2.0)
        )
        for number in range(4)
    ]
    assert [[int(value) for value in window] for window in windows] == [
        [0, 1, 9, 10, 5, 6, 0, 0],
        [5, 0, 4, 4, 6, 6, 0, 0],
        [0, 0, 9, 10, 5, 6, 1, 0],
        [4, 7, 3, 3, 6, 6, 0, 0],
    ]


def test_colours_have_draws_of_their_own():
    """Those behind scale and place: a crop's colours tell nothing of where it is from."""
    image, label = encoded(noise(9, 11), "PNG"), encoded(np.zeros((9, 11), np.uint8), "PNG")
    options = {"crop": (4, 4), "flip": False}
    for number in range(3):
        plain, _ = crops.random_crop(image, label, [5, number], **options)
        found, _ = crops.random_crop(image, label, [5, number], jitter=0.5, **options)
        draws = tf.random.stateless_uniform([9], [5, number])[5:8]
        wanted = crops.to_uint8(crops.jitter_colours(plain, draws, 0.5))
        assert np.array_equal(found, wanted) and not np.array_equal(found, plain)


def test_at_scale_1_nothing_is_resized(monkeypatch):
    monkeypatch.setattr(tf.image, "resize", None)
    image, label = encoded(noise(9, 9), "JPEG"), encoded(np.zeros((9, 9), np.uint8), "PNG")
    assert crops.random_crop(image, label, [0, 0], crop=(4, 4))[0].shape == (4, 4, 3)


def test_labels_that_are_no_index_masks_are_an_error():
    gray = np.full((4, 5), 7, np.uint8)
    palette = Image.fromarray(gray, "L")
    palette.putpalette(bytes(range(256)) * 3)
    for image, format in (
        (Image.fromarray(gray), "JPEG"),
        (Image.fromarray(noise(4, 5)), "PNG"),
        (Image.fromarray(gray > 0), "PNG"),
        (palette, "PNG"),
    ):
        buffer = io.BytesIO()
        image.save(buffer, format=format)
        with pytest.raises(decoding.DecodeError, match="the label is no 8-bit grayscale PNG"):
            decoding.decode_label(buffer.getvalue())
    assert np.array_equal(decoding.decode_label(encoded(gray, "PNG")), gray)
    for data in (b"", b"\x89PNG\r\n\x1a\n"):
        with pytest.raises(decoding.DecodeError, match="the label is no 8-bit grayscale PNG"):
            decoding.decode_label(data)

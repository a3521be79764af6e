"""Whatever is drawn: image and label map show the same place, and no label is invented."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from miniatures import encoded, noise

from pipelines.base.imagenet import MEAN_RGB
from pipelines.stream import crops

SIDES = st.integers(1, 62)
# As few examples as find the mistakes that were made on purpose: a label that is resized from
# another corner, flipped alone, padded elsewhere, or interpolated.
EXAMPLES = settings(max_examples=120, deadline=None, derandomize=True, database=None)


@st.composite
def augmentations(draw):
    """Size of the image, seed, and options of `random_crop`."""
    size = draw(SIDES), draw(SIDES)
    options = {
        "mode": draw(st.sampled_from(["crop", "crop", "pad"])),
        "crop": (draw(SIDES), draw(SIDES)),
        "flip": draw(st.booleans()),
    }
    if options["mode"] == "pad":
        options["crop"] = tuple(map(max, options["crop"], size))
    else:
        options["scale"] = tuple(sorted((draw(factors()), draw(factors()))))
    return size, [draw(st.integers(0, 2**62)), draw(st.integers(0, 2**62))], options


def factors():
    return st.floats(0.2, 5.0, allow_nan=False)


def coordinates(height, width):
    """Red is four times the row, green four times the column, so that halves show; blue 7."""
    rows, columns = np.mgrid[0:height, 0:width]
    return np.stack([4 * rows, 4 * columns, np.full_like(rows, 7)], axis=-1).astype(np.uint8)


@pytest.mark.slow
@EXAMPLES
@given(augmentations())
def test_image_and_labels_show_the_same_place(drawn):
    size, seed, options = drawn
    image = tf.constant(encoded(coordinates(*size), "PNG"))
    for channel, label in enumerate(np.mgrid[0 : size[0], 0 : size[1]].astype(np.uint8)):
        encoded_label = tf.constant(encoded(label, "PNG"))
        pixels, shown = crops.random_crop(image, encoded_label, seed, **options)
        pixels, shown = pixels.numpy(), shown.numpy().astype(float)
        padding = shown == 255
        # Of the padding too: exactly where there is no label there is no image.
        assert np.array_equal(padding, (pixels == np.rint(MEAN_RGB)).all(-1))
        assert (pixels[~padding][:, 2] == 7).all()
        places = pixels[~padding][:, channel] / 4.0
        # Nearest is half a pixel off at most; four times the row, rounded, another eighth.
        assert np.abs(shown[~padding] - places).max() <= 0.5 + 0.125 + 1e-3
    if options["mode"] == "pad":
        assert (~padding).sum() == size[0] * size[1]


@pytest.mark.slow
@EXAMPLES
@given(augmentations(), st.floats(0.0, 1.0), st.sets(st.integers(0, 255), min_size=1, max_size=9))
def test_no_label_appears_that_was_not_there_except_void(drawn, jitter, values):
    size, seed, options = drawn
    values = np.array(sorted(values), np.uint8)
    label = values[noise(*size, seed[0])[..., 0] % len(values)]
    image, encoded_label = encoded(noise(*size), "PNG"), encoded(label, "PNG")
    pixels, shown = crops.random_crop(image, encoded_label, seed, jitter=jitter, **options)
    assert pixels.shape == (*options["crop"], 3) and shown.shape == options["crop"]
    assert set(np.unique(shown)) <= {*np.unique(label).tolist(), 255}


@pytest.mark.slow
@EXAMPLES
@given(augmentations(), st.floats(0.1, 1.0))
def test_one_option_does_not_shift_the_draws_of_another(drawn, jitter):
    """Colours do not move the labels, and a flip shows the same window."""
    size, seed, options = drawn
    image, label = encoded(noise(*size), "PNG"), encoded(noise(*size, 1)[..., 0], "PNG")
    plain = crops.random_crop(image, label, seed, **{**options, "flip": False})[1].numpy()
    coloured = crops.random_crop(image, label, seed, **{**options, "flip": False}, jitter=jitter)
    assert np.array_equal(coloured[1], plain)
    flipped = crops.random_crop(image, label, seed, **{**options, "flip": True})[1].numpy()
    # Padding is put around the image after the flip, so what is compared is the image.
    assert np.array_equal(np.sort(flipped, axis=None), np.sort(plain, axis=None))

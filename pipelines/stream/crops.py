"""Decoding and augmentation of an image together with its label map.

Pure functions: every draw comes from an explicit `seed`, two integers, through stateless ops.
Images are uint8 `[H, W, 3]` RGB, label maps uint8 `[H, W]` with 255 for void.

A training example is made from a window of the source: what the crop will show, in whole source
pixels. Image and labels are cut alike and then resized, so the two cannot come apart, and of a
JPEG nothing but the window is decoded.
"""

from collections.abc import Callable
from typing import Literal, NamedTuple

import tensorflow as tf

from pipelines.base.checked import checked
from pipelines.base.decoding import decode_label, of_size
from pipelines.base.imagenet import MEAN_RGB
from pipelines.base.labels import IGNORE

# Luma of RGB (ITU-R BT.601), for saturation.
_LUMA = (0.299, 0.587, 0.114)
# The end of the message about an image that is larger than the crop.
WITHOUT_CUTTING = "; mode pad cuts nothing: give a larger crop, or mode crop"


class Window(NamedTuple):
    """What a crop shows of its source, and where it shows it: int32 scalars.

    Attributes:
        top, left, height, width: the window, in source pixels.
        out_height, out_width: its size in the crop.
        out_top, out_left: its place in the crop; the rest of the crop is padding.
    """

    top: tf.Tensor
    left: tf.Tensor
    height: tf.Tensor
    width: tf.Tensor
    out_height: tf.Tensor
    out_width: tf.Tensor
    out_top: tf.Tensor
    out_left: tf.Tensor


def decode_window(encoded: tf.Tensor, window: Window, size: tf.Tensor) -> tf.Tensor:
    """Decodes a window of a JPEG or PNG, a scalar string.

    Args:
        encoded: the file.
        window: lies inside the image.
        size: int32 `[2]`, height and width that the image must have.

    Returns:
        uint8 `[window.height, window.width, 3]`.

    Raises:
        DecodeError: the bytes are neither, or damaged, or the image has another size.
    """

    def jpeg():
        file = of_size(encoded, tf.io.extract_jpeg_shape(encoded)[:2], size)
        return tf.image.decode_and_crop_jpeg(
            file, window[:4], channels=3, dct_method="INTEGER_ACCURATE"
        )

    def png():
        image = tf.io.decode_png(encoded, channels=3)
        return cut(of_size(image, tf.shape(image)[:2], size), window)

    return tf.cond(tf.io.is_jpeg(encoded), jpeg, png)


def cut(pixels: tf.Tensor, window: Window) -> tf.Tensor:
    """Cuts a window from an image or a label map."""
    return pixels[window.top : window.top + window.height, window.left : window.left + window.width]


def draw_window(
    draws: tf.Tensor, size: tf.Tensor, crop: tuple[int, int], scale: tuple[float, float]
) -> Window:
    """Draws what a crop shows.

    At scale s a crop of h x w shows h/s x w/s source pixels, rounded to whole ones. Where the
    source is smaller than that, all of it is shown, at a random place in the crop.

    Args:
        draws: float32 `[5]`, uniform in [0, 1): scale, place in the source (y, x), place in
            the crop (y, x).
        size: int32 `[2]`, height and width of the source.
        crop: height and width of the crop.
        scale: smallest and largest scale, drawn uniformly.
    """
    low, high = scale
    factor = low + draws[0] * (high - low)
    # Height and width together: for a small crop the number of operations counts.
    # At a tiny scale it is cut: beyond 2^31 pixels it would be no int32.
    wanted = tf.round(tf.constant(crop, tf.float32) / factor)
    wanted = tf.raw_ops.ClipByValue(t=wanted, clip_value_min=1.0, clip_value_max=2.0**30)
    wanted = tf.cast(wanted, tf.int32)
    shown = tf.minimum(wanted, size)
    start = _uniform_integers(draws[1:3], size - shown)
    # The same ratio as that of the full window to the crop; exact where nothing is padded.
    out = tf.clip_by_value(tf.cast(tf.round(shown * crop / wanted), tf.int32), 1, crop)
    out_start = _uniform_integers(draws[3:5], crop - out)
    return Window(*tf.unstack(tf.concat([start, shown, out, out_start], axis=0)))


def _uniform_integers(draws: tf.Tensor, largest: tf.Tensor) -> tf.Tensor:
    """0…largest from draws in [0, 1)."""
    count = tf.cast(largest + 1, tf.float32)
    return tf.minimum(tf.cast(tf.floor(draws * count), tf.int32), largest)


def resize_image(image: tf.Tensor, height: tf.Tensor, width: tf.Tensor) -> tf.Tensor:
    """Resizes an image bilinearly (half-pixel centres), uint8 to float32 in 0…255."""
    size = tf.stack([height, width])
    return tf.image.resize(tf.cast(image, tf.float32), size, method="bilinear")


def resize_label(label: tf.Tensor, height: tf.Tensor, width: tf.Tensor) -> tf.Tensor:
    """Resizes a label map by nearest neighbour (half-pixel centres): no new values appear."""
    # Whole rows are copied, then whole columns as rows of the transposed map: pixel by pixel, as
    # tf.image.resize does it, takes longer than transposing twice.
    rows, columns = _nearest(tf.shape(label)[0], height), _nearest(tf.shape(label)[1], width)
    return tf.transpose(tf.gather(tf.transpose(tf.gather(label, rows)), columns))


def _nearest(size: tf.Tensor, out_size: tf.Tensor) -> tf.Tensor:
    """For each index of the resized axis the source index: floor((i + 1/2) * size / out_size)."""
    return (2 * tf.range(out_size) + 1) * size // (2 * out_size)


def jitter_colours(image: tf.Tensor, draws: tf.Tensor, strength: float) -> tf.Tensor:
    """Varies brightness, contrast and saturation, each by a factor in 1 ± strength.

    Args:
        image: uint8 or float32 `[H, W, 3]`, 0…255.
        draws: float32 `[3]`, uniform in [0, 1), one for each.
        strength: 0 (nothing happens) … 1.

    Returns:
        float32 `[H, W, 3]`, beyond 0…255 in places.
    """
    brightness, contrast, saturation = tf.unstack(1.0 + strength * (2.0 * draws - 1.0))
    # The three steps, p *= brightness, p = mean + (p - mean) * contrast and
    # p = luma + (p - luma) * saturation, are affine in a pixel: one product does them all.
    matrix = saturation * tf.eye(3) + (1.0 - saturation) * tf.constant(_LUMA)[:, None]
    pixels = tf.cast(image, tf.float32)
    offset = tf.reduce_mean(pixels) * brightness * (1.0 - contrast)
    return each_pixel_times(pixels, brightness * contrast * matrix) + offset


def each_pixel_times(pixels: tf.Tensor, matrix: tf.Tensor) -> tf.Tensor:
    """float32 `[H, W, 3]` times `[3, 3]`."""
    # Eight pixels at once, with the matrix eight times on a diagonal: a matrix product of three
    # columns is several times slower than that.
    together = 8
    blocks = tf.eye(together)[:, None, :, None] * matrix[None, :, None, :]
    blocks = tf.reshape(blocks, [3 * together, 3 * together])
    flat = tf.reshape(pixels, [-1])
    size = tf.size(flat)
    flat = tf.pad(flat, [[0, -size % (3 * together)]])
    product = tf.reshape(flat, [-1, 3 * together]) @ blocks
    return tf.reshape(tf.reshape(product, [-1])[:size], tf.shape(pixels))


def to_uint8(image: tf.Tensor) -> tf.Tensor:
    """Rounds and clips float32 to uint8; uint8 stays as it is."""
    if image.dtype == tf.uint8:
        return image
    # Half is added first, and the cast cuts: two passes over the image instead of four.
    shifted = tf.raw_ops.ClipByValue(t=image + 0.5, clip_value_min=0.0, clip_value_max=255.0)
    return tf.cast(shifted, tf.uint8)


def flipped(arrays: tuple[tf.Tensor, ...], draw: tf.Tensor, axis: int) -> tuple[tf.Tensor, ...]:
    """Mirrors arrays along an axis where `draw`, uniform in [0, 1), is below one half."""
    return tf.cond(
        draw < 0.5,
        lambda: tuple(tf.reverse(array, axis=[axis]) for array in arrays),
        lambda: arrays,
    )


def pad(
    image: tf.Tensor, label: tf.Tensor, top: tf.Tensor, left: tf.Tensor, crop: tuple[int, int]
) -> tuple[tf.Tensor, tf.Tensor]:
    """Places image and label map in a crop; around them are the rounded mean pixel and 255.

    Args:
        image: uint8 `[h, w, 3]`, at most as large as the crop.
        label: uint8 `[h, w]`.
        top, left: where their first pixel comes to lie.
        crop: height and width of the result.

    Returns:
        uint8 `[*crop, 3]` and uint8 `[*crop]`, static shapes.
    """
    height, width = crop
    size = tf.shape(label)
    rows = [top, height - top - size[0]]
    columns = [left, width - left - size[1]]

    def padded():
        # tf.pad fills with one value: the mean pixel is zero meanwhile, modulo 256.
        mean = tf.cast(tf.round(MEAN_RGB), tf.uint8)
        framed = tf.pad(image - mean, [rows, columns, [0, 0]]) + mean
        return framed, tf.pad(label, [rows, columns], constant_values=IGNORE)

    full = tf.reduce_all(size == crop)
    image, label = tf.cond(full, lambda: (image, label), padded)
    return tf.ensure_shape(image, (height, width, 3)), tf.ensure_shape(label, (height, width))


def fitting(size: tf.Tensor, crop: tuple[int, int], image_id: tf.Tensor) -> tf.Tensor:
    """`size`, int32 `[2]`, if it is within the crop's; else a DecodeError that names the image."""
    height, width = tf.unstack(tf.strings.as_string(size))
    message = tf.strings.join(
        [
            *("image ", image_id, " is ", height, " x ", width, " pixels (height x width), "),
            f"larger than the crop of {crop[0]} x {crop[1]}{WITHOUT_CUTTING}",
        ]
    )
    return checked(size, tf.reduce_all(size <= crop), message)


def random_crop(
    encoded_image: tf.Tensor,
    encoded_label: tf.Tensor,
    seed: tf.Tensor,
    *,
    crop: tuple[int, int],
    mode: Literal["crop", "pad"] = "crop",
    scale: tuple[float, float] = (1.0, 1.0),
    flip: bool = True,
    jitter: float = 0.0,
    recolour: Callable[[tf.Tensor], tf.Tensor] | None = None,
    image_id: tf.Tensor | str = "",
) -> tuple[tf.Tensor, tf.Tensor]:
    """Makes a training example: window, resize, jitter, recolour, flip, pad.

    Of a JPEG only the window is decoded, a PNG whole. Nothing is resized at a scale of (1, 1).

    Args:
        encoded_image: scalar string, JPEG or PNG.
        encoded_label: scalar string, grayscale PNG of indices, of the image's size.
        seed: integers `[2]`; the same seed gives the same example.
        crop: height and width of the result.
        mode, scale, flip, jitter: as in `pipelines.stream.options.SegmentationOptions`.
        recolour: what else changes the image alone, uint8 `[h, w, 3]`; padding stays as it is.
        image_id: names the image in errors, scalar string.

    Returns:
        uint8 `[*crop, 3]` and uint8 `[*crop]`, static shapes.

    Raises:
        DecodeError: damaged bytes, image and label of different size, or in mode "pad" an image
            larger than the crop.
    """
    # All draws at once and whether used or not, so that one option does not shift the others.
    draws = tf.random.stateless_uniform([9], seed)
    label = decode_label(encoded_label)
    size = tf.shape(label)
    if mode == "pad":
        size = fitting(size, crop, image_id)
    window = draw_window(draws[:5], size, crop, scale)
    image = decode_window(encoded_image, window, size)
    label = cut(label, window)
    if scale != (1.0, 1.0):
        image = resize_image(image, window.out_height, window.out_width)
        label = resize_label(label, window.out_height, window.out_width)
    if jitter:
        image = jitter_colours(image, draws[5:8], jitter)
    image = to_uint8(image)
    if recolour:
        image = recolour(image)
    if flip:
        image, label = flipped((image, label), draws[8], axis=1)
    return pad(image, label, window.out_top, window.out_left, crop)

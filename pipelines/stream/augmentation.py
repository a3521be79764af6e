"""Augmentations beyond scale, flip and jitter: each of an image together with its label map.

Pure functions, as those of `crops`: what is drawn comes in as `draws`, uniform in [0, 1). Images
are uint8 `[H, W, 3]` RGB, label maps uint8 `[H, W]` with 255 for void.
"""

import math
from collections.abc import Callable

import tensorflow as tf

from pipelines.base.imagenet import MEAN_RGB
from pipelines.base.labels import IGNORE
from pipelines.stream.crops import each_pixel_times, flipped, to_uint8
from pipelines.stream.options import SegmentationOptions

ImageAndLabel = tuple[tf.Tensor, tf.Tensor]

# Ours: the smallest and the largest share of an image that is erased, or taken from another.
_ERASED = (0.02, 0.2)
_CUT = (0.1, 0.5)
_RATIO = math.log(3.0)  # of a rectangle's sides, at most, as a logarithm


def augment(
    image: tf.Tensor, label: tf.Tensor, seeds: tf.Tensor, options: SegmentationOptions
) -> ImageAndLabel:
    """What `options` ask for of a pair alone: rotation and vertical flip.

    What is drawn follows from `seeds`, integers `[2]`; one option does not shift another's draws.
    """
    draws = _draws(seeds)
    if options.rotate:
        image, label = rotate(image, label, draws[0], options.rotate)
    if options.flip_vertical:
        image, label = flipped((image, label), draws[1], axis=0)
    return image, label


def recolour(image: tf.Tensor, seeds: tf.Tensor, options: SegmentationOptions) -> tf.Tensor:
    """What `options` ask for of an image without its padding: hue and sharpness.

    What is drawn follows from `seeds`, as in `augment`.
    """
    draws = _draws(seeds)
    if options.hue:
        image = shift_hue(image, draws[2], options.hue)
    if options.sharpness:
        image = sharpen(image, draws[3], options.sharpness)
    return image


def _draws(seeds: tf.Tensor) -> tf.Tensor:
    """One each for rotation, vertical flip, hue and sharpness."""
    return tf.random.stateless_uniform([4], folded(seeds, 0))


def mix(
    pair: ImageAndLabel, other: Callable[[], ImageAndLabel], seeds: tf.Tensor, kind: str
) -> ImageAndLabel:
    """Mixes every second pair with another one, which is made for these alone.

    Args:
        pair: image and label map.
        other: makes another pair of the same size.
        seeds: integers `[2]`, from which all follows that is drawn.
        kind: "cutmix" or "classmix".
    """
    draws = tf.random.stateless_uniform([256], seeds)
    mixed = {"cutmix": cut_mix, "classmix": class_mix}[kind]
    return tf.cond(draws[0] < 0.5, lambda: mixed(pair, other(), draws[1:]), lambda: pair)


def folded(seeds: tf.Tensor, number: int) -> tf.Tensor:
    """Other seeds, integers `[2]`, that follow from these and a number."""
    return tf.random.experimental.stateless_fold_in(seeds, number)


def rotate(image: tf.Tensor, label: tf.Tensor, draw: tf.Tensor, degrees: float) -> ImageAndLabel:
    """Rotates about the centre by up to ± `degrees`, counterclockwise as one looks at it.

    The image is interpolated bilinearly, the label map takes the nearest value. What comes from
    outside is the rounded mean pixel, and void.
    """
    angle = (2.0 * draw - 1.0) * degrees * math.pi / 180.0
    size = tf.shape(label)
    last = tf.cast(size, tf.float32) - 1.0
    cosine, sine = tf.cos(angle), tf.sin(angle)
    # Where each pixel of the result comes from: rows are (x, y) in units of (x, y, 1).
    left = (last[1] - (cosine * last[1] - sine * last[0])) / 2.0
    top = (last[0] - (sine * last[1] + cosine * last[0])) / 2.0
    transform = tf.stack([[cosine, -sine, left], [sine, cosine, top]])
    transform = tf.concat([tf.reshape(transform, [6]), [0.0, 0.0]], axis=0)[None]
    mean = tf.round(MEAN_RGB)
    pixels = _transformed(tf.cast(image, tf.float32) - mean, transform, size, "BILINEAR", 0.0)
    labels = _transformed(label[..., None], transform, size, "NEAREST", float(IGNORE))
    return to_uint8(pixels + mean), labels[..., 0]


def _transformed(pixels, transform, size, interpolation, fill) -> tf.Tensor:
    return tf.raw_ops.ImageProjectiveTransformV3(
        images=pixels[None],
        transforms=transform,
        output_shape=size,
        interpolation=interpolation,
        fill_mode="CONSTANT",
        fill_value=fill,
    )[0]


def shift_hue(image: tf.Tensor, draw: tf.Tensor, strength: float) -> tf.Tensor:
    """Turns all colours about the gray axis of RGB by up to ± `strength` of a full turn."""
    angle = (2.0 * draw - 1.0) * strength * 2.0 * math.pi
    cosine, sine = tf.cos(angle), tf.sin(angle) / math.sqrt(3.0)
    same = cosine + (1.0 - cosine) / 3.0
    right, left = (1.0 - cosine) / 3.0 - sine, (1.0 - cosine) / 3.0 + sine
    matrix = tf.stack([[same, left, right], [right, same, left], [left, right, same]])
    return to_uint8(each_pixel_times(tf.cast(image, tf.float32), matrix))


def sharpen(image: tf.Tensor, draw: tf.Tensor, strength: float) -> tf.Tensor:
    """Blurs or sharpens: adds a factor in ± `strength` of the difference to the blurred image.

    At -1 the image is its binomial blur over 5×5 pixels; at 1 the difference is doubled.
    """
    factor = (2.0 * draw - 1.0) * strength
    line = tf.constant([1.0, 4.0, 6.0, 4.0, 1.0]) / 16.0
    pixels = tf.cast(image, tf.float32)
    blurred = pixels[None]
    for axis in 1, 2:
        blurred = tf.gather(blurred, _mirrored(tf.shape(blurred)[axis]), axis=axis)
    for shape in [5, 1, 1, 1], [1, 5, 1, 1]:
        kernel = tf.tile(tf.reshape(line, shape), [1, 1, 3, 1])
        blurred = tf.nn.depthwise_conv2d(blurred, kernel, [1, 1, 1, 1], "VALID")
    return to_uint8(pixels + factor * (pixels - blurred[0]))


def _mirrored(size: tf.Tensor) -> tf.Tensor:
    """The indices of an axis, and of two mirrored pixels beyond each end; one pixel is repeated."""
    index = tf.range(-2, size + 2)  # tf.pad mirrors no more than there is
    mirrored = tf.minimum(tf.maximum(index, -1 - index), 2 * size - 1 - index)
    return tf.clip_by_value(mirrored, 0, size - 1)


def erase(pair: ImageAndLabel, draws: tf.Tensor, probability: float) -> ImageAndLabel:
    """Covers a rectangle with the rounded mean pixel, and makes it void (Zhong et al. 2017).

    Args:
        pair: image and label map.
        draws: float32 `[5]`: whether, its area, the ratio of its sides, its place (y, x).
        probability: of erasing.
    """
    image, label = pair
    inside = _rectangle(tf.shape(label), draws[1:], _ERASED) & (draws[0] < probability)
    mean = tf.cast(tf.round(MEAN_RGB), tf.uint8)
    return tf.where(inside[..., None], mean, image), tf.where(
        inside, tf.constant(IGNORE, tf.uint8), label
    )


def cut_mix(pair: ImageAndLabel, other: ImageAndLabel, draws: tf.Tensor) -> ImageAndLabel:
    """Pastes a rectangle of another pair of the same size (Yun et al. 2019).

    Args:
        pair, other: image and label map each.
        draws: float32 `[4]`: the rectangle's area, the ratio of its sides, its place (y, x).
    """
    return _pasted(pair, other, _rectangle(tf.shape(pair[1]), draws, _CUT))


def class_mix(pair: ImageAndLabel, other: ImageAndLabel, draws: tf.Tensor) -> ImageAndLabel:
    """Pastes half of the classes of another pair, rounded up, void never (Olsson et al. 2020).

    Args:
        pair, other: image and label map each, of one size.
        draws: float32 `[255]`: the classes with the smallest draws are pasted.
    """
    counts = tf.math.bincount(tf.cast(other[1], tf.int32), minlength=256, maxlength=256)
    there = counts[:IGNORE] > 0
    order = tf.argsort(tf.argsort(tf.where(there, draws, 2.0)))
    taken = there & (2 * order < tf.reduce_sum(tf.cast(there, tf.int32)))
    inside = tf.gather(tf.concat([taken, [False]], axis=0), tf.cast(other[1], tf.int32))
    return _pasted(pair, other, inside)


def _pasted(pair: ImageAndLabel, other: ImageAndLabel, inside: tf.Tensor) -> ImageAndLabel:
    (image, label), (other_image, other_label) = pair, other
    return tf.where(inside[..., None], other_image, image), tf.where(inside, other_label, label)


def _rectangle(size: tf.Tensor, draws: tf.Tensor, share: tuple[float, float]) -> tf.Tensor:
    """A rectangle within an image: bool `[H, W]`.

    Its sides have a ratio of 1/3 … 3 to the image's, where they are not cut to it.
    """
    area = share[0] + draws[0] * (share[1] - share[0])
    ratio = tf.exp((2.0 * draws[1] - 1.0) * _RATIO)
    sides = tf.minimum(1.0, tf.stack([tf.sqrt(area * ratio), tf.sqrt(area / ratio)]))
    extent = tf.maximum(1, tf.cast(tf.round(sides * tf.cast(size, tf.float32)), tf.int32))
    free = tf.cast(size - extent + 1, tf.float32)
    start = tf.cast(tf.floor(draws[2:4] * free), tf.int32)
    rows, columns = tf.range(size[0]), tf.range(size[1])
    within_rows = (rows >= start[0]) & (rows < start[0] + extent[0])
    within_columns = (columns >= start[1]) & (columns < start[1] + extent[1])
    return within_rows[:, None] & within_columns

"""From TFRecords of images with one class each to batches, with tf.data."""

from typing import Any

import tensorflow as tf

from pipelines.base.decoding import image_size
from pipelines.datasets import PreparedDataset
from pipelines.stream import crops
from pipelines.stream.batches import PREFETCHED_BATCHES, batches_of, check_split, checked_options
from pipelines.stream.faults import check_some_usable, mapped
from pipelines.stream.options import ClassificationOptions
from pipelines.stream.record_order import all_records

# Of a crop's sides, relative to those of the crop: the field's habit since Inception.
ASPECT_RATIOS = (3 / 4, 4 / 3)
# Share of an image's shorter side that the central crop shows: 224 of 256.
CENTRAL_SHARE = 224 / 256


def training_batches(
    dataset: PreparedDataset,
    split: str,
    options: ClassificationOptions | None = None,
    **fields: Any,
) -> tf.data.Dataset:
    """An endless stream of random-resized crops; order and draws follow from `seed`.

    Args:
        dataset: from `pipelines.datasets.classification.load`.
        split, options, fields: as in `pipelines.stream.segmentation.training_batches`.

    Returns:
        A data set of (images, labels, image ids): uint8 `[n, h, w, 3]` RGB, int64 `[n]`, string
        `[n]`.

    Raises:
        As `pipelines.stream.segmentation.training_batches`.
    """
    given = checked_options(dataset, split, ClassificationOptions, options, fields)

    def example(seeds, record):
        parsed = dataset.parse(record)
        image = random_resized_crop(
            parsed["image"],
            seeds,
            crop=given.crop,
            area=given.area,
            flip=given.flip,
            jitter=given.jitter,
        )
        return image, parsed["label"], parsed["image_id"]

    if given.skip_errors:
        advice = "prepare the data set again"
        check_some_usable(dataset, split, lambda record: example((0, 0), record), advice)
    return batches_of(dataset, split, example, given)


def evaluation_batches(
    dataset: PreparedDataset,
    split: str,
    crop: tuple[int, int],
    batch_size: int,
    part: tuple[int, int] = (0, 1),
) -> tf.data.Dataset:
    """The central crop of every image of a split once, in a fixed order.

    Args:
        dataset, split, crop: as in `training_batches`.
        batch_size: images in a batch; the last one may be smaller.
        part: (index, count): only every count-th image, for processes that measure together.

    Returns:
        A data set of (images, labels): uint8 `[n, h, w, 3]` RGB, int64 `[n]`.

    Raises:
        UsageError: no such split.
        DATA_ERRORS: while iterating, for an example that is damaged.
    """
    check_split(dataset, split)

    def example(record):
        parsed = dataset.parse(record)
        return central_crop(parsed["image"], crop), parsed["label"]

    index, count = part
    records = all_records(dataset, split).shard(count, index)
    examples = mapped(records, example)
    return examples.batch(batch_size).prefetch(PREFETCHED_BATCHES)


def random_resized_crop(
    encoded: tf.Tensor,
    seed: tf.Tensor,
    *,
    crop: tuple[int, int],
    area: tuple[float, float],
    flip: bool = True,
    jitter: float = 0.0,
) -> tf.Tensor:
    """A random part of an image, resized to the crop; of a JPEG only that part is decoded.

    Args:
        encoded: scalar string, JPEG or PNG.
        seed: integers `[2]`; the same seed gives the same crop.
        crop: height and width of the result.
        area: smallest and largest share of the image that is shown, whose sides' ratio differs
            from the crop's by a factor in `ASPECT_RATIOS`; all of it where no such part is found.
        flip: whether half of the crops are mirrored.
        jitter: strength of the colour jitter, 0 for none.

    Returns:
        uint8 `[*crop, 3]`.

    Raises:
        DecodeError: bytes that are damaged.
    """
    of_window, of_rest = tf.unstack(tf.random.split(seed, 2))
    draws = tf.random.stateless_uniform([4], of_rest)
    size = image_size(encoded)
    image = _resized(encoded, random_window(size, of_window, crop, area), size)
    if jitter:
        image = crops.jitter_colours(image, draws[:3], jitter)
    image = crops.to_uint8(image)
    if flip:
        (image,) = crops.flipped((image,), draws[3], axis=1)
    return tf.ensure_shape(image, (*crop, 3))


def random_window(
    size: tf.Tensor, seed: tf.Tensor, crop: tuple[int, int], area: tuple[float, float]
) -> crops.Window:
    """Draws what a crop shows of an image of `size`, int32 `[2]`; see `random_resized_crop`."""
    ratio = crop[1] / crop[0]
    begin, shown, _ = tf.image.stateless_sample_distorted_bounding_box(
        tf.concat([size, [3]], axis=0),
        tf.constant([0.0, 0.0, 1.0, 1.0], shape=(1, 1, 4)),  # any part will do
        seed,
        min_object_covered=0.0,
        aspect_ratio_range=[ratio * bound for bound in ASPECT_RATIOS],
        area_range=list(area),
    )
    return crops.Window(*tf.unstack(tf.concat([begin[:2], shown[:2], crop, (0, 0)], axis=0)))


def central_crop(encoded: tf.Tensor, crop: tuple[int, int]) -> tf.Tensor:
    """The middle of an image, resized to the crop; otherwise as `random_resized_crop`.

    As from an image whose shorter side was resized to 256, of which the middle 224 are taken.
    """
    size = image_size(encoded)
    image = crops.to_uint8(_resized(encoded, central_window(size, crop), size))
    return tf.ensure_shape(image, (*crop, 3))


def central_window(size: tf.Tensor, crop: tuple[int, int]) -> crops.Window:
    """What the central crop shows of an image of `size`, int32 `[2]`."""
    factor = CENTRAL_SHARE * tf.reduce_min(tf.cast(size, tf.float32) / crop)
    shown = tf.maximum(1, tf.cast(tf.round(factor * crop), tf.int32))
    start = (size - shown) // 2
    return crops.Window(*tf.unstack(tf.concat([start, shown, crop, (0, 0)], axis=0)))


def _resized(encoded, window, size) -> tf.Tensor:
    image = crops.decode_window(encoded, window, size)
    return crops.resize_image(image, window.out_height, window.out_width)

"""From TFRecords to batches, with tf.data."""

import numpy as np
import tensorflow as tf

from pipelines import crops
from pipelines.datasets import PreparedDataset
from pipelines.errors import UsageError

# Shards read at a time. The order is fixed, so it is part of what a seed stands for.
INTERLEAVED_SHARDS = 8
# Batches made ahead. A small fixed number: large crops must not pile up in memory.
PREFETCHED_BATCHES = 4
READ_BUFFER_BYTES = 2**20  # of each open shard


def training_batches(
    dataset: PreparedDataset,
    split: str,
    *,
    crop: tuple[int, int],
    batch_size: int,
    scale: tuple[float, float] = (1.0, 1.0),
    flip: bool = True,
    jitter: float = 0.0,
    seed: int = 0,
    shuffle_mib: int = 64,
) -> tf.data.Dataset:
    """An endless stream of augmented batches.

    Every epoch has another order and other draws. Both follow from `seed` alone: order and
    content of the stream do not depend on how many threads work on it, and every iteration over
    the returned data set is the same.

    Args:
        dataset: from `pipelines.datasets.load`.
        split: one of `dataset.splits`.
        crop: height and width of the batches, pixels.
        batch_size: examples in a batch; all batches are full.
        scale: smallest and largest factor by which pictures are scaled, drawn uniformly.
        flip: whether half of the examples are mirrored left to right.
        jitter: strength of the colour jitter, 0 (none) … 1.
        seed: any integer.
        shuffle_mib: memory of the shuffle buffer; it holds encoded examples.

    Returns:
        A data set of (images, labels): uint8 `[batch_size, h, w, 3]` RGB and uint8
        `[batch_size, h, w]`, 255 for void and padding; static shapes.

    Raises:
        UsageError: no such split, or a value that cannot be meant.
    """
    _check_split(dataset, split)
    _check_stream(crop, batch_size, scale, jitter, shuffle_mib)
    buffer_size = shuffle_buffer_size(dataset, split, shuffle_mib)

    def example(index, record):
        parsed = dataset.parse(record)
        return crops.random_crop(
            parsed["image"],
            parsed["label"],
            tf.stack([tf.constant(seed, tf.int64), index]),
            crop=tuple(crop),
            scale=tuple(map(float, scale)),
            flip=flip,
            jitter=jitter,
        )

    return (
        tf.data.Dataset.counter()
        .flat_map(lambda epoch: _shuffled_records(dataset, split, seed, epoch, buffer_size))
        .enumerate()
        .map(example, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
        .batch(batch_size, drop_remainder=True)
        .prefetch(PREFETCHED_BATCHES)
    )


def evaluation_examples(
    dataset: PreparedDataset, split: str, limit: int | None = None
) -> tf.data.Dataset:
    """Every example of a split once, whole, in a fixed order.

    Args:
        dataset: from `pipelines.datasets.load`.
        split: one of `dataset.splits`.
        limit: stop after so many examples; None for all.

    Returns:
        A data set of dicts: `image`, uint8 `[H, W, 3]` RGB; `label`, uint8 `[H, W]`, 255 is
        void; `image_id`, string.

    Raises:
        UsageError: no such split.
    """
    _check_split(dataset, split)

    def example(record):
        parsed = dataset.parse(record)
        image, label = crops.decode_image(parsed["image"]), crops.decode_label(parsed["label"])
        tf.debugging.assert_equal(
            tf.shape(image)[:2], tf.shape(label), "image and label differ in size"
        )
        image.set_shape((None, None, 3))
        return {"image": image, "label": label, "image_id": parsed["image_id"]}

    records = _records(list(dataset.files[split]))
    if limit is not None:
        records = records.take(limit)
    return records.map(example, num_parallel_calls=tf.data.AUTOTUNE).prefetch(PREFETCHED_BATCHES)


def class_pixel_counts(dataset: PreparedDataset, split: str) -> np.ndarray:
    """Counts the pixels of every class in a split; void is not counted.

    Returns:
        int64 `[num_classes]`.

    Raises:
        UsageError: no such split.
    """
    _check_split(dataset, split)

    def count(record):
        label = crops.decode_label(dataset.parse(record)["label"])
        return tf.math.bincount(
            tf.cast(label, tf.int32), minlength=256, maxlength=256, dtype=tf.int64
        )

    records = _records(list(dataset.files[split]))
    counts = records.map(count, num_parallel_calls=tf.data.AUTOTUNE)
    total = counts.reduce(tf.zeros(256, tf.int64), lambda total, one: total + one)
    return total.numpy()[: dataset.num_classes]


def shuffle_buffer_size(dataset: PreparedDataset, split: str, shuffle_mib: int) -> int:
    """Examples that fit into a shuffle buffer of `shuffle_mib` MiB, by their average size.

    At least 1 and at most the whole split.
    """
    examples = dataset.splits[split]
    average = max(1, dataset.num_bytes[split] // examples)
    return max(1, min(examples, shuffle_mib * 2**20 // average))


def _shuffled_records(dataset, split, seed, epoch, buffer_size) -> tf.data.Dataset:
    """One epoch of serialised examples, in an order that follows from seed and epoch."""
    # `shuffle` mixes its seed with TensorFlow's global one. Inside the function that flat_map
    # traces, this fixes the function's own and leaves the program's alone.
    tf.random.set_seed(1)
    epoch_seeds = tf.random.stateless_uniform(
        [2], tf.stack([tf.constant(seed, tf.int64), epoch]), 0, tf.int64.max, tf.int64
    )
    shards = tf.random.experimental.stateless_shuffle(list(dataset.files[split]), epoch_seeds)
    # Not in parallel: reading takes a hundredth of the time of decoding, and records allocated by
    # many threads, then held by the shuffle buffer, make the process grow from epoch to epoch.
    return (
        tf.data.Dataset.from_tensor_slices(shards)
        .interleave(_records, cycle_length=INTERLEAVED_SHARDS)
        .shuffle(buffer_size, seed=epoch_seeds[0], reshuffle_each_iteration=False)
    )


def _records(shards) -> tf.data.Dataset:
    """The serialised examples of shards, one after another; a damaged record is an error."""
    return tf.data.TFRecordDataset(shards, buffer_size=READ_BUFFER_BYTES)


def _check_split(dataset: PreparedDataset, split: str) -> None:
    if split not in dataset.splits:
        raise UsageError(
            f"{dataset.name!r} has no split {split!r}; it has: {', '.join(dataset.splits)}"
        )


def _check_stream(crop, batch_size, scale, jitter, shuffle_mib) -> None:
    if len(crop) != 2 or min(crop) < 1:
        raise UsageError(f"crop must be height and width of at least 1 pixel, got {crop}")
    if batch_size < 1:
        raise UsageError(f"batch_size must be at least 1, got {batch_size}")
    if len(scale) != 2 or not 0 < scale[0] <= scale[1]:
        raise UsageError(f"scale must be smallest and largest factor, both positive, got {scale}")
    if not 0 <= jitter <= 1:
        raise UsageError(f"jitter must be 0…1, got {jitter}")
    if shuffle_mib < 1:
        raise UsageError(f"shuffle_mib must be at least 1, got {shuffle_mib}")

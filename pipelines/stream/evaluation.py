"""Whole examples, each once and in a fixed order, their sizes and the pixels of their classes."""

from collections.abc import Callable

import numpy as np
import tensorflow as tf

from pipelines.base import decoding
from pipelines.base.errors import ArgumentError
from pipelines.base.numeric import all_are, is_integer
from pipelines.datasets import PreparedDataset
from pipelines.stream.batches import PREFETCHED_BATCHES, check_split
from pipelines.stream.faults import mapped
from pipelines.stream.record_order import all_records


@tf.autograph.experimental.do_not_convert  # as `all_records`
def evaluation_examples(
    dataset: PreparedDataset,
    split: str,
    limit: int | None = None,
    part: tuple[int, int, int] = (0, 1, 1),
) -> tf.data.Dataset:
    """Every example of a split once, whole, in a fixed order.

    Args:
        dataset: from `pipelines.datasets.load`.
        split: one of `dataset.splits`.
        limit: stop after so many examples; None for all.
        part: (index, count, run): of every `count` runs of `run` examples only number `index`,
            for processes that measure together.

    Returns:
        A data set of dicts: `image`, uint8 `[H, W, 3]` RGB; `label`, uint8 `[H, W]`, 255 is
        void; `image_id`, string.

    Raises:
        UsageError: no such split.
        ArgumentError: limit or part is out of range, or `dataset` is no data set.
        DATA_ERRORS: while iterating, as from `training_batches`.
    """
    check_split(dataset, split)
    if limit is not None and not (is_integer(limit) and limit >= 0):
        raise ArgumentError(
            "limit", f"must be an integer of at least 0, or None for all, got {limit!r}"
        )
    index, count, run = part if all_are(is_integer, part, 3) else (0, 0, 0)
    if not 0 <= index < count or run < 1:
        raise ArgumentError(
            "part",
            "must be integers (index, count, run) with index in 0…count - 1 and a run of at least "
            f"1, got {part!r}",
        )
    records = all_records(dataset, split)
    if limit is not None:
        records = records.take(limit)
    if count > 1:
        own = records.enumerate().filter(lambda number, _: number // run % count == index)
        records = own.map(lambda _, record: record)
    examples = mapped(records, lambda record: whole_example(dataset, record))
    return examples.prefetch(PREFETCHED_BATCHES)


def whole_example(dataset: PreparedDataset, record: tf.Tensor) -> dict[str, tf.Tensor]:
    """Decodes a serialised example to what `evaluation_examples` gives.

    Raises:
        DecodeError: image or label is damaged, or they differ in size.
    """
    parsed = dataset.parse(record)
    image, label = decoding.decode_image(parsed["image"]), decoding.decode_label(parsed["label"])
    image = decoding.of_size(image, tf.shape(image)[:2], tf.shape(label))
    image.set_shape((None, None, 3))
    return {"image": image, "label": label, "image_id": parsed["image_id"]}


def image_sizes(
    dataset: PreparedDataset, split: str, most: int, skip_errors: bool = False
) -> np.ndarray:
    """The sizes of a split's first images.

    Args:
        dataset, split: as in `evaluation_examples`, and so is what is raised.
        most: so many images at most.
        skip_errors: leave out images that are damaged.

    Returns:
        int32 `[n, 2]`, height and width of each.
    """

    def size(record):
        return decoding.image_size(dataset.parse(record)["image"])

    sizes = _of_records(dataset, split, size, skip_errors)
    return np.array(list(sizes.take(most).as_numpy_iterator()), np.int32).reshape(-1, 2)


def class_pixel_counts(
    dataset: PreparedDataset, split: str, skip_errors: bool = False
) -> np.ndarray:
    """The pixels of every class in a split; void is not counted.

    Nothing is read where preparation has counted them.

    Args:
        dataset, split: as in `evaluation_examples`, and so is what is raised.
        skip_errors: leave out labels that are damaged, as `training_batches` does.

    Returns:
        int64 `[num_classes]`.
    """
    if split in dataset.label_pixels and not skip_errors:
        return np.array(dataset.label_pixels[split][:-1], np.int64)

    def count(record):
        label = decoding.decode_label(dataset.parse(record)["label"])
        return tf.math.bincount(tf.cast(label, tf.int32), minlength=256, dtype=tf.int64)

    counts = _of_records(dataset, split, count, skip_errors)
    total = counts.reduce(tf.zeros(256, tf.int64), tf.add)
    return total.numpy()[: dataset.num_classes]


def occurring_classes(
    dataset: PreparedDataset, split: str, enough: int, skip_errors: bool = False
) -> set[int]:
    """Classes that the labels of a split have; the search ends when `enough` are found.

    Nothing is read where preparation has counted the pixels.

    Args:
        dataset, split, skip_errors: as in `class_pixel_counts`, or with one class an image.
        enough: a number of classes.
    """
    if split in dataset.label_pixels and not skip_errors:
        return set(np.flatnonzero(class_pixel_counts(dataset, split)).tolist())

    def classes(record):
        label = dataset.parse(record)["label"]
        if label.dtype == tf.string:
            label = decoding.decode_label(label)
        counts = tf.math.bincount(tf.reshape(tf.cast(label, tf.int32), [-1]))
        return tf.where(counts)[:, 0]

    found: set[int] = set()
    for some in _of_records(dataset, split, classes, skip_errors):
        found |= set(some.numpy().tolist()) & set(range(dataset.num_classes))
        if len(found) >= enough:
            break
    return found


def _of_records(
    dataset: PreparedDataset,
    split: str,
    function: Callable[[tf.Tensor], tf.Tensor],
    skip_errors: bool,
) -> tf.data.Dataset:
    """What a function makes of each record of a split; with `skip_errors`, of each sound one."""
    check_split(dataset, split)
    made = mapped(all_records(dataset, split, skip_errors), function)
    return made.ignore_errors() if skip_errors else made

"""From TFRecords of images and label maps to batches for training, with tf.data."""

import functools
import shlex
from typing import Any

import tensorflow as tf

from pipelines.base.errors import check_flags
from pipelines.datasets import PreparedDataset
from pipelines.stream import augmentation, crops
from pipelines.stream.augmentation import folded
from pipelines.stream.batches import batches_of, checked_options
from pipelines.stream.evaluation import whole_example
from pipelines.stream.faults import check_some_usable
from pipelines.stream.options import SegmentationOptions


def training_batches(
    dataset: PreparedDataset,
    split: str,
    options: SegmentationOptions | None = None,
    *,
    with_ids: bool = False,
    **fields: Any,
) -> tf.data.Dataset:
    """An endless stream of augmented batches.

        training_batches(dataset, "train", crop=(128, 128), batch_size=8)

    Every epoch has another order and other draws. Both follow from `seed` alone: every iteration
    is the same, however many threads work on it, in this process and in any other.

    With `data_service` the workers of a tf.data service read, decode and augment. Each visit of a
    record file in an epoch goes to one worker, so every example is used once in every epoch, and
    what is drawn for it follows from `seed`. The order does not: batches come as the workers
    finish them, and a worker that is done goes on with the next epoch while the others finish. If
    a worker dies, what was left of its open files is missing from that epoch (at most once, never
    twice), and the stream goes on with the others.

    Args:
        dataset: from `pipelines.datasets.load`.
        split: one of `dataset.splits`.
        options: of the stream.
        with_ids: whether the examples' image ids come with them.
        fields: those of `SegmentationOptions` by name, in the place of those of `options`.

    Returns:
        A data set of (images, labels) or (images, labels, image ids): uint8 `[n, h, w, 3]` RGB,
        uint8 `[n, h, w]`, 255 for void and padding, and string `[n]`, where n is `batch_size`, or
        its part; static shapes.

    Raises:
        UsageError: no such split, or an invalid value (an `ArgumentError`).
        UserError: the cache cannot be written, or no dispatcher answers; with `skip_errors`, a
            record file cannot be read, or no example can be used.
        DATA_ERRORS: while iterating, for an example that is damaged or, in mode "pad", larger
            than the crop, and for a record file that is damaged, incomplete or missing; see
            `pipelines.stream.faults`.
    """
    check_flags(with_ids=with_ids)
    given = checked_options(dataset, split, SegmentationOptions, options, fields)
    crop, scale = (given.crop[0], given.crop[1]), (float(given.scale[0]), float(given.scale[1]))

    def size(record):
        example = whole_example(dataset, record)
        size = tf.shape(example["label"])
        return crops.fitting(size, crop, example["image_id"]) if given.mode == "pad" else size

    if given.skip_errors:
        doctor = f"python -m pipelines.doctor {shlex.quote(dataset.name)} --split {split}"
        check_some_usable(dataset, split, size, f"{doctor} tells why")

    def pair(seeds, parsed):
        recolour = functools.partial(augmentation.recolour, seeds=seeds, options=given)
        image, label = crops.random_crop(
            parsed["image"],
            parsed["label"],
            seeds,
            crop=crop,
            mode=given.mode,
            scale=scale,
            flip=given.flip,
            jitter=given.jitter,
            recolour=recolour if given.hue or given.sharpness else None,
            image_id=parsed["image_id"],
        )
        return augmentation.augment(image, label, seeds, given)

    def example(seeds, record, *following):
        parsed = dataset.parse(record)
        made = pair(seeds, parsed)
        if following:
            other = functools.partial(pair, folded(seeds, 1), dataset.parse(*following))
            made = augmentation.mix(made, other, folded(seeds, 2), given.mix)
        if given.erase:
            draws = tf.random.stateless_uniform([5], folded(seeds, 3))
            made = augmentation.erase(made, draws, given.erase)
        return (*made, parsed["image_id"]) if with_ids else made

    return batches_of(dataset, split, example, given, in_pairs=given.mix != "none")

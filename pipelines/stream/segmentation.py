"""From TFRecords to batches, with tf.data."""

import os
import re
import shlex
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
import tensorflow as tf

from pipelines.base import addresses, decoding
from pipelines.base.errors import UsageError, UserError
from pipelines.datasets import PreparedDataset
from pipelines.stream import crops
from pipelines.stream.record_order import (
    all_records,
    distributed,
    endless_records,
    files_of,
    part_of,
    seeds_of_draws,
    visited_records,
)

# Batches made ahead. A small fixed number: large crops must not pile up in memory.
PREFETCHED_BATCHES = 4

# What a stream raises for data that cannot be used.
DATA_ERRORS = (
    decoding.DecodeError,  # an image or label, or a record that is no example
    tf.errors.DataLossError,  # a record
    tf.errors.FailedPreconditionError,  # a file with fewer or more records than were written
    tf.errors.NotFoundError,  # a file
)
# Where something went wrong, which TensorFlow tells before, around and after what went wrong.
_PLACES = re.compile(
    r"^\s*(Graph execution error|Detected at node|<stack traces|File .+, line).*$"
    r"|\{\{function_node.*?\}\}|Error in user-defined function.*?Iterator::\S+: "
    r"|\[\[.*?\]\]|\[Op:.*",
    re.MULTILINE,
)


def training_batches(
    dataset: PreparedDataset,
    split: str,
    *,
    crop: tuple[int, int],
    batch_size: int,
    mode: Literal["crop", "pad"] = "crop",
    scale: tuple[float, float] = (1.0, 1.0),
    flip: bool = True,
    jitter: float = 0.0,
    seed: int = 0,
    shuffle_mib: int = 64,
    cache: str | None = None,
    shard: tuple[int, int] = (0, 1),
    batch_part: tuple[int, int] = (0, 1),
    start: int = 0,
    data_service: str | None = None,
    skip_errors: bool = False,
    with_ids: bool = False,
) -> tf.data.Dataset:
    """An endless stream of augmented batches.

    Every epoch has another order and other draws. Both follow from `seed` alone: order and
    content of the stream do not depend on how many threads work on it, and every iteration over
    the returned data set is the same, in this process and in any other.

    With `data_service` the workers of a tf.data service read, decode and augment, and this
    process only receives batches. Each visit of a record file in an epoch goes to one worker,
    whichever asks first, so every example is used once in every epoch, and what is drawn for it
    follows from `seed`. The order does not: batches come as the workers finish them. Nor has the
    stream a sharp end of an epoch, since a worker that is done goes on with the next one while
    the others finish. If a worker dies, what was left of its open files is missing from that
    epoch (at most once, never twice), and the stream goes on with the others.

    Args:
        dataset: from `pipelines.datasets.load`.
        split: one of `dataset.splits`.
        crop: height and width of the batches, pixels.
        batch_size: examples in a batch; all batches are full.
        mode: "crop" cuts from images that are larger than `crop`; "pad" shows whole images,
            unscaled, and a larger one is an error that names it. Both pad smaller ones.
        scale: smallest and largest factor by which images are scaled, drawn uniformly.
        flip: whether half of the examples are mirrored left to right.
        jitter: strength of the colour jitter, 0 (none) … 1.
        seed: any integer.
        shuffle_mib: memory of the shuffle buffer, on each worker with `data_service`; it holds
            encoded examples.
        cache: where encoded examples are kept, so that augmentation still varies. None: nowhere.
            "memory": all of them, from the first epoch on; they are then shuffled as a whole and
            `shuffle_mib` is not used. Or a folder, for records that lie on a slow disk or
            network: the record files are copied there before the stream begins, each under its
            name only once it is complete, and anew where the original has changed; the stream
            is the same as without.
        shard: (index, count): the part of one of `count` replicas, which give the same seed. Each
            example is in exactly one replica's part in every epoch. Parts are whole files where
            they come out even, else every count-th example.
        batch_part: (index, count): of each batch only this part is made, `batch_size / count`
            examples. Processes that train together on one batch, and give the same seed, then
            have between them exactly the batches of one process alone (with `skip_errors`: as
            many examples of each). Each reads every record and decodes its own.
        start: batches that precede the first one: the stream of a run that goes on. Their records
            are at most read; with `skip_errors` they are decoded again, as only that tells which
            are left out; with `data_service` the epoch that was broken off begins anew.
        data_service: "HOST:PORT" of a dispatcher, see `pipelines.service`. Its workers read the
            record files under the same absolute paths.
        skip_errors: leave out examples that are damaged (or, in mode "pad", larger than the
            crop), and tell how many on standard error, that of the workers with `data_service`:
            at the first one, then once an epoch. Order and draws of all others stay as they are.
            TensorFlow gives up a record file at its first damaged record: all that follows it
            counts as damaged, too. `python -m pipelines.doctor` names what is damaged.
        with_ids: whether the examples' image ids come with them.

    Returns:
        A data set of (images, labels) or (images, labels, image ids): uint8 `[n, h, w, 3]` RGB,
        uint8 `[n, h, w]`, 255 for void and padding, and string `[n]`, where n is `batch_size`, or
        its part; static shapes.

    Raises:
        UsageError: no such split, or a value that cannot be meant.
        UserError: the cache cannot be written, or no dispatcher answers; with `skip_errors`, a
            record file cannot be read, or no example can be used.
        DATA_ERRORS: while iterating, for an example that is damaged or, in mode "pad", larger
            than the crop, and for a record file that is damaged, incomplete or missing.
    """
    check_split(dataset, split)
    _check_stream(crop, batch_size, scale, jitter, shuffle_mib)
    _check_source(dataset, split, mode, scale, cache, shard, data_service)
    _check_part(batch_part, batch_size, start, data_service)
    files, _ = part_of(dataset, split, shard)

    def size(record):
        example = _whole_example(dataset, record)
        size = tf.shape(example["label"])
        if mode == "pad":
            crops.check_fits(size, crop, example["image_id"])
        return size

    if skip_errors:
        doctor = f"python -m pipelines.doctor {shlex.quote(dataset.name)} --split {split}"
        check_some_usable(dataset, split, files, size, f"{doctor} tells why")

    def example(seeds, record):
        parsed = dataset.parse(record)
        image, label = crops.random_crop(
            parsed["image"],
            parsed["label"],
            seeds,
            crop=tuple(crop),
            mode=mode,
            scale=tuple(map(float, scale)),
            flip=flip,
            jitter=jitter,
            image_id=parsed["image_id"],
        )
        return (image, label, parsed["image_id"]) if with_ids else (image, label)

    return batches_of(
        dataset,
        split,
        example,
        batch_size=batch_size,
        seed=seed,
        shuffle_mib=shuffle_mib,
        cache=cache,
        shard=shard,
        batch_part=batch_part,
        start=start,
        data_service=data_service,
        skip_errors=skip_errors,
    )


def batches_of(
    dataset: PreparedDataset,
    split: str,
    example: Callable,
    *,
    batch_size: int,
    seed: int,
    shuffle_mib: int,
    cache: str | None,
    batch_part: tuple[int, int],
    start: int,
    data_service: str | None,
    skip_errors: bool,
    shard: tuple[int, int] = (0, 1),
) -> tf.data.Dataset:
    """An endless stream of batches of whatever `example` makes of a record.

    Args:
        example: function from two seeds, integers `[2]`, and a serialised example to tensors.
        dataset, split and all others: as of `training_batches`.

    Raises:
        UserError: the cache cannot be written, or no dispatcher answers.
        DATA_ERRORS: while iterating, what `example` raises, and for damaged files.
    """
    files, _ = part_of(dataset, split, shard)
    index, count = batch_part
    part_size = batch_size // count
    if data_service:
        first_epoch = start * batch_size // sum(files.lengths)
        records = visited_records(dataset, split, seed, shuffle_mib, skip_errors, first_epoch)
        made = example
    else:
        records = endless_records(
            dataset,
            split,
            seed=seed,
            shuffle_mib=shuffle_mib,
            cache=cache,
            shard=shard,
            skip_errors=skip_errors,
            start=0 if skip_errors else start * batch_size,
        )
        if count > 1:
            records = records.filter(lambda number, _: number // part_size % count == index)

        # The seeds are made in here, with all cores: a map of its own is a tenth of a small crop.
        def made(number, record):
            return example(seeds_of_draws(seed, number, shard), record)

    if skip_errors:
        examples = _map_intact(records, made, f"{dataset.name} {split}", sum(files.lengths))
    else:
        examples = _map(records, made)
    batches = examples.batch(part_size, drop_remainder=True)
    if data_service:
        batches = batches.apply(distributed(data_service))
    elif skip_errors:
        batches = batches.skip(start)
    return batches.prefetch(PREFETCHED_BATCHES)


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
        DATA_ERRORS: while iterating, as from `training_batches`.
    """
    check_split(dataset, split)
    records = all_records(files_of(dataset, split))
    if limit is not None:
        records = records.take(limit)
    index, count, run = part
    if count > 1:
        own = records.enumerate().filter(lambda number, _: number // run % count == index)
        records = own.map(lambda _, record: record)
    return _map(records, partial(_whole_example, dataset)).prefetch(PREFETCHED_BATCHES)


def _whole_example(dataset, record) -> dict[str, tf.Tensor]:
    parsed = dataset.parse(record)
    image, label = decoding.decode_image(parsed["image"]), decoding.decode_label(parsed["label"])
    tf.debugging.assert_equal(
        tf.shape(image)[:2], tf.shape(label), "image and label differ in size"
    )
    image.set_shape((None, None, 3))
    return {"image": image, "label": label, "image_id": parsed["image_id"]}


def class_pixel_counts(
    dataset: PreparedDataset, split: str, skip_errors: bool = False
) -> np.ndarray:
    """Counts the pixels of every class in a split; void is not counted.

    Args:
        dataset: from `pipelines.datasets.load`.
        split: one of `dataset.splits`.
        skip_errors: leave out labels that are damaged, as `training_batches` does.

    Returns:
        int64 `[num_classes]`.

    Raises:
        UsageError: no such split.
        DATA_ERRORS: as from `training_batches`.
    """
    check_split(dataset, split)

    def count(record):
        label = decoding.decode_label(dataset.parse(record)["label"])
        return tf.math.bincount(
            tf.cast(label, tf.int32), minlength=256, maxlength=256, dtype=tf.int64
        )

    counts = _map(all_records(files_of(dataset, split), skip_errors), count)
    if skip_errors:
        counts = counts.ignore_errors()
    total = counts.reduce(tf.zeros(256, tf.int64), lambda total, one: total + one)
    return total.numpy()[: dataset.num_classes]


def describe_fault(error: tf.errors.OpError) -> str | None:
    """What an error says of the data that a stream was made from.

    Args:
        error: one of `DATA_ERRORS`.

    Returns:
        A clause that says what is wrong, as far as TensorFlow knows; None if the error does not
        come from a stream.
    """
    if not re.search("IteratorGetNext|ReduceDataset", error.message):
        return None
    if said := re.search(r"assertion failed: \[(.+?)\]", error.message):
        return said[1]
    lines = re.sub(_PLACES, "", error.message).splitlines()
    reason = next((line.strip() for line in lines if line.strip()), "no reason is known")
    reason = "".join(c if c.isprintable() else "?" for c in reason)[:200]
    subject = "an example" if isinstance(error, decoding.DecodeError) else "a record file"
    return f"{subject} is damaged or missing ({reason})"


def check_some_usable(dataset, split, files, attempt, advice: str) -> None:
    """A stream that skips all that it reads would go on looking for ever.

    Args:
        dataset, split, files: what is streamed.
        attempt: function from a record to anything, with an error if it cannot be used.
        advice: a clause of what to do, for the message.

    Raises:
        UserError: no example can be used, or a record file cannot be read.
    """
    for path in files.paths:
        if not os.access(path, os.R_OK):
            raise UserError(f"the record file {path} is missing or cannot be read; {advice}")
    usable = _map(all_records(files, skip_errors=True), attempt).ignore_errors().take(1)
    if not any(True for _ in usable):
        raise UserError(
            f"none of the {sum(files.lengths):,} examples of {dataset.name!r}, split {split!r}, "
            f"can be used; {advice}"
        )


def _map(records, function) -> tf.data.Dataset:
    return records.map(function, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)


def _map_intact(records, example, name, epoch) -> tf.data.Dataset:
    """Maps `example` over records; leaves out, counts and tells of those that it fails on.

    Args:
        records: tuples, the arguments of `example`.
        example: raises an error for a damaged record.
        name: of what is read, for the messages.
        epoch: records after which the count is told again.
    """

    def numbered(number, arguments):
        return number, example(*arguments)

    def tell(state, element):
        (seen, skipped), (number, value) = state, element
        total = skipped + number - seen  # numbers that are missing in between
        is_first = (skipped == 0) & (total > 0)
        is_due = (total > 0) & (number // epoch > seen // epoch)

        def say():
            text = ": damaged examples skipped so far:"
            tf.print(name + text, total, "of", number + 1, output_stream=sys.stderr)
            return total

        return (number + 1, tf.cond(is_first | is_due, say, lambda: total)), value

    start = (tf.constant(0, tf.int64), tf.constant(0, tf.int64))
    return _map(records.enumerate(), numbered).ignore_errors().scan(start, tell)


def check_split(dataset: PreparedDataset, split: str) -> None:
    """Raises UsageError if there is no such split."""
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


def _check_part(batch_part, batch_size, start, data_service) -> None:
    index, count = batch_part
    if not 0 <= index < count:
        raise UsageError(
            f"batch_part must be (index, count) with index in 0…count - 1, got {batch_part}"
        )
    if batch_size % count:
        raise UsageError(f"batch_size must be a multiple of {count} parts, got {batch_size}")
    if start < 0:
        raise UsageError(f"start must be at least 0, got {start}")
    if data_service and count > 1:
        raise UsageError(
            f"data_service excludes batch_part: nobody knows which batch is whose, got {batch_part}"
        )


def _check_source(dataset, split, mode, scale, cache, shard, data_service) -> None:
    if mode not in ("crop", "pad"):
        raise UsageError(f"mode must be 'crop' or 'pad', got {mode!r}")
    if mode == "pad" and tuple(scale) != (1.0, 1.0):
        raise UsageError(f"scale must be 1 and 1 in mode 'pad', which resizes nothing, got {scale}")
    if cache is not None and (not cache or Path(cache).is_file()):
        raise UsageError(f"cache must be 'memory' or a folder, got {str(cache)!r}")
    index, count = shard
    if not 0 <= index < count:
        raise UsageError(f"shard must be (index, count) with index in 0…count - 1, got {shard}")
    if count > dataset.splits[split]:
        raise UsageError(
            f"shard must have at most as many parts as split {split!r} has examples, "
            f"{dataset.splits[split]}, got {shard}"
        )
    if data_service is None:
        return
    addresses.check_address(data_service, "data_service")
    if cache is not None or count != 1:
        raise UsageError(
            "data_service excludes cache and shard: its workers read the record files themselves, "
            f"each its own, got cache {cache!r} and shard {shard}"
        )
    addresses.check_listening(data_service)

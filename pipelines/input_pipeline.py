"""From TFRecords to batches, with tf.data."""

import os
import re
import shlex
import shutil
import sys
from functools import partial
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import tensorflow as tf

from pipelines import crops, service
from pipelines.datasets import PreparedDataset
from pipelines.errors import UsageError, UserError

# Shards read at a time. The order is fixed, so it is part of what a seed stands for.
INTERLEAVED_SHARDS = 8
# Batches made ahead. A small fixed number: large crops must not pile up in memory.
PREFETCHED_BATCHES = 4
READ_BUFFER_BYTES = 2**20  # of each open shard

# What a stream raises for data that cannot be used.
DATA_ERRORS = (
    crops.DecodeError,  # an image or label, or a record that is no example
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
    data_service: str | None = None,
    skip_errors: bool = False,
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
        mode: "crop" cuts from pictures that are larger than `crop`; "pad" shows whole pictures,
            unscaled, and a larger one is an error that names it. Both pad smaller ones.
        scale: smallest and largest factor by which pictures are scaled, drawn uniformly.
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
        data_service: "HOST:PORT" of a dispatcher, see `pipelines.service`. Its workers read the
            record files under the same absolute paths.
        skip_errors: leave out examples that are damaged (or, in mode "pad", larger than the
            crop), and tell how many on standard error, that of the workers with `data_service`:
            at the first one, then once an epoch. Order and draws of all others stay as they are.
            TensorFlow gives up a record file at its first damaged record: all that follows it
            counts as damaged, too. `python -m pipelines.doctor` names what is damaged.

    Returns:
        A data set of (images, labels): uint8 `[batch_size, h, w, 3]` RGB and uint8
        `[batch_size, h, w]`, 255 for void and padding; static shapes.

    Raises:
        UsageError: no such split, or a value that cannot be meant.
        UserError: the cache cannot be written, or no dispatcher answers; with `skip_errors`, a
            record file cannot be read, or no example can be used.
        DATA_ERRORS: while iterating, for an example that is damaged or, in mode "pad", larger
            than the crop, and for a record file that is damaged, incomplete or missing.
    """
    _check_split(dataset, split)
    _check_stream(crop, batch_size, scale, jitter, shuffle_mib)
    _check_source(dataset, split, mode, scale, cache, shard, data_service)
    files, shard = _part(dataset, split, shard)
    if skip_errors:
        _check_some_usable(dataset, split, files, crop if mode == "pad" else None)

    def example(seeds, record):
        parsed = dataset.parse(record)
        return crops.random_crop(
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

    if data_service:
        records = _visited_records(dataset, split, seed, shuffle_mib, skip_errors)
    else:
        records = _endless_records(
            dataset, split, files, seed, shuffle_mib, cache, shard, skip_errors
        )
    if skip_errors:
        examples = _map_intact(records, example, f"{dataset.name} {split}", sum(files.lengths))
    else:
        examples = _map(records, example)
    batches = examples.batch(batch_size, drop_remainder=True)
    if data_service:
        batches = batches.apply(_distributed(data_service))
    return batches.prefetch(PREFETCHED_BATCHES)


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
        DATA_ERRORS: while iterating, as from `training_batches`.
    """
    _check_split(dataset, split)
    records = _all_records(_files(dataset, split))
    if limit is not None:
        records = records.take(limit)
    return _map(records, partial(_whole_example, dataset)).prefetch(PREFETCHED_BATCHES)


def _whole_example(dataset, record) -> dict[str, tf.Tensor]:
    parsed = dataset.parse(record)
    image, label = crops.decode_image(parsed["image"]), crops.decode_label(parsed["label"])
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
    _check_split(dataset, split)

    def count(record):
        label = crops.decode_label(dataset.parse(record)["label"])
        return tf.math.bincount(
            tf.cast(label, tf.int32), minlength=256, maxlength=256, dtype=tf.int64
        )

    counts = _map(_all_records(_files(dataset, split), skip_errors), count)
    if skip_errors:
        counts = counts.ignore_errors()
    total = counts.reduce(tf.zeros(256, tf.int64), lambda total, one: total + one)
    return total.numpy()[: dataset.num_classes]


def shuffle_buffer_size(dataset: PreparedDataset, split: str, shuffle_mib: int) -> int:
    """Examples that fit into a shuffle buffer of `shuffle_mib` MiB, by their average size.

    At least 1 and at most the whole split.
    """
    examples = dataset.splits[split]
    average = max(1, dataset.num_bytes[split] // examples)
    return max(1, min(examples, shuffle_mib * 2**20 // average))


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
    subject = "an example" if isinstance(error, crops.DecodeError) else "a record file"
    return f"{subject} is damaged or missing ({reason})"


class _Files(NamedTuple):
    """Record files, and how many examples each was written with."""

    paths: list[str]
    lengths: list[int]


def _files(dataset, split) -> _Files:
    return _Files(list(dataset.files[split]), list(dataset.lengths[split]))


def _part(dataset, split, shard) -> tuple[_Files, tuple[int, int]]:
    """The files that a replica reads, and which of their examples are its own."""
    index, count = shard
    files = _files(dataset, split)
    if len(files.paths) % count:
        return files, shard
    # As many files for each: a replica reads nothing that it does not use.
    return _Files(*(part[index::count] for part in files)), (0, 1)


def _check_some_usable(dataset, split, files, crop) -> None:
    """A stream that skips all that it reads would go on looking for ever."""
    doctor = f"python -m pipelines.doctor {shlex.quote(dataset.name)} --split {split}"
    for path in files.paths:
        if not os.access(path, os.R_OK):
            raise UserError(f"the record file {path} is missing or cannot be read; see {doctor}")

    def size(record):
        example = _whole_example(dataset, record)
        size = tf.shape(example["label"])
        if crop is not None:
            crops.check_fits(size, crop, example["image_id"])
        return size

    usable = _map(_all_records(files, skip_errors=True), size).ignore_errors().take(1)
    if not any(True for _ in usable):
        raise UserError(
            f"none of the {sum(files.lengths):,} examples of {dataset.name!r}, split {split!r}, "
            f"can be used; {doctor} tells why"
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


def _endless_records(
    dataset, split, files, seed, shuffle_mib, cache, shard, skip_errors
) -> tf.data.Dataset:
    """Epoch after epoch of one replica: (the two seeds of an example's draws, its record)."""
    index, count = shard
    if cache == "memory":
        # Made here, outside the function of an epoch, so that all epochs share it.
        kept = _all_records(files, skip_errors).shard(count, index).cache()

        def epoch_of_records(epoch):
            # The buffer refers to what the cache holds and takes no memory of its own.
            return _shuffled(kept, dataset.splits[split], _seeds(seed, epoch))
    else:
        if cache:
            files = files._replace(paths=_copied(files.paths, Path(cache)))
        buffer_size = shuffle_buffer_size(dataset, split, shuffle_mib)

        def epoch_of_records(epoch):
            seeds = _seeds(seed, epoch)
            return _shuffled_records(files, seeds, buffer_size, shard, skip_errors)

    def with_seeds(number, record):
        # Replicas must not draw alike: each has numbers of its own.
        return tf.stack([tf.constant(seed, tf.int64), number * count + index]), record

    return tf.data.Dataset.counter().flat_map(epoch_of_records).enumerate().map(with_seeds)


def _visited_records(dataset, split, seed, shuffle_mib, skip_errors=False) -> tf.data.Dataset:
    """Epoch after epoch as visits of files, to be dealt out: (seeds of the draws, record).

    The source is one long range: visit n is of the file at place n % files in the order of epoch
    n // files. Dynamic sharding gives each number to one worker, so a file is read once in an
    epoch however many workers there are, few files are no obstacle (the next worker takes the
    next epoch), and no worker waits at the end of an epoch. Shuffling is within a visit: a
    buffer across visits would mix epochs, and show examples twice before others once.
    """
    # Workers have a working directory of their own.
    paths, lengths = _files(dataset, split)
    files = _Files([str(Path(path).absolute()) for path in paths], lengths)
    # Files that a worker reads at a time, few of all: they may belong to the next epoch.
    opened = max(1, min(INTERLEAVED_SHARDS, len(paths) // INTERLEAVED_SHARDS))
    buffer_size = max(1, shuffle_buffer_size(dataset, split, shuffle_mib) // opened)

    def visit(number):
        epoch, place = number // len(paths), number % len(paths)
        path, length = (part[place] for part in _in_order(files, _seeds(seed, epoch)))
        seeds = _seeds(seed, number)
        records = _shuffled(_records_of(path, length, skip_errors), buffer_size, seeds)
        return records.enumerate().map(lambda i, record: (tf.stack([seeds[1], i]), record))

    return tf.data.Dataset.range(tf.int64.max).interleave(visit, cycle_length=opened)


def _distributed(address: str):
    """Moves what comes before it to the workers of a tf.data service."""
    service = tf.data.experimental.service
    return service.distribute(
        # Every number of the range to exactly one worker. OFF would have each worker make the
        # whole stream; the static policies need a list of workers that never changes.
        processing_mode=service.ShardingPolicy.DYNAMIC,
        service=f"grpc://{address}",
        # Photographs hardly shrink, and the time would be taken from decoding.
        compression=None,
    )


def _seeds(seed, number) -> tf.Tensor:
    """Two integers that follow from a seed and the number of an epoch or visit."""
    key = tf.stack([tf.constant(seed, tf.int64), tf.cast(number, tf.int64)])
    return tf.random.stateless_uniform([2], key, 0, tf.int64.max, tf.int64)


def _in_order(files, seeds) -> tuple[tf.Tensor, tf.Tensor]:
    """Paths and lengths in an order that follows from the seeds, the same for both."""
    shuffle = tf.random.experimental.stateless_shuffle
    return shuffle(files.paths, seeds), shuffle(tf.constant(files.lengths, tf.int64), seeds)


def _shuffled_records(
    files, seeds, buffer_size, shard=(0, 1), skip_errors=False
) -> tf.data.Dataset:
    """One epoch of serialised examples, in an order that follows from the seeds."""
    index, count = shard
    # Not in parallel: reading takes a hundredth of the time of decoding, and records allocated by
    # many threads, then held by the shuffle buffer, make the process grow from epoch to epoch.
    records = tf.data.Dataset.from_tensor_slices(_in_order(files, seeds)).interleave(
        partial(_records_of, skip_errors=skip_errors), cycle_length=INTERLEAVED_SHARDS
    )
    return _shuffled(records.shard(count, index), buffer_size, seeds)


def _shuffled(records, buffer_size, seeds) -> tf.data.Dataset:
    # `shuffle` mixes its seed with TensorFlow's global one. Inside the function that flat_map
    # traces, this fixes the function's own and leaves the program's alone.
    tf.random.set_seed(1)
    return records.shuffle(buffer_size, seed=seeds[0], reshuffle_each_iteration=False)


def _copied(files, folder: Path) -> list[str]:
    """Copies of record files below `folder`; what is there and unchanged is not copied again.

    A copy gets its name when it is complete, so one that was interrupted is not taken for one.
    """
    copies = []
    for file in map(Path, files):
        # The whole path: data sets of the same name may lie in several places.
        copy = folder.joinpath(*file.absolute().parts[1:])
        unfinished = copy.with_name(f"{copy.name}.incomplete-{os.getpid()}")
        try:
            if not _is_copy(copy, file):
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(file, unfinished)
                os.replace(unfinished, copy)
        except OSError as error:
            raise UserError(
                f"cannot copy {file} to the cache {folder}: {error.strerror or error}"
            ) from error
        finally:
            if unfinished.is_file():  # a full disk, or Ctrl-C
                unfinished.unlink()
        copies.append(str(copy))
    return copies


def _is_copy(copy: Path, file: Path) -> bool:
    if not copy.is_file():
        return False
    found, wanted = copy.stat(), file.stat()
    # Not every file system keeps fractions of a second.
    return found.st_size == wanted.st_size and abs(found.st_mtime - wanted.st_mtime) < 2


def _all_records(files, skip_errors=False) -> tf.data.Dataset:
    """The serialised examples of files, one after another."""
    slices = tf.data.Dataset.from_tensor_slices(
        (list(files.paths), tf.constant(files.lengths, tf.int64))
    )
    return slices.flat_map(partial(_records_of, skip_errors=skip_errors))


def _records_of(path, length, skip_errors) -> tf.data.Dataset:
    """The serialised examples of a file that was written with `length` of them.

    A damaged record, or another number of them, is an error. With `skip_errors` an empty record,
    which no parser takes, stands in for each that is lost: all others keep their numbers, from
    which their order and draws follow.
    """
    records = _records(path)
    if not skip_errors:
        # A file that was cut between two records reads as a shorter one.
        return records.apply(tf.data.experimental.assert_cardinality(length))
    # TensorFlow has closed the file after an error: nothing of it is left to read.
    lost = tf.data.Dataset.from_tensors("").repeat()
    return records.ignore_errors().concatenate(lost).take(length)


def _records(paths) -> tf.data.Dataset:
    """The records that files hold, one after another; a damaged one is an error."""
    return tf.data.TFRecordDataset(paths, buffer_size=READ_BUFFER_BYTES)


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
    service.check_address(data_service, "data_service")
    if cache is not None or count != 1:
        raise UsageError(
            "data_service excludes cache and shard: its workers read the record files themselves, "
            f"each its own, got cache {cache!r} and shard {shard}"
        )
    service.check_listening(data_service)

"""From TFRecords to batches, with tf.data."""

import os
import shutil
from pathlib import Path
from typing import Literal

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

    Returns:
        A data set of (images, labels): uint8 `[batch_size, h, w, 3]` RGB and uint8
        `[batch_size, h, w]`, 255 for void and padding; static shapes.

    Raises:
        UsageError: no such split, or a value that cannot be meant.
        UserError: the cache cannot be written, or no dispatcher answers.
        tf.errors.InvalidArgumentError: while iterating, for a picture that is damaged or, in mode
            "pad", larger than the crop.
    """
    _check_split(dataset, split)
    _check_stream(crop, batch_size, scale, jitter, shuffle_mib)
    _check_source(dataset, split, mode, scale, cache, shard, data_service)

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
        records = _visited_records(dataset, split, seed, shuffle_mib)
    else:
        records = _endless_records(dataset, split, seed, shuffle_mib, cache, shard)
    batches = records.map(example, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True).batch(
        batch_size, drop_remainder=True
    )
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


def _endless_records(dataset, split, seed, shuffle_mib, cache, shard) -> tf.data.Dataset:
    """Epoch after epoch of one replica: (the two seeds of an example's draws, its record)."""
    index, count = shard
    files = list(dataset.files[split])
    if len(files) % count == 0:
        # As many files for each: a replica reads nothing that it does not use.
        files, shard = files[index::count], (0, 1)

    if cache == "memory":
        # Made here, outside the function of an epoch, so that all epochs share it.
        kept = _records(files).shard(shard[1], shard[0]).cache()

        def epoch_of_records(epoch):
            # The buffer refers to what the cache holds and takes no memory of its own.
            return _shuffled(kept, dataset.splits[split], _seeds(seed, epoch))
    else:
        files = _copied(files, Path(cache)) if cache else files
        buffer_size = shuffle_buffer_size(dataset, split, shuffle_mib)

        def epoch_of_records(epoch):
            return _shuffled_records(files, _seeds(seed, epoch), buffer_size, shard)

    def with_seeds(number, record):
        # Replicas must not draw alike: each has numbers of its own.
        return tf.stack([tf.constant(seed, tf.int64), number * count + index]), record

    return tf.data.Dataset.counter().flat_map(epoch_of_records).enumerate().map(with_seeds)


def _visited_records(dataset, split, seed, shuffle_mib) -> tf.data.Dataset:
    """Epoch after epoch as visits of files, to be dealt out: (seeds of the draws, record).

    The source is one long range: visit n is of the file at place n % files in the order of epoch
    n // files. Dynamic sharding gives each number to one worker, so a file is read once in an
    epoch however many workers there are, few files are no obstacle (the next worker takes the
    next epoch), and no worker waits at the end of an epoch. Shuffling is within a visit: a
    buffer across visits would mix epochs, and show examples twice before others once.
    """
    # Workers have a working directory of their own.
    files = [str(Path(file).absolute()) for file in dataset.files[split]]
    # Files that a worker reads at a time, few of all: they may belong to the next epoch.
    opened = max(1, min(INTERLEAVED_SHARDS, len(files) // INTERLEAVED_SHARDS))
    buffer_size = max(1, shuffle_buffer_size(dataset, split, shuffle_mib) // opened)

    def visit(number):
        epoch, place = number // len(files), number % len(files)
        order = tf.random.experimental.stateless_shuffle(files, _seeds(seed, epoch))
        seeds = _seeds(seed, number)
        records = _shuffled(_records(order[place]), buffer_size, seeds)
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


def _shuffled_records(files, seeds, buffer_size, shard=(0, 1)) -> tf.data.Dataset:
    """One epoch of serialised examples, in an order that follows from the seeds."""
    index, count = shard
    shuffled = tf.random.experimental.stateless_shuffle(files, seeds)
    # Not in parallel: reading takes a hundredth of the time of decoding, and records allocated by
    # many threads, then held by the shuffle buffer, make the process grow from epoch to epoch.
    records = tf.data.Dataset.from_tensor_slices(shuffled).interleave(
        _records, cycle_length=INTERLEAVED_SHARDS
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

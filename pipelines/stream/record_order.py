"""The order of the records: which serialised example comes when, epoch after epoch.

Everything follows from a seed and a position, also what is drawn for an example (see `crops`), so
a stream can begin anywhere without making what came before.
"""

import shutil
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import tensorflow as tf

from pipelines.base.errors import UserError
from pipelines.base.files import make_folder, replacing
from pipelines.datasets import PreparedDataset
from pipelines.stream.options import StreamOptions

# Shards read at a time. The order is fixed, so it is part of what a seed stands for.
INTERLEAVED_SHARDS = 8
READ_BUFFER_BYTES = 2**20  # of each open shard


class RecordFiles(NamedTuple):
    """Record files, and how many examples each was written with."""

    paths: list[str]
    lengths: list[int]


def files_of(dataset: PreparedDataset, split: str) -> RecordFiles:
    """The record files of a split."""
    return RecordFiles(list(dataset.files[split]), list(dataset.lengths[split]))


def shuffle_buffer_size(dataset: PreparedDataset, split: str, shuffle_mib: int) -> int:
    """Examples of average size that fit into `shuffle_mib` MiB: 1 up to the whole split."""
    examples = dataset.splits[split]
    average = max(1, dataset.num_bytes[split] // examples)
    return max(1, min(examples, shuffle_mib * 2**20 // average))


def endless_records(
    dataset: PreparedDataset, split: str, options: StreamOptions
) -> tf.data.Dataset:
    """Epoch after epoch: (number, record), numbered from the beginning of the stream on.

    Of what precedes its start whole epochs are not read at all, the rest of one is not decoded.
    With `skip_errors` nothing precedes: what is skipped decides how many records a batch takes.
    """
    files = files_of(dataset, split)
    start = 0 if options.skip_errors else options.start * options.batch_size
    epoch_length = sum(files.lengths)
    buffer_size = shuffle_buffer_size(dataset, split, options.shuffle_mib)
    if options.cache == "memory":
        # Made here, outside the function of an epoch, so that all epochs share it.
        kept = all_records(dataset, split, options.skip_errors).cache()
    elif options.cache:
        files = files._replace(paths=copied(files.paths, Path(options.cache)))

    def epoch_of_records(epoch):
        seeds = seeds_of(options.seed, epoch)
        if options.cache == "memory":
            # The buffer refers to what the cache holds and takes no memory of its own.
            return _shuffled(kept, dataset.splits[split], seeds)
        return shuffled_records(files, seeds, buffer_size, options.skip_errors)

    epochs = tf.data.Dataset.counter(start // epoch_length).flat_map(epoch_of_records)
    return epochs.skip(start % epoch_length).enumerate(start)


def with_following(records: tf.data.Dataset) -> tf.data.Dataset:
    """(number, record) of an endless stream to (number, record, the record after it)."""

    def shift(former, element):
        return element, (*former, element[1])

    start = tf.constant(0, tf.int64), tf.constant("")
    return records.scan(start, shift).skip(1)


def seeds_of_draws(seed: int, number: tf.Tensor) -> tf.Tensor:
    """The two seeds of what is drawn for an example, from its number in `endless_records`."""
    return tf.stack([tf.constant(seed, tf.int64), number])


def visited_records(
    dataset: PreparedDataset, split: str, options: StreamOptions
) -> tf.data.Dataset:
    """Epoch after epoch as visits of files, to be dealt out: (seeds of the draws, record).

    Visit n is of the file at place n % files in the order of epoch n // files. Dynamic sharding
    gives each number to one worker, so a file is read once in an epoch however many workers there
    are, and none waits at the end of an epoch: it takes the next. Shuffling is within a visit: a
    buffer across visits would mix epochs, and show examples twice before others once.
    """
    # Workers have a working directory of their own.
    paths, lengths = files_of(dataset, split)
    files = RecordFiles([str(Path(path).absolute()) for path in paths], lengths)
    # Files that a worker reads at a time, few of all: they may belong to the next epoch.
    opened = max(1, min(INTERLEAVED_SHARDS, len(paths) // INTERLEAVED_SHARDS))
    buffer_size = max(1, shuffle_buffer_size(dataset, split, options.shuffle_mib) // opened)

    def visit(number):
        epoch, place = number // len(paths), number % len(paths)
        path, length = (part[place] for part in _in_order(files, seeds_of(options.seed, epoch)))
        seeds = seeds_of(options.seed, number)
        records = _shuffled(records_of(path, length, options.skip_errors), buffer_size, seeds)
        return records.enumerate().map(lambda i, record: (tf.stack([seeds[1], i]), record))

    first_epoch = options.start * options.batch_size // sum(lengths)
    visits = tf.data.Dataset.range(first_epoch * len(paths), tf.int64.max)
    return visits.interleave(visit, cycle_length=opened)


def distributed(address: str) -> Callable[[tf.data.Dataset], tf.data.Dataset]:
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


def seeds_of(seed: int, number: tf.Tensor) -> tf.Tensor:
    """Two integers that follow from a seed and the number of an epoch or visit."""
    key = tf.stack([tf.constant(seed, tf.int64), tf.cast(number, tf.int64)])
    return tf.random.stateless_uniform([2], key, 0, tf.int64.max, tf.int64)


def _in_order(files: RecordFiles, seeds: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Paths and lengths in an order that follows from the seeds, the same for both."""
    shuffle = tf.random.experimental.stateless_shuffle
    return shuffle(files.paths, seeds), shuffle(tf.constant(files.lengths, tf.int64), seeds)


def shuffled_records(
    files: RecordFiles, seeds: tf.Tensor, buffer_size: int, skip_errors: bool = False
) -> tf.data.Dataset:
    """One epoch of serialised examples, in an order that follows from the seeds."""
    # Not in parallel: reading takes a hundredth of the time of decoding, and records allocated by
    # many threads, then held by the shuffle buffer, make the process grow from epoch to epoch.
    records = tf.data.Dataset.from_tensor_slices(_in_order(files, seeds)).interleave(
        partial(records_of, skip_errors=skip_errors), cycle_length=INTERLEAVED_SHARDS
    )
    return _shuffled(records, buffer_size, seeds)


def _shuffled(records, buffer_size, seeds) -> tf.data.Dataset:
    # `shuffle` mixes its seed with TensorFlow's global one. Inside the function that flat_map
    # traces, this fixes the function's own and leaves the program's alone.
    tf.random.set_seed(1)
    return records.shuffle(buffer_size, seed=seeds[0], reshuffle_each_iteration=False)


def copied(files: Iterable[str | Path], folder: Path) -> list[str]:
    """Copies of record files below `folder`; what is there and unchanged is not copied again."""
    copies = []
    for file in map(Path, files):
        # The whole path: data sets of the same name may lie in several places.
        copy = folder.joinpath(*file.absolute().parts[1:])
        try:
            if not _is_copy(copy, file):
                make_folder(copy.parent)
                with replacing(copy) as temporary:
                    shutil.copy2(file, temporary)
        except (OSError, UserError) as error:
            raise UserError(f"cannot copy {file} to the cache {folder}: {error}") from error
        copies.append(str(copy))
    return copies


def _is_copy(copy: Path, file: Path) -> bool:
    if not copy.is_file():
        return False
    found, wanted = copy.stat(), file.stat()
    # Not every file system keeps fractions of a second.
    return found.st_size == wanted.st_size and abs(found.st_mtime - wanted.st_mtime) < 2


# No Python in here branches on a tensor: AutoGraph would rewrite it, and change nothing.
@tf.autograph.experimental.do_not_convert
def all_records(dataset: PreparedDataset, split: str, skip_errors: bool = False) -> tf.data.Dataset:
    """The serialised examples of a split, file after file."""
    paths, lengths = files_of(dataset, split)
    slices = tf.data.Dataset.from_tensor_slices((paths, tf.constant(lengths, tf.int64)))
    return slices.flat_map(partial(records_of, skip_errors=skip_errors))


def records_of(
    path: tf.Tensor | str, length: tf.Tensor | int, skip_errors: bool
) -> tf.data.Dataset:
    """The serialised examples of a file that was written with `length` of them.

    A damaged record, or another number of them, is an error. With `skip_errors` an empty record,
    which no parser takes, stands in for each that is lost: all others keep their numbers, from
    which their order and draws follow.
    """
    records = open_records(path)
    if not skip_errors:
        # A file that was cut between two records reads as a shorter one.
        return records.apply(tf.data.experimental.assert_cardinality(length))
    # TensorFlow has closed the file after an error: nothing of it is left to read.
    lost = tf.data.Dataset.from_tensors("").repeat()
    return records.ignore_errors().concatenate(lost).take(length)


def open_records(paths: tf.Tensor | str | list[str]) -> tf.data.Dataset:
    """The records that files hold, one after another; a damaged one is an error."""
    return tf.data.TFRecordDataset(paths, buffer_size=READ_BUFFER_BYTES)

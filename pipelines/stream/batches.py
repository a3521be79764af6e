"""What the training streams of both tasks share: from records to batches."""

import weakref
from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeVar

import tensorflow as tf

from pipelines.base.errors import ArgumentError
from pipelines.datasets import PreparedDataset
from pipelines.stream import data_service
from pipelines.stream.faults import mapped, mapped_intact
from pipelines.stream.options import StreamOptions
from pipelines.stream.record_order import (
    distributed,
    endless_records,
    seeds_of_draws,
    visited_records,
    with_following,
)

# Batches made ahead. A small fixed number: large crops must not pile up in memory.
PREFETCHED_BATCHES = 4

Options = TypeVar("Options", bound=StreamOptions)


def check_split(dataset: PreparedDataset, split: str) -> None:
    """Refuses what is no prepared data set, or none of its splits.

    Raises:
        UsageError: no such split.
        ArgumentError: `dataset` is something else, such as its name.
    """
    if not isinstance(dataset, PreparedDataset):
        raise ArgumentError(
            "dataset", f"must be a prepared one, as gcn_keras.load_dataset gives, got {dataset!r}"
        )
    dataset.check_split(split)


def checked_options(
    dataset: PreparedDataset,
    split: str,
    kind: type[Options],
    options: Options | None,
    fields: dict[str, Any],
) -> Options:
    """The options of a stream: an object of `kind`, fields by their names, or both.

    Raises:
        UsageError: no such split.
        ArgumentError: an invalid value.
        UserError: no dispatcher answers, or none of its workers.
        TypeError: a field that `kind` does not have, or one that is missing.
    """
    check_split(dataset, split)
    if not isinstance(options, kind | None):
        raise ArgumentError("options", f"must be {kind.__name__} or None, got {options!r}")
    options = kind(**fields) if options is None else replace(options, **fields)
    options.check()
    if options.data_service:
        data_service.wait_for_worker(options.data_service)
    return options


# As in `mapped`: nothing in here branches on a tensor, but by tf.cond.
@tf.autograph.experimental.do_not_convert
def batches_of(
    dataset: PreparedDataset,
    split: str,
    example: Callable,
    options: StreamOptions,
    in_pairs: bool = False,
) -> tf.data.Dataset:
    """An endless stream of batches of what `example` makes of seeds, integers `[2]`, and a record.

    With `in_pairs` it is given the record that follows, too; not with `data_service`.

    Raises:
        UserError: the cache cannot be written.
        DATA_ERRORS: while iterating, what `example` raises, and for damaged files.
    """
    index, count = options.batch_part
    part_size = options.batch_size // count
    if options.data_service:
        records, made = visited_records(dataset, split, options), example
    else:
        records = endless_records(dataset, split, options)
        if in_pairs:
            records = with_following(records)
        if count > 1:
            records = records.filter(lambda number, *_: number // part_size % count == index)

        # The seeds are made in here, with all cores: a map of its own is a tenth of a small crop.
        def made(number, *records):
            return example(seeds_of_draws(options.seed, number), *records)

    if options.skip_errors:
        name = f"{dataset.name} {split}"
        # Rounded up, as a part of an epoch may be an example longer than another.
        epoch = -(-sum(dataset.lengths[split]) // count)
        examples = mapped_intact(records, made, name, epoch)
    else:
        examples = mapped(records, made)
    batches = examples.batch(part_size, drop_remainder=True)
    if options.data_service:
        batches = batches.apply(distributed(options.data_service))
    elif options.skip_errors:
        batches = batches.skip(options.start)
    batches = batches.prefetch(PREFETCHED_BATCHES)
    if options.data_service:
        data_service.watch_workers(options.data_service, weakref.ref(batches))
    return batches

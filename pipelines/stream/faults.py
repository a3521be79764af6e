"""Data that cannot be used: what a stream raises for it, what that says, how it is skipped."""

import os
import re
import sys
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from pipelines.base import decoding
from pipelines.base.errors import UserError
from pipelines.datasets import PreparedDataset
from pipelines.stream.record_order import all_records

# What a stream raises for data that cannot be used.
DATA_ERRORS = (
    decoding.DecodeError,  # an image or label, or a record that is no example
    tf.errors.DataLossError,  # a record
    tf.errors.FailedPreconditionError,  # a file with fewer or more records than were written
    tf.errors.NotFoundError,  # a file
    tf.errors.PermissionDeniedError,  # a file
)
# Where something went wrong, which TensorFlow tells before, around and after what went wrong.
_PLACES = re.compile(
    r"^\s*(Graph execution error|Detected at node|<stack traces|File .+, line).*$"
    r"|\{\{function_node.*?\}\}|Error in user-defined function.*?Iterator::\S+: "
    r"|\[\[.*?\]\]|\[Op:.*",
    re.MULTILINE,
)


def describe_fault(error: tf.errors.OpError) -> str | None:
    """What an error, one of `DATA_ERRORS`, says of the data that a stream was made from.

    A clause, as far as TensorFlow knows what is wrong; None if it does not come from a stream.
    """
    if not re.search("IteratorGetNext|ReduceDataset", error.message):
        return None
    # To the last bracket of the line: names of images may hold some. What cannot be printed is
    # escaped by TensorFlow, and stays so; so are quotes and backslashes, which are put back.
    if said := re.search(r"assertion failed: \[(.+)\]$", error.message, re.MULTILINE):
        return re.sub(r"\\(['\"\\])", r"\1", said[1])
    lines = re.sub(_PLACES, "", error.message).splitlines()
    reason = next((line.strip() for line in lines if line.strip()), "no reason is known")
    reason = "".join(c if c.isprintable() else "?" for c in reason)[:200]
    subject = "an example" if isinstance(error, decoding.DecodeError) else "a record file"
    is_refused = isinstance(error, tf.errors.PermissionDeniedError)
    return f"{subject} {'cannot be read' if is_refused else 'is damaged or missing'} ({reason})"


def check_some_usable(
    dataset: PreparedDataset, split: str, attempt: Callable[[tf.Tensor], Any], advice: str
) -> None:
    """Checks a stream that skips damaged examples, and would go on looking for ever without others.

    Args:
        dataset, split: what is streamed.
        attempt: raises an error for a record that cannot be used.
        advice: what to do, a clause of the message.

    Raises:
        UserError: no example can be used, or a record file cannot be read.
    """
    for path in dataset.files[split]:
        if not os.access(path, os.R_OK):
            raise UserError(f"the record file {path} is missing or cannot be read; {advice}")
    usable = mapped(all_records(dataset, split, skip_errors=True), attempt).ignore_errors().take(1)
    if not any(True for _ in usable):
        raise UserError(
            f"none of the {sum(dataset.lengths[split]):,} examples of {dataset.name!r}, split "
            f"{split!r}, can be used; {advice}"
        )


def mapped(records: tf.data.Dataset, function: Callable) -> tf.data.Dataset:
    """`function` of all records, in their order, made by all cores.

    Where it branches on a tensor it must say so, by tf.cond: its Python is taken as it is, which
    saves the seconds that AutoGraph takes to rewrite it.
    """
    function = tf.autograph.experimental.do_not_convert(function)
    return records.map(function, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)


def mapped_intact(
    records: tf.data.Dataset, example: Callable, name: str, epoch: int
) -> tf.data.Dataset:
    """Maps `example` over tuples of its arguments; leaves out and counts those that it fails on.

    The count is printed with `name` at the first, and again after every `epoch` records.
    """

    def numbered(number, arguments):
        return number, example(*arguments)

    def tell(state, element):
        (seen, skipped), (number, value) = state, element
        total = skipped + number - seen  # numbers that are missing in between
        is_first = (skipped == 0) & (total > 0)
        is_due = (total > 0) & ((number + 1) // epoch > seen // epoch)

        def say():
            text = ": damaged examples skipped so far:"
            tf.print(name + text, total, "of", number + 1, output_stream=sys.stderr)
            return total

        return (number + 1, tf.cond(is_first | is_due, say, lambda: total)), value

    start = (tf.constant(0, tf.int64), tf.constant(0, tf.int64))
    return mapped(records.enumerate(), numbered).ignore_errors().scan(start, tell)

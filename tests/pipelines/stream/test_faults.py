"""What is skipped is told once an epoch; an image that does not fit is named as it is."""

import re

import pytest
import tensorflow as tf

from pipelines.base.checked import checked
from pipelines.stream import crops, faults


def told(capfd, broken, records, epoch):
    """The pairs (skipped, of so many) that are told where these numbers are broken."""

    def example(number):
        return checked(number, tf.reduce_all(number != tf.constant(broken, tf.int64)), "broken")

    numbers = tf.data.Dataset.range(records).map(lambda number: (number,))
    kept = list(faults.mapped_intact(numbers, example, "set train", epoch).as_numpy_iterator())
    assert kept == [number for number in range(records) if number not in broken]
    pattern = "^set train: damaged examples skipped so far: ([0-9]+) of ([0-9]+)$"
    lines = re.findall(pattern, capfd.readouterr().err, re.MULTILINE)
    return [tuple(map(int, line)) for line in lines]


@pytest.mark.parametrize(
    "broken, records, expected",
    [
        # The last but one of each epoch: the next record is the epoch's last.
        (range(8, 50, 10), 50, [(1, 10), (2, 20), (3, 30), (4, 40), (5, 50)]),
        # The last of each: only the next epoch's first record tells of it.
        (range(9, 50, 10), 50, [(1, 11), (2, 21), (3, 31), (4, 41)]),
        # The first of all: it is told at once, then once an epoch.
        ([0], 30, [(1, 2), (1, 10), (1, 20), (1, 30)]),
        # More than a whole epoch: what comes after it tells.
        (range(4, 27), 40, [(23, 28), (23, 30), (23, 40)]),
        ([], 30, []),
    ],
)
def test_what_is_skipped_is_told_at_the_first_and_once_an_epoch(capfd, broken, records, expected):
    assert told(capfd, list(broken) or [-1], records, epoch=10) == expected


def test_a_file_that_may_not_be_read_is_not_called_damaged():
    """What TensorFlow raises for one; whoever runs this may read all."""
    place = "{{function_node __wrapped__IteratorGetNext_output_types_2_device_/job:localhost}} "
    error = tf.errors.PermissionDeniedError(
        None, None, f"{place}data/x-train.tfrecord; Permission denied [Op:IteratorGetNext] name: "
    )
    assert isinstance(error, faults.DATA_ERRORS)
    assert faults.describe_fault(error) == (
        "a record file cannot be read (data/x-train.tfrecord; Permission denied)"
    )


@pytest.mark.parametrize(
    "name, shown",
    [
        ("s0", "s0"),
        ("scan [1]", "scan [1]"),
        ("] [[x]] y", "] [[x]] y"),
        ("it's", "it's"),
        ('"a" \\ b', '"a" \\ b'),
        ("Stra\u00dfe ]", "Stra\u00dfe ]"),
        ("two\nlines", r"two\nlines"),
    ],
)
def test_an_image_that_does_not_fit_is_named_as_it_is(name, shown):
    records = tf.data.Dataset.from_tensors((tf.constant([9, 7]), name))
    fitted = faults.mapped(records, lambda size, image_id: crops.fitting(size, (4, 6), image_id))
    for use in (lambda: list(fitted), lambda: fitted.reduce(0, lambda total, _: total)):
        with pytest.raises(faults.DATA_ERRORS) as caught:
            use()
        assert faults.describe_fault(caught.value) == (
            f"image {shown} is 9 x 7 pixels (height x width), larger than the crop of 4 x 6; mode "
            "pad cuts nothing: give a larger crop, or mode crop"
        )

"""Records that are damaged, missing or too many, and streams that skip them."""

import dataclasses
import re
import shutil
from pathlib import Path

import pytest
import tensorflow as tf
from streams import same, take

from pipelines import datasets
from pipelines.base import decoding
from pipelines.base.errors import UserError
from pipelines.stream import faults
from pipelines.stream.evaluation import class_pixel_counts, evaluation_examples
from pipelines.stream.segmentation import training_batches


@pytest.fixture
def damaged(twelve, tmp_path):
    """A copy of twelve; the second record of its second file is damaged."""
    shutil.copytree(Path(twelve.files["train"][0]).parents[3], tmp_path / "data")
    prepared = datasets.load("image_folder", tmp_path / "data")
    file = Path(prepared.files["train"][1])
    first, second, _ = [len(r.numpy()) for r in tf.data.TFRecordDataset(str(file))]
    content = bytearray(file.read_bytes())
    content[first + 16 + 12 + second // 2] ^= 1
    file.write_bytes(content)
    return prepared


@pytest.mark.slow
@pytest.mark.parametrize("cache", [None, "memory", "folder"])
def test_skipping_changes_neither_order_nor_draws_of_the_others(
    twelve, damaged, tmp_path, capfd, cache
):
    """TensorFlow gives up a file at a damaged record: the third one is lost with the second."""
    options = {"crop": (9, 9), "batch_size": 1, "scale": (0.5, 2.0), "jitter": 0.5, "seed": 3}
    if cache:
        options["cache"] = cache if cache == "memory" else str(tmp_path / "cache")
    whole = take(training_batches(twelve, "train", **options), 36)
    left = [example["label"].numpy()[0, 0] for example in _left(damaged)]
    assert len(left) == 10
    expected = [pair for pair in whole if pair[1][pair[1] != 255][0] in left]
    assert len(expected) == 30
    stream = training_batches(damaged, "train", skip_errors=True, **options)
    assert same(take(stream, 30), expected)
    assert same(take(stream, 30), expected)
    said = capfd.readouterr().err
    assert re.search("^image_folder train: damaged examples skipped so far: [12] of", said, re.M)
    counts = class_pixel_counts(damaged, "train", skip_errors=True)
    assert [number for number, count in enumerate(counts) if count] == sorted(left)


def _left(damaged):
    """The examples that a damaged split still has."""
    for file in damaged.files["train"]:
        for record in tf.data.TFRecordDataset(file).ignore_errors():
            yield {"label": decoding.decode_label(damaged.parse(record)["label"])}


@pytest.mark.slow
def test_a_stream_that_goes_on_after_skipped_examples(damaged):
    options = {"crop": (9, 9), "batch_size": 2, "seed": 5, "skip_errors": True}
    whole = take(training_batches(damaged, "train", **options), 9)
    assert same(take(training_batches(damaged, "train", start=5, **options), 4), whole[5:])


@pytest.mark.slow
def test_a_part_of_the_batches_tells_once_an_epoch_of_its_own_what_is_skipped(damaged, capfd):
    """Twelve examples are six for each of two processes."""
    options = {"crop": (9, 9), "batch_size": 2, "skip_errors": True, "batch_part": (1, 2)}
    take(training_batches(damaged, "train", **options), 40)
    told = re.findall("skipped so far: [0-9]+ of ([0-9]+)$", capfd.readouterr().err, re.M)
    epochs = [int(number) // 6 for number in told[1:]]
    assert len(epochs) >= 4 and epochs == list(range(epochs[0], epochs[0] + len(epochs)))


@pytest.mark.slow
def test_a_flipped_bit_in_the_records_is_an_error(source, data_dir):
    prepared = datasets.prepare("image_folder", source, data_dir)
    shard = Path(prepared.files["train"][0])
    damaged = bytearray(shard.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    shard.write_bytes(bytes(damaged))
    with pytest.raises(tf.errors.DataLossError):
        list(evaluation_examples(prepared, "train"))
    with pytest.raises(tf.errors.DataLossError):
        take(training_batches(prepared, "train", crop=(4, 4), batch_size=3), 2)


@pytest.mark.slow
@pytest.mark.parametrize(
    "number, message",
    [
        (2, r"expected to contain 2 elements but contained at least 3 elements\.\)$"),
        (4, r"expected to contain 4 elements but contained only 3 elements\.\)$"),
    ],
)
def test_another_number_of_records_is_an_error(twelve, number, message):
    """A file that was cut between two records looks whole to TensorFlow."""
    lengths = {"train": (3, 3, 3, number), "val": twelve.lengths["val"]}
    prepared = dataclasses.replace(twelve, lengths=lengths, label_pixels={})
    stream = training_batches(prepared, "train", crop=(4, 4), batch_size=1)
    for use in (
        lambda: list(stream.take(13)),
        lambda: list(evaluation_examples(prepared, "train")),
        lambda: class_pixel_counts(prepared, "train"),
    ):
        with pytest.raises(faults.DATA_ERRORS) as caught:
            use()
        fault = faults.describe_fault(caught.value)
        assert fault.startswith("a record file is damaged or missing (Input dataset was")
        assert re.search(message, fault)


@pytest.mark.slow
def test_skipping_needs_files_and_something_that_can_be_used(damaged):
    options = {"crop": (5, 8), "batch_size": 1, "mode": "pad", "skip_errors": True}
    with pytest.raises(UserError) as caught:
        training_batches(damaged, "train", **options)  # images of 6 x 8 pixels
    assert str(caught.value) == (
        "none of the 12 examples of 'image_folder', split 'train', can be used; python -m "
        "pipelines.doctor image_folder --split train tells why"
    )
    Path(damaged.files["train"][2]).unlink()
    with pytest.raises(UserError, match=r"^the record file \S+00002-of-00004 is missing or cannot"):
        training_batches(damaged, "train", **options)

"""The sizes of a split's images, and how many examples are wanted."""

import numpy as np
import pytest
import tensorflow as tf
from miniatures import noise, prepare_in_files, save

from pipelines.base.errors import UsageError
from pipelines.stream.evaluation import evaluation_examples, image_sizes

SIZES = {"a.jpg": (6, 8), "b.png": (9, 5), "c.jpg": (7, 7)}


@pytest.fixture
def dataset(tmp_path):
    source = tmp_path / "source"
    for name, size in SIZES.items():
        save(source / "train" / "images" / name, noise(*size))
        save(source / "train" / "labels" / f"{name[0]}.png", np.zeros(size, np.uint8))
    save(source / "val" / "images" / "d.jpg", noise(4, 4))
    save(source / "val" / "labels" / "d.png", np.ones((4, 4), np.uint8))
    (source / "classes.txt").write_text("first\nsecond")
    return prepare_in_files(source, tmp_path / "data", 1)


def test_sizes_of_jpeg_and_png(dataset):
    sizes = image_sizes(dataset, "train", most=5)
    assert sizes.dtype == np.int32 and sorted(map(tuple, sizes.tolist())) == sorted(SIZES.values())
    np.testing.assert_array_equal(image_sizes(dataset, "train", most=2), sizes[:2])
    with pytest.raises(UsageError, match="has no split 'none'"):
        image_sizes(dataset, "none", most=2)


def test_damaged_examples_are_left_out_on_request(dataset):
    path = dataset.files["train"][0]
    records = list(tf.data.TFRecordDataset(path).as_numpy_iterator())
    with tf.io.TFRecordWriter(path) as writer:
        for record in (records[0], b"no example", records[2]):
            writer.write(record)
    with pytest.raises(tf.errors.InvalidArgumentError):
        image_sizes(dataset, "train", most=3)
    assert len(image_sizes(dataset, "train", most=3, skip_errors=True)) == 2
    assert len(image_sizes(dataset, "train", most=1)) == 1


def test_a_limit_is_no_negative_number(dataset):
    assert [len(list(evaluation_examples(dataset, "train", limit))) for limit in (0, 2)] == [0, 2]
    with pytest.raises(ValueError) as caught:
        evaluation_examples(dataset, "train", limit=-1)
    assert str(caught.value) == "limit must be at least 0, or None for all, got -1"

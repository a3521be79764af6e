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
        label = np.full(size, name == "c.jpg", np.uint8)
        save(source / "train" / "labels" / f"{name[0]}.png", label)
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


def test_a_limit_is_a_number_of_at_least_0(dataset):
    assert [len(list(evaluation_examples(dataset, "train", limit))) for limit in (0, 2)] == [0, 2]
    for limit in (-1, 2.5, "2", True):
        with pytest.raises(ValueError) as caught:
            evaluation_examples(dataset, "train", limit=limit)
        assert str(caught.value) == (
            f"limit must be an integer of at least 0, or None for all, got {limit!r}"
        )


@pytest.mark.parametrize("part", [(2, 2, 1), (-1, 2, 1), (0, 0, 1), (0, 2, 0), (0, 1), (0, 2.0, 1)])
def test_a_part_is_one_of_its_number(dataset, part):
    with pytest.raises(ValueError) as caught:
        evaluation_examples(dataset, "train", part=part)
    assert str(caught.value) == (
        "part must be integers (index, count, run) with index in 0…count - 1 and a run of at least "
        f"1, got {part!r}"
    )


def test_a_name_is_no_data_set():
    with pytest.raises(ValueError) as caught:
        evaluation_examples("shapes", "train")
    assert str(caught.value) == (
        "dataset must be a prepared one, as gcn_keras.load_dataset gives, got 'shapes'"
    )

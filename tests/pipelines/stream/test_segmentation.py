"""What a stream for segmentation gives, its options, and what it refuses."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from miniatures import write_pairs
from streams import same, take

from pipelines import datasets
from pipelines.base.errors import UsageError
from pipelines.stream import crops
from pipelines.stream.evaluation import class_pixel_counts, evaluation_examples, occurring_classes
from pipelines.stream.options import SegmentationOptions
from pipelines.stream.segmentation import training_batches


@pytest.mark.slow
def test_batches_have_static_shapes_and_are_endless(ten):
    stream = training_batches(ten, "train", crop=(4, 5), batch_size=3)
    images, labels = stream.element_spec
    assert images == tf.TensorSpec((3, 4, 5, 3), tf.uint8)
    assert labels == tf.TensorSpec((3, 4, 5), tf.uint8)
    assert len(take(stream, 11)) == 11  # three epochs and more


def test_each_epoch_holds_every_example_once_in_another_order(ten):
    stream = training_batches(ten, "train", crop=(6, 8), batch_size=10)
    orders = [labels[:, 0, 0].tolist() for _, labels in take(stream, 4)]
    assert all(sorted(order) == list(range(10)) for order in orders)
    assert len({tuple(order) for order in orders}) == 4


@pytest.mark.slow
def test_same_seed_same_stream_whatever_the_threads_and_the_global_seed(ten):
    def stream(seed):
        return training_batches(
            ten, "train", crop=(4, 4), batch_size=4, scale=(0.5, 2.0), jitter=0.3, seed=seed
        )

    tf.random.set_seed(1)
    first = stream(0)
    expected = take(first, 8)
    assert same(take(first, 8), expected)  # a second iteration starts anew
    tf.random.set_seed(2)
    second = stream(0)
    for threads in (1, 8):
        options = tf.data.Options()
        options.threading.private_threadpool_size = threads
        assert same(take(second.with_options(options), 8), expected)
    assert not same(take(stream(1), 8), expected)


@pytest.mark.slow
def test_example_n_of_the_stream_is_drawn_from_seed_and_n(ten):
    """Recomputes the stream with eager calls, one example after the other."""
    files = {}
    folder = Path(ten.files["train"][0]).parents[4] / "source" / "train"
    for name in "0123456789":
        files[int(name)] = (
            (folder / "images" / f"{name}.jpg").read_bytes(),
            (folder / "labels" / f"{name}.png").read_bytes(),
        )
    options = {"crop": (4, 4), "scale": (0.5, 1.5), "flip": True, "jitter": 0.3}
    stream = training_batches(ten, "train", batch_size=1, seed=9, **options)
    for index, (image, label) in enumerate(take(stream, 15)):
        name = int(label[label != 255][0])
        expected = crops.random_crop(*files[name], tf.constant([9, index], tf.int64), **options)
        assert np.array_equal(image[0], expected[0]) and np.array_equal(label[0], expected[1])


@pytest.mark.slow
def test_ids_come_with_their_images(twelve):
    stream = training_batches(twelve, "train", crop=(6, 8), batch_size=4, with_ids=True)
    for _, labels, ids in take(stream, 3):
        names = [text.decode().rpartition("/")[2] for text in ids.tolist()]
        assert names == ["abcdefghijkl"[n] for n in labels[:, 0, 0]]


@pytest.mark.slow
@pytest.mark.parametrize("run", [1, 2, 3])
def test_parts_of_an_evaluation_together_are_the_whole(twelve, run):
    def ids(**options):
        return [e["image_id"].numpy() for e in evaluation_examples(twelve, "train", **options)]

    whole = ids(limit=11)
    parts = [ids(limit=11, part=(index, 3, run)) for index in range(3)]
    assert sorted(sum(parts, [])) == sorted(whole)
    assert parts[1] == [name for i, name in enumerate(whole) if i // run % 3 == 1]


@pytest.mark.slow
def test_pad_names_the_image_that_is_too_large(ten):
    stream = training_batches(ten, "val", crop=(5, 6), batch_size=1, mode="pad")
    with pytest.raises(tf.errors.InvalidArgumentError, match="image x is 5 x 7 pixels"):
        take(stream, 1)
    whole = training_batches(ten, "train", crop=(6, 8), batch_size=10, mode="pad")
    ((_, labels),) = take(whole, 1)
    assert sorted(labels[:, 0, 0]) == list(range(10)) and (labels != 255).all()


def test_evaluation_gives_whole_images_once_in_a_fixed_order(ten):
    def ids(examples):
        return [example["image_id"].numpy().decode() for example in examples]

    examples = list(evaluation_examples(ten, "train"))
    assert sorted(ids(examples)) == list("0123456789")
    assert ids(evaluation_examples(ten, "train")) == ids(examples)
    assert ids(evaluation_examples(ten, "train", limit=3)) == ids(examples)[:3]
    for example in examples:
        assert example["image"].shape == (6, 8, 3) and example["image"].dtype == tf.uint8
        assert example["label"].shape == (6, 8) and example["label"].dtype == tf.uint8
        assert (example["label"].numpy() == int(example["image_id"].numpy())).all()


@pytest.mark.slow
def test_void_survives(ten):
    (example,) = evaluation_examples(ten, "val")
    assert example["label"].shape == (5, 7) and (example["label"].numpy() == 255).all()
    ((_, labels),) = take(training_batches(ten, "val", crop=(5, 7), batch_size=2), 1)
    assert (labels == 255).all()


@pytest.mark.slow
def test_the_classes_that_occur(split_source, data_dir):
    prepared = datasets.prepare("image_folder", split_source, data_dir)
    uncounted = dataclasses.replace(prepared, label_pixels={})
    for split, classes in (("train", {0, 1, 2}), ("val", {0, 1})):
        assert occurring_classes(uncounted, split, 3) == classes
        assert occurring_classes(uncounted, split, 3, skip_errors=True) == classes
        for file in prepared.files[split]:
            Path(file).unlink()
        assert occurring_classes(prepared, split, 3) == classes


def test_class_pixel_counts(split_source, data_dir):
    label = np.array([[0, 0, 1], [255, 1, 1]], np.uint8)
    write_pairs(split_source / "val", "gh", [label, 1])
    prepared = datasets.prepare("image_folder", split_source, data_dir)
    uncounted = dataclasses.replace(prepared, label_pixels={})
    found = [class_pixel_counts(uncounted, "val")]
    found.append(class_pixel_counts(uncounted, "val", skip_errors=True))
    for file in prepared.files["val"]:
        Path(file).unlink()
    found.append(class_pixel_counts(prepared, "val"))
    for counts in found:
        assert counts.dtype == np.int64 and counts.tolist() == [2, 3 + 6 * 8, 0]


def test_unknown_split_names_the_splits(ten):
    for call in (
        lambda: training_batches(ten, "test", crop=(4, 4), batch_size=1),
        lambda: evaluation_examples(ten, "test"),
        lambda: class_pixel_counts(ten, "test"),
    ):
        with pytest.raises(UsageError, match="no split 'test'; it has: train, val"):
            call()


@pytest.mark.parametrize(
    "options",
    [
        {"crop": (0, 4)},
        {"batch_size": 0},
        {"scale": (2.0, 1.0)},
        {"scale": (0.0, 1.0)},
        {"jitter": 1.5},
        {"shuffle_mib": 0},
    ],
)
def test_impossible_values_are_refused_by_name(ten, options):
    ((name, value),) = options.items()
    with pytest.raises(UsageError, match=f"{name} must be .*{str(value)[1:-1]}"):
        training_batches(ten, "train", **({"crop": (4, 4), "batch_size": 1} | options))


@pytest.mark.parametrize(
    "options, message",
    [
        ({"crop": 64}, "^crop must be two integers, height and width, got 64$"),
        ({"crop": (4.0, 4.0)}, r"^crop must be two integers, .*, got \(4\.0, 4\.0\)$"),
        ({"crop": "ab"}, "^crop must be two integers, height and width, got 'ab'$"),
        ({"batch_size": 2.5}, r"^batch_size must be an integer, got 2\.5$"),
        ({"start": 1.5}, r"^start must be an integer, got 1\.5$"),
        ({"shuffle_mib": 1.5}, r"^shuffle_mib must be an integer, got 1\.5$"),
        ({"seed": None}, "^seed must be an integer of 64 bits, got None$"),
        ({"seed": 2**63}, "^seed must be an integer of 64 bits, got 9223372036854775808$"),
        ({"scale": 1.0}, r"^scale must be smallest and largest factor, .*, got 1\.0$"),
        (
            {"scale": (1, float("inf"))},
            "^scale must be smallest and largest factor, both positive and finite, got "
            r"\(1, inf\)$",
        ),
        ({"jitter": "0.5"}, r"^jitter must be in 0…1, got '0\.5'$"),
        ({"hue": None}, r"^hue must be in 0…0\.5, got None$"),
        ({"rotate": (0, 5)}, r"^rotate must be in 0…180, got \(0, 5\)$"),
        ({"erase": float("nan")}, "^erase must be in 0…1, got nan$"),
        ({"flip": "no"}, "^flip must be True or False, got 'no'$"),
        ({"flip_vertical": None}, "^flip_vertical must be True or False, got None$"),
        ({"skip_errors": "true"}, "^skip_errors must be True or False, got 'true'$"),
        ({"with_ids": "no"}, "^with_ids must be True or False, got 'no'$"),
        ({"mode": "whole"}, "mode must be 'crop' or 'pad', got 'whole'"),
        ({"mode": "pad", "scale": (0.5, 1.0)}, r"scale must be 1 and 1 with mode pad.*\(0.5, 1.0"),
        ({"cache": ""}, "cache must be 'memory' or a folder, got ''"),
        ({"cache": True}, "^cache must be 'memory' or a folder, got True$"),
        ({"cache": 3}, "^cache must be 'memory' or a folder, got 3$"),
        ({"batch_size": True}, "^batch_size must be an integer, got True$"),
        ({"jitter": True}, "^jitter must be in 0…1, got True$"),
        ({"data_service": 3}, "^data_service must be HOST:PORT .*, got 3$"),
        (
            {"options": {"crop": (4, 4)}},
            "^options must be SegmentationOptions or None, got {'crop'",
        ),
        ({"cache": __file__}, f"cache must be 'memory' or a folder, got '{__file__}'"),
        ({"data_service": "localhost"}, "data_service must be HOST:PORT.*got 'localhost'"),
        (
            {"data_service": "localhost:1", "cache": "memory"},
            "data_service excludes cache: .*memory",
        ),
    ],
)
def test_invalid_options_of_the_source(ten, options, message):
    with pytest.raises(UsageError, match=message):
        training_batches(ten, "train", **({"crop": (4, 4), "batch_size": 1} | options))


@pytest.mark.slow
def test_numbers_of_numpy_are_taken(ten):
    plain = {"crop": (4, 5), "batch_size": 2, "seed": 3, "scale": (0.5, 2.0), "flip": False}
    of_numpy = {name: np.array(value) for name, value in plain.items() if name in ("crop", "scale")}
    of_numpy |= {"batch_size": np.int64(2), "seed": np.int32(3), "flip": np.False_}
    stream = training_batches(ten, "train", **plain)
    assert same(take(training_batches(ten, "train", **of_numpy), 3), take(stream, 3))


PADDED = {"crop": (8, 10), "batch_size": 10, "mode": "pad", "seed": 2}


@pytest.mark.slow
@pytest.mark.parametrize(
    "options", [{"hue": 0.5}, {"sharpness": 1.0}, {"rotate": 20.0, "hue": 0.5}]
)
def test_padding_is_the_mean_pixel_whatever_the_colours(ten, options):
    ((images, labels),) = take(training_batches(ten, "train", **PADDED, **options), 1)
    geometry = {name: value for name, value in options.items() if name == "rotate"}
    ((plain, same_labels),) = take(training_batches(ten, "train", **PADDED, **geometry), 1)
    assert np.array_equal(labels, same_labels) and not np.array_equal(images, plain)
    # Between image and padding a rotation mixes the two.
    outside = (labels == 255) & (plain == (124, 117, 104)).all(axis=-1)
    assert outside.sum(axis=(1, 2)).min() > 10
    assert (images[outside] == (124, 117, 104)).all()


@pytest.mark.slow
def test_a_crop_of_one_row_can_be_sharpened(ten):
    options = {"crop": (1, 8), "batch_size": 10, "sharpness": 1.0}
    ((images, _),) = take(training_batches(ten, "train", **options), 1)
    assert images.shape == (10, 1, 8, 3)


@pytest.mark.slow
def test_options_are_one_object_or_fields_or_both(ten):
    options = SegmentationOptions(crop=(4, 4), batch_size=2, scale=(0.5, 2.0), seed=3)
    expected = take(training_batches(ten, "train", options, jitter=0.2), 6)
    fields = {"crop": (4, 4), "batch_size": 2, "scale": (0.5, 2.0), "seed": 3, "jitter": 0.2}
    assert same(take(training_batches(ten, "train", **fields), 6), expected)
    with pytest.raises(ValueError, match="^jitter must be in 0…1, got 2$"):
        training_batches(ten, "train", options, jitter=2)
    with pytest.raises(TypeError, match="unexpected keyword argument 'shard'"):
        training_batches(ten, "train", shard=(0, 2), **fields)

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf
from miniatures import write_pairs

from pipelines import crops, datasets, input_pipeline
from pipelines.errors import UsageError
from pipelines.input_pipeline import class_pixel_counts, evaluation_examples, training_batches


def take(stream, count):
    return [(image.numpy(), label.numpy()) for image, label in stream.take(count)]


def same(first, second):
    return all(
        np.array_equal(a, b)
        for one, other in zip(first, second, strict=True)
        for a, b in zip(one, other, strict=True)
    )


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


def test_same_seed_same_stream_whatever_the_threads_and_the_global_seed(ten):
    def stream(seed, threads=None):
        batches = training_batches(
            ten, "train", crop=(4, 4), batch_size=4, scale=(0.5, 2.0), jitter=0.3, seed=seed
        )
        if threads:
            options = tf.data.Options()
            options.threading.private_threadpool_size = threads
            batches = batches.with_options(options)
        return batches

    tf.random.set_seed(1)
    first = stream(0)
    expected = take(first, 8)
    assert same(take(first, 8), expected)  # a second iteration starts anew
    tf.random.set_seed(2)
    assert same(take(stream(0, threads=1), 8), expected)
    assert same(take(stream(0, threads=8), 8), expected)
    assert not same(take(stream(1), 8), expected)


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


def test_shards_are_interleaved_in_a_seeded_order(split_source, data_dir):
    import tensorflow_datasets as tfds

    from pipelines.datasets.image_folder.image_folder_dataset_builder import Builder

    builder = Builder(data_dir=str(data_dir), config=tfds.core.BuilderConfig(name="default"))
    config = tfds.download.DownloadConfig(
        manual_dir=str(split_source), num_shards=2, try_download_gcs=False
    )
    builder.download_and_prepare(download_config=config)
    prepared = datasets.load("image_folder", data_dir)
    assert len(prepared.files["train"]) == 2
    # A buffer of one example: what order there is comes from the shards.
    orders = set()
    for seed in range(8):
        records = input_pipeline._shuffled_records(prepared, "train", seed, np.int64(0), 1)
        records = [record.numpy() for record in records]
        assert len(set(records)) == 6
        orders.add(tuple(records))
    assert len(orders) == 2
    stream = training_batches(prepared, "train", crop=(6, 8), batch_size=6, seed=3)
    batches = take(stream, 3)
    assert all(sorted(labels[:, 0, 0]) == [0, 0, 1, 1, 2, 2] for _, labels in batches)
    assert same(take(stream, 3), batches)


def test_shuffle_buffer_is_bounded_by_its_memory():
    def dataset(num_bytes, num_examples):
        return SimpleNamespace(num_bytes={"train": num_bytes}, splits={"train": num_examples})

    size = input_pipeline.shuffle_buffer_size
    assert size(dataset(1000 * 2**20, 4000), "train", 64) == 256  # 256 KiB each
    assert size(dataset(10 * 2**20, 4000), "train", 64) == 4000  # the whole split
    assert size(dataset(100 * 2**20, 2), "train", 1) == 1  # 50 MiB each


def test_evaluation_gives_whole_pictures_once_in_a_fixed_order(ten):
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


def test_void_survives(ten):
    (example,) = evaluation_examples(ten, "val")
    assert example["label"].shape == (5, 7) and (example["label"].numpy() == 255).all()
    ((_, labels),) = take(training_batches(ten, "val", crop=(5, 7), batch_size=2), 1)
    assert (labels == 255).all()


def test_class_pixel_counts(split_source, data_dir):
    label = np.array([[0, 0, 1], [255, 1, 1]], np.uint8)
    write_pairs(split_source / "val", "gh", [label, 1])
    prepared = datasets.prepare("image_folder", split_source, data_dir)
    counts = class_pixel_counts(prepared, "val")
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

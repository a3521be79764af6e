import dataclasses
import hashlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf
from miniatures import REPOSITORY, prepare_in_files, write_pairs

from pipelines import datasets
from pipelines.base import decoding
from pipelines.base.errors import UsageError, UserError
from pipelines.stream import crops, faults, record_order
from pipelines.stream.evaluation import class_pixel_counts, evaluation_examples, occurring_classes
from pipelines.stream.options import SegmentationOptions
from pipelines.stream.segmentation import training_batches


def take(stream, count):
    return [tuple(part.numpy() for part in batch) for batch in stream.take(count)]


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
    write_pairs(split_source / "val", "gh", [0, 1])
    prepared = prepare_in_files(split_source, data_dir, 2)
    # A buffer of one example: what order there is comes from the shards.
    orders = set()
    for seed in range(8):
        seeds = record_order.seeds_of(seed, np.int64(0))
        files = record_order.files_of(prepared, "train")
        records = record_order.shuffled_records(files, seeds, 1)
        records = [record.numpy() for record in records]
        assert len(set(records)) == 6
        orders.add(tuple(records))
    assert len(orders) == 2
    stream = training_batches(prepared, "train", crop=(6, 8), batch_size=6, seed=3)
    batches = take(stream, 3)
    assert all(sorted(labels[:, 0, 0]) == [0, 0, 1, 1, 2, 2] for _, labels in batches)
    assert same(take(stream, 3), batches)


def digest_of_a_stream(data_dir) -> str:
    """A digest of three epochs of "ten", with everything on that draws."""
    stream = training_batches(
        datasets.load("image_folder/ten", data_dir),
        *("train",),
        **{"crop": (5, 5), "batch_size": 3, "scale": (0.5, 2.0), "jitter": 0.5, "seed": 11},
    )
    digest = hashlib.sha256()
    for pair in take(stream, 10):
        for array in pair:
            digest.update(array.tobytes())
    return digest.hexdigest()


@pytest.mark.slow
def test_another_process_makes_the_same_stream(ten):
    data_dir = str(Path(ten.files["train"][0]).parents[3])
    program = "import sys, test_segmentation as t; print(t.digest_of_a_stream(sys.argv[1]))"
    done = subprocess.run(
        [sys.executable, "-c", program, data_dir],
        env={
            **os.environ,
            "PYTHONPATH": f"{Path(__file__).parent}:{REPOSITORY / 'tests/support'}",
            "PYTHONHASHSEED": "7",
        },
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [digest_of_a_stream(data_dir)]


@pytest.fixture(scope="module")
def twelve(tmp_path_factory):
    """Twelve examples in four files, each labelled with its own number."""
    folder = tmp_path_factory.mktemp("twelve")
    write_pairs(folder / "source" / "train", "abcdefghijkl", range(12))
    write_pairs(folder / "source" / "val", "mnop", range(4))
    (folder / "source" / "classes.txt").write_text("\n".join(f"c{i}" for i in range(12)))
    return prepare_in_files(folder / "source", folder / "data", 4)


def orders(dataset, batch_size, batches, **options):
    """The numbers of the examples in each batch."""
    stream = training_batches(dataset, "train", crop=(6, 8), batch_size=batch_size, **options)
    return [labels[:, 0, 0].tolist() for _, labels in take(stream, batches)]


@pytest.fixture(scope="module", params=[None, "memory", "folder"])
def whole(twelve, tmp_path_factory, request):
    """Options with a cache, and sixteen batches of their stream."""
    cache = str(tmp_path_factory.mktemp("cache")) if request.param == "folder" else request.param
    options = {"crop": (9, 9), "batch_size": 2, "seed": 5, "jitter": 0.3, "scale": (0.6, 1.5)}
    options["cache"] = cache
    return options, take(training_batches(twelve, "train", **options), 16)


@pytest.mark.parametrize("start", [1, 3, 7, 12])
def test_a_stream_that_goes_on(twelve, whole, start):
    """From the middle of an epoch (2 in a batch), its end, and a later one; with the same draws."""
    options, batches = whole
    rest = take(training_batches(twelve, "train", start=start, **options), 4)
    assert same(rest, batches[start : start + 4])


@pytest.mark.parametrize(
    ("seed", "order"),
    [
        (
            0,
            [
                [1, 5, 7, 11, 3, 9, 4, 2, 6, 10, 0, 8],
                [10, 8, 0, 4, 11, 6, 3, 5, 7, 9, 2, 1],
            ],
        ),
        (
            5,
            [
                [4, 5, 1, 0, 9, 11, 8, 6, 10, 3, 2, 7],
                [1, 0, 5, 6, 11, 3, 2, 8, 10, 7, 4, 9],
            ],
        ),
    ],
)
def test_the_order_of_a_seed_stays_what_it_was(twelve, seed, order):
    """A run that was begun before goes on with the examples that it would have had."""
    assert orders(twelve, 12, 2, seed=seed) == order


def test_visits_of_files_draw_anew_each_time(twelve):
    """What is dealt out to workers: each visit of a file has an order and draws of its own."""

    def visits(seed=5, start=0):
        options = SegmentationOptions(crop=(6, 8), batch_size=2, seed=seed, start=start)
        stream = record_order.visited_records(twelve, "train", options).take(36)
        return [(tuple(seeds.numpy().tolist()), record.numpy()) for seeds, record in stream]

    first = visits()
    assert len({seeds for seeds, _ in first}) == 36
    epochs = [[record for _, record in first[i : i + 12]] for i in (0, 12, 24)]
    assert len({tuple(epoch) for epoch in epochs}) == 3
    assert {frozenset(epoch) for epoch in epochs} == {frozenset(epochs[0])}
    assert len(set(epochs[0])) == 12
    assert visits() == first
    assert not {seeds for seeds, _ in visits(seed=6)} & {seeds for seeds, _ in first}
    # Batch 7 is in the second epoch, which begins anew.
    assert visits(start=7)[:24] == first[12:]


def test_copies_of_files_of_the_same_name(tmp_path):
    files = [tmp_path / folder / "train.tfrecord" for folder in ("one", "two")]
    for file in files:
        file.parent.mkdir()
        file.write_bytes(file.parent.name.encode())
    copies = record_order.copied(files, tmp_path / "cache")
    assert [Path(copy).read_bytes() for copy in copies] == [b"one", b"two"]


def test_files_of_different_lengths(tmp_path):
    """Each is read with its own: nothing is missing, and nothing is taken for missing."""
    write_pairs(tmp_path / "source" / "train", "abcdefg", range(7))
    write_pairs(tmp_path / "source" / "val", "hij", range(3))
    (tmp_path / "source" / "classes.txt").write_text("\n".join(f"c{i}" for i in range(7)))
    prepared = prepare_in_files(tmp_path / "source", tmp_path / "data", 3)
    assert sorted(prepared.lengths["train"]) == [2, 2, 3]
    assert [sorted(order) for order in orders(prepared, 7, 6)] == [list(range(7))] * 6
    options = SegmentationOptions(crop=(6, 8), batch_size=7)
    visits = record_order.visited_records(prepared, "train", options)
    found = [prepared.parse(record)["image_id"].numpy()[-1:] for _, record in visits.take(42)]
    assert b"".join(sorted(found)) == b"aaaaaabbbbbbccccccddddddeeeeeeffffffgggggg"


def test_a_stream_that_goes_on_after_skipped_examples(damaged):
    options = {"crop": (9, 9), "batch_size": 2, "seed": 5, "skip_errors": True}
    whole = take(training_batches(damaged, "train", **options), 9)
    assert same(take(training_batches(damaged, "train", start=5, **options), 4), whole[5:])


def test_a_part_of_the_batches_tells_once_an_epoch_of_its_own_what_is_skipped(damaged, capfd):
    """Twelve examples are six for each of two processes."""
    options = {"crop": (9, 9), "batch_size": 2, "skip_errors": True, "batch_part": (1, 2)}
    take(training_batches(damaged, "train", **options), 40)
    told = re.findall("skipped so far: [0-9]+ of ([0-9]+)$", capfd.readouterr().err, re.M)
    epochs = [int(number) // 6 for number in told[1:]]
    assert len(epochs) >= 4 and epochs == list(range(epochs[0], epochs[0] + len(epochs)))


SHARED = {"crop": (9, 9), "batch_size": 6, "seed": 5, "scale": (0.6, 1.5), "start": 1}


@pytest.fixture(scope="module")
def shared(twelve):
    """Four batches of one process."""
    return take(training_batches(twelve, "train", **SHARED), 4)


@pytest.mark.parametrize("count", [2, 3, pytest.param(6, marks=pytest.mark.slow)])
def test_parts_of_batches_together_are_the_batches_of_one_process(twelve, shared, count):
    parts = [
        take(training_batches(twelve, "train", batch_part=(index, count), **SHARED), 4)
        for index in range(count)
    ]
    joined = [
        tuple(np.concatenate(pieces) for pieces in zip(*batch, strict=True))
        for batch in zip(*parts, strict=True)
    ]
    assert same(joined, shared)


ALL_AUGMENTATIONS = {
    "crop": (9, 9), "seed": 5, "scale": (0.6, 1.5), "jitter": 0.2, "flip_vertical": True,
    "rotate": 30.0, "hue": 0.1, "sharpness": 0.5, "erase": 0.5,
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("mix", ["none", "cutmix", "classmix"])
def test_augmentations_follow_from_the_seed_wherever_a_stream_begins(twelve, mix):
    options = {**ALL_AUGMENTATIONS, "mix": mix, "batch_size": 6}
    whole = take(training_batches(twelve, "train", **options), 7)
    assert same(take(training_batches(twelve, "train", start=3, **options), 4), whole[3:])
    parts = [
        take(training_batches(twelve, "train", batch_part=(index, 3), **options), 7)
        for index in range(3)
    ]
    for batch, *pieces in zip(whole, *parts, strict=True):
        for part, *arrays in zip(batch, *pieces, strict=True):
            np.testing.assert_array_equal(np.concatenate(arrays), part)
    assert {label for _, labels in whole for label in np.unique(labels)} <= {*range(12), 255}


@pytest.mark.parametrize("mix", ["cutmix", "classmix"])
def test_an_example_is_mixed_with_the_one_after_it(twelve, mix):
    plain = {"crop": (6, 8), "batch_size": 1, "flip": False}
    alone = [labels[0] for _, labels in take(training_batches(twelve, "train", **plain), 40)]
    mixed = [
        labels[0] for _, labels in take(training_batches(twelve, "train", mix=mix, **plain), 39)
    ]
    changed = 0
    for own, following, got in zip(alone[:-1], alone[1:], mixed, strict=True):
        assert ((got == own) | (got == following)).all()
        changed += (got != own).any()
    # The half that is mixed; each example has one class, which classmix pastes whole.
    assert 10 <= changed <= 29


def test_one_augmentation_does_not_shift_the_draws_of_another(twelve):
    options = {"crop": (9, 9), "batch_size": 4, "seed": 5, "scale": (0.6, 1.5)}
    first, second = (
        take(training_batches(twelve, "train", hue=hue, flip_vertical=True, **options), 3)
        for hue in (0.0, 0.2)
    )
    for (images, labels), (shifted, same_labels) in zip(first, second, strict=True):
        np.testing.assert_array_equal(labels, same_labels)
        assert (images != shifted).any()


def test_ids_come_with_their_images(twelve):
    stream = training_batches(twelve, "train", crop=(6, 8), batch_size=4, with_ids=True)
    for _, labels, ids in take(stream, 3):
        names = [text.decode().rpartition("/")[2] for text in ids.tolist()]
        assert names == ["abcdefghijkl"[n] for n in labels[:, 0, 0]]


@pytest.mark.parametrize("run", [1, 2, 3])
def test_parts_of_an_evaluation_together_are_the_whole(twelve, run):
    def ids(**options):
        return [e["image_id"].numpy() for e in evaluation_examples(twelve, "train", **options)]

    whole = ids(limit=11)
    parts = [ids(limit=11, part=(index, 3, run)) for index in range(3)]
    assert sorted(sum(parts, [])) == sorted(whole)
    assert parts[1] == [name for i, name in enumerate(whole) if i // run % 3 == 1]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"batch_part": (2, 2)},
            r"^batch_part must be integers \(index, count\) with index in 0…count - 1, got "
            r"\(2, 2\)$",
        ),
        ({"batch_part": (0, 2.0)}, r"^batch_part must be integers .*, got \(0, 2\.0\)$"),
        ({"batch_part": 2}, "^batch_part must be integers .*, got 2$"),
        ({"batch_part": (0, 4)}, "batch_size must be a multiple of 4 parts, got 6"),
        ({"start": -1}, "start must be at least 0, got -1"),
        ({"batch_part": (0, 2), "data_service": "localhost:1"}, "data_service excludes batch_part"),
    ],
)
def test_invalid_parts_and_starts(twelve, monkeypatch, options, message):
    monkeypatch.setattr("pipelines.base.addresses.check_listening", lambda address: None)
    with pytest.raises(UsageError, match=message):
        training_batches(twelve, "train", crop=(9, 9), batch_size=6, **options)


def test_memory_cache_reads_once_and_augments_anew(source, data_dir):
    prepared = datasets.prepare("image_folder", source, data_dir)
    options = {"crop": (9, 9), "batch_size": 3, "jitter": 0.5, "cache": "memory", "seed": 2}
    expected = take(training_batches(prepared, "train", **options), 4)
    stream = training_batches(prepared, "train", **options)
    iterator = stream.as_numpy_iterator()
    next(iterator)
    for file in prepared.files["train"]:
        Path(file).unlink()
    rest = [next(iterator) for _ in range(3)]
    assert same(rest, expected[1:])
    assert len({image.tobytes() for images, _ in expected for image in images}) == 12


def test_folder_cache_gives_the_same_stream_without_the_files(twelve, tmp_path):
    shutil.copytree(Path(twelve.files["train"][0]).parents[3], tmp_path / "data")
    prepared = datasets.load("image_folder", tmp_path / "data")
    options = {"crop": (4, 4), "batch_size": 4, "scale": (0.5, 2.0), "seed": 3}
    expected = take(training_batches(prepared, "train", **options), 7)
    stream = training_batches(prepared, "train", cache=str(tmp_path / "cache"), **options)
    for file in prepared.files["train"]:
        os.rename(file, f"{file}.away")
    assert same(take(stream, 7), expected)
    copies = [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]
    assert sorted(path.name for path in copies) == sorted(
        Path(file).name for file in prepared.files["train"]
    )


def test_folder_cache_replaces_what_is_incomplete_or_old(twelve, tmp_path):
    originals = []
    for i, file in enumerate(twelve.files["train"]):
        originals.append(Path(shutil.copy2(file, tmp_path / f"{i}.tfrecord")))
    folder = tmp_path / "cache"
    copies = [Path(copy) for copy in record_order.copied(originals, folder)]
    kept = copies[0].stat().st_ino
    copies[1].write_bytes(originals[1].read_bytes()[:-5])  # cut off
    os.utime(originals[2], (1e9, 1e9))  # prepared anew, with the same size
    copies[3].with_name(f"{copies[3].name}.incomplete-1").write_bytes(b"half")
    copies[3].unlink()
    assert [Path(copy) for copy in record_order.copied(originals, folder)] == copies
    assert copies[0].stat().st_ino == kept
    for original, copy in zip(originals, copies, strict=True):
        assert copy.read_bytes() == original.read_bytes()
        assert copy.stat().st_mtime == pytest.approx(original.stat().st_mtime)


def test_a_cache_that_cannot_be_written_is_named(ten, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=f"cannot copy .* to the cache {tmp_path}/file/cache: "):
        training_batches(
            ten, "train", crop=(4, 4), batch_size=1, cache=str(tmp_path / "file" / "cache")
        )


def test_pad_names_the_image_that_is_too_large(ten):
    stream = training_batches(ten, "val", crop=(5, 6), batch_size=1, mode="pad")
    with pytest.raises(tf.errors.InvalidArgumentError, match="image x is 5 x 7 pixels"):
        take(stream, 1)
    whole = training_batches(ten, "train", crop=(6, 8), batch_size=10, mode="pad")
    ((_, labels),) = take(whole, 1)
    assert sorted(labels[:, 0, 0]) == list(range(10)) and (labels != 255).all()


@pytest.mark.slow
def test_memory_stays_flat_over_epochs(tmp_path):
    """Six epochs of more than 20 MiB of records and twice that of crops: a leak would show."""
    folder = tmp_path / "source"
    for split, count in (("train", 160), ("val", 4)):
        labels = [np.indices((360, 480), np.uint8)[0] // 180] * count
        write_pairs(folder / split, [f"{i:03}" for i in range(count)], labels)
    (folder / "classes.txt").write_text("one\ntwo\n")
    prepared = prepare_in_files(folder, tmp_path / "data", 4)
    assert prepared.num_bytes["train"] > 20 * 2**20
    stream = training_batches(
        prepared, "train", crop=(256, 256), batch_size=4, scale=(0.6, 1.6), shuffle_mib=8
    )
    used = []
    for i, _ in enumerate(stream.take(6 * 40)):
        if i % 40 == 39:
            used.append(resident_mib())
    assert used[-1] - used[1] < 48, used


def resident_mib() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def test_shuffle_buffer_is_bounded_by_its_memory():
    def dataset(num_bytes, num_examples):
        return SimpleNamespace(num_bytes={"train": num_bytes}, splits={"train": num_examples})

    size = record_order.shuffle_buffer_size
    assert size(dataset(1000 * 2**20, 4000), "train", 64) == 256  # 256 KiB each
    assert size(dataset(10 * 2**20, 4000), "train", 64) == 4000  # the whole split
    assert size(dataset(100 * 2**20, 2), "train", 1) == 1  # 50 MiB each


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


def test_void_survives(ten):
    (example,) = evaluation_examples(ten, "val")
    assert example["label"].shape == (5, 7) and (example["label"].numpy() == 255).all()
    ((_, labels),) = take(training_batches(ten, "val", crop=(5, 7), batch_size=2), 1)
    assert (labels == 255).all()


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


def test_numbers_of_numpy_are_taken(ten):
    plain = {"crop": (4, 5), "batch_size": 2, "seed": 3, "scale": (0.5, 2.0), "flip": False}
    of_numpy = {name: np.array(value) for name, value in plain.items() if name in ("crop", "scale")}
    of_numpy |= {"batch_size": np.int64(2), "seed": np.int32(3), "flip": np.False_}
    stream = training_batches(ten, "train", **plain)
    assert same(take(training_batches(ten, "train", **of_numpy), 3), take(stream, 3))


PADDED = {"crop": (8, 10), "batch_size": 10, "mode": "pad", "seed": 2}


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


def test_a_crop_of_one_row_can_be_sharpened(ten):
    options = {"crop": (1, 8), "batch_size": 10, "sharpness": 1.0}
    ((images, _),) = take(training_batches(ten, "train", **options), 1)
    assert images.shape == (10, 1, 8, 3)


def test_options_are_one_object_or_fields_or_both(ten):
    options = SegmentationOptions(crop=(4, 4), batch_size=2, scale=(0.5, 2.0), seed=3)
    expected = take(training_batches(ten, "train", options, jitter=0.2), 6)
    fields = {"crop": (4, 4), "batch_size": 2, "scale": (0.5, 2.0), "seed": 3, "jitter": 0.2}
    assert same(take(training_batches(ten, "train", **fields), 6), expected)
    with pytest.raises(ValueError, match="^jitter must be in 0…1, got 2$"):
        training_batches(ten, "train", options, jitter=2)
    with pytest.raises(TypeError, match="unexpected keyword argument 'shard'"):
        training_batches(ten, "train", shard=(0, 2), **fields)


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

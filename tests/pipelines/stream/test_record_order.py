"""The order of examples and their draws: from the seed alone, wherever a stream begins."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from miniatures import REPOSITORY, prepare_in_files, write_pairs
from streams import same, take

from pipelines import datasets
from pipelines.base.errors import UsageError
from pipelines.stream import record_order
from pipelines.stream.options import SegmentationOptions
from pipelines.stream.segmentation import training_batches


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


@pytest.mark.slow
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


@pytest.mark.slow
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


@pytest.mark.slow
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


SHARED = {"crop": (9, 9), "batch_size": 6, "seed": 5, "scale": (0.6, 1.5), "start": 1}


@pytest.fixture(scope="module")
def shared(twelve):
    """Four batches of one process."""
    return take(training_batches(twelve, "train", **SHARED), 4)


@pytest.mark.slow
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


@pytest.mark.slow
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


@pytest.mark.slow
def test_one_augmentation_does_not_shift_the_draws_of_another(twelve):
    options = {"crop": (9, 9), "batch_size": 4, "seed": 5, "scale": (0.6, 1.5)}
    first, second = (
        take(training_batches(twelve, "train", hue=hue, flip_vertical=True, **options), 3)
        for hue in (0.0, 0.2)
    )
    for (images, labels), (shifted, same_labels) in zip(first, second, strict=True):
        np.testing.assert_array_equal(labels, same_labels)
        assert (images != shifted).any()


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
    monkeypatch.setattr("pipelines.stream.data_service.check_listening", lambda address: None)
    with pytest.raises(UsageError, match=message):
        training_batches(twelve, "train", crop=(9, 9), batch_size=6, **options)


@pytest.mark.slow
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
    program = "import sys, test_record_order as t; print(t.digest_of_a_stream(sys.argv[1]))"
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

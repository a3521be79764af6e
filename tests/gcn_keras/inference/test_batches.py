"""Batches of images of one size."""

from gcn_keras.inference import batches
from gcn_keras.inference.batches import same_sized


def test_batches_of_one_size(monkeypatch):
    """Of at most 100 pixels, but never without an item; neighbours of one size only."""
    monkeypatch.setattr(batches, "BATCH_PIXELS", 100)
    sizes = [(5, 10)] * 5 + [(10, 5)] + [(20, 20)] * 2 + [(5, 10)] * 2 + [(5, 11)]
    found = same_sized(enumerate(sizes), lambda item: item[1])
    assert [[number for number, _ in batch] for batch in found] == [
        [0, 1], [2, 3], [4], [5], [6], [7], [8, 9], [10],
    ]  # fmt: skip


def test_no_more_than_some_together():
    found = same_sized(range(40), lambda number: (1, 1))
    assert [len(batch) for batch in found] == [16, 16, 8]


def test_what_has_no_size_goes_alone():
    found = same_sized("aaxxa", lambda item: None if item == "x" else (1, 1))
    assert list(found) == [["a", "a"], ["x"], ["x"], ["a"]]


def test_a_full_batch_waits_for_nothing(monkeypatch):
    monkeypatch.setattr(batches, "BATCH_PIXELS", 100)
    items = iter([(10, 10)] * 3)
    assert next(same_sized(items, lambda item: item)) == [(10, 10)]
    assert len(list(items)) == 2

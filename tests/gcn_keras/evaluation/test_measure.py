"""Which images of a split go through a model together."""

import numpy as np

from gcn_keras.evaluation import measure


def test_batches_of_one_size(monkeypatch):
    """Of at most 100 pixels, but never without an image; neighbours of one size only."""
    monkeypatch.setattr(measure, "BATCH_PIXELS", 100)
    sizes = [(5, 10)] * 5 + [(10, 5)] + [(20, 20)] * 2 + [(5, 10)] * 2 + [(5, 11)]
    examples = [{"label": np.zeros(size), "number": i} for i, size in enumerate(sizes)]
    batches = measure._same_sized(examples)
    assert [[example["number"] for example in batch] for batch in batches] == [
        [0, 1], [2, 3], [4], [5], [6], [7], [8, 9], [10],
    ]  # fmt: skip

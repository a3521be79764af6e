"""A batch for each replica, and an answer for each batch."""

import types

import numpy as np
import pytest
import tensorflow as tf

from gcn_keras.training.validation import predictor


@pytest.mark.parametrize("count", [1, 2])
def test_a_replica_without_a_batch_answers_for_nobody(count):
    """Two of them; values and results of replicas are tuples here."""
    ran = []

    def run(function, arguments):
        ran.append(len(arguments[0]))
        return tuple(map(function, arguments[0]))

    strategy = types.SimpleNamespace(run=run, experimental_local_results=list)
    team = types.SimpleNamespace(
        strategy=strategy, local_replicas=2, deal=lambda values: tuple(map(tf.constant, values))
    )
    predict = predictor(team, lambda images: 2 * images)
    batches = [np.full((1, 2, 2, 3), number + 1, np.uint8) for number in range(count)]
    found = predict(batches)
    assert [answer.tolist() for answer in found] == [(2 * batch).tolist() for batch in batches]
    assert ran == [2]

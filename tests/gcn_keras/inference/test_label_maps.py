"""Label maps of scores."""

import numpy as np
import pytest

from gcn_keras.inference.label_maps import check_answered, label_map
from pipelines.base.errors import UserError

SENTENCE = (
    "the model gives NaN instead of scores: it was trained with too high a learning rate, or what "
    "it computes is too large for float16"
)


def test_the_highest_score():
    labels = label_map(np.array([[[0.1, 0.3], [-np.inf, -5]], [[np.inf, 0], [2, 2]]]))
    assert labels.dtype == np.uint8
    assert labels.tolist() == [[1, 1], [0, 0]]


@pytest.mark.parametrize("place", [0, 1, 2])
def test_scores_that_are_nan(place):
    scores = np.zeros((2, 2, 3), np.float32)
    scores[1, 0, place] = np.nan
    with pytest.raises(UserError) as caught:
        label_map(scores)
    assert str(caught.value) == SENTENCE


def test_what_a_graph_could_not_answer():
    answered = np.array([[0, 254]], np.uint8)
    assert check_answered(answered) is answered
    with pytest.raises(UserError) as caught:
        check_answered(np.array([[0, 255]], np.uint8))
    assert str(caught.value) == SENTENCE

"""Numbers of things, in sentences."""

import pytest

from pipelines.base.plurals import count_of, plural


@pytest.mark.parametrize(
    ("number", "noun", "words"),
    [
        (0, "image", "0 images"),
        (1, "image", "1 image"),
        (1, "class", "1 class"),
        (2, "class", "2 classes"),
        (3, "box", "3 boxes"),
        (1234, "batch", "1,234 batches"),
        (2, "epoch", "2 epochs"),
        (2, "label map", "2 label maps"),
    ],
)
def test_a_number_and_its_noun(number, noun, words):
    assert count_of(number, noun) == words


def test_a_number_that_is_no_whole_one():
    assert [plural(number, "point") for number in (0.5, 1.0, 1.5)] == ["points", "point", "points"]

"""The parts of the demo's page by hand."""

import numpy as np

from gcn_keras.web.parts import class_shares, shrink


def test_shares_by_hand():
    labels = np.array([[1, 1, 1, 0], [255, 255, 2, 0]], np.uint8)
    assert class_shares(labels) == {1: 0.375, 0: 0.25, 2: 0.125}
    assert list(class_shares(labels)) == [1, 0, 2]


def test_large_images_are_shrunk():
    assert shrink(np.zeros((30, 60, 3), np.uint8), 20).shape == (10, 20, 3)
    small = np.zeros((5, 6, 3), np.uint8)
    assert shrink(small, 20) is small

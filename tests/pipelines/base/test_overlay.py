import numpy as np

from pipelines.base.overlay import over_gray

COLOURS = np.zeros((256, 3), np.uint8)
COLOURS[3] = (200, 0, 100)


def test_overlays_have_the_hues_of_the_classes_alone():
    image = np.array([[[30, 60, 90]]], np.uint8)
    # 0.4 of the mean 60 and 0.6 of the colour.
    assert over_gray(image, np.array([[3]], np.uint8), COLOURS).tolist() == [[[144, 24, 84]]]


def test_void_is_striped_whatever_its_colour():
    image = np.full((2, 9, 3), 100, np.uint8)
    label = np.full((2, 9), 255, np.uint8)
    label[1, 8] = 3
    found = over_gray(image, label, COLOURS)
    dark, light = 40 + 18, 40 + 144  # 0.4 of 100, and 0.6 of 30 or 240
    assert found[0, :, 0].tolist() == [dark] * 4 + [light] * 4 + [dark]
    assert found[1, :8, 0].tolist() == [dark] * 3 + [light] * 4 + [dark]
    assert (found[0] == found[0, :, :1]).all()
    assert found[1, 8].tolist() == [160, 40, 100]

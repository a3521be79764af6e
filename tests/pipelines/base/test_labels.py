import numpy as np
import pytest

from pipelines.base import labels


def test_voc_colours_are_the_published_ones():
    colours = labels.palette()
    assert colours.shape == (256, 3) and colours.dtype == np.uint8
    assert colours[0].tolist() == [0, 0, 0]
    assert colours[1].tolist() == [128, 0, 0]  # aeroplane
    assert colours[15].tolist() == [192, 128, 128]  # person
    assert colours[20].tolist() == [0, 64, 128]  # tv/monitor
    assert colours[255].tolist() == [224, 224, 192]  # void
    assert len(np.unique(colours, axis=0)) == 256


def test_camvid_has_its_own_colours():
    colours = labels.palette("camvid")
    assert colours[0].tolist() == [128, 128, 128]  # sky
    assert colours[3].tolist() == [128, 64, 128]  # road
    assert colours[255].tolist() == [224, 224, 192]
    assert len(labels.CAMVID_CLASSES) == len(labels.CAMVID_PALETTE) == 11
    assert len(np.unique(colours[[*range(11), 255]], axis=0)) == 12


@pytest.mark.parametrize("num_classes", [0, 256])
def test_impossible_numbers_of_classes_are_refused(num_classes):
    with pytest.raises(ValueError, match=str(num_classes)):
        labels.check_num_classes(num_classes)


def test_long_class_lists_are_cut():
    assert labels.describe_classes(("sky", "road")) == "0 sky, 1 road"
    assert labels.describe_classes(("a", "b", "c"), limit=2) == "0 a, 1 b and 1 more"

"""Regions against pixels counted by hand, pycocotools' own encoder and labelme's definitions."""

import base64
import functools
import io
import struct
import weakref
from collections.abc import Iterator

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask

from pipelines.building import regions
from pipelines.building.regions import Region, coco_region, labelme_region, paint


def picture(*rows):
    return np.array([[character == "#" for character in row] for row in rows])


def shape(kind, *points, **more):
    return {"shape_type": kind, "points": [list(point) for point in points], **more}


def test_run_lengths_go_down_the_columns():
    # 1 outside, 2 inside, 3 outside, of a 2 x 3 image: (1, 0) and (0, 1).
    runs = {"size": [2, 3], "counts": [1, 2, 3]}
    assert (coco_region(runs, 2, 3) == picture(".#.", "#..")).all()


def test_compressed_run_lengths_are_the_same():
    rng = np.random.default_rng(0)
    for height, width in [(1, 1), (7, 5), (40, 60), (300, 200)]:
        for share in (0.0, 0.03, 0.5, 1.0):
            mask = rng.random((height, width)) < share
            runs = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
            text = {"size": [height, width], "counts": runs["counts"].decode()}
            assert (coco_region(text, height, width) == mask).all()


def test_polygons_are_pycocotools_own():
    points = [1.2, 1.0, 8.7, 2.5, 4.0, 8.9]
    expected = coco_mask.decode(coco_mask.merge(coco_mask.frPyObjects([points], 10, 10)))
    assert (coco_region([points], 10, 10) == expected.astype(bool)).all()
    assert coco_region([[1, 1, 2, 2]], 4, 4).sum() == 0  # encloses nothing
    square = coco_region([[1, 1, 3, 1, 3, 3, 1, 3]], 4, 4)
    assert (square == picture("....", ".##.", ".##.", "....")).all()


@pytest.mark.parametrize(
    ("segmentation", "message"),
    [
        ({"size": [2, 2], "counts": [5]}, "counts make 5 pixels, not 4"),
        ({"size": [2, 2], "counts": [5, -1]}, "counts are no list of run lengths"),
        ({"size": [2, 3], "counts": [6]}, r"size \[2, 3\], not \[2, 2\]"),
        ({"size": [2, 2], "counts": "4 "}, "counts are no compressed run lengths"),
        ({"size": [2, 2], "counts": "P"}, "counts are no list of run lengths"),
        ({"size": [2, 2], "counts": "o" * 20}, "counts are no compressed run lengths"),
        ({"size": [2, 2], "counts": [2**62, 2**62, 2**62, 2**62, 4]}, "counts make 1844674407370"),
        ([[0, 0, 1]], "a polygon is no list of x, y, x, y, …"),
        ([[0, 0, 1, 1, 9, 9]], "a polygon leaves the 2x2 image"),
        ([[0, 0, 1, 1, float("nan"), 1]], "a polygon leaves the 2x2 image"),
        ([[0, 0, 1, 1, "a", 1]], r"^\[0, 0, 1, 1, 'a', 1\] are no numbers$"),
        ({"size": [2, 2], "counts": [[1], [2, 1]]}, r"^\[\[1\], \[2, 1\]\] are no numbers$"),
    ],
)
def test_damaged_segmentations(segmentation, message):
    with pytest.raises(ValueError, match=message):
        coco_region(segmentation, 2, 2)


@pytest.mark.parametrize(
    ("drawn", "expected"),
    [
        # Both corners' pixels belong to a rectangle, in whichever order they are given.
        (shape("rectangle", (3, 2), (1, 1)), ("......", ".###..", ".###..", "......", "......")),
        (
            shape("polygon", (1, 0), (4, 0), (1, 3)),
            (".####.", ".###..", ".##...", ".#....", "......"),
        ),
        (shape("circle", (2, 2), (3, 2)), ("......", "..#...", ".###..", "..#...", "......")),
    ],
)
def test_shapes_of_labelme(drawn, expected):
    assert (labelme_region(drawn, 5, 6) == picture(*expected)).all()


def test_lines_are_ten_pixels_wide_and_points_eleven():
    line = labelme_region(shape("linestrip", (5, 20), (30, 20)), 40, 40)
    assert line[:, 15].sum() == 10
    point = labelme_region(shape("point", (20, 20)), 40, 40)
    assert point[20].sum() == point[:, 20].sum() == 11


def test_a_mask_lies_between_its_corners():
    buffer = io.BytesIO()
    Image.fromarray(np.array([[255, 0], [255, 255]], np.uint8)).save(buffer, "PNG")
    text = base64.b64encode(buffer.getvalue()).decode()
    inside = labelme_region(shape("mask", (1, 2), (2, 3), mask=text), 5, 4)
    assert (inside == picture("....", "....", ".#..", ".##.", "....")).all()
    # Below 0 a slice counts from the other edge.
    for corners in ((1, 2), (3, 3)), ((3, 2), (4, 3)), ((-2, 2), (-1, 3)), ((1, -3), (2, -2)):
        (left, top), (right, bottom) = corners
        with pytest.raises(ValueError) as caught:
            labelme_region(shape("mask", *corners, mask=text), 5, 4)
        assert str(caught.value) == (
            f"a mask of 2x2 pixels from {left}, {top} to {right}, {bottom} of a 4x5 image"
        )


def foreign_images() -> Iterator[str]:
    """Of kinds that Pillow opens: two sound pixels, one without a pixel, one that is a program."""
    qoi = b"qoif" + struct.pack(">II", 3, 3) + bytes([3, 0])
    for data in (b"P5 2 1 255 \0\xff", qoi, b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 2 2\n"):
        yield base64.b64encode(data).decode()


@pytest.mark.parametrize(
    ("drawn", "message"),
    [
        (shape("spline", (1, 1)), "no shape_type 'spline'; there are polygon, rectangle"),
        (shape("polygon", (1, 1), (2, 2)), "a polygon with the points"),
        (shape("circle", (1, 1), (2, 2), (3, 3)), "a circle with the points"),
        (shape("rectangle", (1, 1), (99, 2)), "a rectangle leaves the 6x5 image"),
        (shape("line", (1, 1), (2,)), r"^\[\[1, 1\], \[2\]\] are no numbers$"),
        (shape("mask", (1, 1), (2, 2), mask="?"), "^its mask is no PNG in base64$"),
        (shape("mask", (1, 1), (2, 2), mask="AAAA"), "^its mask is no PNG in base64$"),
        *(
            (shape("mask", (1, 1), (2, 2), mask=text), "^its mask is no PNG in base64$")
            for text in foreign_images()
        ),
    ],
)
def test_damaged_shapes(drawn, message):
    with pytest.raises(ValueError, match=message):
        labelme_region(drawn, 5, 6)


def region(label, *row):
    return Region(label, lambda: np.array([row], bool))


def test_painting_order():
    both = [region(1, 1, 0, 0), region(2, 1, 1, 1)]
    assert paint(both, (1, 3), 0).tolist() == [[2, 2, 2]]
    assert paint(both, (1, 3), 0, "largest-first").tolist() == [[1, 2, 2]]
    both = [region(2, 1, 0, 0), region(1, 1, 1, 1)]
    assert paint(both, (1, 3), 0, "classes").tolist() == [[2, 1, 1]]
    assert paint([region(3, 1, 0, 0)], (1, 3), 255).tolist() == [[3, 255, 255]]
    assert regions.paint([], (1, 2), 7).dtype == np.uint8


def test_of_regions_of_one_size_the_later_one_is_on_top():
    equal = [region(4, 1, 1, 0), region(3, 0, 1, 1)]
    assert paint(equal, (1, 3), 0, "largest-first").tolist() == [[4, 3, 3]]


@pytest.mark.parametrize("order", ["file", "largest-first", "classes"])
def test_of_many_regions_one_is_in_memory_at_a_time(order):
    made = []

    def inside(number):
        assert not any(reference() is not None for reference in made)
        mask = np.arange(9).reshape(1, 9) == number
        made.append(weakref.ref(mask))
        return mask

    many = [Region(9 - number, functools.partial(inside, number)) for number in range(9)]
    assert paint(many, (1, 9), 0, order).tolist() == [[9, 8, 7, 6, 5, 4, 3, 2, 1]]

"""Tiles along a side, by hand."""

import numpy as np
import pytest

from gcn_keras.inference.tiles import nearest_tiles, tile_starts


@pytest.mark.parametrize(
    ("length", "tile", "overlap", "starts"),
    [
        (2048, 1024, 682, [0, 342, 684, 1024]),  # the paper's four crops of a Cityscapes row
        (1024, 1024, 682, [0]),
        (10, 4, 0, [0, 4, 6]),
        (8, 4, 0, [0, 4]),
        (9, 4, 2, [0, 2, 4, 5]),
        (3, 4, 2, [0]),
    ],
)
def test_tiles_cover_a_side(length, tile, overlap, starts):
    assert tile_starts(length, tile, overlap) == starts
    assert starts[-1] + tile >= length
    assert all(b - a <= tile - overlap for a, b in zip(starts, starts[1:], strict=False))


# Tiles of 8 step by at most 6: 16 takes three, from 0, 4 and 8. The first two share 4…7 and are
# cut at 6, the last two share 8…11 and are cut at 10.
@pytest.mark.parametrize(
    "length, tile, expected",
    [
        (8, 8, [(0, 0, 8)]),
        (9, 8, [(0, 0, 4), (1, 4, 9)]),
        (14, 8, [(0, 0, 7), (6, 7, 14)]),
        (16, 8, [(0, 0, 6), (4, 6, 10), (8, 10, 16)]),
        (3, 1, [(0, 0, 1), (1, 1, 2), (2, 2, 3)]),
    ],
)
def test_nearest_tiles(length, tile, expected):
    assert nearest_tiles(length, tile, tile // 4) == expected


@pytest.mark.parametrize("tile", [5, 8, 32])
def test_a_pixel_is_taken_from_the_tile_whose_middle_is_nearest(tile):
    for length in range(tile, 5 * tile):
        cover = nearest_tiles(length, tile, tile // 4)
        middles = np.array([start + tile / 2 for start, _, _ in cover])
        assert [begin for _, begin, _ in cover] == [0, *(end for _, _, end in cover[:-1])]
        assert cover[-1][2] == length
        for (_, begin, end), middle in zip(cover, middles, strict=True):
            for pixel in range(begin, end):
                nearest = np.abs(pixel + 0.5 - middles).min()
                assert abs(pixel + 0.5 - middle) <= nearest + 0.5  # odd overlaps have no middle

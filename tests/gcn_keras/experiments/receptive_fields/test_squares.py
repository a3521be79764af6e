"""Squares that hold a share of a field, and means of fields, by hand."""

import numpy as np
import pytest

from gcn_keras.experiments.receptive_fields.squares import recentred_mean, square_side, table


class TestSquare:
    def test_a_single_pixel_is_its_own_square(self):
        field = np.zeros((5, 7))
        field[1, 2] = 3.0
        assert [square_side(field, (1, 2), share) for share in (0.5, 0.95, 1)] == [1, 1, 1]

    def test_a_uniform_map(self):
        # The squares hold 1, 9, 25, 49, 81 of 81 pixels: 50 % is 40.5, 95 % is 76.95, 30 % is 24.3.
        field = np.full((9, 9), 0.1)
        assert [square_side(field, (4, 4), share) for share in (0.3, 0.5, 0.95)] == [5, 7, 9]

    def test_a_share_that_is_met_exactly_suffices(self):
        # 25 of 81, of values that binary fractions only approximate.
        assert square_side(np.full((9, 9), 0.1), (4, 4), 25 / 81) == 5

    def test_nothing_lies_beyond_the_border(self):
        # From a corner of 5×5 the squares hold 1, 4, 9, 16, 25 of 25 pixels: 50 % is 12.5.
        assert square_side(np.ones((5, 5)), (0, 0), 0.5) == 7
        assert square_side(np.ones((5, 5)), (4, 0), 0.95) == 9

    def test_mass_off_the_centre(self):
        field = np.zeros((9, 9))
        field[4, 4], field[4, 7] = 1.0, 3.0  # three pixels to the right
        assert square_side(field, (4, 4), 0.25) == 1
        assert square_side(field, (4, 4), 0.26) == 7

    @pytest.mark.parametrize("share", [0, -0.5, 1.01])
    def test_invalid_shares(self, share):
        message = f"share must be above 0 and at most 1, got {share}"
        with pytest.raises(ValueError, match=f"^{message}$"):
            square_side(np.ones((3, 3)), (1, 1), share)

    def test_an_empty_map(self):
        message = "the map is 0 everywhere: no square holds a share of it"
        with pytest.raises(ValueError, match=f"^{message}$"):
            square_side(np.zeros((3, 3)), (1, 1), 0.5)


class TestMean:
    def test_maps_are_laid_over_each_other_by_their_points(self):
        first, second = np.array([[1.0, 2.0, 3.0]]), np.array([[10.0], [20.0]])
        mean, at = recentred_mean([first, second], [(0, 1), (1, 0)])
        # The points' values 2 and 20 meet; what only one map has is its own.
        assert mean.tolist() == [[0, 10, 0], [1, 11, 3]]
        assert at == (1, 1)

    def test_one_map_is_its_own_mean(self):
        field = np.arange(6.0).reshape(2, 3)
        mean, at = recentred_mean([field], [(1, 2)])
        assert mean.tolist() == field.tolist() and at == (1, 2) and mean.dtype == np.float32


def test_table():
    sides = {"effective": {"50": 3, "95": 11}, "valid": {"50": 5, "95": 101}}
    assert table([("a.png at 1,2: sky, 0.50", sides)]).splitlines() == [
        "side in pixels of the square that holds     50%     95%",
        "a.png at 1,2: sky, 0.50",
        "  effective receptive field                   3      11",
        "  valid receptive field                       5     101",
    ]

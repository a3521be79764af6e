"""Receptive fields drawn over an image."""

import numpy as np
import pytest
from known_fields import AT, IMAGE, window

from gcn_keras.experiments.receptive_fields.figures import receptive_field_figure


class TestFigure:
    def fields(self) -> dict[str, np.ndarray]:
        return {"valid": 2.0 * window(32, 32, AT, 7), "effective": 1.0 * window(32, 32, (0, 0), 5)}

    def test_squares_and_numbers(self):
        figure = receptive_field_figure(IMAGE, self.fields(), AT, "photo.png", "sky")
        photo, valid, effective = figure.axes
        # 49 pixels: 50 % is 24.5, of which 5×5 holds 25; 95 % is 46.55.
        boxes = [p.get_bbox().bounds for p in valid.patches if p.get_gid() == "square"]
        assert boxes == [(9.5, 13.5, 5, 5), (8.5, 12.5, 7, 7)]
        assert [text.get_text() for text in valid.texts] == ["50%: 5 px · 95%: 7 px"]
        # Rows 0…2 lie 16, 15 and 14 above the point, with 3 of 9 pixels each.
        assert [text.get_text() for text in effective.texts] == ["50%: 31 px · 95%: 33 px"]
        assert photo.get_title("left") == "photo.png\n" and photo.texts[0].get_text() == "sky"
        assert photo.images[0].get_array().tolist() == IMAGE.tolist()

    def test_where_the_field_is_0_the_dimmed_gray_image_shows(self):
        figure = receptive_field_figure(np.full_like(IMAGE, 100), self.fields(), AT)
        shown = figure.axes[1].images[0].get_array()
        outside = ~window(32, 32, AT, 7)
        assert np.allclose(shown[outside], 100 / 255 * 0.55)
        assert np.allclose(shown[AT], [0.987, 0.991, 0.750], atol=1e-3)  # the end of magma

    def test_panels_show_squares_that_reach_over_the_image(self):
        figure = receptive_field_figure(None, {"valid": np.ones((8, 8))}, (0, 0))
        (axes,) = figure.axes
        # The 95 % square around the corner is 15 wide: from -7 to 7.
        assert axes.get_xlim() == (-8.5, 8.5) and axes.get_ylim() == (8.5, -8.5)

    @pytest.mark.parametrize(("fields", "grid"), [(2, (1, 3)), (3, (2, 2)), (4, (2, 3))])
    def test_at_most_three_panels_stand_side_by_side(self, fields, grid):
        named = {f"k = {number}": 1.0 * window(32, 32, AT, 7) for number in range(fields)}
        panels = receptive_field_figure(IMAGE, named, AT).axes
        places = [axes.get_subplotspec() for axes in panels]
        assert places[0].get_gridspec().get_geometry() == grid
        assert [place.num1 for place in places] == list(range(fields + 1))

    def test_sizes_that_differ(self):
        with pytest.raises(ValueError, match="^fields and image must be of one size, received "):
            receptive_field_figure(IMAGE, {"valid": np.ones((8, 8))}, (0, 0))

"""Curves of training, and of accuracy along boundaries."""

import pytest
from PIL import Image

from gcn_keras.inference.images import load_image
from gcn_keras.plots.curves import curves_figure, trimap_figure
from gcn_keras.plots.style import save_figure


class TestCurves:
    HISTORY = {
        "epoch": [0, 1, 2, 3],
        "loss": [2.0, 1.0, 0.7, 0.6],
        "learning_rate": [1e-3, 8e-4, 2e-4, 0.0],
        "val_mean_iou": [0.1, float("nan"), 0.625, 0.5],
        "val_pixel_accuracy": [0.3, float("nan"), 0.8, 0.8],
        "other": ["a", "b", "c", "d"],
    }

    def panels(self, *keys) -> dict:
        figure = curves_figure({key: self.HISTORY[key] for key in keys})
        return {axes.get_title(loc="left"): axes for axes in figure.get_axes()}

    def test_file(self, tmp_path):
        save_figure(curves_figure(self.HISTORY), tmp_path / "c.png")
        with Image.open(tmp_path / "c.png") as image:
            assert image.format == "PNG" and image.size == (1240, 440)
        assert [path.name for path in tmp_path.iterdir()] == ["c.png"]

    def test_all_columns(self):
        panels = self.panels(*self.HISTORY)
        assert list(panels) == ["training loss", "learning rate", "validation"]
        (loss,) = panels["training loss"].lines
        assert loss.get_xydata().tolist() == [[0, 2.0], [1, 1.0], [2, 0.7], [3, 0.6]]
        assert panels["learning rate"].get_yscale() == "log"
        accuracy, mean_iou, _ = panels["validation"].lines
        assert accuracy.get_xydata().tolist() == [[0, 0.3], [2, 0.8], [3, 0.8]]
        assert mean_iou.get_xydata().tolist() == [[0, 0.1], [2, 0.625], [3, 0.5]]

    def test_a_rate_that_ends_at_zero_shows_its_last_point(self):
        axes = self.panels("epoch", "learning_rate")["learning rate"]
        (line,) = axes.lines
        *others, (epoch, foot) = line.get_xydata().tolist()
        assert others == [[0, 1e-3], [1, 8e-4], [2, 2e-4]]
        assert epoch == 3 and axes.get_ylim()[0] < foot < 2e-4
        labels = [label.get_text() for label in axes.get_yticklabels()]
        assert labels == ["0.0002", "0.001", "0"] and axes.get_yticks()[2] == foot

    def test_rates_that_are_all_zero_are_drawn(self):
        (axes,) = curves_figure({"learning_rate": [0.0]}).get_axes()
        assert axes.lines[0].get_xydata().tolist() == [[1, 0]]

    def test_best_epoch_is_marked(self):
        axes = self.panels("epoch", "val_mean_iou")["validation"]
        assert axes.lines[-1].get_xydata().tolist() == [[2, 0.625]]
        assert [text.get_text() for text in axes.get_legend().texts] == [
            "mean IoU",
            "best: 0.625 at epoch 2",
        ]

    def test_a_classifiers_scores(self):
        history = {"val_top1_accuracy": [0.1, 0.3], "val_top5_accuracy": [0.5, 0.4]}
        (axes,) = curves_figure(history).get_axes()
        five, one, best = (line.get_xydata().tolist() for line in axes.lines)
        assert (five, one) == ([[1, 0.5], [2, 0.4]], [[1, 0.1], [2, 0.3]])
        assert best == [[2, 0.3]]
        assert [text.get_text() for text in axes.get_legend().texts] == [
            "top-5 accuracy",
            "top-1 accuracy",
            "best: 0.300 at epoch 2",
        ]

    @pytest.mark.parametrize(
        ("keys", "titles"),
        [
            (["loss"], ["training loss"]),
            (["loss", "val_mean_iou"], ["training loss", "validation"]),
            (["val_pixel_accuracy"], ["validation"]),
        ],
    )
    def test_draws_what_is_there(self, keys, titles):
        panels = self.panels(*keys)
        assert list(panels) == titles
        assert panels[titles[0]].lines[0].get_xdata()[0] == 1  # without "epoch", from 1

    def test_legend_does_not_touch_the_title(self):
        history = {key: values for key, values in self.HISTORY.items() if key != "other"}
        figure = curves_figure({**history, "epoch": [996, 997, 998, 999]})
        figure.draw_without_rendering()
        axes = figure.get_axes()[-1]
        (title,) = axes.findobj(lambda artist: getattr(artist, "_text", "") == "validation")
        assert not title.get_window_extent().overlaps(axes.get_legend().get_window_extent())

    def test_one_epoch(self, tmp_path):
        figure = curves_figure({"loss": [1.0], "learning_rate": [0.1], "val_mean_iou": [0.2]})
        save_figure(figure, tmp_path / "c")
        assert load_image(tmp_path / "c").shape == (440, 1240, 3)

    def test_refuses_what_cannot_be_drawn(self):
        with pytest.raises(ValueError, match="history has none of loss, learning_rate"):
            curves_figure({"other": [1.0], "loss": []})
        with pytest.raises(ValueError, match="differ in length: .*'loss': 2"):
            curves_figure({"loss": [1.0, 2.0], "val_mean_iou": [0.1]})


class TestTrimap:
    CURVES = {"GCN": ((1, 3, 40), (None, 0.5, 0.75)), "GCN + BR": ((2, 3), (0.25, 0.625))}

    def test_a_line_for_each_model(self):
        (axes,) = trimap_figure(self.CURVES).get_axes()
        lines = {line.get_label(): line.get_xydata().tolist() for line in axes.lines}
        assert lines == {"GCN": [[3, 50], [40, 75]], "GCN + BR": [[2, 25], [3, 62.5]]}
        assert axes.get_title(loc="left") == "mean IoU near boundaries, %"
        assert axes.get_xlabel() == "width of the band, pixels"
        styles = {(line.get_color(), line.get_linestyle()) for line in axes.lines}
        assert len(styles) == 2

    def test_one_width_has_one_tick(self):
        (axes,) = trimap_figure({"GCN": ((3,), (0.5,)), "GCN + BR": ((3,), (0.6,))}).get_axes()
        left, right = axes.get_xlim()
        assert [tick for tick in axes.get_xticks() if left <= tick <= right] == [3]

    def test_file(self, tmp_path):
        save_figure(trimap_figure(self.CURVES, measure="pixel accuracy"), tmp_path / "t.png")
        assert load_image(tmp_path / "t.png").shape == (440, 620, 3)
        assert [path.name for path in tmp_path.iterdir()] == ["t.png"]

    def test_names_are_no_mathematics(self, tmp_path):
        names = ["_gcn", r"$\x$", "a_^{", "$"]
        figure = trimap_figure({name: ((1, 2), (0.5, 0.6)) for name in names}, measure=r"$\y$")
        save_figure(figure, tmp_path / "t.png")
        (axes,) = figure.get_axes()
        assert [text.get_text() for text in axes.get_legend().texts] == names
        assert axes.get_title(loc="left") == r"$\y$ near boundaries, %"

    def test_refuses_what_cannot_be_drawn(self):
        with pytest.raises(ValueError, match="GCN has 2 widths and 1 value"):
            trimap_figure({"GCN": ((1, 2), (0.5,))})
        with pytest.raises(ValueError) as caught:
            trimap_figure({"GCN": ((1,), (0.5,)), "BR": ([], [])})
        assert str(caught.value) == "BR has no widths: a curve needs one or more"
        for count in (0, 9):
            with pytest.raises(ValueError, match=f"there must be 1 to 8 curves, received {count}"):
                trimap_figure({str(number): ((1,), (0.5,)) for number in range(count)})

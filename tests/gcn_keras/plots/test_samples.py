"""Images, labels, predictions and errors side by side."""

import numpy as np
import pytest
from PIL import Image

from gcn_keras.inference.images import load_image
from gcn_keras.plots.samples import (
    ERROR_COLOUR,
    VOID_COLOUR,
    error_image,
    samples_figure,
)
from gcn_keras.plots.style import save_figure
from pipelines.base.errors import UserError

NAMES = ["_background", "disc", "square", "cost in $"]
PALETTE = np.stack([np.arange(256), 255 - np.arange(256), np.full(256, 7)], 1).astype(np.uint8)
SIDE, SHOWN = 128, 256  # images of 128 pixels are shown at twice their size


def sample():
    """A gray photo with a left half of class 0, a right half of 3, and a void column between."""
    image = np.full((SIDE, SIDE, 3), 100, np.uint8)
    label = np.zeros((SIDE, SIDE), np.uint8)
    label[:, SIDE // 2 :] = 3
    prediction = label.copy()
    label[:, SIDE // 2] = 255
    return image, label, prediction


def legend(figure) -> list[str]:
    return [text.get_text() for text in figure.texts if text.get_gid() == "legend"]


def captions(figure) -> list[str]:
    return [text.get_text() for text in figure.texts if text.get_gid() != "legend"]


def count(pixels: np.ndarray, colour) -> int:
    return int((pixels == np.array(colour)).all(axis=-1).sum())


class TestErrorImage:
    def test_each_kind_of_pixel(self):
        image = np.array([[(90, 120, 150)] * 4], np.uint8)  # the mean is 120, dimmed 54
        label = np.array([[1, 1, 255, 255]], np.uint8)
        prediction = np.array([[1, 2, 1, 0]], np.uint8)
        expected = [[[54] * 3, list(ERROR_COLOUR), list(VOID_COLOUR), list(VOID_COLOUR)]]
        assert error_image(image, label, prediction).tolist() == expected


class TestSamples:
    def drawn(self, tmp_path, *rows, titles=None) -> np.ndarray:
        images, labels, predictions = zip(*rows, strict=True)
        figure = samples_figure(images, labels, predictions, NAMES, PALETTE, titles=titles)
        save_figure(figure, tmp_path / "s.png")
        assert [path.name for path in tmp_path.iterdir()] == ["s.png"]
        with Image.open(tmp_path / "s.png") as image:
            assert image.format == "PNG"
        return load_image(tmp_path / "s.png")

    def errors_column(self, pixels: np.ndarray) -> np.ndarray:
        """Where the errors of the first row stand: the right column, below its heading."""
        margin, line = 26, 26
        return pixels[margin + line :, -margin - SHOWN : -margin][:SHOWN]

    def test_right_pixels_are_dimmed_and_void_is_gray(self, tmp_path):
        errors = self.errors_column(self.drawn(tmp_path, sample()))
        assert count(errors, (45, 45, 45)) == SHOWN * (SHOWN - 2)
        assert count(errors, VOID_COLOUR) == SHOWN * 2
        assert count(errors, ERROR_COLOUR) == 0

    def test_a_line_keeps_a_white_class_apart_from_the_page(self, tmp_path):
        image, label, prediction = sample()
        label[:] = 0
        white = PALETTE.copy()
        white[0] = 255
        figure = samples_figure([image], [label], [prediction], NAMES, white)
        save_figure(figure, tmp_path / "s.png")
        pixels = load_image(tmp_path / "s.png")
        left, top = 26 + SHOWN + 13, 26 + 26  # margin and column; margin and heading
        around = pixels[top - 2 : top + SHOWN + 2, left - 2 : left + SHOWN + 2]
        white, line = (255,) * 3, (112,) * 3
        assert count(around[2:-2, 2:-2], white) == SHOWN**2
        assert count(around[1:-1, 1:-1], line) == 4 * (SHOWN + 1)
        assert count(around, line) == 4 * (SHOWN + 1)

    def test_wrong_pixels_stand_out(self, tmp_path):
        image, label, prediction = sample()
        prediction[:16, :8] = 1
        errors = self.errors_column(self.drawn(tmp_path, (image, label, prediction)))
        assert count(errors, ERROR_COLOUR) == 4 * 16 * 8
        assert count(errors[:32, :16], ERROR_COLOUR) == 4 * 16 * 8

    def test_every_image_shows_its_pixels(self, tmp_path):
        image, label, prediction = sample()
        pixels = self.drawn(tmp_path, (image, label, prediction))
        assert count(pixels, (100, 100, 100)) >= SHOWN * SHOWN
        assert count(pixels, PALETTE[0]) >= SHOWN * SHOWN  # a half each of label and prediction
        assert count(pixels, PALETTE[255]) >= SHOWN * 2
        assert count(pixels, PALETTE[1]) == count(pixels, PALETTE[2]) == 0

    def test_size_grows_by_rows(self, tmp_path):
        one = self.drawn(tmp_path, sample())
        three = self.drawn(tmp_path, sample(), sample(), sample())
        assert one.shape[1] == three.shape[1] == 4 * SHOWN + 3 * 13 + 2 * 26
        assert three.shape[0] - one.shape[0] == 2 * (SHOWN + 26 + 13)

    def test_images_of_different_sizes(self, tmp_path):
        shapes = [(128, 128), (360, 480), (900, 300)]  # shown doubled, as they are, reduced
        rows = [(np.zeros((*s, 3), np.uint8), *np.zeros((2, *s), np.uint8)) for s in shapes]
        pixels = self.drawn(tmp_path, *rows)
        # Type of 21 pixels: the gaps too, and twice that for the margins and lines.
        assert pixels.shape[1] == 4 * 480 + 3 * 21 + 2 * 42
        assert pixels.shape[0] == 256 + 360 + 640 + 3 * (42 + 21) + (42 + 42) + (42 + 42)

    @pytest.mark.parametrize("wrong", [None, 1])
    def test_legend_lists_what_occurs(self, wrong):
        image, label, prediction = sample()
        if wrong:
            prediction[0, 0] = wrong
        figure = samples_figure([image], [label], [prediction], NAMES, PALETTE)
        assert legend(figure) == ["_background", *["disc"] * bool(wrong), "cost in $", "void"]
        colours = [swatch.get_facecolor()[:3] for swatch in figure.artists]
        assert len(colours) == len(legend(figure))
        np.testing.assert_allclose(colours[-1], PALETTE[255] / 255)

    def test_no_void_no_entry(self):
        image, _, prediction = sample()
        figure = samples_figure([image], [prediction], [prediction], NAMES, PALETTE)
        assert legend(figure) == ["_background", "cost in $"]

    def test_accuracy_counts_valid_pixels_only(self):
        image, label, prediction = sample()
        label[:] = 255
        label[0, :4] = (0, 0, 0, 1)
        void = np.full_like(label, 255)
        figure = samples_figure(
            [image] * 2, [label, void], [prediction] * 2, NAMES, PALETTE, titles=["one", "two"]
        )
        assert captions(figure)[:4] == ["photo", "label", "prediction", "errors"]
        assert captions(figure)[4:] == [
            "one",
            "75.0% of the pixels right",
            "two",
            "no labelled pixel",
        ]

    @pytest.mark.parametrize("title", ["a title", "a/long/path/of/a/folder/" * 9 + "the_end"])
    def test_nothing_overlaps_or_runs_off_the_page(self, title):
        names = [f"a class of number {index}" for index in range(19)]
        label = np.repeat(np.arange(19, dtype=np.uint8), 8)[None, :].repeat(128, 0)
        image = np.zeros((*label.shape, 3), np.uint8)
        figure = samples_figure([image], [label], [label], names, PALETTE, titles=[title])
        figure.draw_without_rendering()
        boxes = [text.get_window_extent() for text in figure.texts]
        assert len(legend(figure)) == 19
        for index, box in enumerate(boxes):
            assert box.x0 >= 0 and box.y0 >= 0
            assert box.x1 <= figure.bbox.x1 and box.y1 <= figure.bbox.y1
            assert not any(box.overlaps(other) for other in boxes[:index])
        assert captions(figure)[4].endswith(title[-8:])

    def test_names_are_no_mathematics(self, tmp_path):
        names = [r"cost $\x$", r"$\frac{$", "a_^{", "\udce9"]
        image, label, prediction = sample()
        label[:4], label[4:8] = 1, 2
        figure = samples_figure([image], [label], [prediction], names, PALETTE, titles=[r"$\y$"])
        save_figure(figure, tmp_path / "s.png")
        assert legend(figure) == [r"cost $\x$", r"$\frac{$", "a_^{", r"\udce9", "void"]
        assert r"$\y$" in captions(figure)

    def test_refuses_what_does_not_fit(self, tmp_path):
        image, label, prediction = sample()
        with pytest.raises(ValueError, match="no image to draw"):
            samples_figure([], [], [], NAMES, PALETTE)
        with pytest.raises(ValueError, match="image 0, its label and prediction differ in size"):
            samples_figure([image], [label[1:]], [prediction], NAMES, PALETTE)
        with pytest.raises(ValueError, match="received 1 title for 2 images"):
            samples_figure([image] * 2, [label] * 2, [label] * 2, NAMES, PALETTE, titles=["one"])
        with pytest.raises(ValueError, match=r"the indices \[3\] occur, but there are 2 classes"):
            samples_figure([image], [label], [prediction], NAMES[:2], PALETTE)
        with pytest.raises(UserError, match="s.png cannot be written"):
            figure = samples_figure([image], [label], [prediction], NAMES, PALETTE)
            save_figure(figure, tmp_path / "nowhere" / "s.png")

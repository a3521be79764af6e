"""A training batch, drawn."""

import numpy as np
import pytest
from PIL import Image

from gcn_keras.inference.images import load_image
from gcn_keras.plots.batch import MOST, batch_figure
from gcn_keras.plots.style import save_figure
from pipelines.base.labels import palette
from pipelines.base.overlay import over_gray

NAMES = ["sky", r"cost in $\x$", "car", "tree"]
COLOURS = palette()
SIDE = 256  # crops of 64 pixels are shown at four times their size


def batch(count: int) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Images of one gray each; labels with class 2 in the left half, void at the right."""
    images = np.stack([np.full((64, 64, 3), 7 * number, np.uint8) for number in range(count)])
    labels = np.full((count, 64, 64), 2, np.uint8)
    labels[:, :, 32:] = 255
    return images, labels, [f"image {number}" for number in range(count)]


def texts(figure, is_legend: bool) -> list[str]:
    return [text.get_text() for text in figure.texts if (text.get_gid() == "legend") == is_legend]


def test_crops_stand_beside_their_labels(tmp_path):
    images, labels, names = batch(3)
    figure = batch_figure(images, labels, names, NAMES, COLOURS, "a title")
    save_figure(figure, tmp_path / "b.png")
    pixels = load_image(tmp_path / "b.png")
    assert texts(figure, is_legend=False) == ["a title", *names]
    assert texts(figure, is_legend=True) == ["car", "void"]
    assert [swatch.get_hatch() for swatch in figure.artists] == [None, "/////"]
    # Two in a row of 1,400 pixels; margins of 26, a heading of 26, gaps of 13, seams of 4.
    cell = 2 * SIDE + 4
    assert pixels.shape == (4 * 26 + 2 * (SIDE + 26 + 13), 52 + 2 * cell + 13, 3)
    for number, (row, column) in enumerate([(0, 0), (0, 1), (1, 0)]):
        top, left = 52 + row * (SIDE + 39), 26 + column * (cell + 13)
        crop = pixels[top : top + SIDE, left : left + SIDE]
        assert (crop == 7 * number).all()
        shown = pixels[top : top + SIDE, left + SIDE + 4 : left + cell]
        large = np.kron(labels[number], np.ones((4, 4), np.uint8))
        np.testing.assert_array_equal(shown, over_gray(crop, large, COLOURS))


def test_a_crop_of_one_class_has_its_name():
    images, _, names = batch(2)
    figure = batch_figure(images, np.array([3, 1]), names, NAMES, COLOURS, "a title")
    assert texts(figure, is_legend=False) == ["a title", "tree", "image 0", NAMES[1], "image 1"]
    assert texts(figure, is_legend=True) == [] and len(figure.images) == 2


def test_of_many_crops_the_first_are_drawn():
    images, labels, names = batch(MOST + 1)
    figure = batch_figure(images, labels, names, NAMES, COLOURS, "title")
    assert len(figure.images) == 2 * MOST
    assert texts(figure, is_legend=False) == [f"title: the first {MOST} of {MOST + 1}", *names[:-1]]


def test_large_crops_are_reduced_and_long_ids_cut():
    images, labels, _ = batch(1)
    images, labels = (np.repeat(np.repeat(a, 10, 1), 10, 2) for a in (images, labels))
    # 320 pixels are the longest side, and there is a line around it.
    name = "a/long/path/of/a/folder/" * 9 + "the_end"
    figure = batch_figure(images, labels, [name], NAMES, COLOURS, "title")
    assert [image.get_array().shape for image in figure.images] == [(322, 322, 3)] * 2
    shown = texts(figure, is_legend=False)[1]
    assert shown.startswith("…") and shown.endswith("/the_end") and len(shown) < len(name)
    figure.draw_without_rendering()
    for text in figure.texts:
        box = text.get_window_extent()
        assert box.x0 >= 0 and box.x1 <= figure.bbox.x1 and box.y0 >= 0


def test_names_are_no_mathematics(tmp_path):
    images, labels, _ = batch(1)
    labels[0, 0, 0] = 1
    figure = batch_figure(images, labels, [r"$\y$"], NAMES, COLOURS, r"$\z$")
    save_figure(figure, tmp_path / "b.png")
    with Image.open(tmp_path / "b.png") as image:
        assert image.format == "PNG"
    assert texts(figure, is_legend=False) == [r"$\z$", r"$\y$"]


def test_an_index_without_a_name():
    images, labels, names = batch(1)
    labels[0, 0, 0] = 4
    with pytest.raises(ValueError, match=r"indices \[4\] occur, but there are 4 classes"):
        batch_figure(images, labels, names, NAMES, COLOURS, "title")

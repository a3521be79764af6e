"""Image, label, prediction and errors side by side."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.transforms import Affine2D
from PIL import Image

from gcn_keras.plots.style import DPI, FAINT, INK
from pipelines.base.figures import widest
from pipelines.base.labels import IGNORE

# The errors column: nothing else in it has a hue, for the photo under them is made gray.
ERROR_COLOUR = (255, 32, 72)
VOID_COLOUR = (168, 168, 168)
PHOTO_DIMMED_TO = 0.45
_POINTS = 72 / DPI  # of a pixel


def samples_figure(
    images: Sequence[np.ndarray],
    labels: Sequence[np.ndarray],
    predictions: Sequence[np.ndarray],
    class_names: Sequence[str],
    palette: np.ndarray,
    titles: Sequence[str] | None = None,
) -> Figure:
    """One row an image: photo, label, prediction, errors; under them a legend.

    The errors column shows the photo dimmed and gray, under it the share of valid pixels that are
    right; wrong pixels stand out in `ERROR_COLOUR`, and void is `VOID_COLOUR`. The legend lists
    the classes that occur in a label or a prediction, and void if it does.

    Args:
        images: uint8 [H, W, 3] each, RGB; the images may differ in size.
        labels: uint8 [H, W] each, class indices and 255 for void.
        predictions: uint8 [H, W] each, class indices.
        class_names: the name of each index.
        palette: uint8 [256, 3], the RGB colour of each index, void included.
        titles: a line under each photo, such as the file's name.

    Returns:
        The figure, in which small images are shown enlarged by a whole number and large ones
        reduced.

    Raises:
        ValueError: if the arguments do not fit each other.
    """
    rows = list(zip(images, labels, predictions, strict=True))
    titles = [""] * len(rows) if titles is None else titles
    _check_samples(rows, titles)
    sizes = [_display_size(image) for image in images]

    # All lengths are in pixels, from the top left: whole numbers keep label edges sharp.
    cell = max(width for width, _ in sizes)
    type_size = round(13 * max(1, cell / 300))
    gap, margin, line = type_size, 2 * type_size, 2 * type_size
    width = 4 * cell + 3 * gap + 2 * margin
    entries = _legend_entries(labels, predictions, class_names, palette)
    legend_columns, legend_pitch = _legend_layout(entries, type_size, width - 2 * margin)
    legend_lines = math.ceil(len(entries) / legend_columns)
    rows_height = sum(height + line + gap for _, height in sizes)
    page = _Page(width, margin + line + rows_height + legend_lines * line + margin, type_size)

    lefts = [margin + column * (cell + gap) for column in range(4)]
    for left, name in zip(lefts, ("photo", "label", "prediction", "errors"), strict=True):
        colour = np.divide(ERROR_COLOUR, 255) if name == "errors" else INK
        page.text(left, margin, name, weight="bold", color=colour)
    top = margin + line
    for (image, label, prediction), size, title in zip(rows, sizes, titles, strict=True):
        panels = image, palette[label], palette[prediction], error_image(image, label, prediction)
        for left, panel in zip(lefts, panels, strict=True):
            page.draw_image(left, top, panel, size)
        top += size[1] + type_size // 2
        page.text(lefts[0], top, title, color=FAINT)
        page.text(lefts[3], top, _accuracy_caption(label, prediction), color=INK)
        top += line + gap - type_size // 2
    for index, (name, colour) in enumerate(entries):
        row, column = divmod(index, legend_columns)
        page.swatch(margin + column * legend_pitch, top + row * line, name, colour)
    return page.figure


def error_image(image: np.ndarray, label: np.ndarray, prediction: np.ndarray) -> np.ndarray:
    """The photo dimmed and gray, with wrong pixels in `ERROR_COLOUR` and void in `VOID_COLOUR`.

    Args:
        image: uint8 [H, W, 3], RGB.
        label: uint8 [H, W], class indices and 255 for void.
        prediction: uint8 [H, W], class indices.

    Returns:
        uint8 [H, W, 3].
    """
    gray = image.mean(axis=2, keepdims=True) * PHOTO_DIMMED_TO
    errors = np.repeat(np.rint(gray).astype(np.uint8), 3, axis=2)
    errors[label != prediction] = ERROR_COLOUR
    errors[label == IGNORE] = VOID_COLOUR
    return errors


class _Page:
    """A figure on which things are put by pixel, counted from the top left."""

    def __init__(self, width: int, height: int, type_size: int):
        self.height, self.type_size = height, type_size
        size = (width / DPI, height / DPI)
        self.figure = Figure(figsize=size, dpi=DPI, facecolor="white")
        self.from_top = Affine2D().scale(1, -1).translate(0, height)

    def text(self, left: float, top: float, string: str, **style) -> None:
        style.update(transform=self.from_top, size=self.type_size * _POINTS, va="top")
        self.figure.text(left, top, string, parse_math=False, **style)

    def draw_image(self, left: int, top: int, pixels: np.ndarray, size: tuple[int, int]) -> None:
        enlarged = size[0] >= pixels.shape[1]
        method = Image.Resampling.NEAREST if enlarged else Image.Resampling.BOX
        shown = np.asarray(Image.fromarray(pixels).resize(size, method))
        self.figure.figimage(shown, left, self.height - top - size[1], origin="upper")

    def swatch(self, left: float, top: float, name: str, colour: np.ndarray) -> None:
        side = self.type_size
        style: dict[str, Any] = {"facecolor": colour / 255, "edgecolor": FAINT, "linewidth": 0.6}
        self.figure.add_artist(Rectangle((left, top), side, side, transform=self.from_top, **style))
        self.text(left + 1.5 * side, top, name, color=INK, gid="legend")


def _display_size(image: np.ndarray) -> tuple[int, int]:
    """Width and height at which an image is shown: its longer side is 256 to 640 pixels."""
    height, width = image.shape[:2]
    longer = max(height, width)
    scale = math.ceil(256 / longer) if longer <= 640 else 640 / longer
    return max(1, round(scale * width)), max(1, round(scale * height))


def _legend_entries(
    labels: Sequence[np.ndarray],
    predictions: Sequence[np.ndarray],
    class_names: Sequence[str],
    palette: np.ndarray,
) -> list[tuple[str, np.ndarray]]:
    """Name and uint8 [3] colour of each class that occurs, void last."""
    present = np.unique(np.concatenate([np.unique(array) for array in (*labels, *predictions)]))
    nameless = [int(index) for index in present if len(class_names) <= index < IGNORE]
    if nameless:
        raise ValueError(f"the indices {nameless} occur, but there are {len(class_names)} classes.")
    return [("void" if i == IGNORE else class_names[i], palette[i]) for i in present]


def _legend_layout(
    entries: Sequence[tuple[str, np.ndarray]], type_size: int, width: int
) -> tuple[int, int]:
    """How many legend entries go on a line of this width, and the pixels from one to the next."""
    pitch = math.ceil(widest((name for name, _ in entries), type_size) + 3.5 * type_size)
    return min(len(entries), max(1, width // pitch)), pitch


def _accuracy_caption(label: np.ndarray, prediction: np.ndarray) -> str:
    valid = label != IGNORE
    if not valid.any():
        return "no labelled pixel"
    return f"{(label == prediction)[valid].mean():.1%} of the pixels right"


def _check_samples(rows: Sequence[tuple], titles: Sequence[str]) -> None:
    if not rows:
        raise ValueError("there is no image to draw.")
    if len(titles) != len(rows):
        raise ValueError(f"there are {len(titles)} titles for {len(rows)} images.")
    for index, (image, label, prediction) in enumerate(rows):
        shapes = image.shape[:2], label.shape, prediction.shape
        if len(set(shapes)) != 1:
            raise ValueError(f"image {index}, its label and prediction differ in size: {shapes}.")

"""Image, label, prediction and errors side by side."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from gcn_keras.plots.page import LegendBox, Page, display_size, end_of
from gcn_keras.plots.style import FAINT, INK
from pipelines.base.labels import IGNORE
from pipelines.base.plurals import count_of

# The errors column: nothing else in it has a hue, for the photo under them is made gray.
ERROR_COLOUR = (255, 32, 72)
VOID_COLOUR = (168, 168, 168)
PHOTO_DIMMED_TO = 0.45


def samples_figure(
    images: Sequence[np.ndarray],
    labels: Sequence[np.ndarray],
    predictions: Sequence[np.ndarray],
    class_names: Sequence[str],
    palette: np.ndarray,
    titles: Sequence[str] | None = None,
    longest: int = 640,
) -> Figure:
    """One row an image: photo, label, prediction, errors; under them a legend.

    The errors column shows the photo dimmed and gray, under it the share of valid pixels that are
    right; wrong pixels stand out in `ERROR_COLOUR`, and void is `VOID_COLOUR`. The legend lists
    the classes that occur in a label or a prediction, and void if it does.

    Args:
        images: uint8 `[H, W, 3]` each, RGB; the images may differ in size.
        labels: uint8 `[H, W]` each, class indices and 255 for void.
        predictions: uint8 `[H, W]` each, class indices.
        class_names: the name of each index.
        palette: uint8 `[256, 3]`, the RGB colour of each index, void included.
        titles: a line under each photo, such as the file's name; of one too long its end.
        longest: pixels of the longer side from which on an image is reduced.

    Returns:
        The figure, in which small images are shown enlarged by a whole number and large ones
        reduced.

    Raises:
        ValueError: if the arguments do not fit each other.
    """
    rows = list(zip(images, labels, predictions, strict=True))
    titles = [""] * len(rows) if titles is None else titles
    _check_samples(rows, titles)
    sizes = [display_size(image, longest) for image in images]

    # All lengths are in pixels, from the top left: whole numbers keep label edges sharp.
    cell = max(width for width, _ in sizes)
    type_size = round(13 * max(1, cell / 300))
    gap, margin, line = type_size, 2 * type_size, 2 * type_size
    width = 4 * cell + 3 * gap + 2 * margin
    legend = LegendBox([*labels, *predictions], class_names, palette, type_size, width - 2 * margin)
    rows_height = sum(height + line + gap for _, height in sizes)
    page = Page(width, margin + line + rows_height + legend.lines * line + margin, type_size)

    lefts = [margin + column * (cell + gap) for column in range(4)]
    for left, name in zip(lefts, ("photo", "label", "prediction", "errors"), strict=True):
        colour = np.divide(ERROR_COLOUR, 255) if name == "errors" else INK
        page.text(left, margin, name, weight="bold", color=colour)
    top = margin + line
    room = lefts[3] - lefts[0] - gap
    for (image, label, prediction), size, title in zip(rows, sizes, titles, strict=True):
        panels = image, palette[label], palette[prediction], error_image(image, label, prediction)
        for left, panel in zip(lefts, panels, strict=True):
            page.draw_image(left, top, panel, size)
        top += size[1] + type_size // 2
        page.text(lefts[0], top, end_of(title, room, type_size), color=FAINT)
        page.text(lefts[3], top, _accuracy_caption(label, prediction), color=INK)
        top += line + gap - type_size // 2
    page.draw_legend(margin, top, legend)
    return page.figure


def error_image(image: np.ndarray, label: np.ndarray, prediction: np.ndarray) -> np.ndarray:
    """The photo dimmed and gray, with wrong pixels in `ERROR_COLOUR` and void in `VOID_COLOUR`.

    Args:
        image: uint8 `[H, W, 3]`, RGB.
        label: uint8 `[H, W]`, class indices and 255 for void.
        prediction: uint8 `[H, W]`, class indices.

    Returns:
        uint8 `[H, W, 3]`.
    """
    gray = image.mean(axis=2, keepdims=True) * PHOTO_DIMMED_TO
    errors = np.repeat(np.rint(gray).astype(np.uint8), 3, axis=2)
    errors[label != prediction] = ERROR_COLOUR
    errors[label == IGNORE] = VOID_COLOUR
    return errors


def _accuracy_caption(label: np.ndarray, prediction: np.ndarray) -> str:
    valid = label != IGNORE
    if not valid.any():
        return "no labelled pixel"
    return f"{(label == prediction)[valid].mean():.1%} of the pixels right"


def _check_samples(rows: Sequence[tuple], titles: Sequence[str]) -> None:
    if not rows:
        raise ValueError("there is no image to draw")
    if len(titles) != len(rows):
        raise ValueError(
            f"received {count_of(len(titles), 'title')} for {count_of(len(rows), 'image')}"
        )
    for index, (image, label, prediction) in enumerate(rows):
        shapes = image.shape[:2], label.shape, prediction.shape
        if len(set(shapes)) != 1:
            raise ValueError(f"image {index}, its label and prediction differ in size: {shapes}")

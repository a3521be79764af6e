"""The two figures of a run, how training went and what the model now sees; and trimap curves.

Everything is drawn on `matplotlib.figure.Figure` objects, so that no figure outlives its function
and neither a display nor pyplot's global state is involved.
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.textpath import TextPath
from matplotlib.ticker import MaxNLocator
from PIL import Image

from gcn_keras.images import replacing
from pipelines.labels import IGNORE

DPI = 100

INK, FAINT, GRID = "#222222", "#707070", "#e4e4e4"
BLUE, ORANGE, GREEN, PURPLE = "#2166ac", "#e08214", "#1b7837", "#762a83"
LINES = tuple(
    {"color": colour, "linestyle": style}
    for style in ("-", "--")
    for colour in (BLUE, ORANGE, GREEN, PURPLE)
)

# The errors column: nothing else in it has a hue, for the photo under them is made gray.
ERROR_COLOUR = (255, 32, 72)
VOID_COLOUR = (168, 168, 168)
PHOTO_DIMMED_TO = 0.45


# By these the best model is chosen; beside them the others are drawn. A run has one pair of them.
_SCORES = {"val_mean_iou": "mean IoU", "val_top1_accuracy": "top-1 accuracy"}
_SCORES_BESIDE = {"val_pixel_accuracy": "pixel accuracy", "val_top5_accuracy": "top-5 accuracy"}


def plot_curves(history: Mapping[str, Sequence[float]], path) -> None:
    """Draws a training history into a PNG; see `curves_figure` for what is drawn.

    Args:
        history: one list a column, as in history.csv.
        path: the PNG to write; it is replaced in one step.

    Raises:
        UserError: if the file cannot be written.
        ValueError: if there is nothing to draw, or the columns differ in length.
    """
    _save(curves_figure(history), path)


def curves_figure(history: Mapping[str, Sequence[float]]) -> Figure:
    """Training loss with the learning rate under it, and the validation scores beside it.

    Args:
        history: lists of one number an epoch. Drawn are, as far as they are there, "loss",
            "learning_rate" (on a log scale), "val_mean_iou" and "val_pixel_accuracy", or
            "val_top1_accuracy" and "val_top5_accuracy" (all in 0...1; the best mean IoU, or top-1
            accuracy, is marked). "epoch" gives the numbers along the axis, which
            otherwise count from 1. NaN stands for an epoch without a value; other keys are left
            out.

    Returns:
        A figure of one to three panels.

    Raises:
        ValueError: if there is nothing to draw, or the columns differ in length.
    """
    keys = ("loss", "learning_rate", *_SCORES, *_SCORES_BESIDE)
    columns = {key: np.asarray(history[key], float) for key in keys if len(history.get(key, ()))}
    if not columns:
        raise ValueError(f"history has none of {', '.join(keys)}, or they are empty.")
    length = len(next(iter(columns.values())))
    epochs = np.asarray(history.get("epoch", range(1, length + 1)), float)
    lengths = {key: len(values) for key, values in {"epoch": epochs, **columns}.items()}
    if set(lengths.values()) != {length}:
        raise ValueError(f"the columns of history differ in length: {lengths}.")

    training = [key for key in ("loss", "learning_rate") if key in columns]
    scores = [key for key in (*_SCORES, *_SCORES_BESIDE) if key in columns]
    sides = bool(training) + bool(scores)
    figure = Figure(figsize=(6.2 * sides, 4.4), dpi=DPI, layout="constrained", facecolor="white")
    figure.get_layout_engine().set(w_pad=0.2, h_pad=0.15)
    halves = iter(figure.subfigures(1, sides, squeeze=False)[0])
    if training:
        ratios = {"height_ratios": [3, 1.1]} if len(training) == 2 else {}
        side = next(halves)
        panels = side.subplots(len(training), 1, sharex=True, squeeze=False, gridspec_kw=ratios)
        for key, axes in zip(training, panels[:, 0], strict=True):
            _training_panel(axes, key, epochs, columns[key])
        panels[-1, 0].set_xlabel("epoch")
    if scores:
        axes = next(halves).subplots()
        _scores_panel(axes, epochs, {key: columns[key] for key in scores})
        axes.set_xlabel("epoch")
    return figure


def _training_panel(axes, key: str, epochs: np.ndarray, values: np.ndarray) -> None:
    _style(axes, epochs)
    if key == "loss":
        _line(axes, epochs, values, BLUE)
        axes.set_title("training loss", loc="left", color=INK, fontsize=11)
    else:
        _line(axes, epochs, values, PURPLE)
        positive = values[values > 0]  # a decay may end at 0, for which a log scale has no place
        if positive.size:
            axes.set_yscale("log")
        if positive.size and positive.max() < 10 * positive.min():
            # Within one decade the log locator labels every step, one over the other.
            ticks = sorted({positive.min(), positive.max()})
            axes.set_yticks(ticks, [f"{tick:.3g}" for tick in ticks])
            axes.set_yticks([], minor=True)
        axes.set_title("learning rate", loc="left", color=INK, fontsize=11)


def _scores_panel(axes, epochs: np.ndarray, scores: Mapping[str, np.ndarray]) -> None:
    _style(axes, epochs)
    axes.set_title("validation", loc="left", color=INK, fontsize=11)
    axes.set_ylim(0, 1)
    axes.yaxis.set_major_locator(MaxNLocator(10))
    for key in scores.keys() & _SCORES_BESIDE.keys():
        _line(axes, epochs, scores[key], ORANGE, label=_SCORES_BESIDE[key])
    for key in scores.keys() & _SCORES.keys():
        values = scores[key]
        _line(axes, epochs, values, GREEN, label=_SCORES[key])
        if not np.isnan(values).all():
            best = int(np.nanargmax(values))
            axes.plot(
                epochs[best],
                values[best],
                linestyle="none",
                marker="o",
                markersize=9,
                markerfacecolor="white",
                markeredgecolor=GREEN,
                markeredgewidth=2,
                label=f"best: {values[best]:.3f} at epoch {epochs[best]:.0f}",
                zorder=4,
            )
    # Above the axes, where no curve runs under it.
    above = {"loc": "lower right", "bbox_to_anchor": (1, 1), "borderaxespad": 0.1}
    axes.legend(**above, ncols=3, frameon=False, fontsize=9, handlelength=1.3, columnspacing=1)


def _style(axes, epochs: np.ndarray) -> None:
    axes.grid(color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(FAINT)
    axes.tick_params(colors=FAINT, labelcolor=INK, labelsize=9)
    axes.xaxis.label.set_color(INK)
    margin = 0.5 if len(epochs) == 1 else 0.02 * np.ptp(epochs)
    axes.set_xlim(epochs.min() - margin, epochs.max() + margin)
    if len(epochs) <= 8:
        axes.set_xticks(epochs)
    else:
        axes.xaxis.set_major_locator(MaxNLocator(nbins=8, integer=True))


def _line(axes, epochs: np.ndarray, values: np.ndarray, colour: str, label: str = "") -> None:
    there = ~np.isnan(values)  # a line over the epochs that were not validated, not gaps
    marker = "o" if there.sum() <= 30 else None
    axes.plot(
        epochs[there], values[there], color=colour, linewidth=1.8, marker=marker, markersize=3.5,
        label=label,
    )  # fmt: skip


def plot_trimap(
    curves: Mapping[str, tuple[Sequence[int], Sequence[float]]], path, measure: str = "mean IoU"
) -> None:
    """Draws what models score in bands along boundaries into a PNG; see `trimap_figure`.

    Args:
        curves, measure: as of `trimap_figure`.
        path: the PNG to write; it is replaced in one step.

    Raises:
        UserError: if the file cannot be written.
        ValueError: if there is nothing to draw, or widths and values differ in number.
    """
    _save(trimap_figure(curves, measure), path)


def trimap_figure(
    curves: Mapping[str, tuple[Sequence[int], Sequence[float]]], measure: str = "mean IoU"
) -> Figure:
    """A score against the width of the band, a line for each model, at most eight.

    Args:
        curves: widths in pixels, rising, and scores in 0...1 by the model's name, as `evaluate
            --trimap --json` writes them. NaN or None stands for a band without a pixel.
        measure: name of the score.

    Returns:
        A figure of one panel, in per cent.

    Raises:
        ValueError: if there is nothing to draw, or widths and values differ in number.
    """
    if not 1 <= len(curves) <= len(LINES):
        raise ValueError(f"there must be 1 to {len(LINES)} curves, not {len(curves)}.")
    figure = Figure(figsize=(6.2, 4.4), dpi=DPI, layout="constrained", facecolor="white")
    figure.get_layout_engine().set(w_pad=0.2, h_pad=0.15)
    axes = figure.subplots()
    _style(axes, np.unique(np.concatenate([widths for widths, _ in curves.values()])))
    for (name, (widths, values)), style in zip(curves.items(), LINES, strict=False):
        if len(widths) != len(values):
            raise ValueError(f"{name} has {len(widths)} widths and {len(values)} values.")
        scores = 100 * np.asarray(values, float)
        there = ~np.isnan(scores)
        axes.plot(
            np.asarray(widths)[there], scores[there], **style, linewidth=1.8, marker="o",
            markersize=3.5, label=name,
        )  # fmt: skip
    axes.xaxis.set_major_locator(MaxNLocator(nbins=8, steps=[1, 2, 5, 10], integer=True))
    axes.set_title(f"{measure} near boundaries, %", loc="left", color=INK, fontsize=11)
    axes.set_xlabel("width of the band, pixels")
    axes.legend(frameon=False, fontsize=9)
    return figure


def plot_samples(
    images: Sequence[np.ndarray],
    labels: Sequence[np.ndarray],
    predictions: Sequence[np.ndarray],
    class_names: Sequence[str],
    palette: np.ndarray,
    path,
    titles: Sequence[str] | None = None,
) -> None:
    """Draws photos, labels, predictions and errors into a PNG; see `samples_figure`.

    Args:
        images, labels, predictions, class_names, palette, titles: as for `samples_figure`.
        path: the PNG to write; it is replaced in one step.

    Raises:
        UserError: if the file cannot be written.
        ValueError: if the arguments do not fit each other.
    """
    figure = samples_figure(images, labels, predictions, class_names, palette, titles)
    _save(figure, path)


def samples_figure(
    images: Sequence[np.ndarray],
    labels: Sequence[np.ndarray],
    predictions: Sequence[np.ndarray],
    class_names: Sequence[str],
    palette: np.ndarray,
    titles: Sequence[str] | None = None,
) -> Figure:
    """One row a picture: photo, label, prediction, errors; under them a legend.

    The errors column shows the photo dimmed and gray, under it the share of valid pixels that are
    right; wrong pixels stand out in `ERROR_COLOUR`, and void is `VOID_COLOUR`. The legend lists
    the classes that occur in a label or a prediction, and void if it does.

    Args:
        images: uint8 [H, W, 3] each, RGB; the pictures may differ in size.
        labels: uint8 [H, W] each, class indices and 255 for void.
        predictions: uint8 [H, W] each, class indices.
        class_names: the name of each index.
        palette: uint8 [256, 3], the RGB colour of each index, void included.
        titles: a line under each photo, such as the file's name.

    Returns:
        The figure, in which small pictures are shown enlarged by a whole number and large ones
        reduced.

    Raises:
        ValueError: if the arguments do not fit each other.
    """
    rows = list(zip(images, labels, predictions, strict=True))
    titles = [""] * len(rows) if titles is None else titles
    _check_samples(rows, titles)
    widths, heights = zip(*(_display_size(image) for image in images), strict=True)

    # All lengths are in pixels, from the top left: whole numbers keep label edges sharp.
    cell = max(widths)
    type_size = round(13 * max(1, cell / 300))
    gap, margin, line = type_size, 2 * type_size, 2 * type_size
    width = 4 * cell + 3 * gap + 2 * margin
    entries = legend_entries(labels, predictions, class_names, palette)
    legend_columns, legend_pitch = _legend_layout(entries, type_size, width - 2 * margin)
    legend_lines = math.ceil(len(entries) / legend_columns)
    rows_height = sum(heights) + len(heights) * (line + gap)
    page = _Page(width, margin + line + rows_height + legend_lines * line + margin, type_size)

    lefts = [margin + column * (cell + gap) for column in range(4)]
    for left, name in zip(lefts, ("photo", "label", "prediction", "errors"), strict=True):
        colour = np.divide(ERROR_COLOUR, 255) if name == "errors" else INK
        page.text(left, margin, name, weight="bold", color=colour)
    top = margin + line
    for row, (image, label, prediction) in enumerate(rows):
        panels = image, palette[label], palette[prediction], error_picture(*rows[row])
        for left, panel in zip(lefts, panels, strict=True):
            page.picture(left, top, panel, (widths[row], heights[row]))
        top += heights[row] + type_size // 2
        page.text(lefts[0], top, titles[row], color=FAINT)
        page.text(lefts[3], top, _accuracy_caption(label, prediction), color=INK)
        top += line + gap - type_size // 2
    for index, (name, colour) in enumerate(entries):
        row, column = divmod(index, legend_columns)
        page.swatch(margin + column * legend_pitch, top + row * line, name, colour)
    return page.figure


def error_picture(image: np.ndarray, label: np.ndarray, prediction: np.ndarray) -> np.ndarray:
    """The photo dimmed and gray, with wrong pixels in `ERROR_COLOUR` and void in `VOID_COLOUR`.

    Args:
        image: uint8 [H, W, 3], RGB.
        label: uint8 [H, W], class indices and 255 for void.
        prediction: uint8 [H, W], class indices.

    Returns:
        uint8 [H, W, 3].
    """
    gray = image.mean(axis=2, keepdims=True) * PHOTO_DIMMED_TO
    picture = np.repeat(np.rint(gray).astype(np.uint8), 3, axis=2)
    picture[label != prediction] = ERROR_COLOUR
    picture[label == IGNORE] = VOID_COLOUR
    return picture


def legend_entries(
    labels: Sequence[np.ndarray],
    predictions: Sequence[np.ndarray],
    class_names: Sequence[str],
    palette: np.ndarray,
) -> list[tuple[str, np.ndarray]]:
    """Name and uint8 [3] colour of each class that occurs, in the order of the classes, void last.

    Raises:
        ValueError: if an index has no name.
    """
    present = np.unique(np.concatenate([np.unique(array) for array in (*labels, *predictions)]))
    nameless = [int(index) for index in present if len(class_names) <= index < IGNORE]
    if nameless:
        raise ValueError(f"the indices {nameless} occur, but there are {len(class_names)} classes.")
    return [("void" if i == IGNORE else class_names[i], palette[i]) for i in present]


class _Page:
    """A figure on which things are put by pixel, counted from the top left."""

    def __init__(self, width: int, height: int, type_size: int):
        self.width, self.height, self.type_size = width, height, type_size
        size = (width / DPI, height / DPI)
        self.figure = Figure(figsize=size, dpi=DPI, facecolor="white")

    def text(self, left: float, top: float, string: str, **style) -> None:
        x, y, size = left / self.width, 1 - top / self.height, _points(self.type_size)
        self.figure.text(x, y, string, size=size, va="top", parse_math=False, **style)

    def picture(self, left: int, top: int, pixels: np.ndarray, size: tuple[int, int]) -> None:
        enlarged = size[0] >= pixels.shape[1]
        method = Image.Resampling.NEAREST if enlarged else Image.Resampling.BOX
        shown = np.asarray(Image.fromarray(pixels).resize(size, method))
        self.figure.figimage(shown, left, self.height - top - size[1], origin="upper")

    def swatch(self, left: float, top: float, name: str, colour: np.ndarray) -> None:
        side = self.type_size
        box = Rectangle(
            (left / self.width, 1 - (top + side) / self.height),
            side / self.width,
            side / self.height,
            transform=self.figure.transFigure,
            facecolor=colour / 255,
            edgecolor=FAINT,
            linewidth=0.6,
        )
        self.figure.add_artist(box)
        self.text(left + 1.5 * side, top, name, color=INK, gid="legend")


def _display_size(image: np.ndarray) -> tuple[int, int]:
    """Width and height at which a picture is shown: its longer side is 256 to 640 pixels."""
    height, width = image.shape[:2]
    longer = max(height, width)
    scale = math.ceil(256 / longer) if longer <= 640 else 640 / longer
    return max(1, round(scale * width)), max(1, round(scale * height))


def _legend_layout(
    entries: Sequence[tuple[str, np.ndarray]], type_size: int, width: int
) -> tuple[int, int]:
    """How many legend entries go on a line of this width, and the pixels from one to the next."""
    size = _points(type_size)
    longest = max(TextPath((0, 0), name, size=size).get_extents().width for name, _ in entries)
    pitch = math.ceil(longest * DPI / 72 + 3.5 * type_size)
    return min(len(entries), max(1, width // pitch)), pitch


def _points(pixels: float) -> float:
    return pixels * 72 / DPI


def _accuracy_caption(label: np.ndarray, prediction: np.ndarray) -> str:
    valid = label != IGNORE
    if not valid.any():
        return "no labelled pixel"
    return f"{(label == prediction)[valid].mean():.1%} of the pixels right"


def _check_samples(rows, titles) -> None:
    if not rows:
        raise ValueError("there is no picture to draw.")
    if len(titles) != len(rows):
        raise ValueError(f"there are {len(titles)} titles for {len(rows)} pictures.")
    for index, (image, label, prediction) in enumerate(rows):
        shapes = image.shape[:2], label.shape, prediction.shape
        if len(set(shapes)) != 1:
            raise ValueError(f"picture {index}, its label and prediction differ in size: {shapes}.")


def _save(figure: Figure, path) -> None:
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png")

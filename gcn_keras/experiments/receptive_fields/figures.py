"""Receptive fields drawn over the image, as in the paper's Figure 3."""

import math
from collections.abc import Mapping
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke

from gcn_keras.experiments.receptive_fields.squares import SHARES, square_side
from gcn_keras.plots.style import DPI, FAINT, INK

COLOURS = matplotlib.colormaps["magma"]
PANEL = 3.4  # inches of the wider side of a panel
COLUMNS = 3  # most panels side by side; with more, a page shows their texts too small to read
HEAD = 38  # characters that fit above one
# The photo under a field is gray and dimmed, so that every hue is the field's.
PHOTO_DIMMED_TO = 0.55
BEYOND = "#a8a8a8"  # where a square reaches over the image
DOT: dict[str, Any] = dict(
    marker="o", linestyle="none", markersize=5, markerfacecolor="white", markeredgecolor="black"
)
DASHES: tuple[Any, ...] = ("-", (0, (5, 2.5)))  # of the square of each share


def receptive_field_figure(
    image: np.ndarray | None,
    fields: Mapping[str, np.ndarray],
    at: tuple[int, int],
    title: str = "image and point",
    caption: str = "",
) -> Figure:
    """The image, and after it each field as a heat map over the image made gray.

    A pixel's colour and opacity follow the square root of its share of the field's maximum: fields
    fall off steeply, and a linear scale would show their peak alone. The point is a white dot in
    the smallest squares that hold each of `SHARES`; one that leaves the image widens its panel.

    Args:
        image: uint8 `[H, W, 3]`, RGB; None for fields without an image, such as a mean of several.
        fields: `[H, W]` each, by name, at least 0 and not 0 everywhere.
        at: the point, (y, x).
        title, caption: two lines above the image, such as its file's name and the score.

    Raises:
        ValueError: if the arguments do not fit each other, or a field is 0 everywhere.
    """
    shapes = [x.shape[:2] for x in (*fields.values(), image) if x is not None]
    if not fields or len(set(shapes)) != 1:
        raise ValueError(f"fields and image must be of one size, received {shapes}")
    height, width = shapes[0]
    sides = {
        name: [square_side(field, at, share) for share in SHARES] for name, field in fields.items()
    }
    (left, right), (top, bottom) = _view((height, width), at, max(map(max, sides.values())))

    count = len(fields) + (image is not None)
    rows = math.ceil(count / COLUMNS)
    columns = math.ceil(count / rows)
    scale = PANEL / max(right - left, bottom - top)
    wide, high = (right - left) * scale + 0.25, (bottom - top) * scale + 0.7  # with the texts
    size = columns * wide + 0.2, rows * high + 0.3
    figure = Figure(figsize=size, dpi=1.5 * DPI, layout="compressed", facecolor="white")
    panels = list(figure.subplots(rows, columns, squeeze=False).flat)
    for axes in panels[count:]:
        axes.remove()
    del panels[count:]
    limits = {"xlim": (left - 0.5, right - 0.5), "ylim": (bottom - 0.5, top - 0.5)}
    for axes in panels:
        axes.set(**limits, aspect="equal", xticks=[], yticks=[], facecolor=BEYOND)
        axes.spines[:].set_visible(False)
    if image is not None:
        _panel(panels.pop(0), image, at, title, caption)
    for axes, (name, field) in zip(panels, fields.items(), strict=True):
        numbers = []
        for share, side, dashes in zip(SHARES, sides[name], DASHES, strict=True):
            axes.add_patch(_square(at, side, dashes))
            numbers.append(f"{share:.0%}: {side} px")
        _panel(axes, _heat(field, image), at, name, " · ".join(numbers))
    figure.legend(handles=_legend(), loc="outside lower left", ncols=4, frameon=False, fontsize=9)
    return figure


def _view(size, at, side) -> tuple[tuple[int, int], tuple[int, int]]:
    """What the panels show, x and y from … to: the image, and the largest square around at."""
    radius = side // 2
    (height, width), (y, x) = size, at
    margin = max(1, max(size) // 100)  # room for the line of a square that ends at the border
    columns = min(0, x - radius) - margin, max(width, x + radius + 1) + margin
    rows = min(0, y - radius) - margin, max(height, y + radius + 1) + margin
    return columns, rows


def _heat(field: np.ndarray, image: np.ndarray | None) -> np.ndarray:
    """The field's colours over the dimmed gray image, or over black: float `[H, W, 3]`, 0…1."""
    strength = np.sqrt(field / field.max())
    photo = np.zeros(1) if image is None else image.mean(axis=2, keepdims=True) / 255
    opacity = np.minimum(1.0, 1.5 * strength)[..., None]
    return opacity * COLOURS(strength)[..., :3] + (1 - opacity) * PHOTO_DIMMED_TO * photo


def _square(at: tuple[int, int], side: int, dashes: Any) -> Rectangle:
    corner = at[1] - side / 2, at[0] - side / 2
    outline = withStroke(linewidth=2.8, foreground="black", alpha=0.6)
    return Rectangle(
        corner, side, side, fill=False, edgecolor="white", linewidth=1.4, linestyle=dashes,
        path_effects=[outline], gid="square",
    )  # fmt: skip


def _panel(axes: Axes, image: np.ndarray, at: tuple[int, int], title: str, caption: str) -> None:
    """An image, the point, and above it a line in bold, which does not run into the next panel."""
    axes.imshow(image, interpolation="nearest")
    axes.plot(at[1], at[0], **DOT)
    title = title if len(title) <= HEAD else "…" + title[1 - HEAD :]
    axes.set_title(
        f"{title}\n", loc="left", color=INK, fontsize=10, fontweight="bold", parse_math=False
    )
    place: dict[str, Any] = {"transform": axes.transAxes, "va": "bottom"}
    axes.text(0, 1.02, caption, color=FAINT, fontsize=9, parse_math=False, **place)


def _legend() -> list[Line2D]:
    """Dark lines on the page for the white ones on the images."""
    point = Line2D([], [], label="the scored point", **DOT)
    squares = [
        Line2D([], [], color=INK, linewidth=1.4, linestyle=dashes, label=f"holds {share:.0%}")
        for share, dashes in zip(SHARES, DASHES, strict=True)
    ]
    return [point, *squares]

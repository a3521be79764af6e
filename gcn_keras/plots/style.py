"""What all figures share: colours, axes, files."""

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from pipelines.base.files import replacing

DPI = 100
INK, FAINT, GRID = "#222222", "#707070", "#e4e4e4"
BLUE, ORANGE, GREEN, PURPLE = "#2166ac", "#e08214", "#1b7837", "#762a83"
LINES = tuple(
    {"color": colour, "linestyle": style}
    for style in ("-", "--")
    for colour in (BLUE, ORANGE, GREEN, PURPLE)
)


def style_axes(axes, epochs: np.ndarray) -> None:
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


def draw_line(axes, epochs: np.ndarray, values: np.ndarray, colour: str, label: str = "") -> None:
    there = ~np.isnan(values)  # a line over the epochs that were not validated, not gaps
    marker = "o" if there.sum() <= 30 else None
    axes.plot(
        epochs[there], values[there], color=colour, linewidth=1.8, marker=marker, markersize=3.5,
        label=label,
    )  # fmt: skip


def save_figure(figure: Figure, path) -> None:
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png")

"""What all figures share: colours, axes, files."""

from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pipelines.base.figures import write_png
from pipelines.base.files import replacing

DPI = 100
INK, FAINT, GRID = "#222222", "#707070", "#e4e4e4"
BLUE, ORANGE, GREEN, PURPLE = "#2166ac", "#e08214", "#1b7837", "#762a83"


def style_axes(axes: Axes) -> None:
    """Gives axes a grid behind what is drawn, two spines, and the project's colours."""
    axes.grid(color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(FAINT)
    axes.tick_params(colors=FAINT, labelcolor=INK, labelsize=9)
    axes.xaxis.label.set_color(INK)


def save_figure(figure: Figure, path: str | Path) -> None:
    """Writes a figure as a PNG, which is replaced in one step; its texts are no mathematics.

    Raises:
        UserError: the file cannot be written.
    """
    with replacing(path) as temporary:
        write_png(figure, temporary)

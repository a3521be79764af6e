"""A page on which images, texts and a legend stand at whole pixels."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.transforms import Affine2D
from PIL import Image

from gcn_keras.plots.style import DPI, FAINT, INK
from pipelines.base.figures import widest
from pipelines.base.labels import IGNORE
from pipelines.base.overlay import VOID_SWATCH

_POINTS = 72 / DPI  # of a pixel
_LINE = np.rint(np.multiply(to_rgb(FAINT), 255)).astype(np.uint8)


class Page:
    """A figure on which things are put by pixel, counted from the top left.

    Args:
        width, height: in pixels.
        type_size: in pixels, of all texts.
    """

    def __init__(self, width: int, height: int, type_size: int):
        self.height, self.type_size = height, type_size
        size = (width / DPI, height / DPI)
        self.figure = Figure(figsize=size, dpi=DPI, facecolor="white")
        self.from_top = Affine2D().scale(1, -1).translate(0, height)

    def text(self, left: float, top: float, string: str, **style: Any) -> None:
        """Writes a line of text; `style` is Matplotlib's."""
        style.update(transform=self.from_top, size=self.type_size * _POINTS, va="top")
        self.figure.text(left, top, string, parse_math=False, **style)

    def draw_image(self, left: int, top: int, pixels: np.ndarray, size: tuple[int, int]) -> None:
        """Draws an image, uint8 `[H, W, 3]`, at a width and height, and a line around it.

        Without the line a white class would run into the page.
        """
        width, height = size
        framed = np.empty((height + 2, width + 2, 3), np.uint8)
        framed[:] = _LINE
        framed[1:-1, 1:-1] = resized(pixels, size)
        self.figure.figimage(framed, left - 1, self.height - top - height - 1, origin="upper")

    def draw_legend(self, left: int, top: int, legend: "LegendBox") -> None:
        """Draws colours and names, a line for each `legend.columns` of them."""
        for index, (name, style) in enumerate(legend.entries):
            row, column = divmod(index, legend.columns)
            x, y = left + column * legend.pitch, top + row * 2 * self.type_size
            swatch = Rectangle((x, y), self.type_size, self.type_size, linewidth=0.6, **style)
            swatch.set_transform(self.from_top)
            self.figure.add_artist(swatch)
            self.text(x + 1.5 * self.type_size, y, name, color=INK, gid="legend")


class LegendBox:
    """The classes that occur in some label maps, in as many columns as fit.

    Args:
        labels: uint8 arrays: class indices and 255 for void, which is the last entry.
        class_names: the name of each index.
        palette: uint8 `[256, 3]`, the RGB colour of each index.
        type_size: in pixels.
        width: in pixels, that there is for it.
        stripes_void: whether void has stripes, as in `overlay`, and no colour.

    Attributes:
        entries: name and style of a swatch of each class.
        columns: entries on a line.
        pitch: pixels from one to the next.
        lines: how many there are, each of twice the type's size.

    Raises:
        ValueError: an index has no name.
    """

    def __init__(
        self,
        labels: Sequence[np.ndarray],
        class_names: Sequence[str],
        palette: np.ndarray,
        type_size: int,
        width: int,
        stripes_void: bool = False,
    ):
        present = np.unique(np.concatenate([np.unique(array) for array in labels]))
        nameless = [int(index) for index in present if len(class_names) <= index < IGNORE]
        if nameless:
            raise ValueError(
                f"the indices {nameless} occur, but there are {len(class_names)} classes"
            )
        self.entries: list[tuple[str, dict[str, Any]]] = [
            ("void" if i == IGNORE else class_names[i], {"facecolor": palette[i] / 255})
            for i in present
        ]
        for _, style in self.entries:
            style["edgecolor"] = FAINT
        if stripes_void and present[-1] == IGNORE:
            self.entries[-1] = ("void", dict(VOID_SWATCH))
        names = (name for name, _ in self.entries)
        self.pitch = math.ceil(widest(names, type_size) + 3.5 * type_size)
        self.columns = min(len(self.entries), max(1, width // self.pitch))
        self.lines = math.ceil(len(self.entries) / self.columns)


def resized(pixels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """An image at a width and height: enlarged by nearest neighbour, reduced by means.

    Args:
        pixels: uint8 `[H, W, 3]`.
        size: width and height.
    """
    enlarged = size[0] >= pixels.shape[1]
    method = Image.Resampling.NEAREST if enlarged else Image.Resampling.BOX
    return np.asarray(Image.fromarray(pixels).resize(size, method))


def display_size(image: np.ndarray, longest: int) -> tuple[int, int]:
    """Width and height at which an image is shown.

    The longer side is 256 to `longest` pixels: small images are enlarged by a whole number.
    """
    height, width = image.shape[:2]
    longer = max(height, width)
    scale = math.ceil(256 / longer) if longer <= longest else longest / longer
    return max(1, round(scale * width)), max(1, round(scale * height))


def end_of(text: str, width: int, type_size: int) -> str:
    """The end of a text, which tells more than the beginning of a path, as far as there is room."""
    letters = min(len(text), 2 * width // type_size)  # of half of an em each
    while letters > 1 and widest([_ending(text, letters)], type_size) > width:
        letters -= 1
    return _ending(text, letters)


def _ending(text: str, letters: int) -> str:
    return text if letters == len(text) else f"…{text[-letters:]}"

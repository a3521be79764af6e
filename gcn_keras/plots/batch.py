"""A training batch as the model sees it: each crop, and beside it its label map."""

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from gcn_keras.plots.page import LegendBox, Page, display_size, end_of, resized
from gcn_keras.plots.style import FAINT, INK
from pipelines.base.figures import widest
from pipelines.base.overlay import over_gray

MOST = 32  # crops on a page
# Pixels: a crop's longer side, a page about, between a crop and its label map.
_LONGEST, _WIDTH, _SEAM = 320, 1400, 4


def batch_figure(
    images: np.ndarray,
    labels: np.ndarray,
    image_ids: Sequence[str],
    class_names: Sequence[str],
    palette: np.ndarray,
    title: str,
) -> Figure:
    """Crops of a batch, the first `MOST` of them, each with its image id and what it is labelled.

    Beside a crop with a label map lies the map in the classes' colours over the crop in gray, void
    striped; under them a legend of the classes that occur. Under a crop with one class stands its
    name.

    Args:
        images: uint8 `[B, h, w, 3]` RGB.
        labels: uint8 `[B, h, w]`, class indices and 255 for void; or integers `[B]`, class indices.
        image_ids: one a crop.
        class_names: the name of each index.
        palette: uint8 `[256, 3]`, the RGB colour of each index.
        title: a line above.

    Raises:
        ValueError: an index has no name.
    """
    images, labels = images[:MOST], labels[:MOST]
    if len(image_ids) > len(images):
        title = f"{title}: the first {len(images)} of {len(image_ids)}"
    is_map = labels.ndim == 3
    size = display_size(images[0], _LONGEST)
    type_size = round(13 * max(1, size[0] / 300))
    gap, margin, line = type_size, 2 * type_size, 2 * type_size
    cell = 2 * size[0] + _SEAM if is_map else size[0]
    columns = max(1, min(len(images), (_WIDTH - 2 * margin + gap) // (cell + gap)))
    rows = math.ceil(len(images) / columns)
    row_height = size[1] + (1 if is_map else 2) * line + gap
    width = 2 * margin + max(columns * (cell + gap) - gap, math.ceil(widest([title], type_size)))
    legend = None
    if is_map:
        area = width - 2 * margin
        legend = LegendBox(list(labels), class_names, palette, type_size, area, stripes_void=True)
    height = 2 * margin + line + rows * row_height + (legend.lines * line if legend else 0)
    page = Page(width, height, type_size)
    page.text(margin, margin, title, weight="bold", color=INK)
    top = margin + line
    for number, (image, label) in enumerate(zip(images, labels, strict=True)):
        row, column = divmod(number, columns)
        x, y = margin + column * (cell + gap), top + row * row_height
        crop = resized(image, size)
        page.draw_image(x, y, crop, size)
        y += size[1] + type_size // 2
        if is_map:
            # Nearest neighbour, as everywhere: no value comes of two classes.
            small = np.asarray(Image.fromarray(label).resize(size, Image.Resampling.NEAREST))
            mask = over_gray(crop, small, palette)
            page.draw_image(x + size[0] + _SEAM, y - size[1] - type_size // 2, mask, size)
        else:
            page.text(x, y, class_names[int(label)], color=INK)
            y += line
        page.text(x, y, end_of(image_ids[number], cell, type_size), color=FAINT)
    if legend:
        page.draw_legend(margin, top + rows * row_height, legend)
    return page.figure

"""A page of examples to look at: photos, their masks laid over them, and the classes' colours."""

import io
import math
from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from pipelines.base.figures import write_png
from pipelines.base.labels import IGNORE
from pipelines.base.overlay import VOID_SWATCH, over_gray
from pipelines.examination.findings import Sample
from pipelines.examination.report import WRITTEN_BY

COLUMNS = 4
DPI = 100

_INK, _GRID = "#222222", "#b0b0b0"
_PAIR_INCHES = 3.5  # width of a photo with its overlay
_GAP = 4  # pixels between the two
_LEGEND_LIMIT = 40


def contact_sheet(
    samples: Sequence[Sample], class_names: Sequence[str], palette: np.ndarray, title: str
) -> bytes:
    """Draws examples side by side with their overlays; under them a legend. The bytes of a PNG.

    The legend lists all classes, or, where they are more than 40, those on the sheet.

    Args:
        samples: from `pipelines.examination.examine`; may be empty.
        class_names: one a label, from 0.
        palette: uint8 `[256, 3]` RGB.
        title: a line above.
    """
    # A row is as high as the tallest of its photos, which shrink where they are higher than 4:3.
    slopes = [len(sample.label) / sample.label.shape[1] for sample in samples] or [1.0]
    heights = [
        _PAIR_INCHES / 2 * min(4 / 3, max(slopes[first : first + COLUMNS]))
        for first in range(0, len(slopes), COLUMNS)
    ]
    handles = _legend(samples, class_names, palette)
    legend_columns = 6 if max(len(str(handle.get_label())) for handle in handles) < 20 else 4
    legend_rows = math.ceil(len(handles) / legend_columns)
    height = sum(heights) + 0.35 * len(heights) + 0.25 * legend_rows + 0.9
    figure = Figure((COLUMNS * _PAIR_INCHES, height), DPI, layout="constrained", facecolor="white")
    figure.suptitle(title, x=0.01, ha="left", color=_INK, fontsize=13)
    panels = figure.subplots(len(heights), COLUMNS, squeeze=False, height_ratios=heights).ravel()
    for axes in panels:
        axes.set_axis_off()
        axes.set_anchor("NW")
    for axes, sample in zip(panels, samples, strict=False):
        gap = np.full((len(sample.label), _GAP, 3), 255, np.uint8)
        colours = over_gray(sample.image, sample.label, palette)
        axes.imshow(np.concatenate([sample.image, gap, colours], axis=1))
        name = sample.image_id if len(sample.image_id) <= 40 else f"…{sample.image_id[-39:]}"
        axes.set_title(f"{sample.split}: {name}", fontsize=9, loc="left", color=_INK)
    figure.legend(
        handles=handles, loc="outside lower left", ncols=legend_columns, frameon=False, fontsize=9
    )
    buffer = io.BytesIO()
    write_png(figure, buffer, WRITTEN_BY)
    return buffer.getvalue()


def _legend(samples, class_names, palette) -> list[Patch]:
    values = [*range(len(class_names)), IGNORE]
    if len(values) > _LEGEND_LIMIT:
        shown = {int(value) for sample in samples for value in np.unique(sample.label)}
        values = [value for value in values if value in shown or value == IGNORE]
    return [
        Patch(**VOID_SWATCH, label="void (255)")
        if value == IGNORE
        else Patch(
            facecolor=palette[value] / 255, edgecolor=_GRID, label=f"{value} {class_names[value]}"
        )
        for value in values
    ]

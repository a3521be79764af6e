"""Curves: training, and accuracy along boundaries."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import MaxNLocator

from gcn_keras.plots.style import BLUE, DPI, GREEN, INK, ORANGE, PURPLE, style_axes
from pipelines.base.plurals import count_of

# By these the best model is chosen; beside them the others are drawn. A run has one pair of them.
_SCORES = {"val_mean_iou": "mean IoU", "val_top1_accuracy": "top-1 accuracy"}
_SCORES_BESIDE = {"val_pixel_accuracy": "pixel accuracy", "val_top5_accuracy": "top-5 accuracy"}
_LINES: list[dict[str, Any]] = [
    {"color": colour, "linestyle": style}
    for style in ("-", "--")
    for colour in (BLUE, ORANGE, GREEN, PURPLE)
]


def curves_figure(history: Mapping[str, Sequence]) -> Figure:
    """Training loss with the learning rate under it, and the validation scores beside it.

    Args:
        history: lists of one number an epoch. Drawn are, as far as they are there, "loss",
            "learning_rate" (on a log scale), "val_mean_iou" and "val_pixel_accuracy", or
            "val_top1_accuracy" and "val_top5_accuracy" (all in 0…1; the best mean IoU, or top-1
            accuracy, is marked). "epoch" gives the numbers along the axis, which
            otherwise count from 1. NaN, None or "", an empty cell of history.csv, stands for an
            epoch without a value; other keys are left out.

    Returns:
        A figure of one to three panels.

    Raises:
        ValueError: if there is nothing to draw, or the columns differ in length.
    """
    keys = ("loss", "learning_rate", *_SCORES, *_SCORES_BESIDE)
    columns = {
        key: np.array([np.nan if cell in (None, "") else float(cell) for cell in history[key]])
        for key in keys
        if len(history.get(key, ()))
    }
    if not columns:
        raise ValueError(f"history has none of {', '.join(keys)}, or they are empty")
    length = len(next(iter(columns.values())))
    epochs = np.asarray(history.get("epoch", range(1, length + 1)), float)
    lengths = {key: len(values) for key, values in {"epoch": epochs, **columns}.items()}
    if set(lengths.values()) != {length}:
        raise ValueError(f"the columns of history differ in length: {lengths}")

    training = [key for key in ("loss", "learning_rate") if key in columns]
    scores = [key for key in (*_SCORES, *_SCORES_BESIDE) if key in columns]
    sides = bool(training) + bool(scores)
    figure = _figure(sides)
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


def trimap_figure(
    curves: Mapping[str, tuple[Sequence[int], Sequence[float | None]]], measure: str = "mean IoU"
) -> Figure:
    """What models score in bands along boundaries: a line for each model, at most eight.

    Args:
        curves: widths in pixels, rising, and scores in 0…1, by the model's name. NaN or None
            stands for a band without a pixel.
        measure: name of the score.

    Returns:
        A figure of one panel, in per cent.

    Raises:
        ValueError: if there is nothing to draw, or widths and values differ in number.
    """
    if not 1 <= len(curves) <= len(_LINES):
        raise ValueError(f"there must be 1 to {len(_LINES)} curves, received {len(curves)}")
    for name, (widths, _) in curves.items():
        if not len(widths):
            raise ValueError(f"{name} has no widths: a curve needs one or more")
    figure = _figure(1)
    axes = figure.subplots()
    everywhere = np.unique(np.concatenate([widths for widths, _ in curves.values()]))
    _style(axes, everywhere, f"{measure} near boundaries, %")
    for (name, (widths, values)), style in zip(curves.items(), _LINES, strict=False):
        if len(widths) != len(values):
            raise ValueError(
                f"{name} has {count_of(len(widths), 'width')} and {count_of(len(values), 'value')}"
            )
        scores = 100 * np.asarray(values, float)
        _draw_line(axes, np.asarray(widths), scores, label=name, marker="o", **style)
    # Without `min_n_ticks` a single width would have ticks at fractions around it.
    locator = MaxNLocator(nbins=8, steps=[1, 2, 5, 10], integer=True, min_n_ticks=1)
    axes.xaxis.set_major_locator(locator)
    axes.set_xlabel("width of the band, pixels")
    axes.legend(handles=axes.lines, frameon=False, fontsize=9)  # also of names that begin with _
    return figure


def _figure(panels: int) -> Figure:
    """Room for panels side by side."""
    size = (6.2 * panels, 4.4)
    layout = ConstrainedLayoutEngine(w_pad=0.2, h_pad=0.15)
    return Figure(figsize=size, dpi=DPI, layout=layout, facecolor="white")


def _style(axes: Axes, x: np.ndarray, title: str) -> None:
    """Styled axes that span these places, with ticks at whole numbers."""
    style_axes(axes)
    axes.set_title(title, loc="left", color=INK, fontsize=11)
    margin = 0.5 if len(x) == 1 else 0.02 * np.ptp(x)
    axes.set_xlim(x.min() - margin, x.max() + margin)
    if len(x) <= 8:
        axes.set_xticks(x)
    else:
        axes.xaxis.set_major_locator(MaxNLocator(nbins=8, integer=True))


def _draw_line(axes: Axes, x: np.ndarray, values: np.ndarray, **style: Any) -> None:
    there = ~np.isnan(values)  # a line over the epochs that were not validated, not gaps
    style = {"marker": "o" if there.sum() <= 30 else None, "markersize": 3.5, **style}
    axes.plot(x[there], values[there], linewidth=1.8, **style)


def _training_panel(axes: Axes, key: str, epochs: np.ndarray, values: np.ndarray) -> None:
    if key == "loss":
        _style(axes, epochs, "training loss")
        _draw_line(axes, epochs, values, color=BLUE)
        return
    _style(axes, epochs, "learning rate")
    positive = values[values > 0]
    if not positive.size:
        _draw_line(axes, epochs, values, color=PURPLE)
        return
    # A decay ends at 0, for which a log scale has no place: it stands below the others. The log
    # locator would label every step, one over the other, or none.
    ticks = {rate: f"{rate:.3g}" for rate in (positive.min(), positive.max())}
    foot = positive.min() / 3
    if (values == 0).any():
        ticks[foot] = "0"
    axes.set_yscale("log")
    _draw_line(axes, epochs, np.where(values == 0, foot, values), color=PURPLE)
    axes.set_yticks(list(ticks), list(ticks.values()))
    axes.set_yticks([], minor=True)


def _scores_panel(axes: Axes, epochs: np.ndarray, scores: Mapping[str, np.ndarray]) -> None:
    _style(axes, epochs, "validation")
    axes.set_ylim(0, 1)
    axes.yaxis.set_major_locator(MaxNLocator(10))
    for key in scores.keys() & _SCORES_BESIDE.keys():
        _draw_line(axes, epochs, scores[key], color=ORANGE, label=_SCORES_BESIDE[key])
    for key in scores.keys() & _SCORES.keys():
        values = scores[key]
        _draw_line(axes, epochs, values, color=GREEN, label=_SCORES[key])
        if not np.isnan(values).all():
            best = int(np.nanargmax(values))
            label = f"best: {values[best]:.3f} at epoch {epochs[best]:.0f}"
            axes.plot(
                epochs[best], values[best], color=GREEN, linestyle="none", marker="o", markersize=9,
                markerfacecolor="white", markeredgewidth=2, label=label, zorder=4,
            )  # fmt: skip
    # Above the axes, where no curve runs under it.
    axes.legend(
        loc="lower right", bbox_to_anchor=(1, 1), borderaxespad=0.1, ncols=3, frameon=False,
        fontsize=9, handlelength=1.3, columnspacing=1,
    )  # fmt: skip

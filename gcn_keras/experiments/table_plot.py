"""A table of the paper as images: our figures beside the paper's, and how ours came about."""

import statistics

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from gcn_keras.experiments.paper_tables import MEASURES, Row, Table
from gcn_keras.experiments.results import Curve, deviation
from gcn_keras.plots.style import BLUE, DPI, GREEN, INK, ORANGE, PURPLE, style_axes

_COLOURS = (GREEN, ORANGE, BLUE, PURPLE)


def table_figure(table: Table, results: dict[Row, list[dict]]) -> Figure:
    """One row of panels a measure in per cent: ours on the left, the paper's on the right.

    The panels have axes of their own, since data and backbones differ: what can be compared is the
    shape of the lines. Points are means over seeds, bars a standard deviation; a row that was not
    run has no point on the left.

    Args:
        table: the whole table of the paper.
        results: of some of its rows, by row: dicts with the measures as shares, one a seed.
    """
    measures = [name for name in table.measures if name != "p5_weights"]
    size = (10, 3.4 * len(measures) + 0.4)
    figure = Figure(figsize=size, dpi=DPI, layout="constrained", facecolor="white")
    figure.suptitle(table.title, color=INK, fontsize=13, x=0.01, ha="left")
    panels = figure.subplots(len(measures), 2, squeeze=False)
    places = list(dict.fromkeys(row.x for row in table.rows))
    if all(place.isdecimal() for place in places):
        places.sort(key=int)
    rows = sorted(table.rows, key=lambda row: places.index(row.x))
    series = dict.fromkeys(row.series for row in table.rows)
    for name, (ours, paper) in zip(measures, panels, strict=True):
        for axes, where in ((ours, "here"), (paper, f"paper ({table.setting})")):
            style_axes(axes)
            axes.set_xticks(range(len(places)), places)
            axes.set_xlim(-0.4, len(places) - 0.6)
            axes.set_title(f"{MEASURES[name]}, {where}", loc="left", color=INK, fontsize=10)
        for colour, line in zip(_COLOURS, series, strict=False):
            on_line = [row for row in rows if row.series == line]
            style = {"color": colour, "linewidth": 1.8, "marker": "o", "markersize": 5}
            seeds = {
                row.x: [100 * run[name] for run in results.get(row, ()) if run[name] is not None]
                for row in on_line
            }
            seeds = {x: values for x, values in seeds.items() if values}
            if seeds:
                means = [statistics.mean(values) for values in seeds.values()]
                bars = [deviation(values) for values in seeds.values()]
                ours.errorbar([places.index(x) for x in seeds], means, bars, capsize=3, **style)
            printed = {places.index(row.x): row.paper[name] for row in on_line if name in row.paper}
            paper.plot(list(printed), list(printed.values()), label=line, **style)
        if len(series) > 1:
            paper.legend(frameon=False, fontsize=9)
    for axes in panels[-1]:
        axes.set_xlabel(table.axis)
    return figure


def curves_figure(table: Table, curves: dict[Row, list[Curve]]) -> Figure:
    """Learning curves: validation mean IoU by epoch, a line a run, a colour a row.

    Args:
        table: whose title the figure has.
        curves: of some rows, one a seed.
    """
    figure = Figure(figsize=(9, 4.6), dpi=DPI, layout="constrained", facecolor="white")
    figure.suptitle(f"{table.title}: learning curves", color=INK, fontsize=13, x=0.01, ha="left")
    axes = figure.subplots()
    style_axes(axes)
    axes.set_title("mean IoU % on the validation split", loc="left", color=INK, fontsize=10)
    axes.set_xlabel("epoch")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    colours = mpl.colormaps["viridis"].resampled(len(curves) + 1)
    lines = []
    for number, (row, known) in enumerate(curves.items()):
        for curve in known:
            scores = [100 * score for score in curve.values()]
            [line] = axes.plot(list(curve), scores, color=colours(number), label=row.label)
            line.set(linewidth=1.6, marker="o", markersize=3)
        lines.append((statistics.mean(list(curve.values())[-1] for curve in known), line))
    # From top to bottom as the lines end.
    ordered = [line for _, line in sorted(lines, key=lambda pair: pair[0], reverse=True)]
    figure.legend(handles=ordered, loc="outside right center", frameon=False, fontsize=9)
    return figure

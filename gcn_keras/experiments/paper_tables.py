"""The paper's tables as data: the runs behind each row, and the figure printed in it.

One table is ours, table1-br: it asks of every kernel size what Table 5 asks of one.

A row either trains (with options of `gcn_keras.fit`) or measures the model of an earlier row in
another way (with options of `gcn_keras.evaluate`). Rows of the same name are the same run, in
whichever table they stand, so that it is trained once.

This module imports neither Keras nor TensorFlow.
"""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field

from gcn_keras.models.backbones import BACKBONES
from gcn_keras.recipes.recipe import Recipe

# What a row is measured by, as it is written into runs.csv, and as it is called.
MEASURES = {
    "mean_iou": "mean IoU %",
    "boundary_accuracy": "boundary %",
    "internal_accuracy": "internal %",
    "p5_weights": "weights on P5",
}
# Our choice, as the paper names no scales: those that DeepLab made a habit of.
MULTI_SCALE = ("--scales", "0.5", "0.75", "1", "1.25", "1.5", "1.75", "--flip")
# Section 4.3: the score maps of four crops of 1024×1024 are fused.
FOUR_CROPS = ("--tile", "1024", "1024", "--overlap", "682")


@dataclass(frozen=True)
class Row:
    """A row of a table.

    Attributes:
        name: of its run, and of that run's folder.
        label: what stands in the table.
        series, x: the line that it belongs to in a plot, and its place along the axis.
        paper: the paper's figures by measure, none where it has no such row: per cent, or a
            number of weights.
        options: of fit.
        recipe: that it trains with; None for the one that the table is asked for with.
        start: the row whose best model it starts from, or which it measures.
        procedure: options of evaluate. With `measures_only`, that is all there is to the row.
        measures_only: whether nothing is trained.
    """

    name: str
    label: str
    series: str
    x: str
    paper: dict[str, float] = field(hash=False)
    options: tuple[str, ...] = ()
    recipe: str | None = None
    start: "Row | None" = None
    procedure: tuple[str, ...] = ()
    measures_only: bool = False


@dataclass(frozen=True)
class Table:
    """A table of the paper, or one of ours.

    Attributes:
        title: what it is about.
        axis: what changes along a plot's axis.
        rows: from top to bottom; a row stands below the one that it starts from.
        setting: where the paper's figures were measured.
        measures: keys of `MEASURES`, the columns.
    """

    title: str
    axis: str
    rows: tuple[Row, ...]
    setting: str = "VOC 2012 val, ResNet-152"
    measures: tuple[str, ...] = ("mean_iou",)


# === Tables 1 to 4: mean IoU by k, without BR ===

# By block and k: mean IoU, and the weights on P5 where the paper counts them.
_FIGURES: dict[str, dict[int, tuple[float, ...]]] = {
    "gcn": {
        3: (70.1, 260e3), 5: (71.1, 434e3), 7: (72.8, 608e3), 9: (73.4, 782e3), 11: (73.7,),
        13: (74.0,), 15: (74.5,),
    },
    "conv": {3: (69.8, 387e3), 5: (70.4, 1075e3), 7: (69.6, 2107e3), 9: (68.8, 3484e3)},
    "stack": {3: (69.8,), 5: (71.8,), 7: (71.3,), 9: (69.5,), 11: (67.5,)},
}  # fmt: skip
_SERIES = {"gcn": "GCN", "conv": "k×k", "stack": "stack"}
_LABELS = {"gcn": "GCN k = {k}", "conv": "{k}×{k} convolution", "stack": "stack, k = {k}"}
# Channels m inside the stack, of 2048 on P5: mean IoU and weights.
_STACK_WIDTHS = {2048: (71.3, 75885e3), 1024: (70.4, 28505e3), 210: (68.8, 4307e3)}

_WITHOUT_BR = ("--no-boundary-refinement",)
_BASE = ("--block", "conv1x1", *_WITHOUT_BR)


def _baseline(x: str, **paper: float) -> Row:
    return Row(name="base", label="base (1×1)", series="GCN", x=x, paper=paper, options=_BASE)


def _kernel(block: str, k: int) -> Row:
    return Row(
        name=f"{block}{k}",
        label=_LABELS[block].format(k=k),
        series=_SERIES[block],
        x=str(k),
        paper=dict(zip(("mean_iou", "p5_weights"), _FIGURES[block][k], strict=False)),
        options=("--block", block, "--kernel-size", str(k), *_WITHOUT_BR),
    )


def _kernels(of: str, *blocks: str) -> tuple[Row, ...]:
    """The rows of some blocks at every k that the paper has of one of them."""
    return tuple(_kernel(block, k) for block in blocks for k in _FIGURES[of])


def _widths(channels: int) -> tuple[Row, ...]:
    """Stacks as wide, beside the backbone's P5, as the paper's were beside 2048 channels; and GCN.

    The paper gives the width on P5 only; all levels have it (our choice), but for the widest, in
    which each keeps its own: that is the stack of Table 3.
    """
    rows, stack = [], _kernel("stack", 7)
    for m, (score, weights) in _STACK_WIDTHS.items():
        # Fewer than 16 channels are no stack worth the name on a small backbone (our choice).
        width, widest = max(16, round(channels * m / 2048)), m == 2048
        rows.append(
            Row(
                name=stack.name if widest else f"{stack.name}-{width}",
                label=f"stack, m = {width}" + (f" (paper: {m})" if width != m else ""),
                series=stack.series,
                x=str(width) if width == m else f"{width} ({m})",
                paper={"mean_iou": score, "p5_weights": weights},
                options=stack.options + (() if widest else ("--stack-width", str(width))),
            )
        )
    return (*rows, dataclasses.replace(_kernel("gcn", 7), x="GCN"))


# === Table 5: accuracy within 7 px of a boundary, and elsewhere ===

_WITH_BR = ("--block", "gcn", "--kernel-size", "15", "--boundary-refinement")
_BOUNDARIES = (
    _baseline("baseline", mean_iou=69.0, boundary_accuracy=71.3, internal_accuracy=93.9),
    dataclasses.replace(
        _kernel("gcn", 15),
        label="GCN",
        x="GCN",
        paper={"mean_iou": 74.5, "boundary_accuracy": 71.5, "internal_accuracy": 95.0},
    ),
    Row(
        name="gcn15-br",
        label="GCN + BR",
        series="GCN",
        x="GCN + BR",
        paper={"mean_iou": 74.7, "boundary_accuracy": 73.4, "internal_accuracy": 95.1},
        options=_WITH_BR,
    ),
)

# === Ours: BR at every k. The paper has it at k = 15 alone ===


def _refined(row: Row) -> Row:
    """The row with BR behind its block."""
    options = tuple(word for word in row.options if word not in _WITHOUT_BR)
    return Row(
        name=f"{row.name}-br",
        label=f"{row.label} + BR",
        series="GCN + BR",
        x=row.x,
        paper={},
        options=(*options, "--boundary-refinement"),
    )


def _with_and_without_br() -> tuple[Row, ...]:
    """The rows of Table 1, each followed by itself with BR, and Table 5's figures of three."""
    paper = {row.name: row.paper for row in _BOUNDARIES}
    plain = (_baseline("1"), *_kernels("gcn", "gcn"))
    return tuple(
        dataclasses.replace(row, paper=paper.get(row.name, row.paper))
        for each in plain
        for row in (each, _refined(each))
    )


# === Table 6: the block inside the backbone. Pretrained weights are given per backbone ===

_BACKBONES = tuple(
    Row(
        name=f"{backbone}-{head}",
        label=f"{x}, {series}",
        series=series,
        x=x,
        paper={"mean_iou": score},
        options=("--backbone", backbone, *options),
    )
    for backbone, x, scores in (
        ("resnet50", "ResNet50", (65.7, 72.3)),
        ("resnet50_gcn", "ResNet50-GCN", (71.2, 72.5)),
    )
    for head, series, options, score in (
        ("base", "baseline", _BASE, scores[0]),
        ("gcn15-br", "GCN + BR", _WITH_BR, scores[1]),
    )
)

# === Tables 7 and 9: stage after stage ===

_VARIANTS = {
    "base": ("baseline", _BASE, (69.6, 72.4, 74.0)),
    "gcn": ("GCN", ("--block", "gcn", *_WITHOUT_BR), (74.1, 77.6, 78.7)),
    "gcn-br": ("GCN + BR", ("--block", "gcn", "--boundary-refinement"), (75.0, 78.6, 80.3)),
}


def voc_stages(variants: Sequence[str] = tuple(_VARIANTS)) -> tuple[Row, ...]:
    """The rows of Table 7 for some of "base", "gcn" and "gcn-br"."""
    rows: list[Row] = []
    for variant in variants:
        label, options, scores = _VARIANTS[variant]
        rows += _stages(f"voc-{variant}", label, "voc-stage", options, scores)
    if "gcn-br" in variants:
        rows += _procedures(rows[-1], MULTI_SCALE, (80.4, 81.0))
    return tuple(rows)


def cityscapes_stages() -> tuple[Row, ...]:
    """The rows of Table 9."""
    label, options, _ = _VARIANTS["gcn-br"]
    scores = (73.0, 76.9)
    rows = _stages("cityscapes", label, "cityscapes-stage", options, scores, FOUR_CROPS)
    return (*rows, *_procedures(rows[-1], (*FOUR_CROPS, *MULTI_SCALE), (77.2, 77.4)))


def _stages(name, label, recipes, options, scores, procedure=()) -> list[Row]:
    rows: list[Row] = []
    for number, score in enumerate(scores, start=1):
        rows.append(
            Row(
                name=f"{name}-stage{number}",
                label=f"{label}, Stage-{number}",
                series=label,
                x=f"Stage-{number}",
                paper={"mean_iou": score},
                options=options,
                recipe=f"{recipes}{number}",
                start=rows[-1] if rows else None,
                procedure=procedure,
            )
        )
    return rows


def _procedures(trained: Row, multi_scale, scores) -> list[Row]:
    """Rows that measure the model of the row `trained` at several scales, and with a CRF behind."""
    prefix = trained.name.rpartition("-")[0]
    ways = (("ms", "MS", multi_scale), ("ms-crf", "MS + CRF", (*multi_scale, "--crf")))
    return [
        Row(
            name=f"{prefix}-{name}",
            label=f"{trained.series} + {label}",
            series=trained.series,
            x=f"+ {label}",
            paper={"mean_iou": score},
            start=trained,
            procedure=procedure,
            measures_only=True,
        )
        for (name, label, procedure), score in zip(ways, scores, strict=True)
    ]


_WEIGHED = ("mean_iou", "p5_weights")
_WHERE = ("boundary_accuracy", "internal_accuracy", "mean_iou")
_TABLES = {
    "table1": Table("kernel size", "k", (_baseline("1", mean_iou=69.0), *_kernels("gcn", "gcn"))),
    "table2": Table(
        "GCN or one k×k convolution", "k", _kernels("conv", "gcn", "conv"), measures=_WEIGHED
    ),
    "table3": Table("GCN or a stack of 3×3 convolutions", "k", _kernels("stack", "gcn", "stack")),
    "table4": Table(
        "width of the stack, k = 7", "channels (in the paper)", _widths(2048), measures=_WEIGHED
    ),
    "table5": Table(
        "at boundaries and inside",
        "model",
        _BOUNDARIES,
        measures=_WHERE,
    ),
    "table1-br": Table(
        "kernel size with and without BR", "k", _with_and_without_br(), measures=_WHERE
    ),
    "table6": Table(
        "ResNet50 or ResNet50-GCN as backbone", "backbone", _BACKBONES, setting="VOC 2012 val"
    ),
    "table7": Table("stages on VOC", "stage", voc_stages()),
    "table9": Table(
        "stages on Cityscapes", "stage", cityscapes_stages(), setting="Cityscapes val, ResNet-152"
    ),
}
NAMES = tuple(_TABLES)


def table(name: str, recipe: Recipe) -> Table:
    """The table called `name`.

    Args:
        name: one of `NAMES`.
        recipe: that its runs start from; its backbone decides how wide the stacks of Table 4 are.

    Raises:
        ValueError: there is no such table.
    """
    if name not in _TABLES:
        raise ValueError(f"unknown table {name!r}: choose one of {', '.join(NAMES)}")
    if name != "table4":
        return _TABLES[name]
    rows = _widths(BACKBONES[recipe.backbone].channels[-1])
    return dataclasses.replace(_TABLES[name], rows=rows)

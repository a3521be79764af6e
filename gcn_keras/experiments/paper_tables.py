"""The paper's tables as data: the runs behind each row, and the figure printed in it.

A row either trains (with options of `gcn_keras.fit`) or measures the model of an earlier row in
another way (with options of `gcn_keras.evaluate`). Rows of the same name are the same run, in
whichever table they stand, so that it is trained once.

This module imports neither Keras nor TensorFlow.
"""

import dataclasses
from dataclasses import dataclass, field

from gcn_keras.models.pyramids import P5_CHANNELS
from gcn_keras.recipes.recipe import Recipe

NAMES = ("table1", "table2", "table3", "table4", "table5", "table6", "table7", "table9")

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
        name: of its run: a folder, and a value of `--rows`.
        label: what stands in the table.
        series, x: the line that it belongs to in a plot, and its place along the axis.
        paper: the paper's figures by measure: per cent, or a number of weights.
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
    """A table of the paper.

    Attributes:
        title: what it is about.
        setting: where the paper's figures were measured.
        axis: what changes along a plot's axis.
        measures: keys of `MEASURES`, the columns.
        rows: from top to bottom; a row stands below the one that it starts from.
    """

    title: str
    setting: str
    axis: str
    measures: tuple[str, ...]
    rows: tuple[Row, ...]


def table(name: str, recipe: Recipe) -> Table:
    """The table called `name`.

    Args:
        name: one of `NAMES`.
        recipe: that its runs start from; its backbone tells how wide the stacks of Table 4 are.
    """
    setting = "VOC 2012 val, ResNet-152"
    on_k = {"setting": setting, "axis": "k"}
    match name:
        case "table1":
            kernels = tuple(map(_gcn, _GCN))
            rows = (_BASELINE, *kernels)
            return Table("kernel size", measures=("mean_iou",), rows=rows, **on_k)
        case "table2":
            rows = (*map(_gcn, _PLAIN), *map(_plain, _PLAIN))
            measures = ("mean_iou", "p5_weights")
            return Table("GCN or one k×k convolution", measures=measures, rows=rows, **on_k)
        case "table3":
            rows = (*map(_gcn, _STACK), *map(_stack, _STACK))
            return Table(
                "GCN or a stack of 3×3 convolutions", measures=("mean_iou",), rows=rows, **on_k
            )
        case "table4":
            measures = ("mean_iou", "p5_weights")
            gcn = dataclasses.replace(_gcn(7), x="GCN")
            rows = (*_narrow_stacks(P5_CHANNELS[recipe.backbone]), gcn)
            axis = "channels (in the paper)"
            return Table("width of the stack, k = 7", setting, axis, measures, rows)
        case "table5":
            measures = ("boundary_accuracy", "internal_accuracy", "mean_iou")
            rows = (_BASELINE_5, _GCN_5, _GCN_BR)
            return Table("at boundaries and inside", setting, "model", measures, rows)
        case "table6":
            return Table(
                "ResNet50 or ResNet50-GCN as backbone", "VOC 2012 val", "backbone", ("mean_iou",),
                _backbones(),
            )  # fmt: skip
        case "table7":
            return Table("stages on VOC", setting, "stage", ("mean_iou",), voc_stages())
        case "table9":
            setting = "Cityscapes val, ResNet-152"
            return Table("stages on Cityscapes", setting, "stage", ("mean_iou",), _CITYSCAPES)
    raise ValueError(f"unknown table {name!r}: choose one of {', '.join(NAMES)}")


# === Tables 1 to 4: mean IoU by k, without BR ===

_GCN = {3: 70.1, 5: 71.1, 7: 72.8, 9: 73.4, 11: 73.7, 13: 74.0, 15: 74.5}
_GCN_WEIGHTS = {3: 260e3, 5: 434e3, 7: 608e3, 9: 782e3}
_PLAIN = {3: (69.8, 387e3), 5: (70.4, 1075e3), 7: (69.6, 2107e3), 9: (68.8, 3484e3)}
_STACK = {3: 69.8, 5: 71.8, 7: 71.3, 9: 69.5, 11: 67.5}
# Channels m inside the stack, of 2048 on P5: mean IoU and weights.
_STACK_WIDTHS = {2048: (71.3, 75885e3), 1024: (70.4, 28505e3), 210: (68.8, 4307e3)}

_PLAIN_SCORES = ("--no-boundary-refinement",)


def _gcn(k: int) -> Row:
    paper = {"mean_iou": _GCN[k]}
    if k in _GCN_WEIGHTS:
        paper["p5_weights"] = _GCN_WEIGHTS[k]
    options = ("--block", "gcn", "--kernel-size", str(k), *_PLAIN_SCORES)
    return Row(f"gcn{k}", f"GCN k = {k}", "GCN", str(k), paper, options)


def _plain(k: int) -> Row:
    score, weights = _PLAIN[k]
    options = ("--block", "conv", "--kernel-size", str(k), *_PLAIN_SCORES)
    paper = {"mean_iou": score, "p5_weights": weights}
    return Row(f"conv{k}", f"{k}×{k} convolution", "k×k", str(k), paper, options)


def _stack(k: int) -> Row:
    options = ("--block", "stack", "--kernel-size", str(k), *_PLAIN_SCORES)
    label = f"stack, k = {k}"
    return Row(f"stack{k}", label, "stack", str(k), {"mean_iou": _STACK[k]}, options)


def _narrow_stacks(channels: int) -> tuple[Row, ...]:
    """Stacks as wide, beside the backbone's P5, as the paper's were beside 2048 channels.

    The paper tells the width on P5 only; all levels have it (our choice), but for the widest, in
    which each keeps its own: that is the stack of Table 3.
    """
    rows = []
    for m, (score, weights) in _STACK_WIDTHS.items():
        # Fewer than 16 channels are no stack worth the name on a small backbone (our choice).
        width = max(16, round(channels * m / 2048))
        rows.append(
            Row(
                "stack7" if m == 2048 else f"stack7-{width}",
                f"stack, m = {width}" + (f" (paper: {m})" if width != m else ""),
                "stack",
                str(width) if width == m else f"{width} ({m})",
                {"mean_iou": score, "p5_weights": weights},
                (*_stack(7).options, *(() if m == 2048 else ("--stack-width", str(width)))),
            )
        )
    return tuple(rows)


def _baseline(x: str, **paper) -> Row:
    options = ("--block", "conv1x1", *_PLAIN_SCORES)
    return Row("base", "base (1×1)", "GCN", x, paper, options)


_BASELINE = _baseline("1", mean_iou=69.0)

# === Table 5: accuracy within 7 px of a boundary, and elsewhere ===

_BASELINE_5 = _baseline("baseline", mean_iou=69.0, boundary_accuracy=71.3, internal_accuracy=93.9)
_GCN_5 = Row(
    "gcn15",
    "GCN",
    "GCN",
    "GCN",
    {"mean_iou": 74.5, "boundary_accuracy": 71.5, "internal_accuracy": 95.0},
    ("--block", "gcn", "--kernel-size", "15", *_PLAIN_SCORES),
)
_GCN_BR = Row(
    "gcn15-br",
    "GCN + BR",
    "GCN",
    "GCN + BR",
    {"mean_iou": 74.7, "boundary_accuracy": 73.4, "internal_accuracy": 95.1},
    ("--block", "gcn", "--kernel-size", "15", "--boundary-refinement"),
)

# === Table 6: the block inside the backbone ===


def _backbones() -> tuple[Row, ...]:
    """Pretrained weights are given per backbone, as `--weights` of ablate."""
    figures = {"resnet50": (65.7, 72.3), "resnet50_gcn": (71.2, 72.5)}
    names = {"resnet50": "ResNet50", "resnet50_gcn": "ResNet50-GCN"}
    heads = {
        "base": ("baseline", ("--block", "conv1x1", *_PLAIN_SCORES)),
        "gcn15-br": ("GCN + BR", _GCN_BR.options),
    }
    rows = []
    for backbone, scores in figures.items():
        for (head, (label, options)), score in zip(heads.items(), scores, strict=True):
            rows.append(
                Row(
                    f"{backbone}-{head}",
                    f"{names[backbone]}, {label}",
                    label,
                    names[backbone],
                    {"mean_iou": score},
                    ("--backbone", backbone, *options),
                )
            )
    return tuple(rows)


# === Tables 7 and 9: stage after stage ===

_VARIANTS = {
    "base": ("baseline", ("--block", "conv1x1", *_PLAIN_SCORES), (69.6, 72.4, 74.0)),
    "gcn": ("GCN", ("--block", "gcn", *_PLAIN_SCORES), (74.1, 77.6, 78.7)),
    "gcn-br": ("GCN + BR", ("--block", "gcn", "--boundary-refinement"), (75.0, 78.6, 80.3)),
}


def voc_stages(variants=tuple(_VARIANTS)) -> tuple[Row, ...]:
    """The rows of Table 7 for some of "base", "gcn" and "gcn-br"."""
    rows = []
    for variant in variants:
        label, options, scores = _VARIANTS[variant]
        rows += _stages(f"voc-{variant}", label, "voc-stage", options, scores)
    if "gcn-br" in variants:
        rows += _procedures(rows[-1], (("MS", MULTI_SCALE, 80.4), ("MS + CRF", _CRF, 81.0)))
    return tuple(rows)


def cityscapes_stages() -> tuple[Row, ...]:
    """The rows of Table 9."""
    options, scores = _VARIANTS["gcn-br"][1], (73.0, 76.9)
    rows = _stages("cityscapes", "GCN + BR", "cityscapes-stage", options, scores, FOUR_CROPS)
    multi_scale = (*FOUR_CROPS, *MULTI_SCALE)
    more = (("MS", multi_scale, 77.2), ("MS + CRF", (*multi_scale, "--crf"), 77.4))
    return (*rows, *_procedures(rows[-1], more))


_CRF = (*MULTI_SCALE, "--crf")


def _stages(name, label, recipes, options, scores, procedure=()) -> list[Row]:
    rows, start = [], None
    for number, score in enumerate(scores, start=1):
        start = Row(
            f"{name}-stage{number}",
            f"{label}, Stage-{number}",
            label,
            f"Stage-{number}",
            {"mean_iou": score},
            options,
            f"{recipes}{number}",
            start,
            procedure,
        )
        rows.append(start)
    return rows


def _procedures(trained: Row, procedures) -> list[Row]:
    """Rows that measure the model of the row `trained` in other ways."""
    prefix = trained.name.rpartition("-")[0]
    return [
        Row(
            f"{prefix}-{label.lower().replace(' + ', '-')}",
            f"{trained.series} + {label}",
            trained.series,
            f"+ {label}",
            {"mean_iou": score},
            start=trained,
            procedure=procedure,
            measures_only=True,
        )
        for label, procedure, score in procedures
    ]


_CITYSCAPES = cityscapes_stages()

"""What a table's image shows of our runs."""

import math

from gcn_keras.experiments.paper_tables import table
from gcn_keras.experiments.table_plot import curves_figure, table_figure
from gcn_keras.recipes.catalogue import RECIPES


def test_cells_that_are_empty():
    """Of some seeds of a row, or of all, as the Markdown leaves them out."""
    table5 = table("table5", RECIPES["shapes-ablation"])
    base, gcn, refined = table5.rows
    cells = {"boundary_accuracy": 0.5, "internal_accuracy": 0.75, "mean_iou": 0.25}
    empty = cells | {"boundary_accuracy": None}
    results = {
        base: [cells, empty, cells | {"boundary_accuracy": 0.25}],
        gcn: [empty, cells],
        refined: [empty],
    }
    near, _, inside, *_ = table_figure(table5, results).get_axes()
    assert near.lines[0].get_xydata().tolist() == [[0, 37.5], [1, 50]]
    assert inside.lines[0].get_xydata().tolist() == [[0, 75], [1, 75], [2, 75]]


def test_a_score_that_is_no_number():
    """Of one of several seeds: its row has no point, and the others have theirs."""
    table1 = table("table1", RECIPES["shapes-ablation"])
    base, gcn3, *_ = table1.rows
    scores = {base: [0.5, math.nan, 0.25], gcn3: [0.25, 0.75]}
    results = {row: [{"mean_iou": score} for score in own] for row, own in scores.items()}
    ours, _ = table_figure(table1, results).get_axes()
    points = ours.lines[0].get_xydata()
    assert math.isnan(points[0, 1]) and points[1].tolist() == [1, 50]


def test_runs_of_one_epoch_have_one_tick():
    table1 = table("table1", RECIPES["shapes-ablation"])
    (axes,) = curves_figure(table1, {table1.rows[0]: [{1: 0.5}, {1: 0.25}]}).get_axes()
    left, right = axes.get_xlim()
    assert [tick for tick in axes.get_xticks() if left <= tick <= right] == [1]

"""Rows of a table, and how numbers stand in it."""

import math
import statistics

import pytest

from gcn_keras.experiments.paper_tables import table
from gcn_keras.experiments.table import formatted, rows_of
from gcn_keras.recipes.catalogue import RECIPES
from pipelines.base.errors import UsageError, as_options


def test_only_some_rows():
    table1 = table("table1", RECIPES["shapes-ablation"])
    kept = rows_of(table1, ("gcn15", "base"))
    assert [row.name for row in kept] == ["base", "gcn15"]
    message = "^--rows: there is no row 'gcn4'; there are: base, gcn3,"
    with pytest.raises(UsageError, match=message), as_options():
        rows_of(table1, ("gcn4",))


def test_deviation_is_that_of_a_sample():
    assert formatted("mean_iou", [0.2, 0.3, 0.7]) == (
        f"40.0 ± {100 * statistics.stdev([0.2, 0.3, 0.7]):.1f}"
    )
    assert formatted("mean_iou", []) == "–"
    assert formatted("mean_iou", [0.2, math.nan]) == "nan ± nan"

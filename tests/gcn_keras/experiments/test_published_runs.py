"""The results in docs/tables are taken for those of today's recipes and options."""

from pathlib import Path

import pytest
from places import REPOSITORY

from gcn_keras.experiments import paper_tables
from gcn_keras.experiments.learning_rates import LearningRates
from gcn_keras.experiments.runs import Experiments
from gcn_keras.recipes.catalogue import RECIPES

NARROW = ("--boundary-width", "3")
LONG = (
    "--epochs 42 --warmup-steps 200 --validate-every 6 --mixed-precision bfloat16 "
    "--class-weights sqrt"
)


@pytest.mark.parametrize(
    "folder, recipe, options, evaluation, count",
    [
        ("shapes", "shapes-ablation", (), NARROW, 22),
        ("camvid", "camvid-ablation", tuple(LONG.split()), NARROW, 24),
    ],
)
def test_every_line_is_found_again(folder, recipe, options, evaluation, count):
    """By a digest of the recipe's configuration: no default or name in it may have changed."""
    results = REPOSITORY / "docs" / "tables" / folder / "runs.csv"
    experiments = Experiments(recipe, Path("runs"), results, options, evaluation)
    names = ("table1", "table1-br", "table2", "table3", "table4", "table5")
    tables = [paper_tables.table(name, RECIPES[recipe]) for name in names]
    rows = {row.name: row for table in tables for row in table.rows}
    known = [result for row in rows.values() for result in experiments.known(row)]
    assert len(known) == count == len(results.read_text().splitlines()) - 1


@pytest.fixture
def weights(tmp_path, monkeypatch):
    """Those that the rows in long training start from; a result knows their path alone."""
    monkeypatch.chdir(tmp_path)
    backbone = Path("runs/shapes-nearsighted/best.keras")
    backbone.parent.mkdir(parents=True)
    backbone.touch()
    return {"resnet_nearsighted": str(backbone)}


@pytest.mark.parametrize(
    "folder, rate, seeds_of",
    [
        (
            "shapes-1e-2",
            "1e-2",
            {
                "table1": {"gcn7": 2, "gcn11": 2},
                "table2": {"gcn7": 2, "conv3": 2, "conv7": 2},
                "table3": {"gcn7": 2, "gcn11": 2, "stack7": 1},
                "table4": {"gcn7": 2, "stack7": 1, "stack7-16": 2},
                "table5": {"gcn15-br": 2},
            },
        ),
        (
            "shapes-3e-3",
            "3e-3",
            {
                "table1": {"gcn7": 1},
                "table2": {"gcn7": 1, "conv7": 1},
                "table3": {"gcn7": 1, "stack7": 2, "stack11": 2},
                "table4": {"gcn7": 1, "stack7": 2, "stack7-16": 1},
            },
        ),
    ],
)
def test_every_line_of_pretrained_rows_is_found_again(weights, folder, rate, seeds_of):
    results = REPOSITORY / "docs" / "tables" / folder / "runs.csv"
    options = ("--epochs", "20", "--learning-rate", rate)
    experiments = Experiments(
        "shapes-ablation", Path("runs"), results, options, NARROW, weights=weights
    )
    lines = {}
    for table, seeds in seeds_of.items():
        rows = paper_tables.table(table, RECIPES["shapes-ablation"]).rows
        counted = {row.name: len(known) for row in rows if (known := experiments.known(row))}
        assert counted == seeds
        lines |= seeds
    assert len(results.read_text().splitlines()) == 1 + sum(lines.values())


@pytest.mark.slow
def test_every_line_of_tuned_rows_is_found_again(weights):
    """Those that chose a learning rate, and those that the table counts."""
    results = REPOSITORY / "docs" / "tables" / "shapes-converged" / "runs.csv"
    long, short = (
        Experiments(
            "shapes-ablation", Path("runs"), results, ("--epochs", epochs), NARROW, weights=weights
        )
        for epochs in ("20", "5")
    )
    rates = LearningRates((1e-3, 3e-3, 1e-2, 3e-2), short)
    rows = paper_tables.table("table1", RECIPES["shapes-ablation"]).rows
    tried = [each for row in rows for each in rates.candidates(row)]
    scores = [score for each in tried if (score := short.tuning_score(each)) is not None]
    counted = {row.name: len(long.known(rates.chosen(row))) for row in rows if rates.chosen(row)}
    assert counted == {"base": 3, "gcn3": 3, "gcn7": 3, "gcn15": 3}
    assert len(scores) + sum(counted.values()) == len(results.read_text().splitlines()) - 1

"""The paper's tables as data."""

import dataclasses

import pytest

from gcn_keras.experiments import paper_tables
from gcn_keras.recipes import catalogue, command_line

RECIPE = catalogue.RECIPES["shapes-ablation"]


def table(name):
    return paper_tables.table(name, RECIPE)


def test_every_row_of_table_1_is_there():
    assert [(row.label, row.paper["mean_iou"]) for row in table("table1").rows] == [
        ("base (1×1)", 69.0),
        ("GCN k = 3", 70.1),
        ("GCN k = 5", 71.1),
        ("GCN k = 7", 72.8),
        ("GCN k = 9", 73.4),
        ("GCN k = 11", 73.7),
        ("GCN k = 13", 74.0),
        ("GCN k = 15", 74.5),
    ]


@pytest.mark.parametrize("name", paper_tables.NAMES)
def test_every_row_can_be_trained_or_measured(name):
    seen = set()
    for row in table(name).rows:
        assert row.name not in {other.name for other in seen}
        assert set(row.paper) <= set(paper_tables.MEASURES)
        assert "mean_iou" in row.paper or name == "table1-br"
        assert row.start is None or row.start in seen
        if row.measures_only:
            assert row.start and row.procedure and not row.options
        else:
            recipe = row.recipe or ("voc-ablation" if name == "table6" else "shapes-ablation")
            options = ["--recipe", recipe, *row.options, "--weights", "None"]
            assert command_line.parse(options).name == recipe
        seen.add(row)


def test_each_kernel_size_with_and_without_br():
    """Table 1, and beside each row the same model with BR, which the paper has at k = 15 alone."""
    rows = table("table1-br").rows
    plain, refined = rows[::2], rows[1::2]
    assert [row.name for row in plain] == [row.name for row in table("table1").rows]
    recipes = {
        row: command_line.parse(["--recipe", "shapes-ablation", *row.options]) for row in rows
    }
    for without, with_br in zip(plain, refined, strict=True):
        assert (with_br.name, with_br.x) == (f"{without.name}-br", without.x)
        assert with_br.label == f"{without.label} + BR"
        assert not recipes[without].boundary_refinement
        assert recipes[with_br] == dataclasses.replace(recipes[without], boundary_refinement=True)
    assert [row.paper for row in refined] == [{}] * 7 + [table("table5").rows[2].paper]
    assert plain[-1].paper == table("table5").rows[1].paper


def test_rows_of_one_name_are_one_run():
    options = {}
    for name in paper_tables.NAMES:
        for row in table(name).rows:
            content = row.recipe, row.options, row.start, row.procedure
            assert options.setdefault(row.name, content) == content


def test_stacks_are_as_wide_beside_the_backbone_as_the_papers():
    resnet = paper_tables.table("table4", catalogue.RECIPES["voc-ablation"])
    assert [(row.name, row.x) for row in resnet.rows] == [
        ("stack7", "2048"), ("stack7-1024", "1024"), ("stack7-210", "210"), ("gcn7", "GCN")
    ]  # fmt: skip
    # P5 has 128 channels: 128 · 210 / 2048 = 13, which is raised to 16.
    assert [(row.name, row.x) for row in table("table4").rows] == [
        ("stack7", "128 (2048)"), ("stack7-64", "64 (1024)"), ("stack7-16", "16 (210)"),
        ("gcn7", "GCN"),
    ]  # fmt: skip


def test_an_unknown_table():
    with pytest.raises(ValueError, match="^unknown table 'table8': choose one of table1, "):
        table("table8")

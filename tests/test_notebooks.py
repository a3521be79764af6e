"""The notebooks are committed as they ran, and run; those on tables in a file of their own."""

from pathlib import Path

import nbformat
import notebook_runs
import pytest
from few_shapes import prepare_shapes
from notebook_runs import NOTEBOOKS
from places import REPOSITORY


def test_they_are_all_there():
    assert [path.stem for path in NOTEBOOKS] == [
        "01_quickstart", "02_kernel_size", "03_boundary", "04_receptive_field", "05_your_own_data"
    ]  # fmt: skip


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_committed_with_their_outputs(path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    outputs = [output for cell in cells for output in cell.outputs]
    assert all(output.output_type != "error" for output in outputs)
    assert sum("image/png" in output.get("data", {}) for output in outputs) >= 1
    home = str(Path.home())
    # Nothing of the machine that they ran on, and nothing of the repository around them.
    assert not any(home in cell.source or "/tmp/" in cell.source for cell in cells)
    assert not any("../" in cell.source for cell in notebook.cells)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_opens_with_what_a_reader_must_know(path):
    opening = nbformat.read(path, as_version=4).cells[0].source
    for said in ("# ", "**What you will learn**", "**What it needs**", "**How long it takes**"):
        assert said in opening


@pytest.mark.slow
@pytest.mark.parametrize("name", ["01_quickstart", "05_your_own_data"])
def test_every_cell_runs(name, tmp_path, monkeypatch):
    """In a folder with nothing of the repository but what they name, and the data set."""
    prepare_shapes(tmp_path / "data")
    boxed = REPOSITORY / "saved_models" / "shapes" / "shapes.keras"
    (tmp_path / "shapes.keras").symlink_to(boxed)  # as the last one asks for
    monkeypatch.setenv("GCN_KERAS_SHORT", notebook_runs.SHORT)
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "3")
    notebook_runs.run(name, tmp_path)

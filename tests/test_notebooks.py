"""The notebooks run from top to bottom, in their short mode, and are committed as they ran.

Kernels, and the commands that cells start by `sys.executable`, are forks of one process.
"""

import asyncio
from pathlib import Path

import forks
import nbformat
import pytest
from nbclient import NotebookClient
from places import REPOSITORY

from pipelines import datasets

NOTEBOOKS = sorted((REPOSITORY / "notebooks").glob("*.ipynb"))


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
def test_every_cell_runs(tmp_path, monkeypatch):
    """In a folder with nothing of the repository but what they name, and the data set.

    Side by side, but for the second, third and fourth: those go on with each other's runs.
    """
    datasets.load("shapes", REPOSITORY / "data")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "shapes").symlink_to(REPOSITORY / "data" / "shapes")
    boxed = REPOSITORY / "saved_models" / "shapes" / "shapes.keras"
    (tmp_path / "shapes.keras").symlink_to(boxed)  # as the last one asks for
    monkeypatch.setenv("GCN_KERAS_SHORT", "1")
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "3")
    first, *with_tables, last = NOTEBOOKS

    async def run_all():
        await asyncio.gather(run(tmp_path, first), run(tmp_path, *with_tables), run(tmp_path, last))

    asyncio.run(run_all())


async def run(folder, *paths):
    for path in paths:
        await run_one(folder, path)


async def run_one(folder, path):
    notebook = nbformat.read(path, as_version=4)
    client = NotebookClient(notebook, timeout=3600, resources={"metadata": {"path": str(folder)}})
    client.create_kernel_manager().kernel_spec.argv[0] = forks.python()
    await client.async_execute()
    text = "\n".join(
        output.get("text", "")
        for cell in notebook.cells
        if cell.cell_type == "code"
        for output in cell.outputs
    )
    assert "Traceback" not in text and "error:" not in text, f"{path}: {text}"

"""Notebooks, and their run from top to bottom in their short mode.

Kernels, and the commands that cells start by `sys.executable`, are forks of one process.
"""

import re
from pathlib import Path

import forks
import nbformat
from nbclient import NotebookClient
from places import REPOSITORY

NOTEBOOKS = sorted((REPOSITORY / "notebooks").glob("*.ipynb"))
SHORT = "--epochs 1 --steps-per-epoch 2 --no-jit-compile"


def path_of(name: str) -> Path:
    """The notebook of a name, without its ending."""
    return REPOSITORY / "notebooks" / f"{name}.ipynb"


def run(name: str, folder: Path) -> None:
    """Runs every cell in a folder."""
    notebook = nbformat.read(path_of(name), as_version=4)
    client = NotebookClient(notebook, timeout=3600, resources={"metadata": {"path": str(folder)}})
    client.create_kernel_manager().kernel_spec.argv[0] = forks.python()
    client.execute()
    text = "\n".join(
        output.get("text", "")
        for cell in notebook.cells
        if cell.cell_type == "code"
        for output in cell.outputs
    )
    # But for what TensorFlow logs: "E0000 …] failed call to cuInit: INTERNAL: CUDA error: …".
    said = re.sub(r"^[IWE]\d{4} .*$", "", text, flags=re.MULTILINE)
    assert "Traceback" not in said and "error:" not in said, f"{name}: {text}"

"""The notebooks on the paper's tables run, in a folder that they share as their reader's do.

Each goes on with the runs that it finds there, and trains what is missing.
"""

import notebook_runs
import pytest
from few_shapes import prepare_shapes


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """With nothing of the repository but the data set."""
    folder = tmp_path_factory.mktemp("tables")
    prepare_shapes(folder / "data")
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("name", ["02_kernel_size", "03_boundary", "04_receptive_field"])
def test_every_cell_runs(name, folder, monkeypatch):
    monkeypatch.setenv("GCN_KERAS_SHORT", f"{notebook_runs.SHORT} --backbone small")
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "3")
    notebook_runs.run(name, folder)

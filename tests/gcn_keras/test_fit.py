"""What `fit` does after training; runs from end to end are in training/test_run.py."""

import dataclasses

import pytest

from gcn_keras import RECIPES, fit
from gcn_keras.training.run_folder import RunFolder
from pipelines.base.errors import UserError


@pytest.mark.parametrize(
    "backend", ["tensorflow", pytest.param("jax", marks=pytest.mark.slow)], ids=["here", "spawned"]
)
def test_a_failed_export_says_how_to_do_it_alone(tmp_path, backend):
    recipe = dataclasses.replace(RECIPES["shapes"], backend=backend, saved_model=str(tmp_path))
    with pytest.raises(UserError) as caught:
        fit._export(recipe, RunFolder(tmp_path))
    best = tmp_path / "best.keras"
    assert str(caught.value) == (
        f"there is no model at {best}: expected a .keras file, as `fit` writes; the run is "
        f"finished and kept, so export its model alone: python -m gcn_keras.export {best} --out DIR"
    )

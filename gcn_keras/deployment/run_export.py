"""The export at a run's end: its best model as a SavedModel."""

import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

from gcn_keras.deployment.export import export_file
from gcn_keras.deployment.export_folder import check_classes_stay
from gcn_keras.inference.segmenters import versions_of
from gcn_keras.recipes.recipe import SegmentationRecipe
from gcn_keras.training.run_folder import RunFolder, read_json
from pipelines.base.environment import environment_of_tensorflow, prepare_tensorflow
from pipelines.base.errors import UserError
from pipelines.base.files import write_json
from pipelines.datasets import PreparedDataset


def saved_model_of(recipe: SegmentationRecipe) -> Path:
    """The folder of the SavedModel's version folders."""
    return Path(recipe.saved_model or Path("saved_models", recipe.name))


def check_export(recipe: SegmentationRecipe, dataset: PreparedDataset) -> None:
    """Refuses, before anything is trained, the classes that `export_run` would refuse.

    Raises:
        UserError: as in `check_classes_stay`.
    """
    names, source = dataset.class_names, repr(dataset.name)
    check_classes_stay(saved_model_of(recipe), names, source, folder="saved_model")


def is_exported(recipe: SegmentationRecipe, run: RunFolder) -> bool:
    """Whether `export_run` has exported this run there: versions may be of other runs."""
    noted = read_json(run.metrics).get("saved_model")
    return noted in [str(version) for version in versions_of(saved_model_of(recipe))]


def export_run(recipe: SegmentationRecipe, run: RunFolder) -> None:
    """Exports the best model with TensorFlow on one device, and prints what was written.

    The version that it became is noted in the run's metrics.json, as `saved_model`.

    Where this process has another backend, or is one of several workers, a process of its own does
    it.

    Raises:
        UserError: it failed.
    """
    out = saved_model_of(recipe)
    print(f"exports {run.best} to {out}", flush=True)
    is_alone = recipe.strategy != "multiworker" and not os.environ.get("TF_CONFIG")
    try:
        if recipe.backend == "tensorflow" and is_alone:
            lines = export_file(run.best, out)
        else:
            environment = (environment_of_tensorflow(),)
            context = multiprocessing.get_context("spawn")
            with ProcessPoolExecutor(1, context, _set_environment, environment) as pool:
                lines = pool.submit(export_file, run.best, out).result()
    except BrokenProcessPool as error:
        raise UserError(str(error)) from error
    print(*lines, sep="\n")
    write_json(run.metrics, read_json(run.metrics) | {"saved_model": str(versions_of(out)[-1])})


def _set_environment(variables: dict[str, str]) -> None:
    os.environ.clear()
    os.environ.update(variables)
    prepare_tensorflow()

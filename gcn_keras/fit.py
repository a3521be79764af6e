"""Trains a model: `python -m gcn_keras.fit [--recipe NAME] [options]`.

Without an argument it trains the embedded recipe on the embedded data set. Every option is a
field of a recipe, see `gcn_keras.recipes`; nothing heavy is imported before they were checked.
"""

import dataclasses
import functools
import os
import shlex
import signal
from pathlib import Path

from gcn_keras.deployment.run_export import (
    check_export,
    export_run,
    is_exported,
    saved_model_of,
)
from gcn_keras.recipes import command_line
from gcn_keras.recipes.checks import check_weights_file
from gcn_keras.recipes.recipe import Recipe, SegmentationRecipe
from gcn_keras.training.run_folder import RunFolder, find_run, read_json, recipe_to_resume
from pipelines import datasets
from pipelines.base.errors import Interrupted, UserError, argument, as_options, run_command
from pipelines.base.files import check_folder, check_target
from pipelines.base.progress import note
from pipelines.datasets import classification as classification_sets

# How data are checked, and by which score a model is the best.
_BY_TASK = {
    "segmentation": (datasets.check_prepared, "mean_iou", "mean IoU"),
    "classification": (classification_sets.check_prepared, "top1_accuracy", "top-1 accuracy"),
}


def main() -> int:
    """Entry point of the command; the exit status."""
    # What is not given, a run that is resumed may know.
    recipe = command_line.parse(unchecked=True)
    recipe = command_line.parse(base=recipe_to_resume(recipe) if recipe.resume else None)
    check_prepared, score, words = _BY_TASK[recipe.task]
    if (asked := os.environ.get("KERAS_BACKEND", recipe.backend)) != recipe.backend:
        note(f"trains on {recipe.backend}, as --backend says, not on KERAS_BACKEND's {asked}")
    os.environ["KERAS_BACKEND"] = recipe.backend
    if recipe.show_batch:
        check_target(Path(recipe.show_batch), argument("show_batch"))
        check_prepared(recipe.dataset, recipe.data_dir)
        _show_batch(recipe, recipe.show_batch)
        return 0
    run = find_run(recipe)
    exported = recipe if isinstance(recipe, SegmentationRecipe) and recipe.export else None
    if run.finished:
        value = read_json(run.metrics).get(score)
        if not isinstance(value, float) or not 0 <= value <= 1:
            raise UserError(f"{run.metrics} cannot be read: {score} is {value!r}, not in 0…1")
        lacks_export = exported and not is_exported(exported, run)
        todo = "its model is exported now" if lacks_export else "nothing to do"
        print(f"{run.path} is finished: {words} {value:.4f}; {todo}", flush=True)
        if exported and lacks_export:
            _export(exported, run)
        return 0
    if not run.is_begun:
        with as_options():
            check_weights_file(recipe)
    for folder in (run.path, exported and saved_model_of(exported), recipe.cache):
        if folder and folder != "memory":
            check_folder(Path(folder))
    check_prepared(recipe.dataset, recipe.data_dir)

    import tensorflow as tf

    from gcn_keras.training.run import DamagedData, describe, train

    print(f"{describe(recipe)}\nrun folder {run.path}")
    try:
        with as_options(tile="validation_tile"):
            check = functools.partial(check_export, exported) if exported else None
            metrics = train(recipe, run, check)
        if metrics and exported:
            _export(exported, run)
    except DamagedData as error:
        raise UserError(f"{error}; {_advice(recipe, run)}") from error
    except (OSError, MemoryError, tf.errors.OpError) as error:
        raise UserError(f"training stopped: {error}") from error
    except (Interrupted, KeyboardInterrupt) as error:
        stopped = error if isinstance(error, Interrupted) else Interrupted("stopped", signal.SIGINT)
        if run.config.is_file():
            again = f"python -m gcn_keras.fit {command_line.resume_options(run.path, recipe)}"
        else:  # nothing there knows the recipe yet
            again = command_line.command(dataclasses.replace(recipe, out=str(run.path)))
        stopped.args = (f"{stopped}; go on with: {again}",)
        raise stopped from error
    if metrics:
        run.unfinished.unlink(missing_ok=True)
        print(
            f"best epoch {metrics['best_epoch']}, {metrics['parameters']:,} parameters, "
            f"{metrics['training_seconds']:.0f} s of training, {metrics['wall_seconds']:.0f} s "
            f"since the last start, peak memory {metrics['peak_memory_mib']} MiB\nmodel {run.best}"
        )
    return 0


def _show_batch(recipe: Recipe, path: str) -> None:
    from gcn_keras.training.first_batch import draw_first_batch
    from gcn_keras.training.run import DamagedData

    try:
        draw_first_batch(recipe, path)
    except DamagedData as error:
        raise UserError(f"{error}; {_advice(recipe)}") from error
    print(f"{path} shows the first training batch; leave --show-batch out to train")


def _advice(recipe: Recipe, run: RunFolder | None = None) -> str:
    """What can be done about damaged data that a run has met, if it is one."""
    command = ["python", "-m", "pipelines.doctor", recipe.dataset, "--data-dir", recipe.data_dir]
    advice = f"{shlex.join(command)} names what is damaged"
    if recipe.task == "classification":  # which it does not examine
        advice = "prepare the data set again"
    if recipe.skip_errors:
        return advice
    if isinstance(recipe, SegmentationRecipe) and recipe.mix != "none":  # which excludes it
        begins = "a new run with " if run and run.is_begun else ""
        return f"{advice}; {begins}--skip-errors --mix none trains without it"
    if run and run.config.is_file():
        options = command_line.resume_options(run.path, recipe)
        return f"{advice}; go on without it by: python -m gcn_keras.fit {options} --skip-errors"
    return f"{advice}; --skip-errors trains without it"


def _export(recipe: SegmentationRecipe, run: RunFolder) -> None:
    try:
        export_run(recipe, run)
    except UserError as error:
        alone = shlex.join(["python", "-m", "gcn_keras.export", str(run.best), "--out", "DIR"])
        raise UserError(
            f"{error}; the run is finished and kept, so export its model alone: {alone}"
        ) from error


if __name__ == "__main__":
    run_command(main)

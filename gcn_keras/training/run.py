"""One training run: recipe -> model and data -> the loop -> scores, figures and an export."""

import dataclasses
import resource
import shlex
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import keras
import tensorflow as tf

from gcn_keras.plots.curves import curves_figure
from gcn_keras.plots.style import save_figure
from gcn_keras.recipes.catalogue import RECIPES
from gcn_keras.recipes.recipe import Recipe
from gcn_keras.training import checkpoints, provenance
from gcn_keras.training.devices import Team, make_team
from gcn_keras.training.loop import Loop, Progress
from gcn_keras.training.optimizers import compile_model
from gcn_keras.training.run_folder import RunFolder, begin_run
from pipelines.base.environment import environment_of_tensorflow
from pipelines.base.errors import UsageError, UserError
from pipelines.stream import segmentation


class Task(NamedTuple):
    """What differs between runs that train one kind of model or another.

    Attributes:
        load: function from a recipe to its data set.
        build: from a recipe and a number of classes to a model.
        loss: from a recipe and a data set to a loss of `gcn_keras.training.losses`.
        begin: from a run and a data set; writes what lies beside models.
        make_loop: as `make_loop`.
        finish: from a recipe, run, data set and `Progress`, the steps of an epoch and the time when
            it started, to metrics.json.
    """

    load: Callable
    build: Callable
    loss: Callable
    begin: Callable
    make_loop: Callable
    finish: Callable


def train(recipe: Recipe, run: RunFolder, task: Task) -> dict:
    """Trains, measures the best model, draws it, exports it.

    Args:
        recipe: a checked recipe.
        run: its folder, see `run_folder.find_run`; made here, once recipe and data fit together.
        task: `SEGMENTATION`, or `pretraining.CLASSIFICATION`.

    Returns:
        The content of metrics.json; None on a worker that is not the chief.

    Raises:
        UserError: the data set is missing or damaged, the loss is not finite, files cannot be
            written, a worker is lost.
        Interrupted: on SIGTERM or Ctrl-C, after the run was saved.
    """
    team = None
    try:
        if recipe.deterministic:
            tf.config.experimental.enable_op_determinism()
        team = make_team(recipe)
        return _train(recipe, run, team, task)
    except segmentation.DATA_ERRORS as error:
        fault = segmentation.describe_fault(error)
        if fault is None:
            raise _without(team, error) from error
        if "mode pad" not in fault:  # which comes with advice of its own
            fault += f"; {_advice(recipe)}"
        raise UserError(f"training stopped: {fault}") from error
    except tf.errors.OpError as error:
        raise _without(team, error) from error
    finally:
        run.release()


def _without(team: Team | None, error: tf.errors.OpError) -> Exception:
    """What to say of TensorFlow's error: that a worker is lost, if one is."""
    lost = team.lost_workers(error) if team else []
    if not lost:
        return error
    return UserError(
        f"training stopped: {' and '.join(lost)} does not answer any more; start all workers "
        f"again with --resume to go on from the last checkpoint"
    )


def _advice(recipe: Recipe) -> str:
    if recipe.task == "classification":
        return "prepare the data set again, or train without it (--skip-errors)"
    doctor = shlex.join(
        ["python", "-m", "pipelines.doctor", recipe.dataset, "--data-dir", recipe.data_dir]
    )
    skip = "" if recipe.skip_errors else "; --skip-errors trains without it"
    return f"{doctor} names what is damaged{skip}"


def _train(recipe: Recipe, run: RunFolder, team: Team, task: Task) -> dict | None:
    started, asked = time.time(), recipe
    keras.mixed_precision.set_global_policy(_POLICIES[recipe.mixed_precision])
    dataset = task.load(recipe)
    recipe = dataclasses.replace(recipe, val_split=dataset.validation_split(recipe.val_split))
    steps = _steps_per_epoch(recipe, dataset)
    # Only now: what prepares a data set draws numbers, too.
    keras.utils.set_random_seed(recipe.seed)
    with team.strategy.scope():
        model = task.build(recipe, dataset.num_classes)
        loss = task.loss(recipe, dataset)
        compile_model(model, recipe, steps * recipe.epochs, loss=loss)
    if team.is_chief:
        begin_run(run, asked)
        task.begin(run, dataset)
        checkpoints.remove_unfinished(run.checkpoints)
    loop = task.make_loop(model, recipe, dataset, steps, run, team)
    if recipe.resume:
        _resume(loop, run, team)
    progress = _run(loop, run, team)
    if not team.is_chief:
        return None
    return task.finish(recipe, run, dataset, progress, steps, started)


def _resume(loop: Loop, run: RunFolder, team: Team) -> None:
    steps = loop.restore()
    team.check_same(
        steps,
        f"the workers do not see the same checkpoints in {run.path}, which must lie on a file "
        "system that they share; steps of each",
    )
    if team.is_chief:
        progress = loop.progress
        print(
            f"goes on after {progress.epoch} epochs and {progress.step} steps"
            if steps
            else "no checkpoint yet: begins"
        )


def _run(loop: Loop, run: RunFolder, team: Team) -> Progress:
    try:
        return loop()
    finally:
        if team.is_chief and loop.progress.history:
            save_figure(curves_figure(loop.progress.history), run.curves)


def metrics_of_run(recipe, run, dataset, best, progress, steps, started) -> dict:
    """The part of metrics.json that is the same for every task."""
    return {
        "split": recipe.val_split,
        "best_epoch": progress.best_epoch,
        "parameters": best.count_params(),
        "train_pictures": steps * recipe.epochs * recipe.batch,
        "skipped_steps": progress.skipped,
        "training_seconds": round(progress.seconds, 1),  # validation after epochs included
        "wall_seconds": round(time.time() - started, 1),  # since the last start
        # Linux counts in KiB.
        "peak_memory_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        **provenance.of_run(run, dataset),
    }


def _export(recipe: Recipe, run: RunFolder) -> None:
    """By the command, in a process that computes with TensorFlow on one device."""
    directory = Path(recipe.saved_model or Path("saved_models", recipe.name))
    command = ["-m", "gcn_keras.export", str(run.best), "--out", str(directory)]
    done = subprocess.run(
        [sys.executable, *command, "--formats", "savedmodel"],
        env=environment_of_tensorflow(),
        capture_output=True,
        text=True,
    )
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["no reason is known"])[-1]
        raise UserError(
            f"{reason.removeprefix('error: ')}; the run is finished and kept, so export its model "
            f"alone: {shlex.join(['python', *command[:-1], 'DIR'])}"
        )
    print(done.stdout, end="")


def _steps_per_epoch(recipe: Recipe, dataset) -> int:
    """Steps of an epoch; raises UsageError where splits and batch do not fit the data set."""
    if recipe.train_split not in dataset.splits:
        raise UsageError(
            f"{recipe.dataset!r} has no split {recipe.train_split!r}; it has: "
            f"{', '.join(dataset.splits)}"
        )
    examples = dataset.splits[recipe.train_split]
    if recipe.batch > examples:
        raise UsageError(
            f"--batch {recipe.batch} is larger than split {recipe.train_split!r}, which has "
            f"{examples} examples"
        )
    return recipe.steps_per_epoch or examples // recipe.batch


_POLICIES = {"none": "float32", "bfloat16": "mixed_bfloat16", "float16": "mixed_float16"}


def describe(recipe: Recipe) -> str:
    """The recipe's name and the options that differ from it."""
    base = RECIPES[recipe.name]
    parts = [
        f"{field.name} = {getattr(recipe, field.name)}"
        for field in dataclasses.fields(recipe)
        if getattr(recipe, field.name) != getattr(base, field.name)
    ]
    return ", ".join([f"recipe {recipe.name}", *parts])

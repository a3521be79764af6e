"""One training run: recipe -> model and data -> the loop -> scores, figures and an export."""

import dataclasses
import functools
import resource
import shlex
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

from gcn_keras import checkpoints, figures, losses, provenance
from gcn_keras.distribution import Team, evaluate_in_team, make_team, predictor
from gcn_keras.environment import environment_of_tensorflow
from gcn_keras.evaluate import evaluate_model
from gcn_keras.inference import load_any_model, load_model, segment
from gcn_keras.legends import Legend
from gcn_keras.model import HEAD, gcn
from gcn_keras.optimizers import compile_model
from gcn_keras.recipes import RECIPES, Recipe
from gcn_keras.run_folder import RunFolder, begin_run
from gcn_keras.training_loop import Loop, Progress
from pipelines import datasets, input_pipeline
from pipelines.errors import UsageError, UserError

SAMPLES = 6


class Task(NamedTuple):
    """What differs between runs that train one kind of model or another.

    Attributes:
        load: function from a recipe to its data set.
        build: from a recipe and a number of classes to a model.
        loss: from a recipe and a data set to a loss of `gcn_keras.losses`.
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
    except input_pipeline.DATA_ERRORS as error:
        fault = input_pipeline.describe_fault(error)
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


def make_loop(model, recipe: Recipe, dataset, steps: int, run: RunFolder, team: Team) -> Loop:
    """The loop of a compiled model, with `steps` steps an epoch."""
    step = make_step(model, recipe, team)
    if recipe.backend == "jax":

        def predict(batches):
            return [segment(model, images) for images in batches]
    else:
        predict = predictor(team, model)

    def stream(start):
        batches = input_pipeline.training_batches(
            dataset,
            recipe.train_split,
            crop=recipe.crop,
            batch_size=recipe.batch,
            mode=recipe.mode,
            scale=recipe.scale,
            flip=recipe.flip,
            jitter=recipe.jitter,
            seed=recipe.seed,
            shuffle_mib=recipe.shuffle_mib,
            cache=recipe.cache,
            batch_part=(team.worker, team.workers),
            start=start,
            data_service=recipe.data_service,
            skip_errors=recipe.skip_errors,
            with_ids=True,
        )
        return iter(batches)

    def validate(heed):
        return evaluate_in_team(team, predict, dataset, recipe.val_split, heed)

    return Loop(
        recipe, run, model, step, stream, validate, steps, worker=team.worker, workers=team.workers
    )


def make_step(model, recipe: Recipe, team: Team):
    """The training step of a compiled model on the recipe's backend."""
    if recipe.backend == "jax":
        from gcn_keras.jax_step import JaxStep

        return JaxStep(model, recipe.accumulate)
    from gcn_keras.tensorflow_step import TensorFlowStep

    return TensorFlowStep(model, team, recipe.accumulate, recipe.jit_compile)


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
            figures.plot_curves(loop.progress.history, run.curves)


def _finish(recipe, run, dataset, progress, steps, started) -> dict:
    """Scores, samples and an export of the best model."""
    if not progress.best_epoch:
        raise UserError(
            f"no epoch has a mean IoU: split {recipe.val_split!r} of {recipe.dataset!r} has no "
            f"valid pixel, everything is void; the last model is {run.model}"
        )
    best = load_model(run.best)
    matrix = evaluate_model(functools.partial(segment, best), dataset, recipe.val_split)
    _draw_samples(best, dataset, recipe.val_split, run)
    metrics = {
        **matrix.summary(dataset.class_names),
        "p5_weights": p5_weights(best),
        **metrics_of_run(recipe, run, dataset, best, progress, steps, started),
    }
    run.write_json(run.metrics, metrics)
    print(matrix.table(dataset.class_names))
    if recipe.export:
        _export(recipe, run)
    return metrics


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


def build_model(recipe: Recipe, num_classes: int) -> keras.Model:
    """The recipe's model, with the weights that it starts from."""
    build = functools.partial(
        gcn,
        num_classes=num_classes,
        backbone=recipe.backbone,
        kernel_size=recipe.kernel_size,
        block=recipe.block,
        boundary_refinement=recipe.boundary_refinement,
        freeze_batch_norm=recipe.freeze_batch_norm,
        stack_width=recipe.stack_width,
        batch_norm_momentum=recipe.batch_norm_momentum,
    )
    return with_weights(build, recipe.weights)


def with_weights(build, weights: str | None) -> keras.Model:
    """Builds a model that starts from given weights.

    Args:
        build: function from `weights`, as `backbones.build` takes them, to a model.
        weights: of a recipe.

    Raises:
        UserError: the weights do not fit, or cannot be read or downloaded.
    """
    trained_here = weights is not None and weights.endswith(".keras")
    try:
        model = build(weights=None if trained_here else weights)
    except ValueError as error:
        raise UserError(str(error)) from error
    if trained_here:
        _copy_weights(load_any_model(weights), model, weights)
    return model


def _copy_weights(source, target, path) -> None:
    """Copies every layer whose name and shapes agree; the others keep their initial weights."""
    available = {layer.name: layer for layer in source.layers if layer.weights}
    wanted = [layer for layer in target.layers if layer.weights]
    fitting = [layer for layer in wanted if _shapes(available.get(layer.name)) == _shapes(layer)]
    if all(layer.name.startswith(HEAD) for layer in fitting):
        raise UserError(f"no layer of {path} fits this model's backbone: it has another one")
    for layer in fitting:
        layer.set_weights(available[layer.name].get_weights())
    print(f"{len(fitting)} of {len(wanted)} layers start from {path}")


def _shapes(layer) -> list[tuple] | None:
    return layer and [tuple(weights.shape) for weights in layer.weights]


def _loss(recipe: Recipe, dataset) -> losses.PixelCrossentropy:
    return losses.PixelCrossentropy(class_weights(recipe, dataset))


def class_weights(recipe: Recipe, dataset) -> np.ndarray | None:
    """Weights `[C]` for the loss, or None."""
    if recipe.class_weights == "none":
        return None
    counts = input_pipeline.class_pixel_counts(dataset, recipe.train_split, recipe.skip_errors)
    weights = losses.median_frequency_weights(counts)
    return np.sqrt(weights) if recipe.class_weights == "sqrt" else weights


def p5_weights(model) -> int:
    """Weights of the block that makes P5's score map, without biases, as Tables 2 and 4 count."""
    block = (layer for layer in model.layers if layer.name.startswith("gcn_p5"))
    return sum(int(np.prod(w.shape)) for layer in block for w in layer.weights if w.ndim == 4)


def _draw_samples(model, dataset, split, run) -> None:
    """Pictures from the whole split, evenly spaced, so that they do not all look alike."""
    count = dataset.splits[split]
    chosen = set(np.linspace(0, count - 1, min(SAMPLES, count)).astype(int).tolist())
    images, labels, names = [], [], []
    for i, example in enumerate(input_pipeline.evaluation_examples(dataset, split)):
        if i in chosen:
            images.append(example["image"].numpy())
            labels.append(example["label"].numpy())
            names.append(example["image_id"].numpy().decode())
    figures.plot_samples(
        images,
        labels,
        segment(model, images),
        dataset.class_names,
        dataset.palette,
        run.samples,
        titles=names,
    )


def describe(recipe: Recipe) -> str:
    """The recipe's name and the options that differ from it."""
    base = RECIPES[recipe.name]
    parts = [
        f"{field.name} = {getattr(recipe, field.name)}"
        for field in dataclasses.fields(recipe)
        if getattr(recipe, field.name) != getattr(base, field.name)
    ]
    return ", ".join([f"recipe {recipe.name}", *parts])


SEGMENTATION = Task(
    load=lambda recipe: datasets.load(recipe.dataset, recipe.data_dir),
    build=build_model,
    loss=_loss,
    begin=lambda run, dataset: Legend.of(dataset).write(run.legend),
    make_loop=make_loop,
    finish=_finish,
)

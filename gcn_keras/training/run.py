"""One training run: recipe -> model and data -> the loop -> scores and figures."""

import contextlib
import dataclasses
import time
from collections.abc import Callable, Iterator

import keras
import tensorflow as tf

from gcn_keras.evaluation.metrics import Counts
from gcn_keras.plots.curves import curves_figure
from gcn_keras.plots.style import save_figure
from gcn_keras.recipes.catalogue import RECIPES
from gcn_keras.recipes.recipe import Recipe
from gcn_keras.training import provenance
from gcn_keras.training.callbacks import function_of, made_by
from gcn_keras.training.classification import Classification
from gcn_keras.training.devices import Team, check_divisible, make_team
from gcn_keras.training.loop import Loop
from gcn_keras.training.optimizers import compile_model
from gcn_keras.training.run_folder import RunFolder, begin_run
from gcn_keras.training.segmentation import Segmentation
from gcn_keras.training.step import Step
from gcn_keras.training.task import Task
from gcn_keras.training.tensorboard import RunLog
from gcn_keras.training.tensorflow_step import TensorFlowStep
from gcn_keras.training.training_state import TrainingState
from gcn_keras.training.validation import Watched, evaluate_in_team
from pipelines.base.bfloat16 import note_emulation
from pipelines.base.errors import ArgumentError, Interrupted, UserError, argument
from pipelines.base.plurals import count_of
from pipelines.datasets import PreparedDataset
from pipelines.stream.crops import WITHOUT_CUTTING
from pipelines.stream.faults import DATA_ERRORS, describe_fault

_POLICIES = {"none": "float32", "bfloat16": "mixed_bfloat16", "float16": "mixed_float16"}
TASKS: dict[str, type[Task]] = {"segmentation": Segmentation, "classification": Classification}


class DamagedData(UserError):
    """An example or a record file cannot be used."""


def train(
    recipe: Recipe, run: RunFolder, check: Callable[[PreparedDataset], None] | None = None
) -> dict | None:
    """Trains, measures the best model, draws it.

    Args:
        recipe: a checked recipe.
        run: its folder, see `run_folder.find_run`; made here, once recipe and data fit together.
        check: refuses a data set that does not suit the caller, before the folder is made.

    Returns:
        The content of metrics.json; None on a worker that is not the chief.

    Raises:
        DamagedData: an example or a record file is damaged or missing.
        UserError: the data set is missing, the loss is not finite, files cannot be written, a
            worker is lost.
        Interrupted: on SIGTERM or Ctrl-C, after the run was saved.
    """
    team, policy = None, keras.mixed_precision.global_policy()
    try:
        if recipe.deterministic:
            tf.config.experimental.enable_op_determinism()
        team = make_team(recipe)
        if recipe.mixed_precision == "bfloat16":
            note_emulation()
        keras.mixed_precision.set_global_policy(_POLICIES[recipe.mixed_precision])
        with naming_damage():
            return _train(recipe, run, team, check)
    except tf.errors.OpError as error:
        lost = team.lost_workers(error) if team else []
        if not lost:
            raise
        raise UserError(
            f"training stopped: {' and '.join(lost)} does not answer any more; start all workers "
            f"again with {argument('resume')} to go on from the last checkpoint"
        ) from error
    finally:
        keras.mixed_precision.set_global_policy(policy)
        run.release()


@contextlib.contextmanager
def naming_damage(what: str = "training stopped") -> Iterator[None]:
    """In its block errors of a stream become DamagedData, or a UserError with advice of its own."""
    try:
        yield
    except DATA_ERRORS as error:
        if not (fault := describe_fault(error)):
            raise
        kind = UserError if fault.endswith(WITHOUT_CUTTING) else DamagedData
        raise kind(f"{what}: {fault}") from error


def _train(
    recipe: Recipe, run: RunFolder, team: Team, check: Callable[[PreparedDataset], None] | None
) -> dict | None:
    started, kind = time.time(), TASKS[recipe.task]
    own = recipe.callbacks if team.is_chief else None
    make_callbacks = function_of(own) if own else None
    dataset = kind.load(recipe.dataset, recipe.data_dir)
    if check:
        check(dataset)
    recipe, reasons = kind.resolve(recipe, dataset, team.replicas)
    check_divisible(recipe, team.replicas)
    if team.is_chief and reasons:
        print(*reasons, sep="\n", flush=True)
    task, start, with_head = kind(recipe, dataset), recipe, True
    if recipe.resume and run.is_begun:  # what it started from is in its checkpoints
        start = dataclasses.replace(recipe, weights=None)
    else:
        with_head = task.takes_head()
    steps = steps_per_epoch(recipe, dataset)
    # Only now: what prepares a data set draws numbers, too.
    keras.utils.set_random_seed(recipe.seed)
    with team.strategy.scope():
        model = task.build(start, dataset.num_classes, with_head)
        compile_model(model, recipe, steps * recipe.epochs, loss=task.loss())
    run.origin = provenance.origin(recipe, dataset, steps)
    loop = make_loop(task, model, steps, run, team)
    if team.is_chief:
        run.hold()
    # Nothing in the folder is touched before the resume is accepted.
    if recipe.resume:
        _resume(loop, run, team)
    if own and make_callbacks:
        loop.callbacks += made_by(make_callbacks, own, recipe.schedule)
    if team.is_chief:
        begin_run(run, recipe)
        task.begin(run)
    try:
        try:
            progress = loop()
        except Interrupted:
            team.wait_for_all()
            raise
        team.wait_for_all()
        if not team.is_chief:
            return None
        run.unfinished.touch()
        return task.finish(run, progress, steps, started)
    finally:
        if team.is_chief and loop.progress.history:
            save_figure(curves_figure(loop.progress.history), run.curves)


def make_loop(task: Task, model: keras.Model, steps: int, run: RunFolder, team: Team) -> Loop:
    """The loop of a compiled model, with `steps` steps an epoch."""
    step, predict = make_step(model, task.recipe, team), task.predictor(team, model)
    log, watched = RunLog(run.logs, task.recipe.batch), task.watched(team)

    def validate(check_stop: Callable[[], None]) -> Counts:
        counts, examples = task.new_counts(), Watched(watched if team.is_chief else ())
        batches = task.validation_batches(team)
        evaluate_in_team(team, predict, batches, [counts], check_stop, examples)
        if team.is_chief:
            log.add(*task.shown(counts, examples.kept))
        return counts

    return Loop(
        TrainingState(task.recipe, run, model, step, steps),
        lambda start: iter(task.training_batches(team, start)),
        validate,
        team,
        task.scores,
        [log],
    )


def make_step(model: keras.Model, recipe: Recipe, team: Team) -> Step:
    """The training step of a compiled model on the recipe's backend."""
    if recipe.backend == "jax":
        from gcn_keras.training.jax_step import JaxStep

        return JaxStep(model, recipe.accumulate, recipe.gradient_clip)
    return TensorFlowStep(model, team, recipe.accumulate, recipe.jit_compile, recipe.gradient_clip)


def _resume(loop: Loop, run: RunFolder, team: Team) -> None:
    steps = loop.state.restore()
    team.check_same(
        steps,
        f"the workers do not see the same checkpoints in {run.path}, which must lie on a file "
        "system that they share; steps of each",
    )
    progress = loop.progress
    said = (
        f"goes on after {count_of(progress.epoch, 'epoch')} and {count_of(progress.step, 'step')}"
    )
    if not steps:
        if run.results:  # there was a checkpoint before them
            found = run.results[0]
            start = f", by {argument('weights')} from that model" if found != run.metrics else ""
            raise UserError(
                f"{run.path} holds {found.name} and no checkpoint to go on from, and nothing there "
                f"was changed: begin a new run in another {argument('out')}{start}"
            )
        said = "no checkpoint yet: begins"
    if team.is_chief:
        print(said)


def steps_per_epoch(recipe: Recipe, dataset: PreparedDataset) -> int:
    """Steps of an epoch; raises UsageError where splits and batch do not fit the data set."""
    dataset.check_split(recipe.train_split)
    examples = dataset.splits[recipe.train_split]
    if recipe.batch > examples:
        raise ArgumentError(
            "batch",
            f"{recipe.batch} is larger than split {recipe.train_split!r}, which has {examples} "
            "examples",
        )
    return recipe.steps_per_epoch or examples // recipe.batch


def describe(recipe: Recipe) -> str:
    """The recipe's name and the options that differ from it."""
    base = vars(RECIPES[recipe.name])
    # What follows from the data is printed with its reason when it is known.
    own = {name: value for name, value in vars(recipe).items() if name != "from_data"}
    parts = [f"{name} = {value}" for name, value in own.items() if value != base[name]]
    return ", ".join([f"recipe {recipe.name}", *parts])

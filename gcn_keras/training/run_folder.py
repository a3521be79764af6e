"""The folder of a run: runs/NAME with its configuration, models, history, figures and metrics."""

import contextlib
import csv
import dataclasses
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin, get_type_hints

from gcn_keras.inference.legend import Legend
from gcn_keras.recipes import checks, command_line
from gcn_keras.recipes.catalogue import RECIPES
from gcn_keras.recipes.recipe import (
    NOT_CONFIGURATION,
    RECIPE_TYPES,
    Recipe,
    SegmentationRecipe,
    configuration,
)
from gcn_keras.training import checkpoints
from pipelines.base.damage import DAMAGE, is_sound_archive, reason_of
from pipelines.base.errors import ArgumentError, UsageError, UserError, argument
from pipelines.base.files import (
    is_temporary,
    make_folder,
    remove_leftovers,
    replacing,
    write_json,
)
from pipelines.base.locks import FILE as LOCK
from pipelines.base.locks import claim

if TYPE_CHECKING:
    import keras


class RunFolder:
    """Paths of a run folder, and writes that are complete or absent.

    Attributes:
        path: the folder.
        config, legend, model, best, history, checkpoints, logs, curves, samples, metrics: paths
            inside.
        unfinished: is there between the run's last measurement and its end.
        origin: what the run depends on, see `provenance.origin`; kept by its checkpoints.
        is_extended: whether it is to have more epochs than config.json says.
        lock: what keeps other processes from training here, see `hold`; None until then.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        self.config = self.path / "config.json"
        self.legend = self.path / "labels.json"
        self.model = self.path / "model.keras"
        self.best = self.path / "best.keras"
        self.history = self.path / "history.csv"
        self.checkpoints = self.path / "checkpoints"
        self.logs = self.path / "logs"
        self.curves = self.path / "curves.png"
        self.samples = self.path / "samples.png"
        self.metrics = self.path / "metrics.json"
        self.unfinished = self.path / ".unfinished"
        self.origin: dict = {}
        self.is_extended = False
        self.lock: contextlib.ExitStack | None = None

    @property
    def finished(self) -> bool:
        """Whether the run that lies here came to its end, figures and export included, and still
        has its best model, undamaged."""
        is_whole = self.metrics.is_file() and is_sound_archive(self.best)
        if not is_whole or self.unfinished.exists() or self.is_extended:
            return False
        # A copy may lack the hidden file; and of which run the metrics are, not all say.
        measured = read_json(self.metrics).get("configuration")
        return measured is None or measured == read_json(self.config)

    @property
    def is_begun(self) -> bool:
        """Whether there is a checkpoint, which holds all that a resume needs."""
        return bool(checkpoints.paths(self.checkpoints))

    @property
    def results(self) -> list[Path]:
        """What is there of models and metrics, which a run that begins here would write over."""
        return [path for path in (self.best, self.model, self.metrics) if path.exists()]

    @property
    def holds_nothing(self) -> bool:
        """Whether a new run may begin here, as where one was refused, or killed at its start."""
        return not self.is_begun and not self.results

    def hold(self) -> None:
        """Makes the folder and keeps other processes from training in it until `release`.

        Raises:
            UserError: it cannot be made, or another process trains in it.
        """
        make_folder(self.path)
        self.lock = self.lock or claim(self.path)
        if self.lock is None:
            raise UserError(f"another process trains in {self.path}: wait for it, or stop it")

    def release(self) -> None:
        """Lets other processes train here again; what holds nothing, as a refused run, goes."""
        if self.lock:
            self.lock.close()
            self.lock = None
            with contextlib.suppress(OSError):
                self.path.rmdir()

    def advise_anew(self, recipe: Recipe, ending: str) -> str:
        """What to do where a recipe's schedule is for a run of another length than this one.

        Args:
            recipe: that was to go on here.
            ending: of the name of the new run's folder.
        """
        new = dataclasses.replace(
            recipe, resume=False, accept_changes=False, out=f"{self.path}-{ending}"
        )
        start = ""
        if self.best.exists():
            new, start = dataclasses.replace(new, weights=str(self.best)), " with its best model"
        return (
            f"begin a new run{start}, as schedule {recipe.schedule} is made for the length of a "
            f"run: {command_line.command(new)}"
        )

    def save_model(self, model: "keras.Model", path: Path) -> None:
        """Saves a model and its legend; plain Keras loads it, as no training goes with it."""
        from gcn_keras.inference.keras_file import save_model

        if self.legend.is_file():
            legend = Legend.read(self.legend)
            save_model(model, path, legend.class_names, legend.palette)
        else:
            save_model(model, path)

    def write_history(self, history: dict[str, list]) -> None:
        """Writes history.csv: a column a key, a line an epoch."""
        with replacing(self.history) as temporary, open(temporary, "w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(history)
            writer.writerows(zip(*history.values(), strict=True))


def read_json(path: Path) -> dict:
    """Reads a JSON file that a run wrote.

    Raises:
        UserError: it cannot be read, or holds something else.
    """
    try:
        content = json.loads(path.read_text())
    except DAMAGE as error:
        raise UserError(f"{path} cannot be read: {reason_of(error)}") from error
    if not isinstance(content, dict):
        raise UserError(f"{path} cannot be read: it holds no JSON object")
    return content


class OtherRun(ArgumentError):
    """A run folder holds a run of another configuration.

    Attributes:
        found: the folder, and how the two differ.
    """

    def __init__(self, found: str, advice: str):
        super().__init__("out", f"{found}: {advice}")
        self.found = found


def find_run(recipe: Recipe) -> RunFolder:
    """The run folder of a recipe; nothing is written yet, see `begin_run`.

    Without `out` this is the next one of runs/NAME, runs/NAME-2, …: an earlier run is never written
    over, and the newest has the highest number. With `resume` it is the newest. With `out`, a
    folder of the same configuration may exist if that run is finished, or `resume` goes on with it;
    and one of any configuration whose run has neither a checkpoint nor a model yet.

    Raises:
        OtherRun: `out` holds a run of another configuration.
        ArgumentError: `out` holds an unfinished run, or something else.
        UserError: what lies there cannot be read.
    """
    run = _folder_of(recipe)
    if run.config.is_file():
        former = read_json(run.config)
        if run.holds_nothing and _is_of_a_run(former):
            return run
        _check_same(run, recipe, former)
        if not run.finished and not recipe.resume:
            raise ArgumentError(
                "out",
                f"{run.path} holds a run that is not finished: {argument('resume')} goes on with "
                "it; or name another folder",
            )
    elif not run.holds_nothing:
        raise ArgumentError(
            "out",
            f"{run.path} lacks its {run.config.name}, without which nobody knows what was trained: "
            f"put it back, or name another folder; a new run may start from its model by "
            f"{argument('weights')}",
        )
    elif run.path.exists() and not (run.path.is_dir() and all(map(_is_left, run.path.iterdir()))):
        raise ArgumentError("out", f"{run.path} exists and is no run folder: name another one")
    return run


def recipe_to_resume(recipe: Recipe) -> Recipe | None:
    """The recipe of the run that `resume` goes on with; None if there is none yet.

    Raises:
        UserError: its configuration cannot be read, or is none of a run.
    """
    run = _folder_of(recipe)
    if not run.config.is_file():
        return None
    content = read_json(run.config)
    if not _is_of_a_run(content):
        raise UserError(
            f"{run.config} cannot be read: it was written by another version of this package"
        )
    name = content["name"]
    own, types = vars(RECIPES[name]), get_type_hints(type(RECIPES[name]))
    values: dict[str, Any] = {
        key: tuple(v) if isinstance(v, list) else v for key, v in content.items() if key in own
    }
    for key, value in values.items():
        if not _is_a(value, types[key]):
            raise UserError(f"{run.config} cannot be read: {key} cannot be {content[key]!r}")
    # What a run was made with before an option came up is that option's default.
    kept = {key: own[key] for key in own.keys() & set(NOT_CONFIGURATION)}
    found = type(RECIPES[name])(**kept | values)
    # What means nothing was not always refused.
    found = checks.reset_idle(found)
    try:
        checks.check(found)
    except UsageError as error:
        raise UserError(f"the run in {run.path} cannot go on: {error}") from error
    return found


def _is_of_a_run(content: dict) -> bool:
    """Whether a configuration is one that this version of the package may have written."""
    known = {"task", *(field.name for kind in RECIPE_TYPES for field in dataclasses.fields(kind))}
    is_known = "dataset" in content and content.keys() <= known
    return is_known and content.get("name") in list(RECIPES)


def _is_a(value: Any, kind: Any) -> bool:
    """Whether a value is of a field's type."""
    kinds = get_args(kind)
    if get_origin(kind) is Literal:
        return value in kinds
    if get_origin(kind) is tuple:
        if not isinstance(value, tuple) or kinds[-1] is not ... and len(value) != len(kinds):
            return False
        return all(_is_a(part, kinds[0]) for part in value)
    if kinds:
        return any(_is_a(value, one) for one in kinds)
    return type(value) is kind or (kind, type(value)) == (float, int)


def begin_run(run: RunFolder, recipe: Recipe) -> None:
    """Holds the folder, tidies it and writes config.json. Call it when the data have been checked,
    too, so that most of what is refused leaves no folder.

    Raises:
        UserError: as in `RunFolder.hold`; or another process has trained there meanwhile.
    """
    run.hold()
    if not recipe.resume and not run.holds_nothing:
        raise UserError(f"another process has trained in {run.path}: name another folder")
    for folder in (run.path, run.checkpoints):
        remove_leftovers(folder, is_held=True)
    if run.metrics.exists():
        run.unfinished.touch()
    write_json(run.config, configuration(recipe))


def _is_left(path: Path) -> bool:
    """Whether a file may lie in a folder where a run was killed before it had its config.json."""
    return path.name == LOCK or is_temporary(path)


def _folder_of(recipe: Recipe) -> RunFolder:
    if recipe.out:
        return RunFolder(recipe.out)
    first = Path("runs", recipe.name)
    beside = (path.name.removeprefix(f"{first.name}-") for path in first.parent.glob("*-*"))
    taken = [int(number) for number in beside if re.fullmatch("[1-9][0-9]*", number)]
    if first.exists():
        taken.append(1)
    number = max(taken, default=0)
    if not recipe.resume or not taken:
        number += 1
    return RunFolder(first if number == 1 else first.with_name(f"{first.name}-{number}"))


def _check_same(run: RunFolder, recipe: Recipe, former: dict) -> None:
    if isinstance(recipe, SegmentationRecipe):  # what follows from the data is as it was then
        known = {field: former[field] for field in recipe.from_data if field in former}
        recipe = dataclasses.replace(recipe, from_data=(), **known)
    for key, own, wanted in differences(former, recipe):
        advice = "name another folder"
        if recipe.resume and key == "epochs" and recipe.schedule != "constant":
            advice = run.advise_anew(recipe, f"{wanted}-epochs")
        raise OtherRun(
            f"{run.path} holds a run with {key} = {own!r}, and this one has {wanted!r}", advice
        )
    run.is_extended = former.get("epochs", recipe.epochs) != recipe.epochs


def differences(former: dict, recipe: Recipe) -> list[tuple[str, Any, Any]]:
    """How a recipe's configuration differs from that of its run: keys, former and new values.

    To go on for more epochs is no difference, where the learning rate is the same in each; nor to
    go on without the damaged examples that a run has met; nor is where data lie, such as the folder
    of a cache or the address of a data service; nor what means nothing for the recipe.
    """
    # What a run was made with before an option came up is that option's default.
    former = {**configuration(SegmentationRecipe(name="", dataset="")), **former}
    wanted = configuration(recipe)
    if recipe.resume and recipe.schedule == "constant" and recipe.epochs > former["epochs"]:
        former["epochs"] = recipe.epochs
    if recipe.resume and recipe.skip_errors:
        former["skip_errors"] = True
    if former["data_service"] and wanted["data_service"]:
        former["data_service"] = wanted["data_service"]
    if "memory" not in (former["cache"], wanted["cache"]):  # a folder's stream is as without one
        former["cache"] = wanted["cache"]
    keys = sorted((former.keys() | wanted.keys()) - checks.without_effect(recipe).keys())
    return [(k, former.get(k), wanted.get(k)) for k in keys if former.get(k) != wanted.get(k)]

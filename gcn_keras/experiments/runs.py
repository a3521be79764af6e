"""Runs of the rows of a table, each trained and measured once.

A run is found again in its folder, finished or not, and what it measured in runs.csv, which may
travel without the folders: a table goes on where it stopped, on this machine or on another.
"""

import functools
import hashlib
import json
import shlex
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from gcn_keras.evaluation.comparison import TUNING_SEED
from gcn_keras.evaluation.measure import check_labels
from gcn_keras.evaluation.options import parse_options
from gcn_keras.experiments.child_processes import run_logged
from gcn_keras.experiments.paper_tables import Row
from gcn_keras.experiments.results import COLUMNS, KEYS, TRAINED, Curve, Key, Results, read_curve
from gcn_keras.recipes import command_line
from gcn_keras.recipes.checks import check_weights_file
from gcn_keras.recipes.recipe import Recipe, SegmentationRecipe, configuration
from gcn_keras.training.run_folder import OtherRun, RunFolder, find_run, read_json
from pipelines import datasets
from pipelines.base.environment import environment_of_tensorflow
from pipelines.base.errors import ArgumentError, UsageError, UserError, argument, as_options
from pipelines.base.files import make_folder

# Options of fit and evaluate that the experiments themselves give.
_OF_FIT = ("recipe", "seed", "out", "resume", "export", "show_batch")
_OF_EVALUATE = ("dataset", "data_dir", "json", "submission")

# Options of the commands whose values are options.
OPTIONS_OF_TEXTS = ("--options", "--evaluation", "--tuning")


@dataclass
class Experiments:
    """The runs of a recipe.

    Attributes:
        recipe: name of the recipe that rows train with unless they name one.
        runs: folder of the run folders.
        results: runs.csv; made with the first result, as is curves.csv beside it.
        options: of fit, for every run.
        evaluation: of evaluate, for every measurement.
        weights: of the backbones that start from a file: {"resnet50": "FILE"}.
        models: whether the models are wanted, too, and not the results alone: a run whose result
            is known is trained where its folder is missing.
        tuning: of fit, too, after `options`; for the runs that choose a learning rate.
    """

    recipe: str
    runs: Path
    results: Path
    options: tuple[str, ...] = ()
    evaluation: tuple[str, ...] = ()
    weights: dict[str, str] = field(default_factory=dict)
    models: bool = False
    tuning: tuple[str, ...] = ()

    def __post_init__(self):
        self._results = Results(self.results)

    def check(self, row: Row) -> None:
        """Refuses invalid options, before anything is trained.

        Raises:
            ArgumentError: naming one.
            UsageError: naming one of fit, as the words in `options` and `tuning` do.
            SystemExit: from tyro, status 2, for an unknown option.
        """
        made = f"by which row {row.name} is made"
        weights = ("weights",) if self.weights else ()
        for own, given, reserved, why in (
            ("options", self.options, _OF_FIT, "which is given for every run"),
            ("options", self.options, command_line.fields_of(row.options), made),
            ("options", self.options, weights, "which is given by itself"),
            ("tuning", self.tuning, _OF_FIT, "which is given for every run"),
            ("tuning", self.tuning, command_line.fields_of(row.options), made),
            ("tuning", self.tuning, weights, "which is given by itself"),
            ("evaluation", self.evaluation, _OF_EVALUATE, "which is given for every row"),
        ):
            for name in command_line.fields_of(given):
                if name in reserved:
                    raise ArgumentError(own, f"cannot hold {argument(name)}, {why}")
        measured = parse_options(["--boundaries", *row.procedure, *self.evaluation])
        measured.check_for("any.keras")
        recipe = command_line.parse(self.options_of_fit(_trained_row(row), 0, None))
        if not self.known(row):
            with as_options():
                check_weights_file(recipe)
        if measured.split is not None and datasets.is_prepared(recipe.dataset, recipe.data_dir):
            prepared = datasets.load(recipe.dataset, recipe.data_dir)
            check_labels(prepared, prepared.validation_split(measured.split), measured)

    def backbone(self, row: Row) -> str | None:
        """Which one a row trains; None where it trains nothing."""
        if row.measures_only:
            return None
        return _recipe(*self.options_of_fit(row, 0, None)).backbone

    def known(self, row: Row) -> list[dict]:
        """What is known of a row, whoever trained it and with whatever seeds; as in `result`."""
        return [self._results.known[key] for key in self._keys(row)]

    def curves(self, row: Row) -> list[Curve]:
        """The learning curves of a row's runs, as far as they are known."""
        keys = self._keys(row)
        return [self._results.curves[key] for key in keys if key in self._results.curves]

    def tuning_score(self, row: Row) -> float | None:
        """Mean IoU of a row's run with `TUNING_SEED`; None where it is not known."""
        result = self._results.known.get(self._key(row, TUNING_SEED))
        return result["mean_iou"] if result else None

    def _keys(self, row: Row) -> list[Key]:
        """Of the results that count, in the order of their seeds."""
        seeds = sorted(int(key[1]) for key in self._results.known if key[0] == row.name)
        keys = (self._key(row, seed) for seed in seeds if seed != TUNING_SEED)
        return [key for key in dict.fromkeys(keys) if key in self._results.known]

    def _key(self, row: Row, seed: int) -> Key:
        return row.name, str(seed), self._digest(row, seed)

    def result(self, row: Row, seed: int) -> tuple[dict, bool]:
        """What a row measures, by `COLUMNS`; trains and measures unless that is done.

        Returns:
            Shares in 0…1, counts and seconds; None where the row has none. And whether anything
            had to be done.

        Raises:
            UsageError: the folder holds a run with other options.
            UserError: a command failed, and its log is named; files cannot be written.
            Interrupted: by SIGTERM or Ctrl-C, after the command was stopped.
        """
        make_folder(self.results.parent)
        key, known = self._key(row, seed), self._results.known
        trained = _trained_row(row)
        there = not self.models or RunFolder(self._folder(trained, seed)).finished
        if key in known and there:
            return known[key], False
        run = self._trained(trained, seed)
        if key in known:
            return known[key], True
        measured = self._measure(row, trained, seed, run)
        metrics = {} if row.measures_only else read_json(run.metrics)
        found = dict.fromkeys(TRAINED) | metrics | measured["boundaries"] | measured
        found |= zip(KEYS, key, strict=True)
        result = {name: found[name] for name in COLUMNS}
        self._results.add(key, result, {} if row.measures_only else read_curve(run.history))
        return result, True

    def _trained(self, row: Row, seed: int) -> RunFolder:
        """The folder of a row's finished run."""
        start = self._trained(row.start, seed).best if row.start else None
        options = self.options_of_fit(row, seed, start)
        try:
            run = find_run(command_line.parse(options))
        except OtherRun as error:  # what fit advises is about its own options
            raise UsageError(
                f"{error.found}: give the options that it was made with, or name another folder "
                "for the runs"
            ) from error
        if not run.finished:
            log = _beside(run.path, ".log")
            print(f"trains {row.label}, seed {seed}: {log} shows how it goes on", flush=True)
            self._call("gcn_keras.fit", options, log)
        return run

    def _measure(self, row: Row, trained: Row, seed: int, run: RunFolder) -> dict:
        recipe = command_line.parse(self.options_of_fit(trained, seed, None))
        log = _beside(self._folder(row, seed), ".evaluation.log")
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder, "measured.json")
            options = [str(run.best), "--dataset", recipe.dataset, "--data-dir", recipe.data_dir]
            options += ["--split", recipe.val_split] if recipe.val_split else []
            options += ["--boundaries", *row.procedure, *self.evaluation, "--json", str(file)]
            self._call("gcn_keras.evaluate", options, log, environment_of_tensorflow())
            return read_json(file)

    def _call(self, module: str, options: list[str], log: Path, environment=None) -> None:
        former = log.stat().st_size if log.is_file() else 0
        status = run_logged([sys.executable, "-m", module, *options], log, environment)
        if status:
            command = shlex.join([module.rpartition(".")[2], *options])
            reason = _reason(log, former)
            raise UserError(f"{command} failed with status {status}: {reason}see {log}")

    def _folder(self, row: Row, seed: int) -> Path:
        return self.runs / f"{row.name}-seed{seed}"

    def options_of_fit(self, row: Row, seed: int, start: Path | None) -> list[str]:
        """The command line that trains a row's model, from `start` if that is given."""
        options = ["--recipe", row.recipe or self.recipe, *row.options]
        options += [*self.options, *self.tuning]
        if start:
            options += ["--weights", str(start)]
        elif self.weights:
            backbone = _recipe(*options).backbone
            options += ["--weights", self.weights[backbone]] if backbone in self.weights else []
        options += ["--no-export", "--seed", str(seed)]
        return [*options, "--out", str(self._folder(row, seed)), "--resume"]

    def _digest(self, row: Row, seed: int) -> str:
        """Of all that a result follows from, so that results of other settings are not taken."""
        content: dict = {"evaluation": [*row.procedure, *self.evaluation]}
        start = self._digest(row.start, seed) if row.start else None
        if row.measures_only:
            content |= {"of": start}
        else:
            # Of any row that has results: other options may be impossible for it.
            recipe = _recipe(*self.options_of_fit(row, seed, None))
            content |= {"fit": _not_default(recipe), "start": start}
        text = json.dumps(content, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]


@functools.cache  # a table asks for those of each run again and again
def _recipe(*options: str) -> Recipe:
    """What `fit` makes of options, valid or not."""
    return command_line.parse(list(options), unchecked=True)


def _trained_row(row: Row) -> Row:
    """The row whose model a row measures."""
    return row.start if row.measures_only and row.start else row


def _beside(folder: Path, ending: str) -> Path:
    # Not `with_suffix`, which takes the end of "base-0.001-seed0" for one.
    return folder.with_name(f"{folder.name}{ending}")


def join_options(words: Sequence[str]) -> list[str]:
    """A command line with each text of options behind its sign of equality.

    `--options "--epochs 2"` reads as an option without a value, as that begins with a dash.
    """
    joined: list[str] = []
    for word in words:
        if joined and joined[-1] in OPTIONS_OF_TEXTS:
            joined[-1] += f"={word}"
        else:
            joined.append(word)
    return joined


def split_options(name: str, text: str) -> tuple[str, ...]:
    """Takes options that are given in one string apart, as a shell does.

    Raises:
        ArgumentError: naming the argument: a quotation that does not end.
    """
    try:
        return tuple(shlex.split(text))
    except ValueError as error:
        raise ArgumentError(name, f"cannot be read: {error}, got {text!r}") from error


def _reason(log: Path, start: int) -> str:
    """The error that a command printed from a place in its log on, if there is one."""
    lines = log.read_bytes()[start:].decode(errors="replace").splitlines()
    errors = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
    return f"{errors[-1]}; " if errors else ""


def _not_default(recipe: Recipe) -> dict:
    """Only what is set: another field in a later version must not make old results strangers."""
    default = configuration(SegmentationRecipe(name="", dataset=""))
    return {key: v for key, v in configuration(recipe).items() if v != default[key]}

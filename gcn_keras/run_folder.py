"""The folder of a run: runs/NAME with its configuration, models, history, figures and metrics."""

import csv
import dataclasses
import itertools
import json
from pathlib import Path

from gcn_keras.images import replacing
from gcn_keras.recipes import Recipe
from pipelines.errors import UsageError, UserError

# Where results go does not change what a run computes.
_NOT_CONFIGURATION = ("out", "saved_model", "export", "data_dir")


class RunFolder:
    """Paths of a run folder, and writes that are complete or absent.

    Attributes:
        path: the folder.
        config, legend, model, best, history, logs, curves, samples, metrics: paths inside.
    """

    def __init__(self, path):
        self.path = Path(path)
        self.config = self.path / "config.json"
        self.legend = self.path / "labels.json"
        self.model = self.path / "model.keras"
        self.best = self.path / "best.keras"
        self.history = self.path / "history.csv"
        self.logs = self.path / "logs"
        self.curves = self.path / "curves.png"
        self.samples = self.path / "samples.png"
        self.metrics = self.path / "metrics.json"

    @property
    def finished(self) -> bool:
        """Whether the run that lies here came to its end; metrics.json is written last."""
        return self.metrics.is_file()

    def save_model(self, model, path: Path) -> None:
        """Saves a model without its training configuration, so that plain Keras can load it."""
        import keras

        with replacing(path) as temporary:
            keras.Model(model.input, model.output, name=model.name).save(temporary)

    def write_json(self, path: Path, content: dict) -> None:
        """Writes a JSON file in one step."""
        with replacing(path) as temporary:
            temporary.write_text(json.dumps(content, indent=2) + "\n")

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
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read: {error}") from error
    if not isinstance(content, dict):
        raise UserError(f"{path} cannot be read: it holds no JSON object")
    return content


def find_run(recipe: Recipe) -> RunFolder:
    """The run folder of a recipe; nothing is written yet, see `begin_run`.

    Without `--out` this is the first free one of runs/NAME, runs/NAME-2, …: an earlier run is
    never written over. With `--out`, a folder of the same configuration may exist: if that run is
    finished it is left as it is, otherwise it starts afresh there.

    Raises:
        UsageError: `--out` holds a run of another configuration, or something else.
        UserError: what lies there cannot be read.
    """
    run = RunFolder(recipe.out) if recipe.out else _free_folder(recipe.name)
    if run.config.is_file():
        _check_same(run, _configuration(recipe))
    elif run.path.exists() and (not run.path.is_dir() or any(run.path.iterdir())):
        raise UsageError(f"--out {run.path} exists and is no run folder: name another one")
    return run


def begin_run(run: RunFolder, recipe: Recipe) -> None:
    """Makes the folder and writes config.json. Call it when the data have been checked, too: a run
    that was refused must not leave a folder that then refuses the corrected one.

    Raises:
        UserError: the folder cannot be made.
    """
    try:
        run.path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot make the run folder {run.path}: {error.strerror}") from error
    run.write_json(run.config, _configuration(recipe))


def _free_folder(name) -> RunFolder:
    for number in itertools.count(1):
        path = Path("runs", name if number == 1 else f"{name}-{number}")
        if not path.exists():
            return RunFolder(path)


def _configuration(recipe) -> dict:
    fields = dataclasses.asdict(recipe)
    kept = {key: value for key, value in fields.items() if key not in _NOT_CONFIGURATION}
    return json.loads(json.dumps(kept))  # tuples become lists, as they are read back


def _check_same(run, configuration) -> None:
    existing = read_json(run.config)
    for key in sorted(existing.keys() | configuration.keys()):
        if existing.get(key) != configuration.get(key):
            raise UsageError(
                f"--out {run.path} holds a run with {key} = {existing.get(key)!r}, and this one "
                f"has {configuration.get(key)!r}: name another folder"
            )

"""What differs between runs that train one kind of model or another."""

import abc
import functools
import inspect
import resource
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, ClassVar, Generic, TypeVar

import keras
import tensorflow as tf
from matplotlib.figure import Figure

from gcn_keras.evaluation.metrics import Counts
from gcn_keras.inference.keras_model import load_any_model
from gcn_keras.models.backbones import BACKBONES
from gcn_keras.models.layer_names import is_in_backbone, normalises
from gcn_keras.models.weights import set_weights
from gcn_keras.recipes.recipe import Recipe
from gcn_keras.training import provenance
from gcn_keras.training.devices import Team
from gcn_keras.training.run_folder import RunFolder
from gcn_keras.training.training_state import Progress
from gcn_keras.training.validation import Example, Predict
from pipelines.base.errors import ArgumentError, UserError, argument, printable
from pipelines.base.files import write_json
from pipelines.datasets import PreparedDataset
from pipelines.stream.evaluation import occurring_classes

R = TypeVar("R", bound=Recipe)
MOST_NAMED = 10


class Task(abc.ABC, Generic[R]):
    """One recipe on one data set.

    Args:
        recipe: checked.
        dataset: from `load`.

    Attributes:
        load: function from a name and a folder to the prepared data set.
        network: function from the recipe's fields of the same names to a model.
        stream: function from data set, split and options of the stream to `training_batches`.
        scores: of what is measured, by name; by the first one a model is the best.
        missing: the score and what it is measured on, in words, for when no epoch has one.
        split: that is measured on.

    Raises:
        UsageError: the data set has no such split.
    """

    load: ClassVar[Callable[[str, str], PreparedDataset]]
    network: ClassVar[Callable[..., keras.Model]]
    stream: ClassVar[Callable[..., tf.data.Dataset]]
    scores: ClassVar[tuple[str, ...]]
    missing: ClassVar[tuple[str, str]]

    def __init__(self, recipe: R, dataset: PreparedDataset):
        self.recipe, self.dataset = recipe, dataset
        self.split = dataset.validation_split(recipe.val_split)

    @classmethod
    def resolve(cls, recipe: R, dataset: PreparedDataset, replicas: int = 1) -> tuple[R, list[str]]:
        """The recipe with values of what it leaves to the data set, and a line for each.

        Args:
            replicas: that share a batch.

        Raises:
            UsageError: what follows does not go with what is given.
            UserError, DATA_ERRORS: the data set cannot be used.
        """
        return recipe, []

    @classmethod
    def build(cls, recipe: R, num_classes: int, with_head: bool = True) -> keras.Model:
        """The recipe's model, with the weights that it starts from.

        Args:
            with_head: whether those above the backbone are taken, too, where they fit.

        Raises:
            UserError: the weights do not fit, or cannot be read or downloaded.
        """
        names = inspect.signature(cls.network).parameters.keys() - {"name"}
        given = {name: value for name, value in vars(recipe).items() if name in names}
        path = recipe.weights or ""
        source = load_any_model(path) if path.endswith(".keras") else None
        if source and BACKBONES[recipe.backbone].has_imagenet_weights and not normalises(source):
            source = None  # one of Keras' own networks: the backbone takes the file as its own
        if source:
            given["weights"] = None
        try:
            model = cls.network(num_classes=num_classes, **given)
        except ArgumentError as error:  # a run that fails, not a wrong option
            raise UserError(error.template) from error
        except ValueError as error:
            raise UserError(str(error)) from error
        if source:
            _copy_weights(source, model, path, recipe.backbone, with_head)
        return model

    def takes_head(self) -> bool:
        """Whether the weights to start from are of the data set's classes, as far as they tell.

        Raises:
            UserError: they are of the same classes in another order.
        """
        return True

    @abc.abstractmethod
    def loss(self) -> keras.losses.Loss:
        """One of `gcn_keras.training.losses`."""

    def begin(self, run: RunFolder) -> None:
        """Writes what lies beside models."""
        self.warn()

    def warn(self) -> None:
        """Says on standard error what is amiss with the splits and their labels."""
        for fault in self._faults:
            print(printable(f"warning: {fault}"), file=sys.stderr, flush=True)

    @functools.cached_property
    def _faults(self) -> list[str]:
        return self._find_faults()

    def _find_faults(self) -> list[str]:
        recipe, dataset, faults = self.recipe, self.dataset, []
        trained = f"split {recipe.train_split!r}, which it trains on"
        if self.split == recipe.train_split:
            faults.append(f"measures on {trained}: the score says nothing about other images")
        elif {self.split, recipe.train_split} in map(set, dataset.overlapping_splits):
            faults.append(f"measures on split {self.split!r}, which shares images with {trained}")
        names = dict(enumerate(dataset.class_names))
        seen = occurring_classes(dataset, recipe.train_split, len(names), recipe.skip_errors)
        if missing := [name for label, name in names.items() if label not in seen]:
            named = ", ".join(missing[:MOST_NAMED]) + ", …" * (len(missing) > MOST_NAMED)
            faults.append(
                f"training never sees {len(missing)} of {len(names)} classes, of which split "
                f"{recipe.train_split!r} has no label: {named}"
            )
        measured = occurring_classes(dataset, self.split, enough=2)
        if not measured:
            raise UserError(
                f"split {self.split!r} of {dataset.name!r} has no label but void, and nothing can "
                f"be measured on it: name another {argument('val_split')}"
            )
        if len(measured) < 2:
            found = ", ".join(names[label] for label in measured)
            faults.append(
                f"split {self.split!r} must have labels of several classes, or scores say nothing "
                f"about a model; it has: {found}"
            )
        return faults

    def training_batches(self, team: Team, start: int) -> tf.data.Dataset:
        """Images, labels and image ids: this worker's part of each batch from number `start` on."""
        own = {"batch_part": (team.worker, team.workers), "start": start}
        fields = self.recipe.stream_fields() | own
        return self.stream(self.dataset, self.recipe.train_split, **fields)

    @abc.abstractmethod
    def validation_batches(self, team: Team) -> Iterator:
        """Images, labels and perhaps image ids: this worker's part of the validation split."""

    @abc.abstractmethod
    def predictor(self, team: Team, model: keras.Model) -> Predict:
        """What is counted beside labels, of a model built in `team.strategy.scope()`."""

    @abc.abstractmethod
    def new_counts(self) -> Counts:
        """What a validation counts, of no image yet; it has `scores`."""

    @abc.abstractmethod
    def report(self, run: RunFolder, best: keras.Model, progress: Progress) -> tuple[dict, str]:
        """What metrics.json says of the best model, and the same for a terminal."""

    def watched(self, team: Team) -> Sequence[int]:
        """Places, among this worker's validation images, of those that TensorBoard shows."""
        return ()

    def shown(
        self, measure: Any, examples: Sequence[Example]
    ) -> tuple[dict[str, float], Figure | None]:
        """What TensorBoard shows beside the scores: values by tag, and a figure.

        Args:
            measure: from `new_counts`, with a validation's counts.
            examples: those at `watched` places.
        """
        return {}, None

    def draw(self, run: RunFolder, best: keras.Model) -> None:
        """Draws what lies beside metrics.json."""

    def finish(self, run: RunFolder, progress: Progress, steps: int, started: float) -> dict:
        """Measures the best model and writes metrics.json.

        Args:
            run: where the best model is.
            progress: of the finished run.
            steps: of an epoch.
            started: the time when this process began with it.

        Raises:
            UserError: no epoch has a score.
        """
        recipe, (score, subject) = self.recipe, self.missing
        if not progress.best_epoch:
            raise UserError(
                f"no epoch has {score}: split {self.split!r} of {recipe.dataset!r} has no "
                f"{subject}; the last model is {run.model}"
            )
        best = load_any_model(run.best)
        report, text = self.report(run, best, progress)
        metrics = {
            **report,
            "split": self.split,
            "best_epoch": progress.best_epoch,
            "epochs": progress.epoch,  # fewer than in its configuration, where it ended early
            "parameters": best.count_params(),
            "train_images": steps * progress.epoch * recipe.batch,
            "skipped_steps": progress.skipped,
            "training_seconds": round(progress.seconds, 1),  # validation after epochs included
            "wall_seconds": round(time.time() - started, 1),  # since the last start
            # Linux counts in KiB.
            "peak_memory_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
            **provenance.of_run(run, self.dataset),
        }
        write_json(run.metrics, metrics)
        print(text)
        self.draw(run, best)
        self.warn()
        return metrics


def _copy_weights(
    source: keras.Model, target: keras.Model, path: str, backbone: str, with_head: bool
) -> None:
    """Copies the backbone, and every other layer whose name and shapes agree.

    Raises:
        UserError: the backbone is another one.
    """
    available = {layer.name: layer for layer in source.layers if layer.weights}
    wanted = {layer.name: layer for layer in target.layers if layer.weights}
    fitting = [
        layer for name, layer in wanted.items() if _shapes(available.get(name)) == _shapes(layer)
    ]
    of_backbone = [layer for layer in fitting if is_in_backbone(layer.name)]
    needed = sum(map(is_in_backbone, wanted))
    more = sum(map(is_in_backbone, available.keys() - wanted.keys()))
    if len(of_backbone) < needed or more:
        found = f"{len(of_backbone)} of the {needed} layers of the backbone {backbone!r}"
        raise UserError(
            f"{path}, which holds the model {source.name!r}, has {found}"
            f"{f', and {more} more' if more else ''}: {argument('backbone')} must name the one in "
            "the file"
        )
    taken = fitting if with_head else of_backbone
    for layer in taken:
        set_weights(layer, available[layer.name].get_weights())
    why = "" if with_head else ", the backbone: it knows other classes"
    print(f"{len(taken)} of {len(wanted)} layers start from {path}{why}")


def _shapes(layer: keras.Layer | None) -> list[tuple] | None:
    return layer and [tuple(weights.shape) for weights in layer.weights]

"""Validation shared by all replicas."""

import contextlib
import itertools
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from gcn_keras.evaluation.metrics import Counts
from gcn_keras.inference.memory import naming_large_image
from gcn_keras.training.devices import Team

# From at most `Team.local_replicas` batches of images to an answer for each.
Predict = Callable[[Sequence[np.ndarray]], list[np.ndarray]]


class Example(NamedTuple):
    """An image, uint8 `[H, W, 3]`, its label, what was predicted, and the image's id."""

    image: np.ndarray
    label: np.ndarray
    prediction: np.ndarray
    image_id: str


class Watched:
    """Keeps the examples at some places of those that it is called with, counted from 0."""

    def __init__(self, places: Sequence[int]):
        self.places, self.count = frozenset(places), 0
        self.kept: list[Example] = []

    def __call__(self, example: Example) -> None:
        if self.count in self.places:
            self.kept.append(example)
        self.count += 1


def predictor(team: Team, function: Callable[[tf.Tensor], tf.Tensor]) -> Predict:
    """Keeps every local replica at work with a function in TensorFlow.

    A batch goes to one replica as it is, so that no number depends on how many replicas there are.
    """

    @tf.function(reduce_retracing=True, autograph=False)
    def predict(images):
        return team.strategy.run(function, (images,))

    def predictions(batches: Sequence[np.ndarray]) -> list[np.ndarray]:
        # At the end of the data a replica without a batch repeats another's, for nobody.
        filled = [*batches, *[batches[0]] * (team.local_replicas - len(batches))]
        results = team.strategy.experimental_local_results(predict(team.deal(filled)))
        return [result.numpy() for result in results[: len(batches)]]

    return predictions


def evaluate_in_team(
    team: Team,
    predict: Predict,
    batches: Iterable[tuple],
    measures: Sequence[Counts],
    check_stop: Callable[[], None],
    watch: Callable[[Example], object] | None = None,
) -> None:
    """Counts on this worker's batches; then every worker gets the sums over all.

    Args:
        team: of this run.
        predict: see `predictor`.
        batches: images, labels and perhaps a list of image ids, this worker's part of a split.
        measures: are updated.
        check_stop: is called between the batches and may raise what is to end this.
        watch: is given each of this worker's images whose ids are known, in their order.

    Raises:
        UserError: images whose ids are known are too large for the memory.
    """
    remaining = iter(batches)
    while group := list(itertools.islice(remaining, team.local_replicas)):
        check_stop()
        images, labels, *ids = zip(*group, strict=True)
        names = ", ".join(itertools.chain(*itertools.chain(*ids)))
        with naming_large_image(names) if names else contextlib.nullcontext():
            predictions = predict(images)
        for label, prediction in zip(labels, predictions, strict=True):
            for measure in measures:
                measure.update(label, prediction)
        if watch and ids:
            for batch in zip(images, labels, predictions, ids[0], strict=True):
                for parts in zip(*batch, strict=True):
                    watch(Example(*parts))
    for measure in measures:
        measure.merge(team.sum_over_workers)

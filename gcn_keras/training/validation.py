"""Validation shared by all replicas."""

import itertools
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from gcn_keras.evaluation.measure import evaluation_batches
from gcn_keras.evaluation.metrics import ConfusionMatrix
from gcn_keras.inference.padding import pad_to_stride
from gcn_keras.training.devices import Team


def predictor(team: Team, model):
    """A function from images to label maps that keeps every local replica at work.

    Args:
        team: of this run.
        model: built in `team.strategy.scope()`.

    Returns:
        A function from at most `team.local_replicas` batches, uint8 `[B, H, W, 3]` of any sizes, to
        a list of their label maps, uint8 `[B, H, W]`. A batch goes to one replica as it is, so
        that no number depends on how many replicas there are.
    """

    @tf.function(reduce_retracing=True)
    def predict(images):
        def of_replica(images):
            logits = model(images, training=False)
            return tf.cast(tf.argmax(logits, axis=-1), tf.uint8)

        return team.strategy.run(of_replica, (images,))

    def predictions(batches: Sequence[np.ndarray]) -> list[np.ndarray]:
        padded = [pad_to_stride(images) for images in batches]
        # At the end of the data a replica without a batch repeats another's, for nobody.
        padded += padded[:1] * (team.local_replicas - len(batches))
        results = team.strategy.experimental_local_results(predict(team.deal(padded)))
        sizes = [images.shape[1:3] for images in batches]
        return [
            labels.numpy()[:, :height, :width]
            for labels, (height, width) in zip(results, sizes, strict=False)
        ]

    return predictions


def evaluate_in_team(
    team: Team, predict, dataset, split: str, heed, measures: Sequence = ()
) -> ConfusionMatrix:
    """As `evaluate.evaluate_model`, shared by all replicas; every worker gets the whole matrix.

    Args:
        team: of this run.
        predict: from `predictor`.
        dataset: `pipelines.datasets.PreparedDataset`.
        split: one of its splits.
        heed: is called between the images and may raise what is to end this.
        measures: as of `evaluate_model`, with `counts`, an int64 array; every worker gets the sum.
    """
    matrix = ConfusionMatrix(dataset.num_classes)
    batches = evaluation_batches(dataset, split, worker=team.worker, workers=team.workers)
    while group := list(itertools.islice(batches, team.local_replicas)):
        heed()
        images, labels = zip(*group, strict=True)
        for label, prediction in zip(labels, predict(images), strict=True):
            for measure in (matrix, *measures):
                measure.update(label, prediction)
    for measure in (matrix, *measures):
        measure.counts = team.sum_over_workers(measure.counts)
    return matrix

"""Pretraining of a backbone as a classifier: what differs from the training of segmentation.

    python -m gcn_keras.fit --recipe imagenet-pretrain --data-dir DIR
    python -m gcn_keras.fit --backbone resnet50_gcn --weights runs/imagenet-pretrain/best.keras …

The second command starts from the first one's backbone, whose layers have the same names.
"""

import functools
import itertools
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

from gcn_keras.inference.keras_model import load_any_model
from gcn_keras.models.classifier import classifier
from gcn_keras.recipes.recipe import Recipe
from gcn_keras.training.devices import Team
from gcn_keras.training.loop import Loop, Progress
from gcn_keras.training.losses import ImageCrossentropy
from gcn_keras.training.run import Task, metrics_of_run
from gcn_keras.training.run_folder import RunFolder
from gcn_keras.training.segmentation import make_step, with_weights
from pipelines.base.errors import UserError
from pipelines.datasets import classification as classification_sets
from pipelines.stream import classification


class Accuracy(NamedTuple):
    """How often the right class is the first, and among the first five.

    Attributes:
        images: how many were measured.
        right, right_in_five: how many of them.
    """

    images: int
    right: int
    right_in_five: int

    @property
    def top1_accuracy(self) -> float:
        """Share in 0…1; NaN without an image."""
        return self.right / self.images if self.images else float("nan")

    @property
    def top5_accuracy(self) -> float:
        """Share in 0…1; NaN without an image."""
        return self.right_in_five / self.images if self.images else float("nan")


def accuracy(labels: np.ndarray, logits: np.ndarray) -> Accuracy:
    """Measures predictions.

    Args:
        labels: integers `[B]`.
        logits: float `[B, C]`. Of equal ones all others count as larger, so that a model which
            does not tell classes apart is never right; NaN is never right.
    """
    own = np.take_along_axis(logits, labels[:, None], axis=1)
    place = (logits >= own).sum(axis=1)  # counted from 1; 0 where the label's own logit is NaN
    right, right_in_five = ((place >= 1) & (place <= best) for best in (1, 5))
    return Accuracy(len(labels), int(right.sum()), int(right_in_five.sum()))


def evaluate(team: Team, predict, dataset, split: str, crop, batch_size: int, heed) -> Accuracy:
    """Measures a classifier on a split's central crops, with all replicas.

    Args:
        team: of this run.
        predict: function from at most `team.local_replicas` batches of images to their logits.
        dataset: from `classified.load`.
        split: one of its splits.
        crop: height and width of the crops.
        batch_size: images of each replica at a time.
        heed: is called between them and may raise what is to end this.

    Returns:
        The accuracy on the whole split, on every worker.
    """
    counts = np.zeros(3, np.int64)
    part = (team.worker, team.workers)
    batches = classification.evaluation_batches(dataset, split, crop, batch_size, part)
    batches = batches.as_numpy_iterator()
    while group := list(itertools.islice(batches, team.local_replicas)):
        heed()
        images, labels = zip(*group, strict=True)
        for label, logits in zip(labels, predict(images), strict=True):
            counts += accuracy(label, logits)
    return Accuracy(*team.sum_over_workers(counts).tolist())


def predictor(team: Team, model):
    """A function from batches of images to their logits that keeps all local replicas at work."""
    if keras.backend.backend() != "tensorflow":
        return lambda batches: [model.predict_on_batch(images) for images in batches]

    @tf.function(reduce_retracing=True)
    def predict(images):
        return team.strategy.run(lambda images: model(images, training=False), (images,))

    def predictions(batches):
        # At the end of the data a replica without a batch repeats another's, for nobody.
        filled = [*batches, *[batches[0]] * (team.local_replicas - len(batches))]
        results = team.strategy.experimental_local_results(predict(team.deal(filled)))
        return [logits.numpy() for logits in results[: len(batches)]]

    return predictions


def build_model(recipe: Recipe, num_classes: int) -> keras.Model:
    """The recipe's classifier, with the weights that it starts from."""
    build = functools.partial(
        classifier,
        num_classes=num_classes,
        backbone=recipe.backbone,
        batch_norm_momentum=recipe.batch_norm_momentum,
    )
    return with_weights(build, recipe.weights)


def make_loop(model, recipe: Recipe, dataset, steps: int, run: RunFolder, team: Team) -> Loop:
    """The loop of a compiled classifier, with `steps` steps an epoch."""
    step, predict = make_step(model, recipe, team), predictor(team, model)

    def stream(start):
        batches = classification.training_batches(
            dataset,
            recipe.train_split,
            crop=recipe.crop,
            batch_size=recipe.batch,
            area=recipe.area,
            flip=recipe.flip,
            jitter=recipe.jitter,
            seed=recipe.seed,
            shuffle_mib=recipe.shuffle_mib,
            cache=recipe.cache,
            batch_part=(team.worker, team.workers),
            start=start,
            data_service=recipe.data_service,
            skip_errors=recipe.skip_errors,
        )
        return iter(batches)

    def validate(heed):
        batch_size = recipe.batch // team.replicas
        return evaluate(team, predict, dataset, recipe.val_split, recipe.crop, batch_size, heed)

    return Loop(
        recipe,
        run,
        model,
        step,
        stream,
        validate,
        steps,
        worker=team.worker,
        workers=team.workers,
        scores=("top1_accuracy", "top5_accuracy"),
    )


def _finish(recipe, run, dataset, progress: Progress, steps, started) -> dict:
    """The best epoch's scores, and where they come from."""
    if not progress.best_epoch:
        raise UserError(
            f"no epoch has an accuracy: split {recipe.val_split!r} of {recipe.dataset!r} has no "
            f"image; the last model is {run.model}"
        )
    best = progress.history["epoch"].index(progress.best_epoch)
    scores = {
        name: progress.history[f"val_{name}"][best] for name in ("top1_accuracy", "top5_accuracy")
    }
    metrics = {
        **scores,
        "top5_error": 1 - scores["top5_accuracy"],
        **metrics_of_run(recipe, run, dataset, load_any_model(run.best), progress, steps, started),
    }
    run.write_json(run.metrics, metrics)
    print(
        f"top-1 accuracy {100 * scores['top1_accuracy']:.1f} %, top-5 accuracy "
        f"{100 * scores['top5_accuracy']:.1f} %, top-5 error {100 * metrics['top5_error']:.1f} %"
    )
    return metrics


CLASSIFICATION = Task(
    load=lambda recipe: classification_sets.load(recipe.dataset, recipe.data_dir),
    build=build_model,
    loss=lambda recipe, dataset: ImageCrossentropy(recipe.label_smoothing),
    begin=lambda run, dataset: None,
    make_loop=make_loop,
    finish=_finish,
)

"""Pretraining of a backbone as a classifier: what differs from the training of segmentation.

    python -m gcn_keras.fit --recipe imagenet-pretrain --data-dir DIR
    python -m gcn_keras.fit --backbone resnet50_gcn --weights runs/imagenet-pretrain/best.keras …

The second command starts from the first one's backbone, whose layers have the same names.
"""

from collections.abc import Iterator

import keras

from gcn_keras.evaluation.metrics import Accuracy
from gcn_keras.models.classifier import classifier
from gcn_keras.recipes.recipe import ClassificationRecipe
from gcn_keras.training import validation
from gcn_keras.training.devices import Team
from gcn_keras.training.losses import ImageCrossentropy
from gcn_keras.training.run_folder import RunFolder
from gcn_keras.training.task import Task
from gcn_keras.training.training_state import Progress
from pipelines.datasets import classification as classification_sets
from pipelines.stream import classification


class Classification(Task[ClassificationRecipe]):
    """Training of a model that gives an image one class."""

    load = staticmethod(classification_sets.load)
    network = staticmethod(classifier)
    stream = staticmethod(classification.training_batches)
    scores = ("top1_accuracy", "top5_accuracy")
    missing = ("an accuracy", "image")

    def loss(self) -> ImageCrossentropy:
        return ImageCrossentropy(self.recipe.label_smoothing)

    def validation_batches(self, team: Team) -> Iterator:
        """The images' central crops, as many at a time as a replica trains on."""
        size, part = self.recipe.batch // team.replicas, (team.worker, team.workers)
        batches = classification.evaluation_batches(
            self.dataset, self.split, self.recipe.crop, size, part
        )
        return batches.as_numpy_iterator()

    def predictor(self, team: Team, model: keras.Model) -> validation.Predict:
        """From batches of images, uint8 `[B, h, w, 3]`, to their logits."""
        if keras.backend.backend() != "tensorflow":
            return lambda batches: [model.predict_on_batch(images) for images in batches]
        return validation.predictor(team, lambda images: model(images, training=False))

    def new_counts(self) -> Accuracy:
        return Accuracy()

    def report(self, run: RunFolder, best: keras.Model, progress: Progress) -> tuple[dict, str]:
        epoch = progress.history["epoch"].index(progress.best_epoch)
        top1, top5 = (progress.history[f"val_{score}"][epoch] for score in self.scores)
        text = (
            f"top-1 accuracy {100 * top1:.1f} %, top-5 accuracy {100 * top5:.1f} %, top-5 error "
            f"{100 * (1 - top5):.1f} %"
        )
        return {"top1_accuracy": top1, "top5_accuracy": top5, "top5_error": 1 - top5}, text

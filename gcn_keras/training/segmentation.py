"""What training does for a segmentation model."""

import functools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from matplotlib.figure import Figure
from tqdm import tqdm

from gcn_keras.evaluation.measure import evaluate_model, evaluation_batches
from gcn_keras.evaluation.metrics import ConfusionMatrix
from gcn_keras.inference.keras_model import predict_logits, segment
from gcn_keras.inference.label_maps import check_answered
from gcn_keras.inference.legend import Legend, check_same_names, legend_of_keras
from gcn_keras.inference.options import InferenceOptions
from gcn_keras.inference.options import labels as labels_by
from gcn_keras.inference.padding import pad_to_stride
from gcn_keras.inference.segmenters import Segment
from gcn_keras.models.costs import p5_weights
from gcn_keras.models.gcn import gcn
from gcn_keras.plots.samples import samples_figure
from gcn_keras.plots.style import save_figure
from gcn_keras.recipes.recipe import SegmentationRecipe
from gcn_keras.training import from_data, losses, validation
from gcn_keras.training.devices import Team
from gcn_keras.training.run_folder import RunFolder
from gcn_keras.training.task import Task
from gcn_keras.training.training_state import Progress
from pipelines import datasets
from pipelines.base.errors import ArgumentError, UserError
from pipelines.base.labels import IGNORE, median_frequency_weights
from pipelines.base.numeric import evenly_spread
from pipelines.datasets import PreparedDataset
from pipelines.stream.evaluation import class_pixel_counts, whole_example
from pipelines.stream.faults import mapped
from pipelines.stream.record_order import all_records
from pipelines.stream.segmentation import training_batches

SAMPLES = 6
LOGGED_SIDE = 320  # pixels of an image's longer side in TensorBoard, of which each epoch keeps some
FOCUS = 2.0  # of the focal loss, as of Lin et al. 2017


class Segmentation(Task[SegmentationRecipe]):
    """Training of a model that labels every pixel."""

    load = staticmethod(datasets.load)
    network = staticmethod(gcn)
    stream = staticmethod(functools.partial(training_batches, with_ids=True))
    scores = ("mean_iou", "pixel_accuracy")
    missing = ("a mean IoU", "valid pixel, everything is void")

    def __init__(self, recipe: SegmentationRecipe, dataset: PreparedDataset):
        super().__init__(recipe, dataset)
        weights = recipe.class_weights
        if not isinstance(weights, str) and len(weights) != dataset.num_classes:
            raise ArgumentError(
                "class_weights",
                f"must be a number for each of the {dataset.num_classes} classes of "
                f"{dataset.name!r}, got {len(weights)}",
            )

    def takes_head(self) -> bool:
        weights, dataset = self.recipe.weights, self.dataset
        legend = weights and weights.endswith(".keras") and legend_of_keras(Path(weights))
        if not legend or not legend.is_named:
            return True
        names = legend.class_names
        if sorted(names) == sorted(dataset.class_names):  # a mistake, where only the order differs
            check_same_names(weights, names, repr(dataset.name), dataset.class_names)
        return tuple(names) == tuple(dataset.class_names)

    @classmethod
    def resolve(
        cls, recipe: SegmentationRecipe, dataset: PreparedDataset, replicas: int = 1
    ) -> tuple[SegmentationRecipe, list[str]]:
        return from_data.resolve(recipe, dataset, replicas)

    def loss(self) -> keras.losses.Loss:
        weights, hardest = self._class_weights(), self.recipe.ohem
        made: dict[str, Callable[[], keras.losses.Loss]] = {
            "cross-entropy": lambda: losses.PixelCrossentropy(weights, hardest=hardest),
            "focal": lambda: losses.PixelCrossentropy(weights, FOCUS, hardest),
            "dice": losses.Dice,
            "lovasz": losses.Lovasz,
        }
        parts = [made[name]() for name in self.recipe.loss.split("+")]
        return parts[0] if len(parts) == 1 else losses.SumOfLosses(parts)

    def _class_weights(self) -> Sequence[float] | np.ndarray | None:
        recipe = self.recipe
        if recipe.class_weights == "none":
            return None
        if not isinstance(recipe.class_weights, str):
            return recipe.class_weights
        counts = class_pixel_counts(self.dataset, recipe.train_split, recipe.skip_errors)
        if not counts.any():
            raise UserError(
                f"there is nothing to train on: every pixel of {self.dataset.name!r}, split "
                f"{recipe.train_split!r}, is void"
            )
        weights = median_frequency_weights(counts)
        return np.sqrt(weights) if recipe.class_weights == "sqrt" else weights

    def _find_faults(self) -> list[str]:
        faults = super()._find_faults()
        if self.recipe.freeze_batch_norm and self.recipe.weights is None:
            faults.append(
                "batch norms are frozen and normalise nothing: their statistics come with the "
                "weights that training starts from, and there are none; let batch norms learn"
            )
        return faults

    def begin(self, run: RunFolder) -> None:
        super().begin(run)
        Legend.of(self.dataset).write(run.legend)

    def validation_batches(self, team: Team) -> Iterator:
        part = (team.worker, team.workers)
        return evaluation_batches(self.dataset, self.split, None, *part)

    def predictor(self, team: Team, model: keras.Model) -> validation.Predict:
        """From batches, uint8 `[B, H, W, 3]` of any sizes, to label maps, uint8 `[B, H, W]`."""
        tile = self.recipe.validation_tile
        if keras.backend.backend() != "tensorflow":
            return lambda batches: list(map(self._segment(model), batches))

        def answers(images: tf.Tensor) -> tf.Tensor:
            logits = model(images, training=False)
            if tile:
                return logits
            labels = tf.cast(tf.argmax(logits, axis=-1), tf.uint8)
            is_nan = tf.reduce_any(tf.math.is_nan(logits), axis=-1)
            return tf.where(is_nan, tf.constant(IGNORE, tf.uint8), labels)

        predict = validation.predictor(team, answers)

        def predictions(batches: Sequence[np.ndarray]) -> list[np.ndarray]:
            padded = predict([pad_to_stride(images) for images in batches])
            sizes = [images.shape[1:3] for images in batches]
            answers = [answer[:, :h, :w] for answer, (h, w) in zip(padded, sizes, strict=True)]
            return answers if tile else list(map(check_answered, answers))

        if tile is None:
            return predictions
        segment_tiles = _in_tiles(lambda images: predictions([images])[0], tile)
        return lambda batches: list(map(segment_tiles, batches))

    def _segment(self, model: keras.Model) -> Segment:
        if tile := self.recipe.validation_tile:
            return _in_tiles(functools.partial(predict_logits, model), tile)
        return functools.partial(segment, model)

    def new_counts(self) -> ConfusionMatrix:
        return ConfusionMatrix(self.dataset.num_classes)

    def report(self, run: RunFolder, best: keras.Model, progress: Progress) -> tuple[dict, str]:
        dataset, names = self.dataset, self.dataset.class_names
        print(f"measures {run.best} on split {self.split}", flush=True)
        total = dataset.splits[self.split]
        with tqdm(total=total, desc="evaluate", unit=" images", disable=None) as bar:
            matrix = evaluate_model(self._segment(best), dataset, self.split, count=bar.update)
        summary = matrix.summary(names)
        if tile := self.recipe.validation_tile:
            summary["procedure"] = InferenceOptions(tile=tile).command_line()
        return {**summary, "p5_weights": p5_weights(best)}, matrix.table(names)

    def watched(self, team: Team) -> Sequence[int]:
        count = self.dataset.splits[self.split] // team.workers  # the chief has at least so many
        return evenly_spread(count, self.recipe.tensorboard_samples)

    def shown(
        self, measure: ConfusionMatrix, examples: Sequence[validation.Example]
    ) -> tuple[dict[str, float], Figure | None]:
        found = measure.summary(self.dataset.class_names)["iou"]
        iou = {f"iou/{name}": value for name, value in found.items() if value is not None}
        return iou, self._figure(examples, longest=LOGGED_SIDE) if examples else None

    def _figure(self, examples: Sequence[validation.Example], **options: int) -> Figure:
        images, labels, predictions, image_ids = zip(*examples, strict=True)
        names, palette = self.dataset.class_names, self.dataset.palette
        return samples_figure(images, labels, predictions, names, palette, image_ids, **options)

    def draw(self, run: RunFolder, best: keras.Model) -> None:
        """Draws images from the whole split, evenly spaced, so that they do not all look alike."""
        dataset = self.dataset
        chosen = evenly_spread(dataset.splits[self.split], SAMPLES)

        @tf.autograph.experimental.do_not_convert  # as in `mapped`
        def is_chosen(number, _):
            return tf.reduce_any(number == chosen)

        records = all_records(dataset, self.split).enumerate().filter(is_chosen)
        examples = mapped(records, lambda _, record: whole_example(dataset, record))
        drawn = [
            validation.Example(
                example["image"],
                example["label"],
                self._segment(best)(example["image"][None])[0],
                example["image_id"].decode(),
            )
            for example in examples.as_numpy_iterator()
        ]
        save_figure(self._figure(drawn), run.samples)


def _in_tiles(logits: Callable, tile: tuple[int, int]) -> Segment:
    options = InferenceOptions(tile=tile)
    return lambda images: np.stack([labels_by(logits, image, options) for image in images])

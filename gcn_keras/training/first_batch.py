"""The first batch of a run, drawn without a run: `--show-batch FILE.png`."""

from pathlib import Path

import numpy as np
import tensorflow as tf

from gcn_keras.plots.batch import batch_figure
from gcn_keras.plots.style import save_figure
from gcn_keras.recipes.recipe import Recipe
from gcn_keras.training.callbacks import function_of
from gcn_keras.training.devices import Team
from gcn_keras.training.run import TASKS, naming_damage, steps_per_epoch
from pipelines.base.plurals import count_of
from pipelines.datasets import PreparedDataset


def draw_first_batch(recipe: Recipe, path: str | Path) -> None:
    """Draws what the model is trained on in the first step, all workers' parts; it needs no model,
    so no weights either. A batch that follows from the data is that of one device. Callbacks are
    looked for, as the run does, and not made: they may begin a log of their own.

    Args:
        recipe: checked.
        path: of the PNG; written in one step.

    Raises:
        UsageError: splits, crop, batch or class weights do not fit the data set; there are no such
            callbacks.
        UserError: the data set is missing, an example is damaged, the file cannot be written.
    """
    kind = TASKS[recipe.task]
    if recipe.callbacks:
        function_of(recipe.callbacks)
    with naming_damage("there is no first batch"):
        dataset = kind.load(recipe.dataset, recipe.data_dir)
        recipe, reasons = kind.resolve(recipe, dataset)
        print(*reasons, sep="\n", end="\n" * bool(reasons), flush=True)
        steps_per_epoch(recipe, dataset)
        images, labels, image_ids = first_batch(recipe, dataset)
    side = " × ".join(map(str, images.shape[1:3]))
    crops = f"{count_of(len(images), 'crop')} of {side}"
    title = f"{dataset.name} {recipe.train_split}, first batch: {crops}"
    names, palette = dataset.class_names, dataset.palette
    save_figure(batch_figure(images, labels, image_ids, names, palette, title), path)


def first_batch(
    recipe: Recipe, dataset: PreparedDataset
) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Images, labels and image ids of the first training step."""
    task = TASKS[recipe.task](recipe, dataset)
    task.takes_head()  # refuses weights of the same classes in another order
    batches = task.training_batches(Team(tf.distribute.get_strategy()), start=0)
    images, labels, image_ids = next(batches.as_numpy_iterator())
    return images, labels, [image_id.decode() for image_id in image_ids.tolist()]

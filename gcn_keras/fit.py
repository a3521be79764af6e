"""Trains a model: `python -m gcn_keras.fit [--recipe NAME] [options]`.

Without an argument it trains the embedded recipe on the embedded data set. Every option is a
field of `gcn_keras.recipes.Recipe`; nothing heavy is imported before they have been checked.
"""

import os

from gcn_keras.recipes import command_line
from gcn_keras.training.run_folder import find_run, read_json, recipe_to_resume
from pipelines import datasets
from pipelines.base.environment import prepare_tensorflow
from pipelines.base.errors import UserError, run_command
from pipelines.datasets import classification as classification_sets


def main() -> int:
    """Entry point of the command; the exit status."""
    recipe = command_line.parse()
    if recipe.resume and (base := recipe_to_resume(recipe)):
        recipe = command_line.parse(base=base)
    is_classifier = recipe.task == "classification"
    check_prepared = (
        classification_sets.check_prepared if is_classifier else datasets.check_prepared
    )
    check_prepared(recipe.dataset, recipe.data_dir)
    run = find_run(recipe)
    if run.finished:
        score = "top1_accuracy" if is_classifier else "mean_iou"
        words = "top-1 accuracy" if is_classifier else "mean IoU"
        print(f"{run.path} is finished: {words} {read_json(run.metrics)[score]:.4f}; nothing to do")
        return 0

    os.environ["KERAS_BACKEND"] = recipe.backend
    prepare_tensorflow()
    import tensorflow as tf

    from gcn_keras.training import classification, segmentation
    from gcn_keras.training.run import describe, train

    task = classification.CLASSIFICATION if is_classifier else segmentation.SEGMENTATION
    print(f"{describe(recipe)}\nrun folder {run.path}")
    try:
        metrics = train(recipe, run, task)
    except (OSError, MemoryError, tf.errors.OpError) as error:
        raise UserError(f"training stopped: {error}") from error
    if metrics:
        print(
            f"best epoch {metrics['best_epoch']}, {metrics['parameters']:,} parameters, "
            f"{metrics['training_seconds']:.0f} s of training, {metrics['wall_seconds']:.0f} s in "
            f"all, peak memory {metrics['peak_memory_mib']} MiB\nmodel {run.best}"
        )
    return 0


if __name__ == "__main__":
    run_command(main)

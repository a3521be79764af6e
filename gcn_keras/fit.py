"""Trains a model: `python -m gcn_keras.fit [--recipe NAME] [options]`.

Without an argument it trains the embedded recipe on the embedded data set. Every option is a
field of `gcn_keras.recipes.Recipe`; nothing heavy is imported before they have been checked.
"""

from gcn_keras import recipes
from gcn_keras.environment import prepare_tensorflow
from gcn_keras.run_folder import find_run, read_json
from pipelines import datasets
from pipelines.errors import UserError, run_command


def main() -> None:
    """Entry point of the command."""
    recipe = recipes.parse()
    datasets.check_prepared(recipe.dataset, recipe.data_dir)
    run = find_run(recipe)
    if run.finished:
        metrics = read_json(run.metrics)
        print(f"{run.path} is finished: mean IoU {metrics['mean_iou']:.4f}; nothing to do")
        return

    prepare_tensorflow()
    import tensorflow as tf

    from gcn_keras import training

    print(f"{training.describe(recipe)}\nrun folder {run.path}")
    try:
        metrics = training.train(recipe, run)
    except (OSError, MemoryError, tf.errors.OpError) as error:
        raise UserError(f"training stopped: {error}") from error
    print(
        f"best epoch {metrics['best_epoch']}, {metrics['parameters']:,} parameters, "
        f"{metrics['training_seconds']:.0f} s of training, {metrics['wall_seconds']:.0f} s in all, "
        f"peak memory {metrics['peak_memory_mib']} MiB\n"
        f"model {run.best}"
    )


if __name__ == "__main__":
    run_command(main)

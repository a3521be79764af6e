"""Between the epochs of Keras' `fit`: validation, history, models; and a stop on NaN."""

import functools
import math

import keras
import numpy as np

from gcn_keras.evaluate import evaluate_model
from gcn_keras.inference import segment
from pipelines.errors import UserError


class Validation(keras.callbacks.Callback):
    """Adds `val_mean_iou` and `val_pixel_accuracy` to an epoch's logs; NaN where none is due.

    Both come from one confusion matrix over the whole pictures of the split, by the same function
    as `python -m gcn_keras.evaluate`. It must stand before the callbacks that read the logs.

    Args:
        dataset: `pipelines.datasets.PreparedDataset`.
        split: split to measure on.
        every: epochs between two validations; the last epoch is always validated.
    """

    def __init__(self, dataset, split: str, every: int = 1):
        super().__init__()
        self.dataset, self.split, self.every = dataset, split, every

    def on_epoch_end(self, epoch, logs=None):
        logs["learning_rate"] = float(
            keras.ops.convert_to_numpy(self.model.optimizer.learning_rate)
        )
        due = (epoch + 1) % self.every == 0 or epoch + 1 == self.params["epochs"]
        label = functools.partial(segment, self.model)
        matrix = evaluate_model(label, self.dataset, self.split) if due else None
        logs["val_mean_iou"] = matrix.mean_iou if due else math.nan
        logs["val_pixel_accuracy"] = matrix.pixel_accuracy if due else math.nan


class KeepRun(keras.callbacks.Callback):
    """Writes history.csv and the last model after each epoch, and the best model so far.

    Args:
        run: `gcn_keras.run_folder.RunFolder`.

    Attributes:
        history: one list a column; epochs count from 1.
        best_epoch, best_mean_iou: of the model in best.keras; 0 and -1 before any validation.
    """

    def __init__(self, run):
        super().__init__()
        self.run = run
        self.history = {}
        self.best_epoch, self.best_mean_iou = 0, -1.0

    def on_epoch_end(self, epoch, logs=None):
        for key, value in {"epoch": epoch + 1, **logs}.items():
            self.history.setdefault(key, []).append(value)
        self.run.write_history(self.history)
        self.run.save_model(self.model, self.run.model)
        if logs["val_mean_iou"] > self.best_mean_iou:  # False for NaN
            self.best_epoch, self.best_mean_iou = epoch + 1, logs["val_mean_iou"]
            self.run.save_model(self.model, self.run.best)


class StopOnNaN(keras.callbacks.Callback):
    """Ends training on a loss that is not finite.

    Raises:
        UserError: with epoch, step and learning rate.
    """

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        if not np.isfinite(logs["loss"]):
            rate = float(keras.ops.convert_to_numpy(self.model.optimizer.learning_rate))
            raise UserError(
                f"the loss became {logs['loss']} in epoch {self.epoch + 1}, step {batch + 1}, at "
                f"learning rate {rate:.3g}: lower --learning-rate or raise --warmup-steps; models "
                f"of finished epochs are kept"
            )

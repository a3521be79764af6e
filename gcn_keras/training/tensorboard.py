"""What TensorBoard shows of a run: `tensorboard --logdir runs/NAME/logs`.

    train/       epoch_loss, epoch_learning_rate  as in history.csv
                 epoch_images_per_second          from an epoch's first step to its last, with the
                                                  compilation of the run's first
    validation/  epoch_mean_iou, …                the scores of history.csv
                 iou/CLASS                        of each class that occurs
                 predictions                      images with label, prediction and errors; the
                                                  same ones each time

The step of an entry is its epoch, counted from 0 as by Keras' own callback, whose names these are.
A run that is resumed goes on in the same log.
"""

import io
import time
from pathlib import Path

import keras
import tensorflow as tf
from matplotlib.figure import Figure

from pipelines.base.figures import write_png


class RunLog(keras.callbacks.Callback):
    """The callback that writes the log.

    Args:
        folder: of the log.
        batch_size: images of a step, of all devices together.
    """

    def __init__(self, folder: str | Path, batch_size: int):
        super().__init__()
        self.folder, self.batch_size = Path(folder), batch_size
        self.scores: dict[str, float] = {}
        self.more: dict[str, float] = {}
        self.figure: Figure | None = None

    def add(self, scores: dict[str, float], figure: Figure | None) -> None:
        """Takes what a validation has found beside the scores in Keras' logs.

        Nothing of an epoch is written before its end: one that is stopped comes again after a
        resume.

        Args:
            scores: by their tags.
            figure: of predictions.
        """
        self.more, self.figure = scores, figure

    def on_train_begin(self, logs: dict | None = None) -> None:
        """Opens the files."""
        self.training, self.validation = (
            tf.summary.create_file_writer(str(self.folder / name))
            for name in ("train", "validation")
        )

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        """Resets the number of steps."""
        self.epoch, self.steps = epoch, 0
        self.first = self.last = time.monotonic()

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        """Counts the step."""
        self.steps += 1
        self.last = time.monotonic()

    def on_test_end(self, logs: dict | None = None) -> None:
        """Keeps the scores."""
        self.scores = dict(logs or {})

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        """Writes all of an epoch."""
        values = {k: v for k, v in (logs or {}).items() if not k.startswith("val_")}
        if self.last > self.first:
            values["images_per_second"] = self.steps * self.batch_size / (self.last - self.first)
        with self.training.as_default(step=epoch):
            for name, value in values.items():
                tf.summary.scalar(f"epoch_{name}", value)
        self.training.flush()
        self._write_validation()

    def on_train_end(self, logs: dict | None = None) -> None:
        """Closes the files; a run that a callback has ended may have been validated after that."""
        self._write_validation()
        self.training.close()
        self.validation.close()

    def _write_validation(self) -> None:
        if self.scores:
            with self.validation.as_default(step=self.epoch):
                for name, value in self.scores.items():
                    tf.summary.scalar(f"epoch_{name}", value)
                for tag, value in self.more.items():
                    tf.summary.scalar(tag, value)
                if self.figure:
                    tf.summary.image("predictions", _pixels(self.figure))
            self.validation.flush()
        self.scores, self.more, self.figure = {}, {}, None


def _pixels(figure: Figure) -> tf.Tensor:
    """A figure as uint8 `[1, H, W, 3]`."""
    buffer = io.BytesIO()
    write_png(figure, buffer)
    return tf.io.decode_png(buffer.getvalue(), channels=3)[None]

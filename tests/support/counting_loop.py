"""The loop with a step that counts: it answers what a test wants."""

import csv
import dataclasses
import itertools
import math
import os

import keras
import tensorflow as tf

from gcn_keras import RECIPES
from gcn_keras.evaluation.metrics import ConfusionMatrix
from gcn_keras.training.devices import Team
from gcn_keras.training.loop import Loop
from gcn_keras.training.optimizers import compile_model
from gcn_keras.training.run_folder import RunFolder
from gcn_keras.training.training_state import TrainingState

STEPS = 5
RECIPE = dataclasses.replace(
    RECIPES["shapes"], epochs=3, checkpoint_steps=2, schedule="constant", learning_rate=0.25
)


class Step:
    """Adds one to the model's bias, and answers with losses of a list (1, 2, 3, … without one)."""

    def __init__(self, model, losses=None, signals=None):
        self.model, self.bias = model, model.layers[-1].bias
        self.losses, self.signals = losses or {}, signals or {}
        self.pushed = 0

    def __call__(self, images, labels, stop=False):
        number = int(images[0])
        loss = self.losses.get(number, float(number))
        if number in self.signals:
            os.kill(os.getpid(), self.signals[number])
        if math.isfinite(loss):
            self.bias.assign_add([1.0])
        return tf.constant([loss, float(math.isfinite(loss)), float(stop)])

    def push(self):
        self.pushed += 1

    def pull(self):
        pass


def make_loop(folder, recipe=RECIPE, ious=(0.5, 0.6, 0.55), validate=None, **answers) -> Loop:
    x = keras.Input((None, None, 3))
    model = keras.Model(x, keras.layers.Conv2D(1, 1)(x))
    compile_model(model, recipe, 100)
    model.optimizer.build(model.trainable_variables)
    folder.mkdir(exist_ok=True)

    def stream(start):
        for number in itertools.count(start + 1):
            yield [number], None, tf.constant([f"image {number}"])

    def measure(check_stop):
        check_stop()
        matrix = ConfusionMatrix(2)
        iou = ious[loop.progress.epoch]
        matrix.counts[:] = [[round(1000 * iou), 1000 - round(1000 * iou)], [0, 0]]
        return matrix

    state = TrainingState(recipe, RunFolder(folder), model, Step(model, **answers), STEPS)
    team, scores = Team(tf.distribute.get_strategy()), ("mean_iou", "pixel_accuracy")
    loop = Loop(state, stream, validate or measure, team, scores)
    return loop


def bias_of(path) -> float:
    return float(keras.models.load_model(path, compile=False).layers[-1].bias.numpy()[0])


def history(folder) -> list[dict]:
    with open(folder / "history.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    return [{key: float(value) if value else None for key, value in row.items()} for row in rows]

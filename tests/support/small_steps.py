"""Steps of a tiny model, on either backend, for the tests of steps."""

import dataclasses
import os
import subprocess
from pathlib import Path

import forks
import keras
import numpy as np
from keras import ops
from places import REPOSITORY

from gcn_keras import RECIPES
from gcn_keras.training.optimizers import compile_model

RECIPE = dataclasses.replace(
    RECIPES["shapes"], warmup_steps=0, learning_rate=0.01, optimizer="sgd", momentum=0.5
)


def make_step(accumulate: int = 1, loss=None, freeze: bool = False, replicas: int = 1, **fields):
    """A step of a convolution, a batch norm and a convolution, from the same weights each time.

    The first two are named as a backbone's.

    Args:
        accumulate: of the step.
        loss: None for the recipe's.
        freeze: whether the batch norm is frozen.
        replicas: logical CPUs of TensorFlow, which there are as many of.
        fields: of the recipe.
    """
    if keras.backend.backend() == "jax":
        from gcn_keras.training.jax_step import JaxStep

        return JaxStep(_compiled(loss, freeze, fields), accumulate, fields.get("gradient_clip"))
    import tensorflow as tf

    from gcn_keras.training.devices import Team
    from gcn_keras.training.tensorflow_step import TensorFlowStep

    strategy = tf.distribute.get_strategy()
    if replicas > 1:
        strategy = tf.distribute.MirroredStrategy([f"CPU:{i}" for i in range(replicas)])
    with strategy.scope():
        model = _compiled(loss, freeze, fields)
    return TensorFlowStep(
        model, Team(strategy), accumulate, gradient_clip=fields.get("gradient_clip")
    )


def _compiled(loss, freeze: bool, fields: dict) -> keras.Model:
    keras.utils.set_random_seed(0)
    x = keras.Input((None, None, 3))
    y = keras.layers.Conv2D(4, 3, padding="same", name="conv1_conv")(x)
    y = keras.layers.BatchNormalization(momentum=0.5, trainable=not freeze, name="conv1_bn")(y)
    model = keras.Model(x, keras.layers.Conv2D(3, 1, dtype="float32")(y))
    compile_model(model, dataclasses.replace(RECIPE, **fields), 100, loss)
    return model


def batch(broken: bool = False, seed: int = 0, size: int = 2):
    """Images and labels; a broken batch has an infinite pixel."""
    random = np.random.default_rng(seed)
    images = random.uniform(0, 255, (size, 8, 8, 3)).astype(np.float32)
    if broken:
        images[0, 3, 3, 1] = np.inf
    labels = random.integers(0, 3, (size, 8, 8))
    return ops.convert_to_tensor(images), ops.convert_to_tensor(labels)


def arrays(variables) -> list[np.ndarray]:
    """Copies of variables."""
    return [np.array(ops.convert_to_numpy(variable)) for variable in variables]


def state(step) -> list[np.ndarray]:
    """Weights, and what the optimizer keeps."""
    step.push()
    return arrays([*step.model.weights, *step.model.optimizer.variables])


def take(step, *given, **named) -> tuple[float, float, float]:
    """Takes a step with a batch of such arguments: loss, whether it was taken, stops."""
    return tuple(map(float, ops.convert_to_numpy(step(*batch(*given, **named)))))


def run_alone(test: Path, program: str, backend: str = "tensorflow", devices: int = 1) -> None:
    """Runs a program, which finds a test's file as `t`, in a process that must end well.

    Args:
        test: `__file__` of the test.
        program: Python.
        backend: of Keras.
        devices: logical CPUs of TensorFlow.
    """
    if devices > 1:
        program = (
            "import tensorflow as tf\n"
            "one = tf.config.LogicalDeviceConfiguration()\n"
            "cpu = tf.config.list_physical_devices('CPU')[0]\n"
            f"tf.config.set_logical_device_configuration(cpu, [one] * {devices})\n"
        ) + program
    folders = (REPOSITORY, REPOSITORY / "tests/support", test.parent)
    path = os.pathsep.join(map(str, folders))
    done = subprocess.run(
        [forks.python(backend), "-c", f"import {test.stem} as t\n{program}"],
        env={**os.environ, "KERAS_BACKEND": backend, "PYTHONPATH": path},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr

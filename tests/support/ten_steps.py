"""Ten steps and a validation, on the devices that are asked for: a program for test_devices.

    python tests/support/ten_steps.py '{"out": FILE, "data_dir": DIR, …}'

Options: "devices" (logical CPUs), "strategy", "backend", "recipe" (more fields of it), and "quick"
(on JAX: compiling takes most of the time of ten small steps, so only one test asks for all of it).
Every worker writes what it has to out; the weights that all begin from are made from a seed.
"""

import dataclasses
import json
import os
import sys
from pathlib import Path

import numpy as np

REPOSITORY = Path(__file__).parents[2]
sys.path.insert(0, str(REPOSITORY))

STEPS = 10
BATCH = 8
CLASSES = 3


def batches(accumulate: int = 1):
    """Ten batches of noise with structure; void takes from none to all of an image."""
    random = np.random.default_rng(0)
    for _ in range(STEPS):
        images = random.integers(0, 256, (BATCH, 64, 64, 3)).astype(np.uint8)
        labels = (images.mean(axis=-1) // 86).astype(np.uint8)
        for i, label in enumerate(labels):
            label[: 64 * i // (BATCH - 1)] = 255
        yield images, labels


def main(
    out, data_dir=None, devices=1, strategy="auto", backend="tensorflow", recipe=None, quick=False
):
    os.environ.update({"KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "3"})
    if "mixed_precision" not in (recipe or {}):  # AVX2 knows no 16 bits
        # The same kernels on every machine: ten steps magnify how others round.
        os.environ["ONEDNN_MAX_CPU_ISA"] = "AVX2"
    import keras
    import tensorflow as tf

    from gcn_keras.evaluation.boundaries import BandMatrices, ContourCounts
    from gcn_keras.evaluation.measure import evaluation_batches
    from gcn_keras.evaluation.metrics import ConfusionMatrix
    from gcn_keras.recipes.catalogue import RECIPES
    from gcn_keras.training.devices import make_team
    from gcn_keras.training.losses import PixelCrossentropy
    from gcn_keras.training.optimizers import compile_model
    from gcn_keras.training.run import make_step
    from gcn_keras.training.segmentation import Segmentation
    from gcn_keras.training.validation import evaluate_in_team
    from pipelines import datasets

    if backend == "jax":
        import jax

        jax.config.update("jax_disable_most_optimizations", quick)
    tf.config.set_logical_device_configuration(
        tf.config.list_physical_devices("CPU")[0],
        [tf.config.LogicalDeviceConfiguration() for _ in range(devices)],
    )
    fields = {
        "backbone": "small",
        "kernel_size": (3,),
        "optimizer": "sgd",
        "learning_rate": 0.01,
        "momentum": 0.9,
    }
    fields |= {"schedule": "poly", "warmup_steps": 0, "strategy": strategy, "backend": backend}
    recipe = dataclasses.replace(RECIPES["shapes"], **fields, **(recipe or {}))
    team = make_team(recipe)
    assert team.replicas == devices * team.workers
    keras.utils.set_random_seed(1)
    policies = {"none": "float32", "bfloat16": "mixed_bfloat16", "float16": "mixed_float16"}
    keras.mixed_precision.set_global_policy(policies[recipe.mixed_precision])
    with team.strategy.scope():
        model = Segmentation.build(recipe, CLASSES)
        compile_model(model, recipe, STEPS, PixelCrossentropy([1.0, 2.0, 0.5]))
    begin = Path(out).with_name("begin.npz")
    if begin.exists():  # draws differ between backends
        with np.load(begin) as content:
            for variable, name in zip(model.weights, content.files, strict=True):
                variable.assign(content[name])
    else:
        np.savez(begin, *[keras.ops.convert_to_numpy(v) for v in model.weights])
    results = {}
    step = make_step(model, recipe, team)
    if data_dir:
        dataset = datasets.load("image_folder", data_dir)
        counted = {
            "matrix": ConfusionMatrix(CLASSES),
            "bands": BandMatrices(CLASSES, (1, 3)),
            "contours": ContourCounts(CLASSES),
        }
        part = {"worker": team.worker, "workers": team.workers}
        batches_of_val = evaluation_batches(dataset, "val", **part)
        predict, measures = (
            Segmentation(recipe, dataset).predictor(team, model),
            list(counted.values()),
        )
        evaluate_in_team(team, predict, batches_of_val, measures, lambda: None)
        results |= {name: measure.counts for name, measure in counted.items()}
    share = BATCH // team.workers
    own = slice(team.worker * share, (team.worker + 1) * share)
    answers = []
    for number, (images, labels) in enumerate(batches()):
        images, labels = images[own], labels[own]
        if backend == "tensorflow":
            images, labels = tf.constant(images), tf.constant(labels)
        stop = number == 5 and team.worker == team.workers - 1
        answers.append(keras.ops.convert_to_numpy(step(images, labels, stop)))
    step.push()
    results["answers"] = np.array(answers)
    for i, variable in enumerate(model.weights):
        results[f"weight{i:04d}"] = keras.ops.convert_to_numpy(variable)
    np.savez(out, **results)


if __name__ == "__main__":
    main(**json.loads(sys.argv[1]))

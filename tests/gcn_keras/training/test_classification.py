"""A backbone's pretraining as a classifier, and what `fit --weights` takes from it."""

import csv
import dataclasses
import importlib.util
import json
import shutil
import signal
import subprocess
import types

import forks
import keras
import numpy as np
import pytest
from classified_images import BRIGHT, CLASSES, DARK, Imagenet2012, write_images
from places import REPOSITORY
from small_runs import SMALL, ForkedFit, fit_options, prepare_halves, run

from gcn_keras import RECIPES
from gcn_keras.evaluation.metrics import Accuracy
from gcn_keras.inference.keras_model import load_model
from gcn_keras.models.classifier import classifier
from gcn_keras.training import checkpoints
from gcn_keras.training.classification import Classification
from gcn_keras.training.devices import Team
from gcn_keras.training.segmentation import Segmentation
from gcn_keras.training.validation import evaluate_in_team
from pipelines.base.errors import UserError
from pipelines.datasets import classification as classification_sets
from pipelines.stream.classification import evaluation_batches

TINY = "resnet14_tiny"


class TestAccuracy:
    @staticmethod
    def counts(labels, logits) -> tuple[int, ...]:
        accuracy = Accuracy()
        accuracy.update(labels, logits)
        return tuple(accuracy.counts.tolist())

    def test_places(self):
        logits = np.array([[6.0, 5, 4, 3, 2, 1, 0]] * 4)
        assert self.counts(np.array([0, 1, 4, 5]), logits) == (4, 1, 3)
        assert self.counts(np.array([0]), logits[:1]) == (1, 1, 1)

    def test_a_model_that_cannot_tell_is_never_right(self):
        assert self.counts(np.array([0, 6]), np.zeros((2, 7))) == (2, 0, 0)
        assert self.counts(np.array([0]), np.full((1, 7), np.nan)) == (1, 0, 0)

    def test_shares(self):
        measured = Accuracy(np.array([8, 2, 6]))
        assert (measured.top1_accuracy, measured.top5_accuracy) == (0.25, 0.75)
        assert np.isnan(Accuracy().top1_accuracy)


class TestClassifier:
    @pytest.mark.slow
    def test_images_in_logits_out(self):
        model = classifier(1000, TINY)
        assert model.input_shape == (None, None, None, 3) and model.output_shape == (None, 1000)
        assert model.name == "classifier_resnet14_tiny"
        images = np.random.default_rng(0).integers(0, 256, (2, 64, 96, 3)).astype(np.uint8)
        logits = model.predict_on_batch(images)
        assert logits.shape == (2, 1000) and logits.dtype == np.float32
        assert not np.array_equal(logits[0], logits[1])

    @pytest.mark.slow
    def test_mixed_precision_keeps_float32_logits(self):
        previous = keras.mixed_precision.global_policy()
        keras.mixed_precision.set_global_policy("mixed_bfloat16")
        try:
            model = classifier(5, TINY)
        finally:
            keras.mixed_precision.set_global_policy(previous)
        assert model.get_layer("stem_1_conv").compute_dtype == "bfloat16"
        assert model.get_layer("predictions").compute_dtype == "float32"
        assert model.predict_on_batch(np.zeros((1, 32, 32, 3), np.uint8)).dtype == np.float32

    def test_batch_norm_momentum(self):
        model = classifier(5, TINY, batch_norm_momentum=0.5)
        kind = keras.layers.BatchNormalization
        assert {x.momentum for x in model.layers if isinstance(x, kind)} == {0.5}

    @pytest.mark.parametrize("momentum", [2.0, "0.9"])
    def test_a_momentum_that_cannot_be(self, momentum):
        sentence = f"batch_norm_momentum must be at least 0 and below 1, received {momentum!r}"
        with pytest.raises(ValueError, match=f"^{sentence}$"):
            classifier(5, TINY, batch_norm_momentum=momentum)

    @pytest.mark.parametrize("num_classes", [1, 2.5])
    def test_what_cannot_be_meant(self, num_classes):
        with pytest.raises(ValueError) as caught:
            classifier(num_classes, TINY)
        assert str(caught.value) == (
            f"num_classes must be an integer of at least 2, received {num_classes}"
        )


@pytest.mark.slow
def test_a_classifier_of_other_classes_gives_its_backbone(tmp_path, capsys):
    pretrain = dataclasses.replace(RECIPES["imagenet-pretrain"], backbone=TINY)
    path = tmp_path / "best.keras"
    theirs = Classification.build(pretrain, num_classes=9)
    theirs.save(path)
    keras.utils.set_random_seed(7)
    ours = Classification.build(dataclasses.replace(pretrain, weights=str(path)), num_classes=5)
    same = {
        layer.name: all(
            map(np.array_equal, layer.get_weights(), theirs.get_layer(layer.name).get_weights())
        )
        for layer in ours.layers
        if layer.weights
    }
    assert same == {name: name != "predictions" for name in same}
    assert f"{len(same) - 1} of {len(same)} layers start from {path}" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.parametrize("backbone", [TINY, pytest.param("resnet50_gcn", marks=pytest.mark.slow)])
def test_all_layers_of_the_backbone_are_taken_over_and_no_other(backbone, tmp_path, capsys):
    pretrain = dataclasses.replace(RECIPES["imagenet-pretrain"], backbone=backbone)
    model = Classification.build(pretrain, num_classes=9)
    random = np.random.default_rng(0)
    for weight in model.weights:
        weight.assign(0.5 + random.random(weight.shape, np.float32))
    path = tmp_path / "best.keras"
    model.save(path)
    recipe = dataclasses.replace(
        RECIPES["shapes"], backbone=backbone, kernel_size=(3,), weights=str(path)
    )
    segmenter = Segmentation.build(recipe, num_classes=4)
    theirs = {layer.name: layer.get_weights() for layer in model.layers if layer.weights}
    ours = {layer.name: layer.get_weights() for layer in segmenter.layers if layer.weights}
    del theirs["predictions"]
    for name, values in theirs.items():
        assert all(np.array_equal(a, b) for a, b in zip(values, ours[name], strict=True)), name
    head = set(ours) - set(theirs)
    assert all(name.startswith(("gcn_p", "br_", "deconv_")) for name in head)
    assert capsys.readouterr().out == f"{len(theirs)} of {len(ours)} layers start from {path}\n"


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    return write_images(tmp_path_factory.mktemp("imagenet") / "data")


@pytest.fixture(scope="module")
def dataset(data_dir):
    return classification_sets.load("imagenet2012", data_dir)


class TestEvaluate:
    @staticmethod
    def logits(images):
        """Class 255 for bright images, and never anything but 8 for dark ones: not 7."""
        scores = np.zeros((len(images), CLASSES))
        bright = images.mean(axis=(1, 2, 3)) > 128
        scores[np.arange(len(images)), np.where(bright, BRIGHT, DARK + 1)] = 2
        scores[:, DARK] = 1
        return scores

    @pytest.mark.parametrize("workers", [1, 2])
    @pytest.mark.parametrize("replicas", [1, 2])
    @pytest.mark.parametrize("batch_size", [1, 3, 16])
    def test_each_image_counts_once(self, dataset, batch_size, replicas, workers):
        """However they are divided. Three of seven are bright; the dark ones come second."""
        checks, groups, parts = [], [], []

        def predict(batches):
            groups.append(len(batches))
            return [self.logits(images) for images in batches]

        for worker in range(workers):
            team = types.SimpleNamespace(
                worker=worker,
                workers=workers,
                local_replicas=replicas,
                sum_over_workers=lambda counts: counts,
            )
            batches = evaluation_batches(
                dataset, "validation", (32, 32), batch_size, (worker, workers)
            )
            accuracy = Accuracy()
            evaluate_in_team(
                team,
                predict,
                batches.as_numpy_iterator(),
                [accuracy],
                lambda: checks.append(1),
            )
            parts.append(accuracy.counts)
        assert np.sum(parts, axis=0).tolist() == [7, 3, 7]
        assert max(groups) <= replicas and len(checks) == len(groups)

    @pytest.mark.slow
    def test_one_device_predicts_what_the_model_does(self, dataset):
        import tensorflow as tf

        model = classifier(6, TINY)
        task = Classification(RECIPES["imagenet-pretrain"], dataset)
        predict = task.predictor(Team(tf.distribute.get_strategy()), model)
        images = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3)).astype(np.uint8)
        (found,) = predict([images])
        np.testing.assert_allclose(found, model.predict_on_batch(images), rtol=1e-4, atol=1e-5)


def test_classes_that_training_never_sees(dataset, capsys):
    """But 255 is one that it does."""
    Classification(RECIPES["imagenet-pretrain"], dataset).warn()
    assert capsys.readouterr().err == (
        "warning: training never sees 258 of 260 classes, of which split 'train' has no label: "
        "0, 1, 2, 3, 4, 5, 6, 8, 9, 10, …\n"
    )


# === End to end, in processes of their own ===


def options_of(data_dir, out, **options) -> list:
    given = {
        "recipe": "imagenet-pretrain",
        "data-dir": data_dir,
        "backbone": "small",
        "crop": (32, 32),
        "batch": 4,
        "epochs": 4,
        "optimizer": "adamw",
        "learning-rate": 3e-3,
        "warmup-steps": 0,
        "batch-norm-momentum": 0.5,
        "out": out,
        **options,
    }
    arguments = []
    for name, value in given.items():
        arguments += [f"--{name}", *(value if isinstance(value, tuple) else (value,))]
    return arguments


def history(folder) -> list[dict]:
    with open(folder / "history.csv", newline="") as file:
        return [{key: float(value) for key, value in row.items()} for row in csv.DictReader(file)]


@pytest.fixture(scope="module")
def finished(data_dir, tmp_path_factory):
    """The folder of a run of four epochs, which another one may repeat."""
    out = tmp_path_factory.mktemp("pretrain") / "run"
    done = run("fit", *options_of(data_dir, out), "--deterministic")
    assert done.returncode == 0, done.stderr
    (out / "stdout.txt").write_text(done.stdout)
    return out


@pytest.mark.slow
class TestRuns:
    def test_learns_dark_and_bright(self, finished):
        metrics = json.loads((finished / "metrics.json").read_text())
        assert metrics["top1_accuracy"] == metrics["top5_accuracy"] == 1
        assert metrics["top5_error"] == 0 and metrics["split"] == "validation"
        assert metrics["train_images"] == 80 and metrics["skipped_steps"] == 0
        assert set(metrics["data_sha256"]) == {"train", "validation"}
        rows = history(finished)
        assert [row["epoch"] for row in rows] == [1, 2, 3, 4]
        assert list(rows[0]) == [
            *("epoch", "loss", "learning_rate", "val_top1_accuracy", "val_top5_accuracy")
        ]
        assert rows[-1]["loss"] < rows[0]["loss"]
        best = rows[metrics["best_epoch"] - 1]
        assert best["val_top1_accuracy"] == max(row["val_top1_accuracy"] for row in rows) == 1
        printed = (finished / "stdout.txt").read_text()
        assert "top-1 accuracy 100.0 %, top-5 accuracy 100.0 %, top-5 error 0.0 %\n" in printed

    def test_files(self, finished):
        names = {path.name for path in finished.iterdir()} - {"stdout.txt"}
        assert names == {
            *("config.json", "model.keras", "best.keras", "history.csv", "checkpoints", "logs"),
            *("curves.png", "metrics.json"),
        }
        assert keras.models.load_model(finished / "best.keras").output_shape == (None, CLASSES)

    def test_a_finished_run_is_told_of(self, data_dir, finished):
        done = run("fit", *options_of(data_dir, finished), "--deterministic")
        expected = f"{finished} is finished: top-1 accuracy 1.0000; nothing to do\n"
        assert (done.returncode, done.stdout) == (0, expected)

    def test_segmentation_starts_from_it(self, finished, tmp_path):
        halves = prepare_halves(tmp_path)
        options = fit_options(halves, tmp_path / "run", weights=finished / "best.keras", epochs=1)
        options += SMALL
        status, stdout, stderr = ForkedFit(options, tmp_path).finish()
        assert status == 0, stderr
        model = keras.models.load_model(finished / "best.keras")
        copied = sum(bool(layer.weights) for layer in model.layers) - 1  # but the dense layer
        total = sum(bool(x.weights) for x in load_model(tmp_path / "run" / "best.keras").layers)
        best = finished / "best.keras"
        assert f"{copied} of {total} layers start from {best}\n" in stdout

    def test_no_other_command_takes_it_for_a_segmentation_model(self, finished):
        with pytest.raises(UserError) as caught:
            load_model(finished / "best.keras")
        assert str(caught.value) == (
            f"{finished}/best.keras is no segmentation model: inputs and outputs are "
            f"[(None, None, None, 3), (None, {CLASSES})]"
        )

    def test_goes_on_where_it_was_stopped(self, data_dir, finished, tmp_path):
        out = tmp_path / "run"
        options = [*options_of(data_dir, out), "--checkpoint-steps", 1, "--deterministic"]
        fit = ForkedFit(options, tmp_path)
        fit.wait_for(lambda: any(checkpoints.paths(out / "checkpoints")))
        fit.send(signal.SIGTERM)
        status, _, stderr = fit.finish()
        assert status == 143, stderr
        status, stdout, stderr = ForkedFit([*options, "--resume"], tmp_path).finish()
        assert status == 0, stderr
        assert "goes on after" in stdout
        assert history(out) == history(finished)

    def test_several_devices_take_the_same_steps(self, data_dir, tmp_path):
        program = """
import sys
import tensorflow as tf
from gcn_keras import fit
from pipelines.base.errors import run_command
tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2
)
run_command(fit.main)
"""
        # Few, small steps of SGD: rounding errors grow with each step, and Adam divides by them.
        given = {"optimizer": "sgd", "learning-rate": 1e-3, "crop": (64, 64)}
        given |= {"epochs": 2, "steps-per-epoch": 4}
        rows = {}
        for strategy in ("one", "mirrored"):
            out = tmp_path / strategy
            options = options_of(data_dir, out, strategy=strategy, **given)
            done = subprocess.run(
                [forks.python(), "-c", program, *map(str, options)],
                cwd=REPOSITORY,
                capture_output=True,
                text=True,
            )
            assert done.returncode == 0, done.stderr
            rows[strategy] = history(out)
        ours, theirs = ([row["loss"] for row in rows[s]] for s in ("mirrored", "one"))
        assert len(ours) == 2 and ours == pytest.approx(theirs, rel=1e-4)

    @pytest.mark.skipif(importlib.util.find_spec("jax") is None, reason="needs JAX")
    def test_jax(self, data_dir, tmp_path):
        out = tmp_path / "run"
        options = options_of(data_dir, out, backend="jax")
        done = forks.run("gcn_keras.fit", *options, backend="jax")
        assert done.returncode == 0, done.stderr
        assert history(out)[-1]["val_top1_accuracy"] == 1

    @pytest.mark.parametrize(
        "options, status, message",
        [
            (
                {"data-dir": "nowhere"},
                1,
                "error: 'imagenet2012' is not prepared in nowhere (looked in nowhere/imagenet2012)",
            ),
            (
                {"train-split": "all"},
                2,
                "error: 'imagenet2012' has no split 'all'; it has: train, ",
            ),
            ({"batch": 64}, 2, "error: --batch 64 is larger than split 'train', which has 20 "),
        ],
    )
    def test_what_is_refused(self, data_dir, tmp_path, options, status, message):
        arguments = options_of(data_dir, tmp_path / "run", **options)
        found, _, stderr = ForkedFit(arguments, tmp_path).finish()
        assert found == status and message in stderr and "Traceback" not in stderr
        assert not (tmp_path / "run").exists()

    def test_damaged_records(self, data_dir, tmp_path):
        copy = tmp_path / "data"
        shutil.copytree(data_dir, copy)
        (records,) = copy.rglob("*train.tfrecord*")
        content = bytearray(records.read_bytes())
        content[len(content) // 2] ^= 1
        records.write_bytes(content)
        status, _, stderr = ForkedFit(options_of(copy, tmp_path / "run"), tmp_path).finish()
        assert status == 1
        message = stderr[stderr.rindex("error: ") :]
        assert message.startswith("error: training stopped: a record file is damaged or missing (")
        advice = (
            "; prepare the data set again; go on without it by: python -m gcn_keras.fit --resume "
            f"--out {tmp_path / 'run'} "
        )
        assert advice in message and message.endswith(" --skip-errors\n")

    def test_images_without_classes(self, tmp_path, monkeypatch):
        monkeypatch.setattr(Imagenet2012, "label", -1)
        folder = write_images(tmp_path / "data")
        status, _, stderr = ForkedFit(options_of(folder, tmp_path / "run"), tmp_path).finish()
        assert status == 1
        assert "error: training stopped: an image has no class; " in stderr

"""Starting weights and stops; and `fit`, `evaluate`, `predict` end to end."""

import csv
import dataclasses
import hashlib
import json
import re
import shlex
import shutil
from pathlib import Path
from types import SimpleNamespace

import keras
import numpy as np
import pytest
from PIL import Image
from places import REPOSITORY
from small_runs import CLASSES, SMALL, ForkedFit, fit_options, prepare_halves, run

from gcn_keras import RECIPES, load_image, segment
from gcn_keras.models.layer_names import is_in_head
from gcn_keras.recipes import command_line
from gcn_keras.training import run as training_run
from gcn_keras.training.run_folder import RunFolder
from gcn_keras.training.segmentation import Segmentation
from gcn_keras.training.training_state import Progress
from pipelines import datasets
from pipelines.base import bfloat16
from pipelines.base.errors import ArgumentError, UserError
from pipelines.base.imagenet import STD_RGB

RECIPE = dataclasses.replace(
    RECIPES["shapes"],
    backbone="small",
    kernel_size=(3,),
    crop=(64, 64),
    learning_rate=0.2,
    weight_decay=0.05,
)


def recipe(**fields):
    return dataclasses.replace(RECIPE, **fields)


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    keras.utils.set_random_seed(1)
    model = Segmentation.build(RECIPE, num_classes=3)
    path = tmp_path_factory.mktemp("start") / "source.keras"
    model.save(path)
    return model, path


class TestStartingWeights:
    @pytest.mark.slow
    def test_layers_that_fit_are_copied(self, source, capsys):
        """Another number of classes: the backbone comes along, the head starts anew."""
        given, path = source
        keras.utils.set_random_seed(2)
        model = Segmentation.build(recipe(weights=str(path)), num_classes=4)
        equal = {
            layer.name: all(
                np.array_equal(a, b)
                for a, b in zip(
                    layer.get_weights(), given.get_layer(layer.name).get_weights(), strict=True
                )
            )
            for layer in model.layers
            if layer.weights
        }
        head = {name for name in equal if name.startswith(("gcn_", "br_", "deconv_"))}
        assert head and equal == {name: name not in head for name in equal}
        copied = len(equal) - len(head)
        assert capsys.readouterr().out == f"{copied} of {len(equal)} layers start from {path}\n"

    @pytest.mark.slow
    def test_same_classes_copy_everything(self, source):
        given, path = source
        model = Segmentation.build(recipe(weights=str(path)), num_classes=3)
        for ours, theirs in zip(model.get_weights(), given.get_weights(), strict=True):
            np.testing.assert_array_equal(ours, theirs)

    @pytest.mark.slow
    def test_other_classes_of_the_same_number_leave_the_head(self, source, capsys):
        given, path = source
        keras.utils.set_random_seed(2)
        model = Segmentation.build(recipe(weights=str(path)), num_classes=3, with_head=False)
        for layer in (each for each in model.layers if each.weights):
            theirs = given.get_layer(layer.name).get_weights()
            same = all(map(np.array_equal, layer.get_weights(), theirs))
            # The other layers of a head all begin with the same values.
            if layer.name.startswith("gcn_") or not is_in_head(layer.name):
                assert same != layer.name.startswith("gcn_"), layer.name
        assert f"layers start from {path}, the backbone: it knows other" in capsys.readouterr().out

    def test_a_model_without_a_common_layer(self, tmp_path):
        path = tmp_path / "other.keras"
        x = keras.Input((None, None, 3))
        keras.Model(x, keras.layers.Conv2D(3, 1, name="other")(x), name="colours").save(path)
        with pytest.raises(UserError) as caught:
            Segmentation.build(recipe(weights=str(path)), num_classes=3)
        assert str(caught.value) == (
            f"{path}, which holds the model 'colours', has 0 of the 8 layers of the backbone "
            "'small': backbone must name the one in the file"
        )

    @pytest.mark.slow
    def test_a_model_with_the_head_alone_in_common(self, source):
        _, path = source
        fault = "has 0 of the .* layers of the backbone 'mobilenet_v3_small', and 8 more: backbone"
        with pytest.raises(UserError, match=fault):
            Segmentation.build(
                recipe(weights=str(path), backbone="mobilenet_v3_small"), num_classes=3
            )

    @pytest.mark.slow
    @pytest.mark.parametrize(
        "backbone, found",
        [
            (
                "resnet18_slim",
                "has 10 of the 40 layers of the backbone 'resnet18_slim', and 4 more: ",
            ),
            (
                "resnet14_tiny",
                "has 10 of the 34 layers of the backbone 'resnet14_tiny', and 10 more",
            ),
        ],
    )
    def test_a_backbone_of_another_depth(self, backbone, found, tmp_path):
        """Many layers of the two have the same names and shapes, and stand in other places."""
        other = {"resnet18_slim": "resnet14_tiny", "resnet14_tiny": "resnet18_slim"}[backbone]
        path = tmp_path / "other.keras"
        Segmentation.build(recipe(backbone=other), num_classes=3).save(path)
        with pytest.raises(UserError, match=found):
            Segmentation.build(recipe(weights=str(path), backbone=backbone), num_classes=3)

    @pytest.mark.slow
    def test_files_of_keras_own_networks_are_the_same_in_every_form(self, tmp_path):
        """Their first kernel expects BGR, which ours does not, whatever file it comes from."""
        published = keras.applications.ResNet50(include_top=False, weights=None)
        kernels = []
        for name in ("a.weights.h5", "a.keras"):
            save = published.save if name == "a.keras" else published.save_weights
            save(tmp_path / name)
            start = recipe(weights=str(tmp_path / name), backbone="resnet50")
            model = Segmentation.build(start, num_classes=3)
            kernels.append(model.get_layer("conv1_conv").get_weights()[0])
        np.testing.assert_array_equal(*kernels)
        std = np.reshape(STD_RGB, (1, 1, 3, 1))
        theirs = published.get_layer("conv1_conv").get_weights()[0]
        np.testing.assert_allclose(kernels[0], theirs[:, :, ::-1] * std, rtol=1e-6)

    @pytest.mark.parametrize("ending", ["keras", "h5"])
    def test_a_missing_file(self, tmp_path, ending):
        path = tmp_path / f"none.{ending}"
        with pytest.raises(UserError, match=re.escape(str(path))):
            Segmentation.build(
                recipe(weights=str(path), backbone="mobilenet_v3_small"), num_classes=3
            )


# === End to end, in processes of their own ===


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory) -> Path:
    return prepare_halves(tmp_path_factory.mktemp("fit"))


@pytest.fixture(scope="module")
def finished(data_dir) -> Path:
    """The folder of a run of two epochs."""
    out = data_dir.parent / "run"
    done = run("fit", *fit_options(data_dir, out))
    assert done.returncode == 0, done.stderr
    (data_dir.parent / "stdout.txt").write_text(done.stdout)
    return out


def read_history(folder) -> list[dict]:
    with open(folder / "history.csv", newline="") as file:
        return [{key: float(value) for key, value in row.items()} for row in csv.DictReader(file)]


def read_metrics(folder) -> dict:
    return json.loads((folder / "metrics.json").read_text())


@pytest.mark.slow
class TestClassWeights:
    def test_of_a_data_set(self, data_dir):
        prepared = datasets.load("image_folder", data_dir)

        def class_weights(kind):
            return Segmentation(recipe(class_weights=kind), prepared).loss().class_weights

        assert class_weights("none") is None
        weights = class_weights("median-frequency")
        # Training edges 16, 19 … 37: void is two columns wide, the left class ends before it.
        left = sum(16 + 3 * number - 1 for number in range(8))
        right = sum(64 - (16 + 3 * number) - 1 for number in range(8))
        median = (left + right) / 2
        np.testing.assert_allclose(weights, [median / left, median / right])
        roots = class_weights("sqrt")
        np.testing.assert_allclose(roots, np.sqrt([median / left, median / right]))
        assert class_weights((2.0, 0.5)) == [2.0, 0.5]
        with pytest.raises(ArgumentError) as caught:
            class_weights((1.0, 2.0, 3.0))
        assert str(caught.value) == (
            "class_weights must be a number for each of the 2 classes of 'image_folder', got 3"
        )

    def test_losses_by_their_names(self, data_dir):
        prepared = datasets.load("image_folder", data_dir)

        def loss(**options):
            return Segmentation(recipe(**options), prepared).loss()

        focal = loss(loss="focal", ohem=0.25, class_weights=(1.0, 3.0))
        assert (focal.focus, focal.hardest, focal.class_weights) == (2.0, 0.25, [1.0, 3.0])
        both = loss(loss="cross-entropy+lovasz", ohem=0.5)
        assert [type(part).__name__ for part in both.losses] == ["PixelCrossentropy", "Lovasz"]
        assert (both.losses[0].focus, both.losses[0].hardest) == (0.0, 0.5)
        assert type(loss(loss="dice")).__name__ == "Dice"


@pytest.mark.slow
class TestRunFolder:
    def test_holds_these_files_and_no_other(self, finished):
        assert {path.name for path in finished.iterdir()} == {
            "config.json",
            "labels.json",
            "model.keras",
            "best.keras",
            "history.csv",
            "checkpoints",
            "logs",
            "curves.png",
            "samples.png",
            "metrics.json",
        }
        assert {path.name for path in (finished / "logs").iterdir()} == {"train", "validation"}
        saved_model = finished.with_name("run-saved-model")
        assert [path.name for path in saved_model.iterdir()] == ["1"]

    def test_metrics_say_where_they_come_from(self, finished, data_dir):
        metrics = read_metrics(finished)
        assert metrics["configuration"] == json.loads((finished / "config.json").read_text())
        assert metrics["versions"]["keras"] == keras.__version__
        assert metrics["backend"] == "tensorflow" and metrics["skipped_steps"] == 0
        if (REPOSITORY / ".git").exists():
            assert re.fullmatch(r"[0-9a-f]{40}(-modified)?", metrics["git_commit"])
        else:
            assert metrics["git_commit"] is None
        for split, digest in metrics["data_sha256"].items():
            (file,) = data_dir.rglob(f"*-{split}.tfrecord-*")
            assert digest == hashlib.sha256(file.read_bytes()).hexdigest()
        assert set(metrics["data_sha256"]) == {"train", "val"}

    def test_config(self, finished):
        config = json.loads((finished / "config.json").read_text())
        assert {
            key: config[key] for key in ("name", "dataset", "crop", "kernel_size", "epochs")
        } == {
            "name": "shapes",
            "dataset": "image_folder",
            "crop": [64, 64],
            "kernel_size": [3],
            "epochs": 2,
        }
        assert not {"out", "saved_model", "data_dir", "export"} & set(config)

    def test_history(self, finished):
        rows = read_history(finished)
        assert [row["epoch"] for row in rows] == [1, 2]
        for row in rows:
            assert set(row) == {
                "epoch",
                "loss",
                "learning_rate",
                "val_mean_iou",
                "val_pixel_accuracy",
            }
            assert 0 < row["loss"] < 10 and 0 <= row["val_mean_iou"] <= 1
        # Cosine over four steps: half-way after the first epoch, zero at the end.
        peak = RECIPES["shapes"].learning_rate
        rates = [row["learning_rate"] for row in rows]
        assert rates == pytest.approx([peak / 2, 0], abs=1e-9)

    def test_metrics_are_the_best_epochs(self, finished):
        metrics, rows = read_metrics(finished), read_history(finished)
        best = max(rows, key=lambda row: row["val_mean_iou"])
        assert metrics["best_epoch"] == best["epoch"]
        assert metrics["mean_iou"] == pytest.approx(best["val_mean_iou"], abs=1e-6)
        assert metrics["mean_iou"] == pytest.approx(np.mean(list(metrics["iou"].values())))
        assert list(metrics["iou"]) == list(CLASSES)
        assert metrics["train_images"] == 16 and metrics["split"] == "val"
        assert metrics["versions"]["keras"] == keras.__version__
        assert 0 < metrics["training_seconds"] < metrics["wall_seconds"]

    def test_models_load(self, finished):
        for name in ("model.keras", "best.keras"):
            model = keras.models.load_model(finished / name)
            assert model.output_shape == (None, None, None, 2)
            assert model.count_params() == read_metrics(finished)["parameters"]
            assert not model.compiled  # nothing of the training is in the file

    def test_figures_are_images(self, finished):
        for name in ("curves.png", "samples.png"):
            pixels = load_image(finished / name)
            assert min(pixels.shape[:2]) > 200 and pixels.std() > 10

    def test_the_terminal_shows_the_table(self, finished):
        lines = (finished.parent / "stdout.txt").read_text().splitlines()
        metrics = read_metrics(finished)
        for name, value in (*metrics["iou"].items(), ("mean IoU", metrics["mean_iou"])):
            assert f"{name:<14}  {100 * value:>6.1f}" in lines

    def test_the_terminal_says_what_is_being_done(self, finished):
        """To a pipe: a line for each epoch, and before each of what takes its time."""
        out = (finished.parent / "stdout.txt").read_text()
        lines = out.splitlines()
        last, measures, table, exports = (
            next(i for i, line in enumerate(lines) if line.startswith(start))
            for start in (
                "epoch 2/2: loss ",
                f"measures {finished}/best.keras on split val",
                "class ",
                f"exports {finished}/best.keras to {finished}-saved-model",
            )
        )
        assert last + 1 == measures < table < exports
        assert sum(line.startswith("epoch ") for line in lines) == 2
        assert "\x1b" not in out and "\b" not in out and "nan" not in out

    def test_same_seed_same_losses(self, finished, data_dir, tmp_path):
        again = data_dir.parent / "again"
        status, _, stderr = ForkedFit(fit_options(data_dir, again), tmp_path).finish()
        assert status == 0, stderr
        losses = [[row["loss"] for row in read_history(path)] for path in (finished, again)]
        assert losses[1][0] == pytest.approx(losses[0][0], rel=1e-5)
        assert not again.with_name("again-saved-model").exists()

    def test_same_configuration_is_finished(self, finished, data_dir):
        before = {path: path.stat().st_mtime_ns for path in finished.rglob("*")}
        done = run("fit", *fit_options(data_dir, finished))
        assert done.returncode == 0, done.stderr
        mean_iou = read_metrics(finished)["mean_iou"]
        expected = f"{finished} is finished: mean IoU {mean_iou:.4f}; nothing to do\n"
        assert done.stdout == expected
        assert {path: path.stat().st_mtime_ns for path in finished.rglob("*")} == before

    def test_another_configuration_is_refused(self, finished, data_dir):
        done = run("fit", *fit_options(data_dir, finished, epochs=3))
        assert done.returncode == 2
        assert done.stderr == (
            f"error: --out {finished} holds a run with epochs = 2, and this one has 3: name "
            f"another folder\n"
        )

    def test_a_folder_of_something_else_is_refused(self, data_dir):
        done = run("fit", *fit_options(data_dir, data_dir))
        assert done.returncode == 2
        expected = f"error: --out {data_dir} exists and is no run folder: name another one\n"
        assert done.stderr == expected

    @pytest.mark.parametrize(
        "option, value, message",
        [
            ("val-split", "nope", "'image_folder' has no split 'nope'; it has: train, val"),
            ("batch", 9, "--batch 9 is larger than split 'train', which has 8 examples"),
        ],
    )
    def test_what_does_not_fit_the_data_leaves_no_folder(
        self, data_dir, tmp_path, option, value, message
    ):
        out = data_dir.parent / "refused"
        arguments = fit_options(data_dir, out, **{option: value})
        status, _, stderr = ForkedFit(arguments, tmp_path).finish()
        assert (status, stderr.splitlines()[-1]) == (2, f"error: {message}")
        assert not out.exists()

    def test_a_missing_data_set_says_how_to_prepare_it(self, tmp_path):
        done = run("fit", *fit_options(tmp_path / "data", tmp_path / "run"))
        assert done.returncode == 1
        assert "Traceback" not in done.stderr
        assert done.stderr.endswith(
            f"prepare it with: python -m pipelines.prepare image_folder --from DIR --data-dir "
            f"{tmp_path / 'data'}\n"
        )
        assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_damaged_data_end_training_in_one_sentence_or_are_skipped(data_dir, tmp_path):
    shutil.copytree(data_dir, tmp_path / "data")
    (file,) = (tmp_path / "data").rglob("*-train.tfrecord-*")
    content = bytearray(file.read_bytes())
    content[-100] ^= 1  # in the last record
    file.write_bytes(content)
    arguments = [*fit_options(tmp_path / "data", tmp_path / "run", epochs=1, batch=(1,)), *SMALL]
    stopped = [*arguments, "--out", tmp_path / "stopped"]
    status, _, stderr = ForkedFit(stopped, tmp_path).finish()
    assert status == 1 and "Traceback" not in stderr
    last = stderr.splitlines()[-1]
    assert last.startswith(
        "error: training stopped: a record file is damaged or missing (corrupted record at "
    )
    said, _, command = last.partition(" go on without it by: python -m gcn_keras.fit ")
    assert said.endswith(
        f"; python -m pipelines.doctor image_folder --data-dir {tmp_path}/data names what is "
        "damaged;"
    )
    skipping = [*arguments, "--skip-errors", "--class-weights", "median-frequency"]
    for out, options in (
        (tmp_path / "stopped", shlex.split(command)),
        (tmp_path / "run", skipping),
    ):
        status, _, stderr = ForkedFit(options, tmp_path).finish()
        assert status == 0, stderr
        assert "image_folder train: damaged examples skipped so far: 1 of " in stderr
        assert read_metrics(out)["train_images"] == 8


@pytest.mark.slow
class TestFinishedModel:
    def test_saved_model_gives_the_labels_of_segment(self, finished):
        import tensorflow as tf

        folder = finished.with_name("run-saved-model") / "1"
        serve = tf.saved_model.load(str(folder)).signatures["serving_default"]
        model = keras.models.load_model(finished / "best.keras", compile=False)
        images = np.random.default_rng(0).integers(0, 256, (2, 45, 71, 3)).astype(np.uint8)
        served = serve(images=tf.constant(images))
        labels, scores = served["labels"].numpy(), served["scores"].numpy()
        assert labels.dtype == np.uint8 and labels.shape == scores.shape == (2, 45, 71)
        np.testing.assert_array_equal(labels, segment(model, images))
        assert scores.min() >= 1 / len(CLASSES) and scores.max() <= 1
        legend = json.loads((folder / "assets" / "labels.json").read_text())
        assert legend == {"class_names": list(CLASSES), "palette": [[128, 128, 128], [0, 0, 255]]}

    def test_evaluate_repeats_the_metrics(self, finished, data_dir, tmp_path):
        best, report = finished / "best.keras", tmp_path / "report.json"
        options = ("--dataset", "image_folder", "--data-dir", data_dir, "--json", report)
        done = run("evaluate", best, *options)
        assert done.returncode == 0, done.stderr
        found, metrics = json.loads(report.read_text()), read_metrics(finished)
        measures = {key: metrics[key] for key in ("mean_iou", "pixel_accuracy", "iou", "split")}
        assert found == {"model": str(best), "dataset": "image_folder", "images": 4, **measures}
        assert f"{'mean IoU':<14}  {100 * metrics['mean_iou']:>6.1f}" in done.stdout.splitlines()

    @pytest.mark.parametrize(
        "options, status, message",
        [
            ("none.keras --dataset image_folder", 1, "there is no model at none.keras"),
            ("BEST --dataset image_foldr", 2, "there is no data set 'image_foldr' (did you mean"),
            ("BEST --dataset image_folder --split test", 2, "'image_folder' has no split 'test'"),
            ("BEST --dataset image_folder --limit 0", 2, "--limit must be at least 1, got 0"),
        ],
    )
    def test_evaluate_refuses(self, finished, data_dir, options, status, message):
        arguments = options.replace("BEST", str(finished / "best.keras")).split()
        done = run("evaluate", *arguments, "--data-dir", data_dir)
        assert done.returncode == status
        assert f"error: {message}" in done.stderr and "Traceback" not in done.stderr

    def test_predict_on_any_image(self, finished, tmp_path):
        sizes = write_images(tmp_path / "images")
        shutil.copy(REPOSITORY / "LICENSE", tmp_path / "images" / "broken.jpg")
        out = tmp_path / "out"
        done = run("predict", finished / "best.keras", tmp_path / "images", "--out", out)
        assert done.returncode == 1, done.stderr
        assert f"error: {tmp_path}/images/broken.jpg is not an image" in done.stderr
        assert done.stderr.endswith("1 of 6 images failed\n")
        assert "Traceback" not in done.stderr
        expected = {f"{name}_{kind}" for name in sizes for kind in ("labels.png", "overlay.jpg")}
        assert {path.name for path in out.iterdir()} == expected
        model = keras.models.load_model(finished / "best.keras", compile=False)
        for name, size in sizes.items():
            with Image.open(out / f"{name}_labels.png") as labels:
                assert (labels.mode, labels.size) == ("P", size)
                assert labels.getpalette()[:6] == [128, 128, 128, 0, 0, 255]
                image = load_image(next((tmp_path / "images").glob(f"{name}.*")))
                np.testing.assert_array_equal(np.array(labels), segment(model, image))
            with Image.open(out / f"{name}_overlay.jpg") as overlay:
                assert (overlay.mode, overlay.size) == ("RGB", size)

    def test_predict_ends_well_on_good_images(self, finished, tmp_path):
        write_images(tmp_path / "images")
        image = tmp_path / "images" / "rgb.png"
        done = run("predict", finished / "best.keras", image, "--out", tmp_path / "deep" / "out")
        assert done.returncode == 0, done.stderr
        assert {path.name for path in (tmp_path / "deep" / "out").iterdir()} == {
            "rgb_labels.png",
            "rgb_overlay.jpg",
        }


def write_images(folder) -> dict[str, tuple[int, int]]:
    """One of each kind; names and upright sizes, width first."""
    folder.mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (45, 70, 3)).astype(np.uint8)
    image = Image.fromarray(pixels)
    image.save(folder / "rgb.png")
    image.convert("L").save(folder / "gray.jpg")
    image.convert("RGBA").resize((33, 31)).save(folder / "rgba.png")
    image.convert("P").resize((64, 32)).save(folder / "palette.png")
    exif = Image.Exif()
    exif[0x0112] = 6  # on its side
    image.save(folder / "rotated.jpg", exif=exif)
    return {
        "rgb": (70, 45),
        "gray": (70, 45),
        "rgba": (33, 31),
        "palette": (64, 32),
        "rotated": (45, 70),
    }


@pytest.mark.parametrize("precision, said", [("bfloat16", 1), ("none", 0), ("float16", 0)])
def test_a_cpu_that_emulates_bfloat16_is_named(tmp_path, monkeypatch, capsys, precision, said):
    (tmp_path / "cpuinfo").write_text("flags\t\t: fpu avx2 avx512f\n")
    monkeypatch.setattr(bfloat16, "_CPU", tmp_path / "cpuinfo")
    monkeypatch.setattr(bfloat16, "GPU_FILES", ())
    monkeypatch.setattr(training_run, "_train", lambda *given: {})
    folder = SimpleNamespace(release=lambda: None)
    assert training_run.train(recipe(mixed_precision=precision), folder) == {}
    assert capsys.readouterr().err.count("no units for bfloat16") == said


@pytest.mark.parametrize(
    ("left", "advice"),
    [
        ("best.keras", ", by weights from that model"),
        ("model.keras", ", by weights from that model"),
        ("metrics.json", ""),
    ],
)
def test_a_run_whose_checkpoints_are_gone_is_left_alone(tmp_path, left, advice):
    run = RunFolder(tmp_path)
    state = SimpleNamespace(restore=lambda: 0)
    loop = SimpleNamespace(state=state, progress=Progress())
    team = SimpleNamespace(check_same=lambda *given: None, is_chief=True)
    training_run._resume(loop, run, team)  # nothing has been saved yet
    (tmp_path / left).touch()
    with pytest.raises(UserError) as caught:
        training_run._resume(loop, run, team)
    assert str(caught.value) == (
        f"{run.path} holds {left} and no checkpoint to go on from, and nothing there was changed: "
        f"begin a new run in another out{advice}"
    )


def test_a_run_is_described_by_the_options_that_were_given():
    recipe = command_line.parse("--recipe finetune --dataset image_folder/mine --epochs 2".split())
    said = "recipe finetune, dataset = image_folder/mine, epochs = 2"
    assert training_run.describe(recipe) == said

"""What the command `export` refuses."""

import dataclasses
import shutil
import subprocess
import sys

import keras
import pytest
from exports import CLASSES, export, names
from miniatures import write_pairs
from places import REPOSITORY

from pipelines import datasets
from pipelines.base.errors import UsageError, UserError


class TestRefuses:
    @pytest.mark.parametrize(
        "options, message",
        [
            (
                {"formats": ("tflite-int8",), "size": (32, 32)},
                "tflite-int8 needs --dataset: the ranges of its integers are measured on images "
                "of the training split",
            ),
            ({"budget": 0.5}, "--budget needs --dataset: mean IoU is measured on it"),
            (
                {"budget": 0.5, "dataset": "shapes"},
                "--budget is about int8: add tflite-int8 to --formats",
            ),
            (
                {"budget": -1.0, "dataset": "shapes", "formats": ("tflite-int8",)},
                "--budget must be 0 or more points of mean IoU, got -1.0",
            ),
            (
                {"budget": float("nan"), "dataset": "shapes", "formats": ("tflite-int8",)},
                "--budget must be 0 or more points of mean IoU, got nan",
            ),
            ({"split": "val"}, "--split is about a data set: name it by --dataset"),
            (
                {"size": (0, 32)},
                "--size must be a height and a width of at least 1, got 0 and 32",
            ),
            ({"formats": ()}, "--formats must name at least one"),
            (
                {"formats": ("savedmodel", "tflite"), "size": (9, 9), "precision": "bfloat16"},
                "--precision must be float32 for tflite, got bfloat16: only savedmodel can be in "
                "it, so export that alone",
            ),
            (
                {"formats": ("tflite",)},
                "TFLite files take images of one size, and this model takes any: name it by "
                "--size H W",
            ),
            (
                {"formats": ("savedmodel", "tflite-fp16")},
                "TFLite files take images of one size, and this model takes any: name it by "
                "--size H W",
            ),
        ],
    )
    def test_usage(self, models, tmp_path, options, message):
        with pytest.raises(UsageError) as caught:
            export(models / "three.keras", tmp_path / "out", **options)
        assert str(caught.value) == message
        assert names(tmp_path) == set()

    def test_a_split_without_labels(self, models, data_dir, tmp_path, monkeypatch):
        prepared = datasets.load("image_folder", data_dir)
        prepared = dataclasses.replace(prepared, unlabelled_splits=("val",))
        monkeypatch.setattr(datasets, "load", lambda *given: prepared)
        with pytest.raises(UsageError) as caught:
            export(
                models / "three.keras", tmp_path / "out", dataset="image_folder", data_dir=data_dir
            )
        assert str(caught.value) == (
            "'image_folder' has no labels for split 'val' to measure by: name another --split"
        )
        assert names(tmp_path) == set()

    @pytest.mark.slow
    def test_a_split_of_nothing_but_void(self, models, tmp_path):
        """No number of layers in float would bring int8 near a score that is none."""
        for split, value in (("train", 0), ("val", 255)):
            write_pairs(tmp_path / "source" / split, ["a"], [value])
        (tmp_path / "source" / "classes.txt").write_text("\n".join(CLASSES))
        out, data = tmp_path / "out", tmp_path / "data"
        datasets.prepare("image_folder/void", tmp_path / "source", data, accept_findings=True)
        options = {"size": (32, 32), "dataset": "image_folder/void", "data_dir": data}
        with pytest.raises(UserError) as caught:
            export(models / "three.keras", out, ("tflite-int8",), budget=1.0, **options)
        assert str(caught.value) == (
            "split 'val' of 'image_folder/void' has no label but void: no score"
        )
        assert not out.exists()

    @pytest.mark.slow
    def test_figures_over_the_classes_of_a_model_beside_them(self, models, tmp_path):
        """Or of a form that is written later: export writes none over what is no legend."""
        out, size = tmp_path / "three", (32, 32)
        export(models / "three.keras", out, ("tflite",), size)
        legend = (out / "three.json").read_bytes()
        with pytest.raises(UsageError) as caught:
            export(models / "three.keras", out, json_file=out / "three.json")
        assert str(caught.value) == (
            f"--json {out}/three.json would be written over, and holds no figures of this command: "
            "name another file"
        )
        assert (out / "three.json").read_bytes() == legend and names(out) == {
            "three.json",
            "three.tflite",
        }
        (out / "three-fp16.json").write_text('{"my": "figures"}')
        with pytest.raises(UserError) as caught:
            export(models / "three.keras", out, ("savedmodel", "tflite-fp16"), size)
        assert str(caught.value) == (
            f"{out}/three-fp16.json is no file of class names and colours: 'class_names'; it would "
            "be written over: move it, or give another --out"
        )
        assert (out / "three-fp16.json").read_text() == '{"my": "figures"}'
        assert names(out) == {"three.json", "three.tflite", "three-fp16.json"}

    def test_an_unknown_data_set(self, models, tmp_path):
        with pytest.raises(UsageError, match="there is no data set 'shapez'"):
            export(models / "three.keras", tmp_path / "out", dataset="shapez")

    @pytest.mark.parametrize(
        "name, message",
        [
            ("none.keras", "there is no model at {}: expected a .keras file, as `fit` writes"),
            ("labels.txt", "this takes a .keras file, as `fit` writes, not {}"),
            (".", "this takes a .keras file, as `fit` writes, not {}"),
            ("damaged.keras", "{} cannot be loaded as a Keras model: "),
        ],
    )
    def test_what_is_no_model(self, models, tmp_path, name, message):
        (models / "labels.txt").write_text("sky")
        with pytest.raises(UserError) as caught:
            export(models / name, tmp_path / "out")
        assert caught.value.exit_status == 1
        assert str(caught.value).startswith(message.format(models / name))
        assert names(tmp_path) == set()

    def test_a_data_set_of_other_classes(self, models, data_dir, tmp_path):
        path = models / "four.keras"
        with pytest.raises(UserError) as caught:
            export(path, tmp_path / "out", dataset="image_folder", data_dir=data_dir)
        assert str(caught.value) == (
            f"{path} knows 4 classes and 'image_folder' has 3: they do not belong together"
        )
        assert names(tmp_path) == set()

    @pytest.mark.parametrize(
        ("forms", "modules", "packages", "extras"),
        [
            ("onnx", ["tf2onnx"], "tf2onnx, which is", "onnx"),
            ("onnx", ["onnxruntime"], "onnxruntime, which is", "onnx"),
            ("onnx", ["tf2onnx", "onnxruntime"], "tf2onnx and onnxruntime, which are", "onnx"),
            ("tflite-fp16", ["ai_edge_litert"], "ai-edge-litert, which is", "tflite"),
            (
                "tflite onnx savedmodel tflite-fp16",
                ["onnxruntime", "ai_edge_litert"],
                "ai-edge-litert and onnxruntime, which are",
                "tflite,onnx",
            ),
        ],
    )
    def test_what_is_not_installed(
        self, models, tmp_path, monkeypatch, forms, modules, packages, extras
    ):
        """All of it at once, with one command that installs it."""
        for module in modules:
            monkeypatch.setitem(sys.modules, module, None)
        with pytest.raises(UserError) as caught:
            export(models / "three.keras", tmp_path / "out", tuple(forms.split()))
        assert str(caught.value) == (
            f'--formats {forms} needs {packages} not installed: pip install "gcn_keras[{extras}]"'
        )
        assert names(tmp_path) == set()

    def test_where_figures_cannot_be_written(self, models, tmp_path):
        json_file = tmp_path / "none" / "figures.json"
        with pytest.raises(UserError) as caught:
            export(models / "three.keras", tmp_path / "out", json_file=json_file)
        assert str(caught.value) == f"--json {json_file}: there is no folder {json_file.parent}"

    @pytest.mark.parametrize(
        "place", ["three.keras", "labels.json", "out/out.json", "out/out.tflite"]
    )
    def test_figures_over_what_is_needed(self, models, tmp_path, place):
        model, json_file = tmp_path / "three.keras", tmp_path / place
        shutil.copy(models / "three.keras", model)
        with pytest.raises(UsageError) as caught:
            export(model, tmp_path / "out", ("tflite",), (32, 40), json_file=json_file)
        assert str(caught.value) == f"--json {json_file} would be written over: name another file"
        assert names(tmp_path) == {"three.keras"}

    def test_a_limit_of_pixels_is_a_servers(self, models, tmp_path):
        with pytest.raises(UsageError, match="--most-pixels is about a server: add savedmodel"):
            export(models / "three.keras", tmp_path / "out", ("tflite",), (8, 8), most_pixels=9999)

    def test_a_size_beyond_the_models(self, models, tmp_path):
        with pytest.raises(UsageError) as caught:
            export(models / "fixed.keras", tmp_path / "out", size=(32, 65))
        assert str(caught.value) == (
            "--size 32 65 is beyond what the model takes, images of at most 32x64"
        )

    def test_scores_of_another_size(self, tmp_path):
        x = keras.Input((None, None, 3))
        model = tmp_path / "coarse.keras"
        keras.Model(x, keras.layers.AveragePooling2D(4)(x)).save(model)
        with pytest.raises(UserError) as caught:
            export(model, tmp_path / "out", size=(60, 64))
        assert str(caught.value) == (
            f"{model} gives 16x16 scores for an image of 64x64: a segmentation model has one for "
            "each pixel"
        )
        assert names(tmp_path) == {"coarse.keras"}

    def test_a_model_that_fails_on_the_size(self, tmp_path):
        """Its coarsest map, of stride 64, does not fit to what it is added to."""
        x = keras.Input((None, None, 3))
        y = keras.layers.UpSampling2D(64)(keras.layers.Conv2D(3, 1, 64, padding="same")(x))
        model = tmp_path / "deep.keras"
        keras.Model(x, keras.layers.Add()([x, y])).save(model)
        with pytest.raises(UserError, match=f"^{model} fails on an image of 96x64: "):
            export(model, tmp_path / "out", size=(96, 64))

    @pytest.mark.slow
    def test_a_folder_that_is_a_file(self, models, tmp_path):
        (tmp_path / "file").write_text("mine")
        with pytest.raises(UserError) as caught:
            export(models / "three.keras", tmp_path / "file")
        file = tmp_path / "file"
        assert str(caught.value) == f"cannot write to {file}: {file}: Not a directory"
        assert (tmp_path / "file").read_text() == "mine"

    @pytest.mark.slow
    def test_without_a_traceback(self, models, tmp_path):
        """As a command: one line, status 2, before TensorFlow is imported."""
        done = subprocess.run(
            [sys.executable, "-m", "gcn_keras.export", models / "three.keras"]
            + ["--out", tmp_path / "out", "--formats", "savedmodel", "tflite-int8"],
            cwd=REPOSITORY,
            capture_output=True,
            text=True,
        )
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr == (
            "error: tflite-int8 needs --dataset: the ranges of its integers are measured on "
            "images of the training split\n"
        )

"""The command `export`: what it refuses, what it writes, what it measures."""

import dataclasses
import errno
import json
import shutil
import subprocess
import sys
from pathlib import Path

import forks
import keras
import numpy as np
import pytest
from miniatures import write_pairs
from PIL import Image
from places import REPOSITORY

from gcn_keras import segment
from gcn_keras.deployment import graph_comparison, quantization
from gcn_keras.deployment.export_folder import check_classes_stay
from gcn_keras.deployment.options import ExportOptions
from gcn_keras.deployment.quantization import representative_images
from gcn_keras.evaluation.measure import evaluate_model
from gcn_keras.export import export as export_command
from gcn_keras.inference.legend import Legend
from gcn_keras.inference.segmenters import open_segmenter
from pipelines import datasets
from pipelines.base import bfloat16, labels
from pipelines.base.errors import UsageError, UserError, argument, in_options

CLASSES = ("red", "green", "blue")
LEGEND = Legend(CLASSES, labels.palette(3, "camvid"))


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory) -> Path:
    """Images of three stripes, in colours that are their classes; some labels are wrong."""
    folder = tmp_path_factory.mktemp("export")
    random = np.random.default_rng(0)
    for number, (height, width) in enumerate([(32, 32), (40, 64), (20, 24), (32, 33)] * 3):
        split = folder / "source" / ("train" if number < 8 else "val")
        label = np.sort(random.integers(0, 3, width))[None].repeat(height, axis=0).astype(np.uint8)
        image = random.integers(0, 100, (height, width, 3)) + 150 * np.eye(3, dtype=int)[label]
        label[:4, : width // 4] = 2
        for part, pixels in (("images", image), ("labels", label)):
            (split / part).mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels.astype(np.uint8)).save(split / part / f"{number}.png")
    (folder / "source" / "classes.txt").write_text("\n".join(CLASSES))
    datasets.prepare("image_folder", folder / "source", folder / "data")
    return folder / "data"


def stand_in(classes=3, shape=(None, None, 3)):
    """Stands for a network: a pixel's class is its largest channel, after a batch norm."""
    x = keras.Input(shape)
    convolution = keras.layers.Conv2D(classes, 1, use_bias=False)
    batch_norm = keras.layers.BatchNormalization(epsilon=0)
    model = keras.Model(x, batch_norm(convolution(x)))
    convolution.set_weights([np.eye(3, classes).reshape(1, 1, 3, classes) / 255])
    batch_norm.set_weights([np.full(classes, value) for value in (4, 1, 0.5, 1)])
    return model


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    stand_in().save(folder / "three.keras")
    stand_in(4).save(folder / "four.keras")
    stand_in(shape=(32, 64, 3)).save(folder / "fixed.keras")
    (folder / "damaged.keras").write_bytes(b"PK no model")
    return folder


def export(model, out, formats=("savedmodel",), size=None, **given) -> None:
    """Calls the command with options by their names."""
    names = {field.name for field in dataclasses.fields(ExportOptions)} & set(given)
    options = ExportOptions(formats, size, **{name: given.pop(name) for name in names})
    export_command(model, out, options, **given)


def names(folder) -> set[str]:
    return {path.name for path in folder.iterdir()}


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """No time is asserted, so none need be taken."""
    monkeypatch.setattr(graph_comparison, "_COMPARED_SECONDS", 0)


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

    def test_another_legend_beside_an_older_file(self, models, tmp_path):
        out = tmp_path / "two"
        out.mkdir()
        (out / "two.tflite").write_bytes(b"older")
        Legend.unnamed(4).write(out / "two.json")
        pytest.importorskip("tf2onnx")
        with pytest.raises(UserError) as caught:
            export(models / "three.keras", out, ("onnx",))
        assert str(caught.value) == (
            f"{out / 'two.tflite'} knows the classes class 0, class 1, class 2, class 3, and "
            f"{models / 'three.keras'} has others: class 0, class 1, class 2; they do not belong "
            "together; give another --out"
        )
        assert names(out) == {"two.tflite", "two.json"}

    def test_a_damaged_legend_of_an_older_export(self, models, tmp_path):
        older_versions(tmp_path / "old", {"2": LEGEND})
        legend = tmp_path / "old" / "2" / "assets" / "labels.json"
        legend.write_text('{"class_names": []}')
        with pytest.raises(UserError) as caught:
            export(models / "three.keras", tmp_path / "old", size=(32, 32))
        assert str(caught.value) == (
            f"{legend} is no file of class names and colours: 'palette'; give another --out"
        )

    @pytest.mark.parametrize(
        ("form", "path", "legend"),
        [
            ("savedmodel", "10", "10/assets/labels.json"),
            ("tflite", "old.tflite", "old.json"),
            ("tflite-fp16", "old-fp16.tflite", "old-fp16.json"),
        ],
    )
    def test_other_classes_in_place_of_an_older_export(self, models, tmp_path, form, path, legend):
        """Of a SavedModel those of the newest version count, which is served."""
        out = tmp_path / "old"
        older_versions(out, {"2": Legend.unnamed(3), "10": LEGEND})
        if form != "savedmodel":
            (out / path).write_bytes(b"older")
            LEGEND.write(out / legend)
        before = names(out)
        with pytest.raises(UserError) as caught:
            export(models / "three.keras", out, (form,), size=(32, 32))
        assert str(caught.value) == (
            f"{out / path} knows the classes red, green, blue, and {models / 'three.keras'} has no "
            "names for its own, which gcn_keras.save_model writes; give another --out"
        )
        assert names(out) == before and Legend.read(out / legend).class_names == CLASSES

    @pytest.mark.parametrize("form", ["savedmodel", "tflite"])
    def test_a_version_folder(self, models, tmp_path, monkeypatch, form):
        older_versions(tmp_path / "old", {"1": Legend.unnamed(3)})
        version = tmp_path / "old" / "1"
        before = names(version)
        for out in (version, Path()):
            monkeypatch.chdir(version)
            with pytest.raises(UserError) as caught:
                export(models / "three.keras", out, (form,), size=(32, 32))
            assert str(caught.value) == (
                f"{out} is a SavedModel, and inside of it no other is found: give the folder of "
                f"its versions, --out {tmp_path / 'old'}"
            )
        assert names(version) == before

    def test_a_saved_model_without_a_number(self, tmp_path):
        older_versions(tmp_path, {"mine": None})
        with pytest.raises(UserError) as caught:
            check_classes_stay(tmp_path / "mine", CLASSES, "a.keras", folder="saved_model")
        assert in_options(caught.value.template) == (
            f"{tmp_path / 'mine'} is a SavedModel, and inside of it no other is found: give "
            "another --saved-model"
        )

    @pytest.mark.slow
    @pytest.mark.parametrize(
        ("form", "file", "beside"),
        [
            ("tflite", "out.tflite", "out.json"),
            ("onnx", "out.onnx", "out.json"),
            ("savedmodel", "1", "1/assets/labels.json"),
        ],
    )
    def test_other_classes_than_an_older_export_has_inside(
        self, models, tmp_path, form, file, beside
    ):
        """The file beside it is gone."""
        if form == "onnx":
            pytest.importorskip("tf2onnx")
        path, out = tmp_path / "best.keras", tmp_path / "out"
        shutil.copy(models / "three.keras", path)
        LEGEND.write_into(path)
        export(path, out, (form,), size=(32, 32))
        (out / beside).unlink()
        export(path, out, (form,), size=(32, 32))  # of the same ones
        newest = out / ("2" if file == "1" else file)
        (out / beside.replace("1/", "2/")).unlink()
        before = names(out)
        with pytest.raises(UserError) as caught:
            export(models / "four.keras", out, (form,), size=(32, 32))
        assert str(caught.value) == (
            f"{newest} knows the classes red, green, blue, and {models / 'four.keras'} has no "
            "names for its own, which gcn_keras.save_model writes; give another --out"
        )
        assert names(out) == before

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


def older_versions(out, legends) -> None:
    """As a SavedModel's versions lie there, with a legend or, of long ago, with None."""
    for version, legend in legends.items():
        (out / version / "assets").mkdir(parents=True)
        (out / version / "saved_model.pb").touch()
        if legend:
            legend.write(out / version / "assets" / "labels.json")


class TestClassesStay:
    @pytest.mark.parametrize("earlier", [LEGEND, Legend.unnamed(3), None])
    def test_names_may_be_the_same_or_new(self, tmp_path, earlier):
        older_versions(tmp_path / "out", {"1": Legend.unnamed(4), "2": earlier})
        check_classes_stay(tmp_path / "out", CLASSES, "best.keras")

    def test_an_order_is_a_meaning(self, tmp_path):
        older_versions(tmp_path / "out", {"1": LEGEND})
        with pytest.raises(UserError, match="a.keras has the same in another order: blue, green"):
            check_classes_stay(tmp_path / "out", CLASSES[::-1], "a.keras")

    def test_what_is_not_written_may_be_anothers(self, tmp_path):
        out = tmp_path / "out"
        older_versions(out, {"1": Legend.unnamed(4), "backup": LEGEND})
        (out / "out-int8.tflite").touch()
        Legend.unnamed(4).write(out / "out-int8.json")
        check_classes_stay(out, CLASSES, "best.keras", ("tflite", "tflite-fp16"))
        check_classes_stay(tmp_path / "none", CLASSES, "best.keras")


class TestLegend:
    def exported(self, model, out, **options) -> Legend:
        export(model, out, **options)
        return Legend.read(out / "1" / "assets" / "labels.json")

    @pytest.mark.slow
    def test_of_the_data_set(self, models, data_dir, tmp_path):
        options = {"dataset": "image_folder", "data_dir": data_dir}
        found = self.exported(models / "three.keras", tmp_path, **options)
        assert found.class_names == CLASSES

    @pytest.mark.slow
    def test_beside_the_model(self, models, tmp_path):
        path = tmp_path / "best.keras"
        path.write_bytes((models / "three.keras").read_bytes())
        LEGEND.write(tmp_path / "labels.json")
        found = self.exported(path, tmp_path / "out")
        assert found.class_names == CLASSES
        np.testing.assert_array_equal(found.palette[:3], labels.CAMVID_PALETTE[:3])

    @pytest.mark.parametrize(
        "names, relation",
        [
            (("green", "red", "blue"), "the same in another order"),
            (("sky", "road", "car"), "others"),
        ],
    )
    def test_is_never_replaced(self, models, data_dir, tmp_path, names, relation):
        """A data set of other classes, if only in their order, is refused; nothing is written."""
        path = tmp_path / "best.keras"
        path.write_bytes((models / "three.keras").read_bytes())
        Legend(names, labels.palette(3)).write(tmp_path / "labels.json")
        with pytest.raises(UserError) as caught:
            export(path, tmp_path / "out", dataset="image_folder", data_dir=data_dir)
        assert str(caught.value) == (
            f"{path} knows the classes {', '.join(names)}, and 'image_folder' has {relation}: "
            "red, green, blue; they do not belong together"
        )
        assert not (tmp_path / "out").exists()

    @pytest.mark.slow
    def test_keeps_its_colours_beside_a_data_set(self, models, data_dir, tmp_path):
        path = tmp_path / "best.keras"
        path.write_bytes((models / "three.keras").read_bytes())
        LEGEND.write_into(path)
        options = {"dataset": "image_folder", "data_dir": data_dir}
        found = self.exported(path, tmp_path / "out", **options)
        np.testing.assert_array_equal(found.palette[:3], labels.CAMVID_PALETTE[:3])

    @pytest.mark.slow
    def test_of_nobody(self, models, tmp_path):
        found = self.exported(models / "three.keras", tmp_path)
        assert found.class_names == ("class 0", "class 1", "class 2")


@pytest.mark.slow
def test_colours_beside_an_earlier_export_stay(models, tmp_path, capsys):
    path, out = tmp_path / "best.keras", tmp_path / "out"
    shutil.copy(models / "three.keras", path)
    LEGEND.write_into(path)
    own, given = out / "out.json", '{"class_names": ["red", "green", "blue"], "palette": %s}'
    out.mkdir()
    own.write_text(given % "[[9, 9, 9], [8, 8, 8], [7, 7, 7]]")
    for written in (own.read_text(), given % LEGEND.palette[:3].tolist()):
        own.write_text(written)
        export(path, out, ("tflite",), size=(32, 32))
        assert own.read_text() == written
        found = open_segmenter(out / "out.tflite").legend.palette[:3].tolist()
        assert found == json.loads(written)["palette"]
    assert capsys.readouterr().err.count("note: ") == 1  # where they differ
    for other in ("no legend", given.replace("red", "rot") % LEGEND.palette[:3].tolist()):
        (out / "out.tflite").unlink()
        own.write_text(other)
        export(path, out, ("tflite",), size=(32, 32))
        assert own.read_text() == LEGEND.json


@pytest.mark.slow
@pytest.mark.parametrize("form", ["savedmodel", "tflite"])
def test_a_full_disk_leaves_no_folder(models, tmp_path, monkeypatch, form):
    def full(*given):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("gcn_keras.deployment.saved_model._write", full)
    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(UserError, match=": No space left on device"):
        export(models / "three.keras", tmp_path / "new" / "out", (form,), size=(32, 32))
    assert names(tmp_path) == set()


FORMATS = ("savedmodel", "tflite", "tflite-fp16", "tflite-int8")


@pytest.fixture(scope="module")
def exported(models, data_dir, tmp_path_factory):
    """The folder, the figures and what was printed."""
    out = tmp_path_factory.mktemp("exported") / "stripes"
    done = forks.run(
        *("gcn_keras.export", models / "three.keras", "--out", out),
        *("--formats", *FORMATS, "--size", 32, 40, "--dataset", "image_folder"),
        *("--data-dir", data_dir, "--budget", 5, "--json", out.with_suffix(".json")),
    )
    assert done.returncode == 0, done.stderr
    return out, json.loads(out.with_suffix(".json").read_text()), done.stdout


@pytest.mark.slow
def test_bfloat16_where_the_cpu_emulates_it(models, tmp_path, monkeypatch, capsys):
    """The file is written, with a warning, for a machine that does not."""
    cpu = tmp_path / "cpuinfo"
    cpu.write_text("flags\t\t: fpu avx2 avx512f\n")
    monkeypatch.setattr(bfloat16, "_CPU", cpu)
    monkeypatch.setattr(bfloat16, "GPU_FILES", ())
    export(models / "three.keras", tmp_path / "out", precision="bfloat16")
    assert capsys.readouterr().err.count("no units for bfloat16") == 1
    assert open_segmenter(tmp_path / "out").legend.class_names == ("class 0", "class 1", "class 2")


@pytest.mark.slow
class TestEveryFormat:
    def test_files(self, exported):
        out, _, _ = exported
        assert names(out) == {
            "1",
            "stripes.tflite",
            "stripes.json",
            "stripes-fp16.tflite",
            "stripes-fp16.json",
            "stripes-int8.tflite",
            "stripes-int8.json",
        }
        for path in out.glob("*.json"):
            assert Legend.read(path).class_names == CLASSES

    def test_each_can_be_opened(self, exported):
        out, _, _ = exported
        image = np.random.default_rng(0).integers(0, 256, (1, 50, 33, 3)).astype(np.uint8)
        for path in (out, *out.glob("*.tflite")):
            segmenter = open_segmenter(path)
            assert segmenter.legend.class_names == CLASSES
            found, expected = segmenter.segment(image), image.argmax(axis=-1)
            assert np.mean(found == expected) > 0.98

    def test_what_folding_gave(self, exported, models):
        _, figures, printed = exported
        training, deployed = figures["graph"]["training"], figures["graph"]["deployed"]
        assert (training["layers"], deployed["layers"]) == (3, 2)
        # A kernel of 3×3 and four numbers a channel; a kernel and a bias.
        assert (training["parameters"], deployed["parameters"]) == (9 + 12, 9 + 3)
        assert deployed["operations"] < training["operations"]
        assert training["mib"] == (models / "three.keras").stat().st_size / 2**20
        assert (figures["graph"]["height"], figures["graph"]["width"]) == (32, 40)
        ratio = training["ms"] / deployed["ms"]
        assert figures["graph"]["speed_ratio"] == ratio
        lines = printed.splitlines()
        assert lines[0].split() == ["training", "graph", "deployed", "graph"]
        assert [line.split() for line in lines[1:4:2]] == [
            ["layers", "3", "2"],
            ["parameters", "21", "12"],
        ]
        assert lines[5].startswith("ms, 32x40") and lines[5].endswith(f"{ratio:.2f} x as fast")

    def test_report(self, exported, models, data_dir):
        out, figures, printed = exported
        path, prepared = models / "three.keras", datasets.load("image_folder", data_dir)
        model = open_segmenter(path).model
        matrix = evaluate_model(lambda images: segment(model, images), prepared, "val")
        assert 0.5 < matrix.mean_iou < 1
        rows = figures["formats"]
        assert [row["model"] for row in rows] == [
            str(path),
            str(out / "1"),
            str(out / "stripes.tflite"),
            str(out / "stripes-fp16.tflite"),
            str(out / "stripes-int8.tflite"),
        ]
        for row in rows[:3]:
            assert row["mean_iou"] == pytest.approx(matrix.mean_iou, abs=1e-9)
        assert rows[-1]["loss_points"] <= 5
        assert (figures["model"], figures["dataset"], figures["split"]) == (
            str(path),
            "image_folder",
            "val",
        )
        # Images of 32×32, 40×64, 20×24 and 32×33: none has the size of the TFLite files.
        assert [(row["size"], row["other_sizes"]) for row in rows] == (
            [(None, None)] * 2 + [([32, 40], 4)] * 3
        )
        assert (
            f"{out / 'stripes.tflite'} takes images of 32x40, and 4 had another size: smaller ones "
            "were padded, larger ones cut into tiles, which see less around them\n"
        ) in printed
        assert quantization.markdown(rows) in printed
        assert "int8 with no layer in float: mean IoU" in printed


@pytest.mark.slow
class TestParts:
    def test_a_second_export(self, models, tmp_path):
        """A new version; the other files are replaced."""
        out = tmp_path / "twice"
        for _ in range(2):
            export(models / "fixed.keras", out, ("savedmodel", "tflite", "tflite"))
        assert names(out) == {"1", "2", "twice.tflite", "twice.json"}
        # The model's own size where it has a fixed one.
        assert open_segmenter(out / "twice.tflite").size == (32, 64)

    def test_a_model_of_one_fixed_side(self, tmp_path):
        """It takes no image of 256×256, by which others are compared where no size is given."""
        stand_in(shape=(32, None, 3)).save(tmp_path / "side.keras")
        export(tmp_path / "side.keras", tmp_path / "out", json_file=tmp_path / "found.json")
        graph = json.loads((tmp_path / "found.json").read_text())["graph"]
        assert (graph["height"], graph["width"]) == (32, 256)
        with pytest.raises(UserError, match="takes images of at most 32x64, got 33x40: take"):
            open_segmenter(tmp_path / "out").segment(np.zeros((1, 33, 40, 3), np.uint8))

    def test_a_budget_that_cannot_be_kept_writes_nothing(
        self, models, data_dir, tmp_path, monkeypatch
    ):
        def fail(*arguments, **options):
            raise UserError(f"no int8 model keeps within 0 points; raise {argument('budget')}")

        monkeypatch.setattr(quantization, "fit_budget", fail)
        with pytest.raises(UserError) as caught:
            export(
                models / "three.keras",
                tmp_path / "out",
                ("savedmodel", "tflite", "tflite-int8"),
                (32, 40),
                dataset="image_folder",
                data_dir=data_dir,
                budget=0.0,
            )
        assert str(caught.value) == "no int8 model keeps within 0 points; raise --budget"
        assert names(tmp_path) == set()

    def test_onnx(self, models, tmp_path):
        pytest.importorskip("tf2onnx")
        onnxruntime = pytest.importorskip("onnxruntime")
        out = tmp_path / "out"
        export(models / "three.keras", out, ("onnx",))
        assert names(out) == {"out.onnx", "out.json"}
        session = onnxruntime.InferenceSession(out / "out.onnx", providers=["CPUExecutionProvider"])
        image = np.random.default_rng(0).integers(0, 256, (1, 5, 6, 3)).astype(np.uint8)
        np.testing.assert_array_equal(
            session.run(["labels"], {"images": image})[0], image.argmax(axis=-1)
        )

    @pytest.mark.parametrize(
        ("last", "options", "says"),
        [
            (keras.layers.Conv2D, {"kernel_size": 3, "groups": 2}, "ONNX Runtime says '"),
            # Its last row and its last column are the bias alone: 159 of 6,144 pixels.
            (
                keras.layers.Conv2DTranspose,
                {"kernel_size": 1, "strides": 2},
                "ONNX Runtime labels 2.6 % of an image otherwise than TensorFlow",
            ),
        ],
        ids=["groups", "transposed"],
    )
    def test_what_onnx_cannot(self, tmp_path, last, options, says):
        """Nothing is written, and what is there stays."""
        pytest.importorskip("tf2onnx")
        pytest.importorskip("onnxruntime")
        x = keras.Input((None, None, 3))
        strides = options.get("strides", 1)
        y = keras.layers.Conv2D(4, 3, strides=strides, padding="same")(x)
        layer = last(4, padding="same", **options)
        model = tmp_path / "model.keras"
        network = keras.Model(x, layer(y))
        layer.bias.assign([0, 1, 0, 0])
        network.save(model)
        out = tmp_path / "out"
        out.mkdir()
        (out / "out.onnx").write_bytes(b"older")
        with pytest.raises(UserError) as caught:
            export(model, out, ("savedmodel", "onnx"))
        assert str(caught.value).startswith(f"onnx cannot be made: {says}")
        assert names(out) == {"out.onnx"}

    def test_onnx_is_measured(self, models, data_dir, tmp_path, capsys):
        pytest.importorskip("tf2onnx")
        pytest.importorskip("onnxruntime")
        out = tmp_path / "out"
        export(models / "three.keras", out, ("onnx",), dataset="image_folder", data_dir=data_dir)
        assert open_segmenter(out / "out.onnx").legend.class_names == CLASSES
        expected = quantization.report(
            [models / "three.keras"], datasets.load("image_folder", data_dir), "val"
        )
        table = [line.split(" | ") for line in capsys.readouterr().out.splitlines()[-2:]]
        assert [row[0] for row in table] == [f"| {models / 'three.keras'}", f"| {out / 'out.onnx'}"]
        for row in table:
            assert row[1] == f"{100 * expected[0]['mean_iou']:.1f}"

    def test_a_limit_of_pixels(self, models, tmp_path):
        with pytest.raises(UsageError) as caught:
            export(models / "three.keras", tmp_path / "out", most_pixels=100)
        assert str(caught.value) == (
            "--most-pixels must be at least 106496, the pixels of a request that a server warms up "
            "with, got 100: --size makes its images smaller"
        )
        assert names(tmp_path) == set()

    def test_representative_images(self, data_dir):
        """Windows of larger images, smaller ones padded with the mean pixel, none resized."""
        prepared = datasets.load("image_folder", data_dir)
        sources = [
            np.array(Image.open(path))
            for path in sorted((data_dir.parent / "source" / "train" / "images").iterdir())
        ]
        found = representative_images(prepared, (32, 40))
        assert len(found) == 8
        for given in found:
            assert given.shape == (1, 32, 40, 3) and given.dtype == np.uint8
            inside = (given[0] != (124, 117, 104)).any(axis=-1)
            height, width = np.flatnonzero(inside.any(axis=1))[-1], inside[0].sum()
            window = given[0, : height + 1, :width]
            assert any(_is_window(window, source) for source in sources)


def _is_window(window, source) -> bool:
    height, width = window.shape[:2]
    windows = (
        np.lib.stride_tricks.sliding_window_view(source, (height, width, 3))
        if (source.shape[0] >= height and source.shape[1] >= width)
        else np.empty((0,))
    )
    return bool(windows.size) and bool((windows == window).all(axis=(-3, -2, -1)).any())

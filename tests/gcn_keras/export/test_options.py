"""What options change in an export, and parts of one."""

import errno
import importlib
import json
import os
from pathlib import Path

import keras
import numpy as np
import pytest
from exports import CLASSES, export, names, stand_in
from PIL import Image

from gcn_keras.deployment import form_report, int8_budget
from gcn_keras.deployment.export import export_model
from gcn_keras.deployment.int8_budget import representative_images
from gcn_keras.inference.segmenters import open_segmenter
from pipelines import datasets
from pipelines.base import bfloat16
from pipelines.base.errors import UsageError, UserError, argument


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

        monkeypatch.setattr(int8_budget, "fit_budget", fail)
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
        expected = form_report.report(
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


def test_another_backend_of_keras(tmp_path, monkeypatch):
    """The command takes TensorFlow, whatever is asked for; a library's caller is told."""
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    monkeypatch.setattr("sys.argv", ["export", "--help"])
    with pytest.raises(SystemExit):
        importlib.import_module("gcn_keras.export").main()
    assert os.environ["KERAS_BACKEND"] == "tensorflow"
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    with pytest.raises(UserError) as caught:
        export_model(tmp_path / "model.keras", tmp_path / "out")
    assert str(caught.value) == (
        "exported forms are made by TensorFlow, and Keras computes with jax: set "
        "KERAS_BACKEND=tensorflow"
    )

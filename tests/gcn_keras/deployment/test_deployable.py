"""One object on the way through export: what is made of a model is made once, and kept."""

import gc

import keras
import numpy as np
import pytest
import tensorflow as tf

from gcn_keras import gcn, segment
from gcn_keras.deployment import batch_norm_folding, graph_comparison, graphs, tflite
from gcn_keras.deployment.deployable import Deployable
from gcn_keras.deployment.export import export_file, export_model
from gcn_keras.deployment.onnx_file import onnx_content
from gcn_keras.deployment.options import ExportOptions
from gcn_keras.deployment.saved_model import export_saved_model
from gcn_keras.inference.legend import Legend
from gcn_keras.inference.segmenters import open_segmenter
from pipelines.base.errors import UserError

IMAGES = np.random.default_rng(0).integers(0, 256, (2, 40, 50, 3)).astype(np.uint8)


def deployable() -> Deployable:
    keras.utils.set_random_seed(0)
    return Deployable(gcn(3, "resnet14_tiny", kernel_size=3), Legend.unnamed(3))


@pytest.fixture
def collected(monkeypatch) -> list[str]:
    """Collects garbage before and after each step; the names of the steps."""
    steps = []

    def collecting(owner, name):
        step = getattr(owner, name)

        def between_collections(*arguments, **options):
            steps.append(name)
            gc.collect()
            result = step(*arguments, **options)
            gc.collect()
            return result

        monkeypatch.setattr(owner, name, between_collections)

    collecting(batch_norm_folding, "fold_batch_norm")
    collecting(graphs, "logits_graph")
    collecting(tf.saved_model, "save")
    collecting(tf.lite.TFLiteConverter, "from_concrete_functions")
    return steps


@pytest.mark.slow
class TestNothingIsLostToAGarbageCollection:
    def test_saved_model(self, tmp_path, collected):
        model = deployable()
        export_saved_model(model, tmp_path)
        assert collected == ["fold_batch_norm", "logits_graph", "save"]
        labels = open_segmenter(tmp_path).segment(IMAGES)
        np.testing.assert_array_equal(labels, segment(model.network, IMAGES))

    def test_onnx(self, collected, monkeypatch):
        tf2onnx = pytest.importorskip("tf2onnx")
        onnxruntime = pytest.importorskip("onnxruntime")
        convert = tf2onnx.convert.from_function
        monkeypatch.setattr(
            tf2onnx.convert, "from_function", lambda *a, **k: (gc.collect(), convert(*a, **k))[1]
        )
        content = onnx_content(deployable())  # nobody else refers to it
        assert collected == ["fold_batch_norm"]
        session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
        [labels] = session.run(["labels"], {"images": IMAGES})
        np.testing.assert_array_equal(labels, segment(deployable().network, IMAGES))

    def test_tflite(self, tmp_path, collected):
        content = tflite.convert(deployable().folded, "tflite", IMAGES.shape[1:3])
        assert collected == ["fold_batch_norm", "from_concrete_functions"]
        (tmp_path / "model.tflite").write_bytes(content)
        labels = open_segmenter(tmp_path / "model.tflite").segment(IMAGES)
        np.testing.assert_array_equal(labels, segment(deployable().network, IMAGES))


@pytest.mark.slow
def test_a_model_is_folded_once_for_all_forms(tmp_path, collected, monkeypatch, capsys):
    monkeypatch.setattr(graph_comparison, "_COMPARED_SECONDS", 0)
    deployable().network.save(tmp_path / "model.keras")
    said = []
    options = ExportOptions(("savedmodel", "tflite", "tflite-fp16"), (40, 50))
    export_model(tmp_path / "model.keras", tmp_path / "out", options, say=said.append)
    assert collected.count("fold_batch_norm") == 1
    # Those that are compared: of the network, and of the folded one, which the SavedModel takes.
    assert collected.count("logits_graph") == 2
    labels = [open_segmenter(tmp_path / "out").segment(IMAGES)]
    labels += [open_segmenter(tmp_path / "out" / "out.tflite").segment(IMAGES)]
    for found in labels:
        np.testing.assert_array_equal(found, segment(deployable().network, IMAGES))
    assert len(said) == 4 and capsys.readouterr().out == ""


@pytest.mark.slow
def test_a_file_is_exported_in_this_process(tmp_path, monkeypatch, capsys):
    """What `fit` does at its end: the lines that the command prints, and the same folder."""
    monkeypatch.setattr(graph_comparison, "_COMPARED_SECONDS", 0)
    deployable().network.save(tmp_path / "best.keras")
    legend = Legend(("red", "green", "blue"), Legend.unnamed(3).palette)
    legend.write(tmp_path / "labels.json")
    lines = export_file(tmp_path / "best.keras", tmp_path / "out")
    assert lines[0].split() == ["training", "graph", "deployed", "graph"]
    assert len(lines) == 7 and all("\n" not in line for line in lines)
    assert lines[-1].startswith(f"savedmodel: {tmp_path}/out/1, ")
    assert capsys.readouterr().out == ""
    assert open_segmenter(tmp_path / "out").legend.class_names == legend.class_names
    with pytest.raises(UserError, match="there is no model at .*none.keras"):
        export_file(tmp_path / "none.keras", tmp_path / "out")


def test_a_legend_of_another_model():
    x = keras.Input((None, None, 3))
    model = keras.Model(x, keras.layers.Conv2D(3, 1)(x))
    with pytest.raises(ValueError) as caught:
        Deployable(model, Legend.unnamed(4))
    assert str(caught.value) == "the legend names 4 classes and the model knows 3"


@pytest.mark.slow
def test_a_model_of_no_file():
    with pytest.raises(ValueError, match="the model comes from no file"):
        graph_comparison.compare(deployable(), (32, 32))

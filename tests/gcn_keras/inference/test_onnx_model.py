"""ONNX files on ONNX Runtime, without TensorFlow: what they give, and on how many cores."""

import numpy as np
import pytest

from gcn_keras.inference import onnx_model
from gcn_keras.inference.onnx_model import OnnxSegmenter
from pipelines.base.errors import UserError, in_options

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")


@pytest.fixture
def path(tmp_path):
    """Stands for a network: a pixel's class is its largest channel."""
    helper, kinds = onnx.helper, onnx.TensorProto
    images = helper.make_tensor_value_info("images", kinds.UINT8, ["b", "h", "w", 3])
    labels = helper.make_tensor_value_info("labels", kinds.UINT8, ["b", "h", "w"])
    nodes = [
        helper.make_node("Cast", ["images"], ["values"], to=kinds.FLOAT),
        helper.make_node("ArgMax", ["values"], ["largest"], axis=3, keepdims=0),
        helper.make_node("Cast", ["largest"], ["labels"], to=kinds.UINT8),
    ]
    model = helper.make_model(
        helper.make_graph(nodes, "largest", [images], [labels]),
        opset_imports=[helper.make_opsetid("", 13)],
        ir_version=8,
    )
    onnx.save(model, tmp_path / "model.onnx")
    return tmp_path / "model.onnx"


def test_images_of_any_size(path):
    segmenter = OnnxSegmenter(path)
    for shape in ((1, 3, 4), (5, 7, 2)):
        images = np.random.default_rng(0).integers(0, 256, (*shape, 3)).astype(np.uint8)
        np.testing.assert_array_equal(segmenter.segment(images), images.argmax(axis=-1))


def test_an_image_beyond_the_limit_of_the_file(path):
    model = onnx.load(path)
    model.metadata_props.add(key="largest_image", value="64xany")
    onnx.save(model, path)
    segmenter = OnnxSegmenter(path)
    assert segmenter.segment(np.zeros((1, 64, 300, 3), np.uint8)).shape == (1, 64, 300)
    with pytest.raises(UserError) as caught:
        segmenter.segment(np.zeros((1, 65, 300, 3), np.uint8))
    assert in_options(caught.value.template) == (
        f"{path} takes images of at most 64x320, got 65x300: cut it into parts, or give the .keras "
        "file and take tiles of that size, --tile 64 320"
    )


def test_an_image_that_the_file_fails_on(path, capfd):
    """As one of fixed size that does not tell: what ONNX Runtime raises has kinds of its own."""
    model = onnx.load(path)
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.array([1, 2, 2, 3]), "sides"))
    model.graph.node.insert(0, onnx.helper.make_node("Reshape", ["images", "sides"], ["fixed"]))
    model.graph.node[1].input[0] = "fixed"
    onnx.save(model, path)
    segmenter = OnnxSegmenter(path)
    assert segmenter.segment(np.zeros((1, 2, 2, 3), np.uint8)).shape == (1, 2, 2)
    with pytest.raises(UserError) as caught:
        segmenter.segment(np.zeros((1, 3, 2, 3), np.uint8))
    said = str(caught.value)
    assert said.startswith(f"{path} fails on an image of 3x2: [ONNXRuntimeError] : ")
    assert "\n" not in said and capfd.readouterr().err == ""


def test_on_all_cores(path, monkeypatch):
    monkeypatch.setattr(onnx_model, "cores", lambda: 3)
    options = OnnxSegmenter(path)._session.get_session_options()
    assert options.intra_op_num_threads == 3

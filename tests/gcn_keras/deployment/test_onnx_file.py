"""ONNX files: the labels of the model, and what cannot be one."""

import logging

import numpy as np
import pytest
from random_images import picture

from gcn_keras import segment
from gcn_keras.deployment.deployable import Deployable
from gcn_keras.deployment.onnx_file import onnx_content
from gcn_keras.inference.legend import Legend
from gcn_keras.inference.onnx_model import OnnxSegmenter
from gcn_keras.inference.segmenters import open_segmenter
from pipelines.base.errors import UserError
from pipelines.base.labels import CAMVID_PALETTE, palette

LEGEND = Legend.unnamed(3)

pytestmark = pytest.mark.slow


class TestOnnx:
    def test_what_tf2onnx_gives_up_is_not_shown(self, identity, caplog, monkeypatch):
        """It goes on without an optimization, and shows why with a traceback."""
        tf2onnx = pytest.importorskip("tf2onnx")
        pytest.importorskip("onnxruntime")
        convert = tf2onnx.convert.from_function

        def warning(*given, **named):
            logging.getLogger("tf2onnx.optimizer").warning("Failed to apply %s", "it")
            return convert(*given, **named)

        monkeypatch.setattr(tf2onnx.convert, "from_function", warning)
        assert onnx_content(identity)
        assert [record for record in caplog.records if record.name == "tf2onnx.optimizer"] == []
        logging.getLogger("tf2onnx.optimizer").warning("shown again")
        assert caplog.messages[-1] == "shown again"

    def test_opens_like_the_other_forms(self, network, tmp_path):
        pytest.importorskip("tf2onnx")
        pytest.importorskip("onnxruntime")
        path = tmp_path / "network.onnx"
        named = Legend(("red", "green", "blue"), palette("camvid"))
        path.write_bytes(onnx_content(Deployable(network, named)))
        opened = open_segmenter(path)
        assert isinstance(opened, OnnxSegmenter) and opened.num_classes == 3
        assert opened.legend.class_names == ("red", "green", "blue")
        np.testing.assert_array_equal(opened.legend.palette[:3], CAMVID_PALETTE[:3])
        for shape in ((2, 45, 71), (1, 1, 33)):
            images = picture(*shape)
            np.testing.assert_array_equal(opened.segment(images), segment(network, images))
        Legend(("green", "red", "blue"), palette()).write(path.with_suffix(".json"))
        with pytest.raises(UserError, match=r"network.json has the same in another order: green"):
            open_segmenter(path)

    @pytest.mark.parametrize("damage", ["empty", "text", "cut", "another"])
    def test_what_is_none(self, identity, tmp_path, damage):
        pytest.importorskip("tf2onnx")
        pytest.importorskip("onnxruntime")
        import onnx

        path = tmp_path / "model.onnx"
        path.write_bytes(onnx_content(identity))
        content = path.read_bytes()
        model = onnx.load(path)
        model.graph.input[0].name = "pixels"
        for node in model.graph.node:
            node.input[:] = ["pixels" if name == "images" else name for name in node.input]
        contents = {"empty": b"", "text": b"no model", "cut": content[: len(content) // 2]}
        path.write_bytes(contents.get(damage, model.SerializeToString()))
        with pytest.raises(UserError) as caught:
            open_segmenter(path)
        said = str(caught.value)
        assert "\n" not in said and said.startswith(
            f"{path} is no segmentation model of this project: it takes and gives [('pixels', "
            if damage == "another"
            else f"{path} cannot be loaded as an ONNX model: "
        )

    def test_gives_the_labels_of_segment(self, network, tmp_path):
        pytest.importorskip("tf2onnx")
        onnxruntime = pytest.importorskip("onnxruntime")
        session = onnxruntime.InferenceSession(
            onnx_content(Deployable(network, LEGEND)), providers=["CPUExecutionProvider"]
        )
        [taken], [given] = session.get_inputs(), session.get_outputs()
        assert (taken.name, taken.type, taken.shape) == (
            "images", "tensor(uint8)", ["B", "H", "W", 3]
        )  # fmt: skip
        assert (given.name, given.type, given.shape) == ("labels", "tensor(uint8)", ["B", "H", "W"])
        for shape in ((2, 45, 71), (1, 64, 96), (3, 1, 33)):
            images = picture(*shape)
            [labels] = session.run(["labels"], {"images": images})
            np.testing.assert_array_equal(labels, segment(network, images))

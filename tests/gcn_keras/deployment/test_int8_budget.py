"""What int8 costs, and which layers a budget keeps in float."""

import keras
import numpy as np
import pytest

from gcn_keras import segment
from gcn_keras.deployment import tflite_file
from gcn_keras.deployment.int8_budget import _blocks, fit_budget
from gcn_keras.evaluation.metrics import ConfusionMatrix
from gcn_keras.inference.tflite_model import TFLiteSegmenter
from pipelines.base.errors import ArgumentError, UserError

SIZE = (32, 32)


def images(count) -> list[np.ndarray]:
    random = np.random.default_rng(0)
    return [random.integers(0, 256, (1, *SIZE, 3)).astype(np.uint8) for _ in range(count)]


def pointwise(*layers):
    """A model of 1×1 convolutions from (name, weights [inputs, outputs])."""
    x = y = keras.Input((None, None, 3))
    for name, weights in layers:
        layer = keras.layers.Conv2D(np.shape(weights)[1], 1, use_bias=False, name=name)
        y = layer(y)
        layer.set_weights([np.array(weights, np.float32)[None, None]])
    return keras.Model(x, y)


SCALE = np.eye(3) / 255  # pixels as 0…1: exact in 8 bits
# A fourth class that never wins, down to -1000 where red is 1: a step of 8 bits is 4 then, and
# what tells the other three apart, at most 1, is gone.
WIDE = [[1, 0, 0, -1000], [0, 1, 0, 0], [0, 0, 1, 0]]


def mean_iou(segment_batch) -> float:
    """On images whose true labels are their largest channels."""
    matrix = ConfusionMatrix(4)
    for image in images(4):
        matrix.update(image.argmax(axis=-1), segment_batch(image))
    return matrix.mean_iou


def fit(model, budget, reference=1.0, **options):
    lines = []
    result = fit_budget(
        model, SIZE, iter(images(4)), mean_iou, reference, budget, say=lines.append, **options
    )
    return result, lines


def test_blocks():
    layers = [
        "normalization",
        "conv4_block3_2_conv",
        "conv4_block3_out",
        "br_up2_conv1",
        "br_up2_sum",
    ]
    assert _blocks(layers) == {
        "normalization": ["normalization"],
        "conv4_block3": ["conv4_block3_2_conv", "conv4_block3_out"],
        "br_up2": ["br_up2_conv1", "br_up2_sum"],
    }


def test_an_invalid_budget():
    with pytest.raises(ArgumentError) as caught:
        fit_budget(None, SIZE, [], None, 1.0, -0.5)
    assert str(caught.value) == "budget must be 0 or more points of mean IoU, got -0.5"


@pytest.mark.slow
class TestFitBudget:
    def test_nothing_stays_in_float_without_need(self):
        result, lines = fit(pointwise(("stem", SCALE), ("head", np.eye(3))), 0)
        assert (result.float_layers, result.mean_iou) == ((), 1.0)
        assert lines == [
            "int8 with no layer in float: mean IoU 100.0 %, 0.00 points lost of 0 allowed"
        ]
        operations = tflite_file.operations(tflite_file.read(result.content))
        assert "DEQUANTIZE" not in {name for name, _, _ in operations}

    @pytest.mark.parametrize(
        "reference, change",
        [(0.9649, "3.51 points gained"), (0.99996, "0.00 points lost of 0 allowed")],
    )
    def test_what_is_better_in_integers(self, reference, change):
        _, lines = fit(pointwise(("stem", SCALE), ("head", np.eye(3))), 0, reference)
        assert lines == [f"int8 with no layer in float: mean IoU 100.0 %, {change}"]

    def test_the_one_sensitive_layer_stays_in_float(self, tmp_path):
        model = pointwise(("stem", SCALE), ("middle", np.eye(3)), ("wide", WIDE))
        assert mean_iou(lambda images: segment(model, images)) == 1
        result, lines = fit(model, 0.5)
        assert (result.float_layers, result.mean_iou) == (("wide",), 1.0)
        # What it cost: nearly every pixel fell to the first class.
        assert lines[0].startswith("int8 with no layer in float: mean IoU ")
        assert float(lines[0].split()[8]) < 15
        assert lines[1:3] == [
            "stem alone in integers: 0.00 % of the labels change",
            "middle alone in integers: 0.00 % of the labels change",
        ]
        assert lines[3].startswith("wide alone in integers: ")
        assert lines[4:] == [
            "int8 with wide in float: mean IoU 100.0 %, 0.00 points lost of 0.5 allowed"
        ]
        # In the file, too: this layer and the argmax are in float, and nothing else.
        operations = list(tflite_file.operations(tflite_file.read(result.content)))
        convolutions = [outputs[0].type for name, _, outputs in operations if name == "CONV_2D"]
        assert convolutions == [9, 9, 0]
        (tmp_path / "model.tflite").write_bytes(result.content)
        assert mean_iou(TFLiteSegmenter(tmp_path / "model.tflite").segment) == 1

    def test_two_that_help_only_together(self):
        model = pointwise(("stem", SCALE), ("wide", WIDE), ("head", np.eye(4)))
        result, lines = fit(model, 0.5)
        assert sorted(result.float_layers) == ["head", "wide"]
        assert result.mean_iou == 1
        assert lines[-1] == (
            f"int8 with {', '.join(result.float_layers)} in float: mean IoU 100.0 %, "
            "0.00 points lost of 0.5 allowed"
        )

    def test_too_few_may_stay_in_float(self):
        model = pointwise(("stem", SCALE), ("wide", WIDE), ("head", np.eye(4)))
        with pytest.raises(UserError) as caught:
            fit(model, 0.5, most=1)
        message = str(caught.value)
        assert message.startswith("no int8 model keeps within 0.5 points of mean IoU: the best, ")
        assert message.endswith("; raise budget or leave tflite-int8 out")
        assert float(message.split("loses ")[1].split(";")[0]) > 80

    def test_a_loss_that_is_not_of_quantization(self):
        """The reference is out of reach for the file in float, too."""
        model = pointwise(("stem", SCALE), ("head", np.eye(3)))
        with pytest.raises(UserError) as caught:
            fit(model, 0.5, reference=1.25)
        assert str(caught.value) == (
            "no int8 model keeps within 0.5 points of mean IoU: in float a file of 32x32 loses "
            "25.00 already, as smaller images are padded to it, and larger ones cut into tiles; "
            "give size of the images, or of the crops that the model was trained on, or raise "
            "budget"
        )

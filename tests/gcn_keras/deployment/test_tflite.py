"""TFLite files: the labels of the Keras model, in every kind, at any fixed size."""

import fnmatch
import functools
from collections import Counter

import keras
import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter

from gcn_keras import gcn, segment
from gcn_keras.deployment import tflite, tflite_file, tflite_int8
from gcn_keras.inference.legend import Legend
from gcn_keras.inference.tflite_model import TFLiteSegmenter
from pipelines.base import labels
from pipelines.base.errors import UserError

pytestmark = pytest.mark.slow

# What a network of fixed shape needs, and what happens to pixels and labels around it.
OPERATIONS = {"CONV_2D", "ADD", "SUB", "MUL", "ARG_MAX", "CAST"}
OPERATIONS |= {"PAD", "DEPTH_TO_SPACE", "STRIDED_SLICE"}  # of the transposed convolutions
PADDING = {"CONCATENATION", "SLICE"}


def images(count, height, width, low=0, high=256) -> list[np.ndarray]:
    random = np.random.default_rng(0)
    return [
        random.integers(low, high, (1, height, width, 3)).astype(np.uint8) for _ in range(count)
    ]


@pytest.fixture(scope="module")
def network():
    """A small GCN whose batch norms and boundary refinements do something."""
    keras.utils.set_random_seed(0)
    random = np.random.default_rng(0)
    model = gcn(5, "resnet14_tiny", 3)
    for layer in model.layers:
        values = layer.get_weights()
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.set_weights([random.uniform(0.5, 1.5, value.shape) for value in values])
        elif layer.name.startswith("br_"):
            layer.set_weights([random.normal(0, 0.1, value.shape) for value in values])
    return model


@pytest.fixture(scope="module")
def converted(network):
    """A function that gives the network's file of a kind for a size, each made once."""
    return functools.cache(lambda kind, size: tflite.convert(network, kind, size, images(4, *size)))


@pytest.fixture(scope="module")
def calibrated(network):
    return tflite_int8.calibrate(network, (64, 64), images(3, 64, 64))


def opened(content, tmp_path) -> TFLiteSegmenter:
    (tmp_path / "model.tflite").write_bytes(content)
    return TFLiteSegmenter(tmp_path / "model.tflite")


def tensors(content) -> list:
    return tflite_file.read(content).subgraphs[0].tensors


def op_counts(content) -> dict[str, int]:
    return Counter(name for name, _, _ in tflite_file.operations(tflite_file.read(content)))


def float_operations(content) -> set[str]:
    """The layers that compute in float: the scopes in the names of what they write."""
    found = set()
    for name, _, outputs in tflite_file.operations(tflite_file.read(content)):
        if outputs[0].type == 0 and name not in ("DEQUANTIZE", "QUANTIZE"):
            found.add(outputs[0].name.decode())
    return found


@pytest.mark.parametrize("kind", tflite.KINDS)
@pytest.mark.parametrize("size", [(32, 64), (33, 50), (1, 1)], ids=str)
def test_labels_are_exact_where_integers_are(channels, kind, size, tmp_path):
    given = images(3, *size)
    content = tflite.convert(channels, kind, size, given)
    segmenter = opened(content, tmp_path)
    assert segmenter.size == size
    for image in given:
        np.testing.assert_array_equal(segmenter.segment(image), image.argmax(axis=-1))


@pytest.mark.parametrize("kind, agreeing", [("tflite", 1), ("tflite-fp16", 0.99)])
def test_labels_of_a_network_with_padding(network, converted, kind, agreeing, tmp_path):
    """50×37 is padded to 64×64 with the mean pixel, as `segment` does."""
    segmenter = opened(converted(kind, (50, 37)), tmp_path)
    image = images(1, 50, 37)[0]
    expected = segment(network, image)
    assert len(np.unique(expected)) > 1
    assert np.mean(segmenter.segment(image) == expected) >= agreeing


def test_int8_labels_of_a_network(network, converted, tmp_path):
    given = images(4, 50, 37)
    segmenter = opened(converted("tflite-int8", (50, 37)), tmp_path)
    equal = [segmenter.segment(image) == segment(network, image) for image in given]
    assert np.mean(equal) > 0.9


@pytest.mark.parametrize("size", [(64, 64), (50, 37)], ids=str)
@pytest.mark.parametrize("kind", tflite.KINDS)
def test_operations_and_interface(converted, kind, size):
    content = converted(kind, size)
    counts = op_counts(content)
    expected = OPERATIONS | (PADDING if size == (50, 37) else set())
    if kind == "tflite-fp16":
        expected = expected | {"DEQUANTIZE"}  # of the weights, once, when the file is opened
    if kind == "tflite-int8":
        expected = expected | {"QUANTIZE"}  # uint8 pixels as int8, once
        assert (counts["QUANTIZE"], counts["CAST"]) == (1, 1)
        assert not [t.name for t in tensors(content) if t.type in (0, 1)]  # no float at all
    assert set(counts) == expected
    assert counts["DEPTH_TO_SPACE"] == 5
    assert counts.get("CONCATENATION", 0) == (2 if size == (50, 37) else 0)

    interpreter = Interpreter(model_content=content)
    interpreter.allocate_tensors()
    (taken,), (given,) = interpreter.get_input_details(), interpreter.get_output_details()
    assert (taken["dtype"], taken["shape"].tolist()) == (np.uint8, [1, *size, 3])
    assert (given["dtype"], given["shape"].tolist()) == (np.uint8, [1, *size])


@pytest.mark.parametrize("kind", tflite.KINDS)
def test_the_signature(converted, kind, tmp_path):
    size = (50, 37)
    given = images(2, *size)
    content = converted(kind, size)
    interpreter = Interpreter(model_content=content)
    assert interpreter.get_signature_list() == {
        "serving_default": {"inputs": ["image"], "outputs": ["labels"]}
    }
    run = interpreter.get_signature_runner()
    segmenter = opened(content, tmp_path)
    for image in given:
        found = run(image=image)
        assert set(found) == {"labels"}
        np.testing.assert_array_equal(found["labels"], segmenter.segment(image))


@pytest.mark.parametrize("float_layers", [[], ["br_up1_*", "deconv_up2"]])
def test_the_signature_of_a_mixed_file(calibrated, float_layers):
    interpreter = Interpreter(model_content=calibrated.quantize(float_layers))
    image = images(1, 64, 64)[0]
    assert interpreter.get_signature_runner("serving_default")(image=image)["labels"].shape == (
        1,
        64,
        64,
    )


@pytest.mark.parametrize("kind", tflite.KINDS)
def test_the_legend_inside(channels, kind, tmp_path):
    """A lost or a foreign JSON file beside it is noticed; a file without a legend opens."""
    content = tflite.convert(channels, kind, (32, 40), images(1, 32, 40))
    assert opened(content, tmp_path).legend is None
    legend = Legend(("ciel", "tér", "道路"), labels.palette("camvid"))
    segmenter = opened(tflite_file.with_legend(content, legend), tmp_path)
    assert segmenter.legend.class_names == ("ciel", "tér", "道路")
    np.testing.assert_array_equal(segmenter.legend.palette[:3], labels.CAMVID_PALETTE[:3])
    image = images(1, 32, 40)[0]
    np.testing.assert_array_equal(segmenter.segment(image), image.argmax(axis=-1))
    Legend(("tér", "ciel", "道路"), labels.palette()).write(tmp_path / "model.json")
    with pytest.raises(UserError, match="model.json has the same in another order: tér, ciel"):
        TFLiteSegmenter(tmp_path / "model.tflite")


def test_pixels_go_in_as_they_are_whatever_the_images_reach(channels, tmp_path):
    """Representative images of 40…199 only; white and black are still told apart."""
    size = (33, 40)
    content = tflite.convert(channels, "tflite-int8", size, images(2, *size, 40, 200))
    interpreter = Interpreter(model_content=content)
    assert interpreter.get_input_details()[0]["quantization"] == (1.0, 0)
    int8 = [t for t in tensors(content) if t.type == 9 and list(t.shape) == [1, 64, 64, 3]]
    # The padded pixels; the logits, x / 255, keep the range that was measured.
    assert (int8[0].quantization.scale[0], int8[0].quantization.zeroPoint[0]) == (1.0, -128)


def test_weights_have_a_scale_a_channel(calibrated):
    operations = tflite_file.operations(tflite_file.read(calibrated.quantize()))
    weights = [inputs[1] for name, inputs, _ in operations if name == "CONV_2D"]
    assert len(weights) == 56
    assert all(len(t.quantization.scale) == t.shape[0] for t in weights)


def test_fp16_is_half_as_large(converted):
    small, large = (len(converted(kind, (64, 64))) for kind in ("tflite-fp16", "tflite"))
    assert 0.5 < small / large < 0.56


class TestFloatLayers:
    @pytest.mark.parametrize(
        "patterns, operations",
        [
            (["normalization"], 2),
            (["gcn_p3_left_1"], 1),
            (["stem_1_conv"], 1),
            (["deconv_up2"], 4),
            (["deconv_p4", "fuse_p2"], 5),
            (["br_up1_*"], 3),
        ],
    )
    def test_only_those_are_in_float(self, calibrated, patterns, operations):
        found = float_operations(calibrated.quantize(patterns))
        assert len(found) == operations
        for name in found:
            scopes = name.replace(";", "/").split("/")
            assert any(fnmatch.filter(scopes, f"{pattern}_1*") for pattern in patterns)

    def test_all_in_float_are_the_float_model(self, network, calibrated, tmp_path):
        """Weights are not rounded either."""
        content = calibrated.quantize(["*"])
        operations = list(tflite_file.operations(tflite_file.read(content)))
        assert not [name for name, inputs, _ in operations if any(t.type == 9 for t in inputs)]
        image = images(1, 64, 64)[0]
        labels = opened(content, tmp_path).segment(image)
        np.testing.assert_array_equal(labels, segment(network, image))

    def test_a_transposed_convolution_that_stays_one(self, tmp_path):
        """Left in float it has its own weights, not rounded ones."""
        keras.utils.set_random_seed(0)
        x = keras.Input((None, None, 3))
        y = keras.layers.MaxPooling2D()(keras.layers.Rescaling(1 / 255)(x))
        y = keras.layers.Conv2DTranspose(4, 2, strides=2, padding="valid", name="up")(y)
        model = keras.Model(x, y)
        content = tflite_int8.calibrate(model, (32, 32), images(2, 32, 32)).quantize(["*"])
        operations = {
            name: inputs for name, inputs, _ in tflite_file.operations(tflite_file.read(content))
        }
        assert operations["TRANSPOSE_CONV"][1].type == 0
        image = images(1, 32, 32)[0]
        labels = opened(content, tmp_path).segment(image)
        np.testing.assert_array_equal(labels, segment(model, image))

    def test_the_argmax_goes_with_the_layer_that_feeds_it(self, calibrated):
        model = tflite_file.read(calibrated.quantize(["br_up2_sum"]))
        operations = {name: inputs for name, inputs, _ in tflite_file.operations(model)}
        assert operations["ARG_MAX"][0].type == 0
        model = tflite_file.read(calibrated.quantize(["br_up2_conv2"]))
        operations = {name: inputs for name, inputs, _ in tflite_file.operations(model)}
        assert operations["ARG_MAX"][0].type == 9

    def test_numbered_names_are_told_apart(self):
        x = y = keras.Input((None, None, 3))
        for name in ("conv", "conv_1", "conv_1_1", "conv_2"):
            y = keras.layers.Conv2D(3, 3, padding="same", name=name)(y)
        nodes = tflite_int8.calibrate(keras.Model(x, y), (32, 32), images(1, 32, 32)).nodes
        written = [nodes[name][0] for name in ("conv", "conv_1", "conv_1_1", "conv_2")]
        assert len(set(written)) == 4
        assert [len(names) for names in nodes.values()] == [0, 1, 1, 1, 3]  # argmax and uint8, too

    def test_no_such_layer(self, calibrated):
        with pytest.raises(UserError) as caught:
            calibrated.quantize(["br_up2_*", "br_up9_*"])
        assert str(caught.value).startswith("no layer of the model is called 'br_up9_*': ")


def test_16_bit_training_does_not_matter(channels, tmp_path):
    x = keras.Input((None, None, 3))
    identity = keras.layers.Conv2D(3, 1, use_bias=False, dtype="mixed_bfloat16", name="identity")
    model = keras.Model(x, identity(x))
    identity.set_weights(channels.get_weights())
    content = tflite.convert(model, "tflite", (32, 32))
    assert {t.type for t in tensors(content)} <= {0, 2, 3}  # float32, int32, uint8
    image = images(1, 32, 32)[0]
    labels = opened(content, tmp_path).segment(image)
    np.testing.assert_array_equal(labels, image.argmax(axis=-1))


def test_the_converter_is_silent(channels, capfd):
    for kind in tflite.KINDS:
        tflite.convert(channels, kind, (32, 32), images(1, 32, 32))
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("size", [(50, 60), (41, 60)])
def test_a_model_of_fixed_size_sees_what_it_sees_in_keras(size, tmp_path):
    """Its sides are no multiples of 32; a smaller image is padded to them."""
    keras.utils.set_random_seed(0)
    x = keras.Input((50, 60, 3))
    model = keras.Model(x, keras.layers.Conv2D(3, 9, padding="same")(x))
    path = tmp_path / "model.tflite"
    path.write_bytes(tflite.convert(model, "tflite", size))
    image = np.random.default_rng(0).integers(0, 256, (1, *size, 3)).astype(np.uint8)
    found = TFLiteSegmenter(path).segment(image)
    np.testing.assert_array_equal(found, segment(model, image))


class TestRefusals:
    def test_a_kind(self, channels):
        with pytest.raises(ValueError, match="unknown kind 'tflite-int4': choose one of tflite, "):
            tflite.convert(channels, "tflite-int4", (32, 32))

    @pytest.mark.parametrize("given", [None, [], iter(())], ids=["None", "list", "iterator"])
    def test_int8_without_images(self, channels, given):
        with pytest.raises(ValueError, match="int8 needs representative images .* none"):
            tflite.convert(channels, "tflite-int8", (32, 32), given)

    @pytest.mark.parametrize(
        "image, received",
        [
            (np.zeros((1, 32, 32, 3), np.float32), r"float32 \[1, 32, 32, 3\]"),
            (np.zeros((32, 32, 3), np.uint8), r"uint8 \[32, 32, 3\]"),
            (np.zeros((1, 32, 33, 3), np.uint8), r"uint8 \[1, 32, 33, 3\]"),
        ],
    )
    def test_images_of_another_form(self, channels, image, received):
        with pytest.raises(ValueError, match=rf"uint8 \[1, 32, 32, 3\], received {received}"):
            tflite.convert(channels, "tflite-int8", (32, 32), [image])

    def test_a_size(self, channels):
        with pytest.raises(UserError) as caught:
            tflite.convert(channels, "tflite", (0, 32))
        assert str(caught.value) == "the size must be at least 1x1, got 0x32"

    def test_a_model_of_fixed_size(self):
        model = gcn(3, "small", 3, input_shape=(64, 64, 3))
        with pytest.raises(UserError) as caught:
            tflite.convert(model, "tflite", (65, 64))
        assert str(caught.value) == (
            "the model takes images of at most 64x64, so it cannot be converted for 65x64"
        )

    def test_what_the_converter_cannot(self, capfd):
        class Beta(keras.layers.Layer):
            def call(self, x):
                return tf.math.betainc(x, x, x)

        x = keras.Input((None, None, 3))
        with pytest.raises(UserError) as caught:
            tflite.convert(keras.Model(x, Beta()(x)), "tflite", (32, 32))
        message = str(caught.value)
        assert message.startswith("tflite cannot be made: the converter says ")
        assert "\n" not in message
        assert capfd.readouterr() == ("", "")

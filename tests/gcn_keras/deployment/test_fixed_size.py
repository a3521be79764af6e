"""Deployed models of one size: smaller images are padded to it, larger ones refused."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from random_images import picture

from gcn_keras import segment
from gcn_keras.deployment.deployable import Deployable
from gcn_keras.deployment.graphs import logits_graph
from gcn_keras.deployment.onnx_file import onnx_content
from gcn_keras.deployment.saved_model import export_saved_model
from gcn_keras.inference.keras_model import predict_logits
from gcn_keras.inference.legend import Legend
from gcn_keras.inference.segmenters import open_segmenter
from pipelines.base.errors import UserError, in_options

LEGEND = Legend.unnamed(3)

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def of_48_by_64():
    """A model whose scores hang on what its images are padded to."""
    keras.utils.set_random_seed(0)
    x = keras.Input((48, 64, 3))
    return keras.Model(x, keras.layers.Conv2D(3, 31, padding="same")(x))


@pytest.fixture(scope="module")
def fixed(of_48_by_64, tmp_path_factory):
    folder = tmp_path_factory.mktemp("fixed")
    export_saved_model(Deployable(of_48_by_64, LEGEND), folder)
    return open_segmenter(folder)


class TestFixedSize:
    def test_layers_that_resize_know_it(self):
        """A head that is usual on networks of Keras: it asks for the sides in numbers."""
        keras.utils.set_random_seed(0)
        x = keras.Input((48, 64, 3))
        scores = keras.layers.Conv2D(3, 3, strides=4, padding="same")(x)
        model = keras.Model(x, keras.layers.UpSampling2D(4, interpolation="bilinear")(scores))
        for size in ((48, 64), (30, 50)):
            images = picture(1, *size)
            logits = Deployable(model, LEGEND).graph(tf.constant(images))
            np.testing.assert_allclose(logits, predict_logits(model, images), rtol=1e-4, atol=1e-3)

    @pytest.mark.parametrize("size", [(48, 64), (30, 64), (33, 5)])
    def test_smaller_images_are_padded_to_it(self, of_48_by_64, fixed, size):
        images = picture(1, *size)
        np.testing.assert_allclose(
            fixed.logits(images), predict_logits(of_48_by_64, images), rtol=1e-3, atol=1e-2
        )

    @pytest.mark.parametrize("size", [(48, 65), (49, 64), (49, 65)])
    def test_larger_ones_are_refused(self, fixed, size):
        for ask in (fixed.segment, fixed.logits):
            with pytest.raises(UserError) as caught:
                ask(picture(1, *size))
            assert in_options(caught.value.template) == (
                f"{fixed._folder} takes images of at most 48x64, got {size[0]}x{size[1]}: take "
                "tiles of that size, --tile 48 64"
            )

    def test_a_side_that_is_free(self, tmp_path):
        x = keras.Input((48, None, 3))
        model = keras.Model(x, keras.layers.Conv2D(3, 1)(x))
        folder = export_saved_model(Deployable(model, LEGEND), tmp_path)
        saved = open_segmenter(folder)
        assert saved.segment(picture(1, 48, 70)).shape == (1, 48, 70)
        with pytest.raises(UserError) as caught:
            saved.segment(picture(1, 49, 70))
        assert in_options(caught.value.template) == (
            f"{folder} takes images of at most 48x96, got 49x70: take tiles of that size, "
            "--tile 48 96"
        )

    def test_as_an_onnx_file(self, of_48_by_64, tmp_path):
        pytest.importorskip("tf2onnx")
        path = tmp_path / "fixed.onnx"
        path.write_bytes(onnx_content(Deployable(of_48_by_64, LEGEND)))
        file, images = open_segmenter(path), picture(1, 30, 64)
        np.testing.assert_array_equal(file.segment(images), segment(of_48_by_64, images))
        for height, width in ((48, 65), (49, 64), (384, 512)):
            with pytest.raises(UserError) as caught:
                file.segment(picture(1, height, width))
            assert in_options(caught.value.template) == (
                f"{path} takes images of at most 48x64, got {height}x{width}: cut it into parts, "
                "or give the .keras file and take tiles of that size, --tile 48 64"
            )

    def test_nothing_is_padded_before_the_size_is_known_to_fit(self, of_48_by_64):
        """Whatever else can fail then waits: which of two does so first is chance."""
        graph = logits_graph(of_48_by_64).graph
        [check] = [op for op in graph.get_operations() if op.type == "Assert"]
        behind = {check.name}
        for op in graph.get_operations():  # in an order in which inputs come first
            before = [tensor.op for tensor in op.inputs] + list(op.control_inputs)
            if behind & {own.name for own in before}:
                behind.add(op.name)
        padding = [op for op in graph.get_operations() if op.type in ("BroadcastTo", "ConcatV2")]
        assert padding
        assert {op.name for op in padding} <= behind

    def test_its_warm_up_requests_are_answered(self, fixed):
        logs = pytest.importorskip("tensorflow_serving.apis.prediction_log_pb2")
        signatures = fixed._saved.signatures
        file = fixed._folder / "assets.extra" / "tf_serving_warmup_requests"
        requests = [
            logs.PredictionLog.FromString(record).predict_log.request
            for record in tf.data.TFRecordDataset(str(file)).as_numpy_iterator()
        ]
        assert len(requests) == 3
        for request in requests:
            [(name, value)] = request.inputs.items()
            answer = signatures[request.model_spec.signature_name]
            assert answer(**{name: tf.constant(tf.make_ndarray(value))})

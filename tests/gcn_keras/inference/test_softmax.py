"""Models that end in a softmax: their output is taken for probabilities, and for no logits."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops

import gcn_keras
from gcn_keras.deployment.deployable import Deployable
from gcn_keras.inference.legend import Legend
from gcn_keras.inference.softmax import ends_in_softmax

IMAGES = np.random.default_rng(0).integers(0, 256, (2, 12, 20, 3)).astype(np.uint8)


def network(end=None, activation=None) -> keras.Model:
    """Three scores of each pixel, near enough to each other that a softmax flattens none."""
    x = keras.Input((None, None, 3))
    scaled = keras.layers.Rescaling(1 / 64)(x)
    scores = keras.layers.Conv2D(3, 1, activation=activation, name="scores")(scaled)
    model = keras.Model(x, end(scores) if end else scores)
    kernel = np.array([[1, -1, 0.5], [-1, 1, 0], [0.5, 0, -1]], np.float32)
    model.get_layer("scores").set_weights([kernel[None, None], np.float32([0, 1, -1])])
    return model


def nested(scores):
    inner = keras.Input((None, None, 3))
    return keras.Model(inner, keras.layers.Softmax()(inner))(scores)


def in_float32(scores):
    """As mixed precision wants it."""
    return keras.layers.Activation("linear", dtype="float32")(keras.layers.Softmax()(scores))


def resized(scores):
    return keras.layers.UpSampling2D(1)(keras.layers.Softmax()(scores))


ENDS = {
    "layer": {"end": keras.layers.Softmax()},
    "axis 3": {"end": keras.layers.Softmax(axis=3)},
    "activation": {"end": keras.layers.Activation("softmax")},
    "of a convolution": {"activation": "softmax"},
    "operation": {"end": ops.softmax},
    "nested": {"end": nested},
    "linear after it": {"end": in_float32},
}


@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS)
def test_its_probabilities_are_what_it_gives(end):
    model, logits = network(**end), network()
    assert ends_in_softmax(model) and not ends_in_softmax(logits)
    found = gcn_keras.probabilities(model, IMAGES)
    np.testing.assert_allclose(found, model(IMAGES), atol=1e-6)
    views = {"scales": (0.5, 1.0), "flip": True, "tile": (8, 8)}
    found, expected = (gcn_keras.probabilities(m, IMAGES, **views) for m in (model, logits))
    np.testing.assert_allclose(found, expected, atol=1e-5)
    np.testing.assert_array_equal(*(gcn_keras.segment(m, IMAGES) for m in (model, logits)))


@pytest.mark.parametrize(
    "end",
    [{"end": keras.layers.Softmax(axis=1)}, {"activation": "sigmoid"}, {"end": resized}],
    ids=["of rows", "sigmoid", "something after it"],
)
def test_other_ends(end):
    assert not ends_in_softmax(network(**end))


def test_a_model_of_a_class_of_its_own():
    class Own(keras.Model):
        def call(self, images):
            return ops.softmax(images)

    assert not ends_in_softmax(Own())


@pytest.mark.slow
def test_what_is_deployed_gives_its_logarithms():
    graphs = [
        Deployable(model, Legend.unnamed(3)).graph
        for model in (network(**ENDS["layer"]), network())
    ]
    found, expected = (tf.nn.softmax(graph(tf.constant(IMAGES))) for graph in graphs)
    np.testing.assert_allclose(found, expected, atol=1e-6)

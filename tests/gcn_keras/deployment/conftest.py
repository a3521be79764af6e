"""Models that stand for networks, and SavedModels of them."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from places import REPOSITORY

from gcn_keras import gcn
from gcn_keras.deployment.deployable import Deployable
from gcn_keras.deployment.saved_model import export_saved_model
from gcn_keras.inference.legend import Legend

LEGEND = Legend.unnamed(3)


@pytest.fixture(scope="session")
def channels():
    """Stands for a network: a pixel's class is its largest channel."""
    x = keras.Input((None, None, 3))
    identity = keras.layers.Conv2D(3, 1, use_bias=False, name="identity")
    model = keras.Model(x, identity(x))
    identity.set_weights([np.eye(3).reshape(1, 1, 3, 3) / 255])
    return model


@pytest.fixture(scope="session")
def identity(channels):
    return Deployable(channels, LEGEND)


@pytest.fixture(scope="session")
def network():
    """A network whose batch norms have the statistics of a trained one, more or less."""
    keras.utils.set_random_seed(0)
    model = gcn(3, "resnet14_tiny", kernel_size=3)
    random = np.random.default_rng(0)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            channels = layer.gamma.shape
            layer.set_weights(
                [
                    random.uniform(0.5, 1.5, channels),
                    random.normal(0, 0.3, channels),
                    random.normal(0, 0.5, channels),
                    random.uniform(0.3, 3, channels),
                ]
            )
    return model


@pytest.fixture(scope="session")
def folder(network, tmp_path_factory):
    return export_saved_model(Deployable(network, LEGEND), tmp_path_factory.mktemp("network"))


@pytest.fixture(scope="session")
def signatures(folder):
    loaded = tf.saved_model.load(str(folder))
    yield loaded.signatures
    assert loaded  # signatures do not keep what they belong to


@pytest.fixture(scope="session")
def boxed(tmp_path_factory):
    """The model of the repository, and its SavedModel in bfloat16."""
    path = REPOSITORY / "saved_models" / "shapes" / "shapes.keras"
    deployable = Deployable.load(path, precision="bfloat16")
    return deployable, export_saved_model(deployable, tmp_path_factory.mktemp("bfloat16"))

"""The stand-in with two models, for all tests of a worker."""

from pathlib import Path

import pytest
import tensorflow as tf
from served_channels import LargestChannel, OtherProject
from stand_in_server import StandIn

from gcn_keras.inference import serving_client


@pytest.fixture(scope="session")
def models(tmp_path_factory) -> Path:
    """Version folders of "channels" (3 and 2) and "other" (1)."""
    folder = tmp_path_factory.mktemp("models")
    model = LargestChannel()
    for version in "23":
        signatures = {
            "serving_default": model.serve,
            "logits": model.logits,
            "serve_bytes": model.serve_bytes,
        }
        tf.saved_model.save(model, folder / "channels" / version, signatures)
    tf.saved_model.save(OtherProject(), folder / "other" / "1", OtherProject().serve)
    return folder


@pytest.fixture(scope="session")
def running(models):
    names = ("channels", "other")
    with StandIn({name: models / name for name in names}) as server:
        yield server


@pytest.fixture
def server(running):
    running.behave()
    return running


@pytest.fixture(params=["http", "grpc"])
def kind(request) -> str:
    return request.param


@pytest.fixture
def sleeps(monkeypatch) -> list[float]:
    """Nobody sleeps; how long the client would have."""
    slept = []
    monkeypatch.setattr(serving_client.time, "sleep", slept.append)
    return slept

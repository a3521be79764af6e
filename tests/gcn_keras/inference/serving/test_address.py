"""Addresses of models."""

from http.client import HTTPConnection

import pytest

from gcn_keras.inference import serving_transports
from gcn_keras.inference.serving_client import Client
from pipelines.base.errors import UsageError


class TestAddress:
    @pytest.mark.parametrize(
        "address, host, port, path",
        [
            ("http://h:8501/v1/models/a", "h", 8501, "/v1/models/a:predict"),
            ("http://h/v1/models/a/", "h", 80, "/v1/models/a:predict"),
            ("https://h:1/x/v1/models/a/versions/12", "h", 1, "/x/v1/models/a/versions/12:predict"),
            ("http://h/v1/models/é b", "h", 80, "/v1/models/%C3%A9%20b:predict"),
            ("http://[::1]:8501/v1/models/a", "::1", 8501, "/v1/models/a:predict"),
            ("http://[::1]/v1/models/a", "::1", 80, "/v1/models/a:predict"),
            ("https://[2001:db8::2]/v1/models/a", "2001:db8::2", 443, "/v1/models/a:predict"),
        ],
    )
    def test_rest(self, address, host, port, path):
        rest = serving_transports.server_at(address)
        assert (rest._host, rest._port, rest._path) == (host, port, path)
        assert (rest._connection is HTTPConnection) == address.startswith("http:")
        connection = rest._connection(rest._host, rest._port)
        assert (connection.host, connection.port) == (host, port)

    @pytest.mark.parametrize(
        "address, name, version",
        [
            ("grpc://h:8500/a", "a", None),
            ("grpc://h/a/12", "a", "12"),
            ("grpc://[::1]/a", "a", None),
        ],
    )
    def test_grpc(self, address, name, version):
        asked = serving_transports.server_at(address)
        assert (asked._name, asked._version) == (name, version)

    @pytest.mark.parametrize(
        "address",
        [
            "http://localhost:8501",
            "http://localhost:8501/v1/models/",
            "http://localhost:8501/v1/models/a:predict",
            "http://localhost:8501/v1/models/a/versions/new",
            "http://localhost:8501/v1/models/a?x=1",
            "http://user@localhost:8501/v1/models/a",
            "http://localhost:port/v1/models/a",
            "http://localhost:99999/v1/models/a",
            "http:///v1/models/a",
            "ftp://localhost/v1/models/a",
            "grpc://localhost:8500",
            "grpc://localhost:8500/a/b",
            "grpc://localhost:8500/a/9999999999999999999",
            "localhost:8500/a",
        ],
    )
    def test_refuses(self, address):
        with pytest.raises(UsageError) as caught:
            Client(address)
        assert caught.value.exit_status == 2
        assert str(caught.value) == (
            f"{address} is no address of a model: expected http://HOST:8501/v1/models/NAME or "
            "grpc://HOST:8500/NAME, with /versions/N or /N for one version"
        )

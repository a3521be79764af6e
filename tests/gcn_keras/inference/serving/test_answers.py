"""Answers of another model, of another server, and damaged ones."""

import numpy as np
import pytest
from PIL import Image
from served_channels import address, listener, picture, plain, png, refusal

from gcn_keras.inference import serving_transports
from gcn_keras.inference.legend import Legend
from gcn_keras.inference.serving_client import Client


def flipped(label_map: bytes) -> bytes:
    """The last bit of the last pixel's checksum of the zlib stream: Pillow decodes as before."""
    end = label_map.index(b"IEND") - 9
    return label_map[:end] + bytes([label_map[end] ^ 1]) + label_map[end + 1 :]


class TestOtherServers:
    def test_version(self, server, kind):
        client = Client(address(server, kind, version=3))
        assert client.segment(plain(1, 1, 2)) == 2

    @pytest.mark.parametrize(
        "name, version, found", [("nope", None, "Latest(nope)"), ("channels", 9, "channels, 9)")]
    )
    def test_unknown_model_or_version(self, server, kind, name, version, found):
        client = Client(address(server, kind, name, version))
        message = refusal(client, picture(2, 2))
        assert message.startswith(f"{client.address}: the server has no such model or version (")
        assert found in message

    def test_another_projects_model(self, server, kind):
        client = Client(address(server, kind, "other"))
        message = refusal(client, picture(2, 2))
        assert message.startswith(f"{client.address} refused the request (")
        assert message.endswith(
            '"serve_bytes" not found in signature def): is it a model that gcn_keras.export '
            "wrote, with the signature 'serve_bytes'?"
        )

    @pytest.mark.parametrize(
        "body, start",
        [
            (b"", "nothing"),
            (b"<html>\n hello </html>", "<html> hello </html>"),
            (b"{}", "{}"),
            (b"[1]", "[1]"),
            (b"null", "null"),
            (b"\xff\xfe", "\ufffd\ufffd"),
            (b"[" * 100_000, "[["),
            (b'{"outputs": {"labels": []}}', '{"outputs": {"labels": []}}'),
            (b'{"outputs": "abc"}', '{"outputs": "abc"}'),
            (b'{"outputs": [[0, 1]]}', '{"outputs": [[0, 1]]}'),
            (b'{"outputs": [{"b64": "!"}]}', '{"outputs": [{"b64": "!"}]}'),
            (b'{"outputs": [{"b64": 1}]}', '{"outputs": [{"b64": 1}]}'),
            ('{"outputs": [{"b64": "é"}]}'.encode(), '{"outputs": [{"b64": "é"}]}'),
        ],
    )
    def test_garbage(self, server, body, start):
        server.body = body
        client = Client(address(server, "http"))
        assert refusal(client, picture(2, 2)).startswith(
            f"{client.address} did not answer as a model that gcn_keras.export wrote: no JSON "
            f'with {{"b64": …}} under "outputs", but {start}'
        )

    def test_too_much(self, server, monkeypatch):
        monkeypatch.setattr(serving_transports, "ANSWER_BYTES", 10)
        assert refusal(Client(address(server, "http")), picture(2, 2)).endswith(
            "more than 10 bytes"
        )

    @pytest.mark.parametrize(
        "labels, what",
        [
            ([], "0 label maps for 1 image"),
            ([png(picture(4, 6)[..., 0])] * 2, "2 label maps for 1 image"),
            ([png(np.zeros((6, 4), np.uint8))], "a label map of 4x6 for an image of 6x4"),
            ([png(picture(4, 6))], "a PNG of mode RGB, not of 8-bit indices"),
            ([png(np.zeros((4, 6), np.uint16))], "a PNG of mode I;16, not of 8-bit indices"),
            ([b""], "a damaged PNG, or none: "),
            ([b"label map"], "a damaged PNG, or none: "),
            ([png(picture(4, 6)[..., 0])[:-30]], "a damaged PNG, or none: "),
            ([flipped(png(np.zeros((4, 6), np.uint8)))], "a damaged PNG, or none: "),
        ],
        ids=["none", "two", "size", "colour", "16 bit", "empty", "text", "truncated", "flipped"],
    )
    def test_label_maps_that_are_none(self, server, kind, labels, what):
        server.change_outputs = lambda outputs: {"labels_bytes": np.array(labels, object)}
        client = Client(address(server, kind))
        assert refusal(client, picture(4, 6)).startswith(
            f"{client.address} did not answer as a model that gcn_keras.export wrote: {what}"
        )

    def test_enormous_label_map(self, server, kind, monkeypatch):
        huge = png(np.zeros((40, 40), np.uint8))
        server.change_outputs = lambda outputs: {"labels_bytes": np.array([huge], object)}
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 500)
        message = refusal(Client(address(server, kind)), picture(4, 6))
        assert "a damaged PNG, or none: Image size (1600 pixels) exceeds limit" in message

    def test_outputs_of_another_name_or_type(self, server):
        client = Client(address(server, "grpc"))
        for outputs in ({"label": np.array([b""], object)}, {"labels_bytes": np.zeros(1)}):
            server.change_outputs = lambda _, outputs=outputs: outputs
            assert refusal(client, picture(4, 6)).endswith(
                f"outputs {sorted(outputs)}, not strings named 'labels_bytes'"
            )

    def test_labels_beyond_the_legend(self, server, kind):
        client = Client(address(server, kind), legend=Legend.unnamed(2))
        assert client.legend.class_names == ("class 0", "class 1")
        assert (client.segment(plain(2, 2, 1)) == 1).all()
        assert refusal(client, plain(2, 2, 2)).endswith("label 2, where the legend names 2 classes")

    def test_no_tensorflow_serving(self):
        """Another HTTP server, and REST's port asked by gRPC."""

        def answer(connection):
            connection.recv(10**6)
            connection.sendall(b"HTTP/1.1 405 Not allowed\r\nContent-Length: 5\r\n\r\nsorry")

        with listener(answer) as other:
            assert refusal(Client(other), picture(2, 2)) == f"{other} failed with 405 (sorry)"
        with listener(answer) as other:
            address = other.replace("http", "grpc").replace("/v1/models", "")
            client = Client(address, retries=0)
            assert "what answers there is no gRPC; " in refusal(client, picture(2, 2))

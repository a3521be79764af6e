"""The stand-in, beside TensorFlow Serving's own documentation."""

import base64
import io
import json
import urllib.error
import urllib.request

import grpc
import numpy as np
import pytest
from PIL import Image
from served_channels import (
    picture,
    png,
)
from tensorflow_serving.apis import get_model_metadata_pb2, prediction_service_pb2_grpc


class TestStandIn:
    """What the stand-in says, by TensorFlow Serving's documentation of its REST interface."""

    def ask(self, server, path, body=None):
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{server.http}/v1/models/{path}", data)
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(request) as response:
                return response.status, json.load(response)
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)

    @pytest.mark.slow
    def test_rows_and_columns_of_bytes(self, server):
        images = [picture(2, 3), picture(4, 1)]
        encoded = [{"b64": base64.b64encode(png(image)).decode()} for image in images]
        for given, answered in (
            ({"instances": encoded}, "predictions"),
            ({"instances": [{"bytes": value} for value in encoded]}, "predictions"),
            ({"inputs": encoded}, "outputs"),
            ({"inputs": {"bytes": encoded}}, "outputs"),
        ):
            body = {"signature_name": "serve_bytes", **given}
            status, answer = self.ask(server, "channels:predict", body)
            assert status == 200 and list(answer) == [answered]
            for value, image in zip(answer[answered], images, strict=True):
                with Image.open(io.BytesIO(base64.b64decode(value["b64"]))) as labels:
                    np.testing.assert_array_equal(np.array(labels), image.argmax(axis=-1))

    def test_rows_and_columns_of_numbers(self, server):
        images = [[[[0, 0, 51]]], [[[255, 0, 0]]]]
        labels, scores = [[[2]], [[0]]], [[[0.2]], [[1]]]
        status, answer = self.ask(server, "channels/versions/3:predict", {"instances": images})
        assert status == 200 and list(answer) == ["predictions"]
        assert [row["labels"] for row in answer["predictions"]] == labels
        np.testing.assert_allclose([row["scores"] for row in answer["predictions"]], scores, 1e-6)
        status, answer = self.ask(server, "channels:predict", {"inputs": {"images": images}})
        assert status == 200 and answer["outputs"]["labels"] == labels
        np.testing.assert_allclose(answer["outputs"]["scores"], scores, 1e-6)

    def test_strings_are_bytes_only_where_the_name_says_so(self, server):
        answer = self.ask(server, "other:predict", {"inputs": [0.5, 2]})
        assert answer == (200, {"outputs": {"y": ["0.500000", "2.000000"], "z": [0.25, 1.0]}})
        server.change_outputs = lambda _: {"y": np.array([b"\x89PNG"], object)}
        with pytest.raises(UnicodeDecodeError):
            self.ask(server, "other:predict", {"inputs": [0.5]})

    @pytest.mark.parametrize(
        "path, body, status, message",
        [
            ("nope:predict", {"inputs": []}, 404, "Servable not found for request: Latest(nope)"),
            ("channels:classify", {}, 400, "Malformed request"),
            ("channels:predict", [], 400, "Is not object"),
            ("channels:predict", {}, 400, "expecting one of"),
            ("channels:predict", {"inputs": 1, "instances": [1]}, 400, "expecting one of"),
            ("channels:predict", {"instances": []}, 400, "non-empty list"),
            ("channels:predict", {"instances": [{"x": 1}]}, 400, "keys must be equal to: images"),
            ("channels:predict", {"inputs": {"x": 1}}, 400, "Missing named input: images"),
            ("channels:predict", {"inputs": [[1], [1, 2]]}, 400, "JSON Value"),
            ("channels:predict", {"inputs": [1, 2]}, 400, "images must be TensorSpec("),
            ("channels:predict", {"signature_name": "x", "inputs": 1}, 400, '"x" not found in'),
            (
                "channels:predict",
                {"signature_name": "serve_bytes", "inputs": [{"b64": "eA=="}]},
                400,
                "Unknown image file format",
            ),
            ("nope", None, 404, "Could not find any versions of model nope"),
            ("channels/versions/2", None, 404, "Could not find any versions of model channels"),
        ],
    )
    def test_errors(self, server, path, body, status, message):
        found, answer = self.ask(server, path, body)
        assert found == status and list(answer) == ["error"]
        assert message in answer["error"]

    def test_status(self, server):
        status = {"error_code": "OK", "error_message": ""}
        state = {"version": "3", "state": "AVAILABLE", "status": status}
        for path in ("channels", "channels/versions/3"):
            assert self.ask(server, path) == (200, {"model_version_status": [state]})

    def test_metadata(self, server):
        with grpc.insecure_channel(
            server.grpc.removeprefix("grpc://"), [("grpc.enable_http_proxy", 0)]
        ) as channel:
            stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
            request = get_model_metadata_pb2.GetModelMetadataRequest()
            request.model_spec.name = "channels"
            request.metadata_field.append("signature_def")
            response = stub.GetModelMetadata(request)
        signatures = get_model_metadata_pb2.SignatureDefMap()
        assert response.metadata["signature_def"].Unpack(signatures)
        served = signatures.signature_def["serve_bytes"]
        assert (list(served.inputs), list(served.outputs)) == (["bytes"], ["labels_bytes"])
        assert response.model_spec.version.value == 3

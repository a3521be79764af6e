"""A stand-in for TensorFlow Serving, for tests: its two interfaces over SavedModels.

What is real: the gRPC service (tensorflow-serving-api's own stubs and messages), the signatures of
the exported model, and the JSON forms, statuses and errors of the REST interface, written after
TensorFlow Serving's json_tensor.cc, http_rest_api_handler.cc and http_server.cc. What is not: its
batching, its loading and unloading of versions, its C++.

    with StandIn({"shapes": Path("saved_models/shapes")}) as server:
        Client(f"{server.http}/v1/models/shapes").segment(image)
"""

import base64
import json
import re
import threading
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import grpc
import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from gcn_keras.inference.segmenters import newest_version

Code = grpc.StatusCode

# http_server.cc, ToHTTPStatusCode
HTTP_STATUS = {
    Code.INVALID_ARGUMENT: 400,
    Code.FAILED_PRECONDITION: 400,
    Code.OUT_OF_RANGE: 400,
    Code.NOT_FOUND: 404,
    Code.RESOURCE_EXHAUSTED: 429,
    Code.UNIMPLEMENTED: 501,
    Code.UNAVAILABLE: 503,
    Code.DEADLINE_EXCEEDED: 504,
}
CODES = {code.value[0]: code for code in Code}


class RefusalError(Exception):
    """A request that fails."""

    def __init__(self, code: grpc.StatusCode, message: str):
        super().__init__(message)
        self.code = code


class StandIn:
    """Serves the newest version of each model, on free ports of the loopback interface.

    Args:
        models: folders of version folders by name.

    Attributes:
        http: "http://127.0.0.1:PORT".
        grpc: "grpc://127.0.0.1:PORT".
        requests: the input tensors of each predict request that came in, unavailable ones included.
        unavailable: so many requests from now on are answered UNAVAILABLE.
        delay: seconds that each answer takes.
        body: bytes that REST answers with instead, status 200.
        change_outputs: called with the model's outputs, gives those to answer with.
    """

    def __init__(self, models: dict[str, Path]):
        self.folders = {name: newest_version(Path(folder)) for name, folder in models.items()}
        self.models = {
            name: tf.saved_model.load(str(folder)) for name, folder in self.folders.items()
        }
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self.behave()

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), _rest_handler(self))
        self._http.daemon_threads = True
        self.http = f"http://127.0.0.1:{self._http.server_port}"
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.05,), daemon=True)

        unlimited = [(f"grpc.max_{way}_message_length", -1) for way in ("send", "receive")]
        self._grpc = grpc.server(ThreadPoolExecutor(4), options=unlimited)
        service = PredictionService(self)
        prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(service, self._grpc)
        self.grpc = f"grpc://127.0.0.1:{self._grpc.add_insecure_port('127.0.0.1:0')}"

    def __enter__(self):
        self._thread.start()
        self._grpc.start()
        return self

    def __exit__(self, *error):
        self._stopping.set()
        self._http.shutdown()
        self._http.server_close()
        self._grpc.stop(None).wait()

    def behave(self) -> None:
        """Forgets the requests and every fault."""
        self.requests = []
        self.unavailable, self.delay = 0, 0.0
        self.body, self.change_outputs = None, lambda outputs: outputs

    def signature(self, name: str, version: int | None, signature: str):
        """A signature of a model; "" is serving_default."""
        if name not in self.models:
            raise RefusalError(Code.NOT_FOUND, f"Servable not found for request: Latest({name})")
        if version not in (None, self.version(name)):
            raise RefusalError(
                Code.NOT_FOUND, f"Servable not found for request: Specific({name}, {version})"
            )
        signature = signature or "serving_default"
        if signature not in self.models[name].signatures:
            raise RefusalError(
                Code.INVALID_ARGUMENT,
                f'Serving signature name: "{signature}" not found in signature def',
            )
        return self.models[name].signatures[signature]

    def version(self, name: str) -> int:
        return int(self.folders[name].name)

    def predict(self, function, inputs: dict) -> dict[str, np.ndarray]:
        """Calls a signature, or does wrong."""
        with self._lock:
            self.requests.append(inputs)
            is_unavailable = self.unavailable > 0
            self.unavailable -= is_unavailable
        self._stopping.wait(self.delay)
        if is_unavailable:
            raise RefusalError(Code.UNAVAILABLE, "the stand-in is told to be unavailable")
        wanted = set(function.structured_input_signature[1])
        if set(inputs) != wanted:
            raise RefusalError(
                Code.INVALID_ARGUMENT,
                f"input size does not match signature: {len(inputs)}!={len(wanted)}. "
                f"Sent extra: {sorted(set(inputs) - wanted)}. "
                f"Missing but required: {sorted(wanted - set(inputs))}.",
            )
        for name, spec in function.structured_input_signature[1].items():
            if not spec.is_compatible_with(inputs[name]):
                raise RefusalError(Code.INVALID_ARGUMENT, f"{name} must be {spec}")
        try:
            outputs = function(**inputs)
        except tf.errors.OpError as error:
            # Where in Python the node was made is what TensorFlow Serving cannot tell.
            preamble = (
                r"(?s)^Graph execution error:.*(<stack traces unavailable>|\nNode: '[^']*')\n"
            )
            message = re.sub(preamble, "", error.message)
            raise RefusalError(CODES[error.error_code], message) from error
        return self.change_outputs({name: value.numpy() for name, value in outputs.items()})


class PredictionService(prediction_service_pb2_grpc.PredictionServiceServicer):
    """Predict and GetModelMetadata; the others stay unimplemented."""

    def __init__(self, server: StandIn):
        self._server = server

    def Predict(self, request, context):
        spec = request.model_spec
        version = spec.version.value if spec.HasField("version") else None
        response = predict_pb2.PredictResponse()
        try:
            function = self._server.signature(spec.name, version, spec.signature_name)
            inputs = {
                name: tf.constant(tf.make_ndarray(proto)) for name, proto in request.inputs.items()
            }
            outputs = self._server.predict(function, inputs)
        except RefusalError as error:
            context.abort(error.code, str(error))
        for name, value in outputs.items():
            response.outputs[name].CopyFrom(tf.make_tensor_proto(value))
        response.model_spec.CopyFrom(spec)
        response.model_spec.version.value = self._server.version(spec.name)
        return response

    def GetModelMetadata(self, request, context):
        spec = request.model_spec
        if list(request.metadata_field) != ["signature_def"]:
            context.abort(Code.INVALID_ARGUMENT, "Metadata field is not supported")
        if spec.name not in self._server.models:
            context.abort(Code.NOT_FOUND, f"Servable not found for request: Latest({spec.name})")
        saved = saved_model_pb2.SavedModel()
        folder = self._server.folders[spec.name]
        saved.ParseFromString((folder / "saved_model.pb").read_bytes())
        signatures = get_model_metadata_pb2.SignatureDefMap()
        for name, signature in saved.meta_graphs[0].signature_def.items():
            signatures.signature_def[name].CopyFrom(signature)
        response = get_model_metadata_pb2.GetModelMetadataResponse()
        response.model_spec.name = spec.name
        response.model_spec.version.value = self._server.version(spec.name)
        response.metadata["signature_def"].Pack(signatures)
        return response


def _rest_handler(server: StandIn) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            match = re.fullmatch(r"/v1/models/([^/:]+)(?:/versions/(\d+))?", self.path)
            self.answer(lambda: _status(server, match))

        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            pattern = r"/v1/models/([^/:]+)(?:/versions/(\d+))?:predict"
            match = re.fullmatch(pattern, self.path)
            self.answer(lambda: _predict(server, match, body))

        def answer(self, find):
            try:
                status, content = 200, find()
            except RefusalError as error:
                status, content = HTTP_STATUS.get(error.code, 500), {"error": str(error)}
            if status == 200 and server.body is not None:
                body = server.body
            else:
                # As TensorFlow Serving, which does not look whether a string is UTF-8.
                text = json.dumps(content, indent=1, ensure_ascii=False)
                body = text.encode("utf-8", "surrogateescape")
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments):
            """Says nothing."""

    return Handler


def _status(server: StandIn, match) -> dict:
    """GET /v1/models/NAME"""
    if not match:
        raise RefusalError(Code.INVALID_ARGUMENT, "Malformed request")
    name, version = match[1], int(match[2]) if match[2] else None
    if name not in server.models or version not in (None, server.version(name)):
        raise RefusalError(Code.NOT_FOUND, f"Could not find any versions of model {name}")
    state = {
        "version": str(server.version(name)),
        "state": "AVAILABLE",
        "status": {"error_code": "OK", "error_message": ""},
    }
    return {"model_version_status": [state]}


def _predict(server: StandIn, match, body: bytes) -> dict:
    """POST /v1/models/NAME:predict"""
    if not match:
        raise RefusalError(Code.INVALID_ARGUMENT, "Malformed request")
    try:
        request = json.loads(body)
    except ValueError as error:
        raise RefusalError(Code.INVALID_ARGUMENT, f"JSON Parse error: {error}") from error
    if not isinstance(request, dict):
        raise RefusalError(Code.INVALID_ARGUMENT, "JSON Value: Is not object")
    version = int(match[2]) if match[2] else None
    function = server.signature(match[1], version, request.get("signature_name", ""))
    dtypes = {name: spec.dtype for name, spec in function.structured_input_signature[1].items()}
    if ("instances" in request) == ("inputs" in request):
        raise RefusalError(
            Code.INVALID_ARGUMENT, "expecting one of 'inputs' or 'instances' keys to exist"
        )
    is_row = "instances" in request
    columns = _columns(request["instances"], dtypes) if is_row else request["inputs"]
    if not isinstance(columns, dict) or _is_base64(columns):
        if len(dtypes) > 1:
            raise RefusalError(
                Code.INVALID_ARGUMENT, "multiple input tensors required as per tensorinfo_map"
            )
        columns = {next(iter(dtypes)): columns}
    for name in set(dtypes) - set(columns):
        raise RefusalError(
            Code.INVALID_ARGUMENT, f"Missing named input: {name} in 'inputs' object."
        )
    inputs = {name: _tensor(columns[name], dtype) for name, dtype in dtypes.items()}
    outputs = server.predict(function, inputs)
    values = {
        name: _json(value, name.endswith("_bytes")) for name, value in sorted(outputs.items())
    }
    if len(values) == 1:
        [answer] = values.values()
    elif is_row:
        answer = [dict(zip(values, row, strict=True)) for row in zip(*values.values(), strict=True)]
    else:
        answer = values
    return {"predictions" if is_row else "outputs": answer}


def _columns(instances, dtypes: dict):
    """The columnar form of rows."""
    if not isinstance(instances, list) or not instances:
        raise RefusalError(Code.INVALID_ARGUMENT, "Expecting 'instances' to be a non-empty list")
    is_object = [isinstance(row, dict) and not _is_base64(row) for row in instances]
    if not any(is_object):
        return instances
    if not all(is_object) or any(set(row) != set(dtypes) for row in instances):
        raise RefusalError(
            Code.INVALID_ARGUMENT,
            f"Failed to process element of 'instances' list: keys must be equal to: "
            f"{','.join(sorted(dtypes))}",
        )
    return {name: [row[name] for row in instances] for name in dtypes}


def _is_base64(value) -> bool:
    return isinstance(value, dict) and list(value) == ["b64"] and isinstance(value["b64"], str)


def _tensor(value, dtype: tf.DType) -> tf.Tensor:
    """A tensor from nested lists of numbers, strings and {"b64": …}."""

    def decoded(value):
        if isinstance(value, list):
            return [decoded(element) for element in value]
        return base64.b64decode(value["b64"], validate=True) if _is_base64(value) else value

    try:
        return tf.constant(decoded(value), dtype)
    except (TypeError, ValueError) as error:
        raise RefusalError(Code.INVALID_ARGUMENT, f"JSON Value: {error}") from error


def _json(value: np.ndarray, is_bytes: bool):
    """A tensor as nested lists; strings as {"b64": …} where the name of the tensor says so."""

    def encoded(value):
        if isinstance(value, list):
            return [encoded(element) for element in value]
        if isinstance(value, bytes):
            if is_bytes:
                return {"b64": base64.b64encode(value).decode()}
            return value.decode("utf-8", "surrogateescape")
        return value

    return encoded(value.tolist())

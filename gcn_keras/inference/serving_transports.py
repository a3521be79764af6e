"""Addresses of TensorFlow Serving, and the two ways to ask there: REST and gRPC."""

import base64
import contextlib
import json
import re
import socket
import threading
import time
from collections.abc import Iterator
from http.client import BadStatusLine, HTTPConnection, HTTPException, HTTPSConnection
from typing import NamedTuple
from urllib.parse import quote, urlsplit

from gcn_keras.inference.encoded_images import InvalidAnswerError
from gcn_keras.inference.failures import check_not_beyond_limit
from pipelines.base import extras
from pipelines.base.errors import UsageError, UserError, printable

# Signatures by their outputs. TensorFlow Serving writes a string as {"b64": …} if its name ends in
# _bytes, and only then.
LABELS, LEGEND = "labels_bytes", "legend_bytes"
SIGNATURES = {LABELS: "serve_bytes", LEGEND: "legend"}
INPUT = "bytes"

ANSWER_BYTES = 2**29


class UnavailableError(Exception):
    """The server cannot answer now; asking again may help."""


class NoSignatureError(UserError):
    """The model behind the server has no such signature."""


_PORTS = "unless told otherwise, TensorFlow Serving has REST at port 8501 and gRPC at 8500"


class Address(NamedTuple):
    """Where a model is served."""

    scheme: str  # "http", "https" or "grpc"
    host: str
    port: int | None  # None is the scheme's own
    path: str  # of the model, for REST, or its name, for gRPC
    version: str | None  # for gRPC; None is the newest


def parse_address(address: str) -> Address:
    """Takes an address apart; nothing is connected.

    Raises:
        UsageError: the address has another form than `Client` documents.
    """
    # Eighteen digits: what fits into the 64 bits of a version.
    rest, grpc = "(.*/v1/models/[^/:]+(?:/versions/[0-9]+)?)()", "/([^/:]+)(?:/([0-9]{1,18}))?"
    with contextlib.suppress(ValueError, KeyError):  # a port of 99999, another scheme
        url = urlsplit(str(address))
        form = {"http": rest, "https": rest, "grpc": grpc}[url.scheme]
        match = re.fullmatch(form, url.path.rstrip("/"))
        if match and url.hostname and not (url.query or url.fragment or url.username):
            return Address(url.scheme, url.hostname, url.port, match[1], match[2] or None)
    raise UsageError(
        f"{address} is no address of a model: expected http://HOST:8501/v1/models/NAME or "
        "grpc://HOST:8500/NAME, with /versions/N or /N for one version"
    )


def server_at(address: str) -> "Rest | Grpc":
    """What asks the server at an address; errors as in `parse_address`."""
    parts = parse_address(address)
    return Grpc(address, parts) if parts.scheme == "grpc" else Rest(address, parts)


class Rest:
    """TensorFlow Serving's REST interface; a connection a request, through no proxy."""

    def __init__(self, address: str, parts: Address):
        is_https = parts.scheme == "https"
        self._address, self._host = address, parts.host
        # Without one, HTTPConnection would look for it in the host's name: in ::1, too.
        self._port = parts.port or (443 if is_https else 80)
        self._connection = HTTPSConnection if is_https else HTTPConnection
        self._path = f"{quote(parts.path)}:predict"

    def ask(self, encoded_images: list[bytes], seconds: float, output: str) -> list[bytes]:
        """Sends encoded images and returns what came back for each: `LABELS` or `LEGEND`.

        Raises:
            NoSignatureError: the model does not give that.
            UnavailableError: the connection was refused, or the server says 503.
            TimeoutError: the time is up.
            InvalidAnswerError: the answer is none.
            UserError: everything else.
        """
        encoded = [{"b64": base64.b64encode(encoded).decode()} for encoded in encoded_images]
        body = json.dumps({"signature_name": SIGNATURES[output], "inputs": {INPUT: encoded}})
        status, content = self._exchange(body.encode(), seconds)
        if status != 200:
            raise _failure(self._address, status, _error_message(content), output)
        if len(content) > ANSWER_BYTES:
            raise InvalidAnswerError(f"more than {ANSWER_BYTES} bytes")
        try:
            outputs = json.loads(content)["outputs"]
            # Where there is one output alone, TensorFlow Serving leaves out its name.
            values = outputs[output] if isinstance(outputs, dict) else outputs
            return [base64.b64decode(value["b64"], validate=True) for value in values]
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            start = _shortened(content[:200].decode("utf-8", "replace"))
            raise InvalidAnswerError(
                f'no JSON with {{"b64": …}} under "outputs", but {start}'
            ) from error

    def _exchange(self, body: bytes, seconds: float) -> tuple[int, bytes]:
        end = time.monotonic() + seconds
        connection = self._connection(self._host, self._port, timeout=seconds)
        headers = {"Content-Type": "application/json"}
        try:
            connection.connect()
            with _cut_off_after(connection.sock, end - time.monotonic()):
                connection.request("POST", self._path, body, headers)
                response = connection.getresponse()
                return response.status, response.read(ANSWER_BYTES + 1)
        except TimeoutError:
            raise
        except ConnectionRefusedError as error:
            raise UnavailableError("connection refused") from error
        except (OSError, HTTPException, UnicodeError) as error:  # a host that cannot be, too
            reason = str(error) or type(error).__name__
            if isinstance(error, BadStatusLine) and not isinstance(error, ConnectionError):
                reason = f"what answers there is no REST interface; {_PORTS}"
            raise UserError(f"{self._address} cannot be asked: {reason}") from error
        finally:
            connection.close()


@contextlib.contextmanager
def _cut_off_after(connection: socket.socket, seconds: float) -> Iterator[None]:
    """Ends the block with a TimeoutError when the time is up.

    The socket's own timeout would not do: it starts anew with every byte that comes.
    """
    is_late = threading.Event()

    def cut_off():
        is_late.set()
        with contextlib.suppress(OSError):  # the other side was faster
            connection.shutdown(socket.SHUT_RDWR)

    timer = threading.Timer(seconds, cut_off)
    timer.daemon = True
    timer.start()
    try:
        yield
    except (OSError, HTTPException):
        if not is_late.is_set():
            raise
    finally:
        timer.cancel()
    if is_late.is_set():  # without an error, too: half an answer may look like a whole one
        raise TimeoutError


class Grpc:
    """TensorFlow Serving's PredictionService, on one channel, through no proxy."""

    def __init__(self, address: str, parts: Address):
        extras.check(f"{address} needs", "tensorflow_serving")
        import grpc
        from tensorflow_serving.apis import prediction_service_pb2_grpc

        self._address, self._name, self._version = address, parts.path, parts.version
        options = {
            "grpc.max_send_message_length": ANSWER_BYTES,
            "grpc.max_receive_message_length": ANSWER_BYTES,
            # Attempts are made, and counted, here alone; a lost connection is tried at once.
            "grpc.enable_retries": 0,
            "grpc.initial_reconnect_backoff_ms": 50,
            "grpc.min_reconnect_backoff_ms": 50,
            "grpc.enable_http_proxy": 0,
        }
        host = f"[{parts.host}]" if ":" in parts.host else parts.host
        target = f"{host}:{parts.port or 8500}"
        self._channel = grpc.insecure_channel(target, options=tuple(options.items()))
        self._stub = prediction_service_pb2_grpc.PredictionServiceStub(self._channel)

    def ask(self, encoded_images: list[bytes], seconds: float, output: str) -> list[bytes]:
        """As `Rest.ask`."""
        import grpc
        from tensorflow.core.framework import types_pb2
        from tensorflow_serving.apis import predict_pb2

        request = predict_pb2.PredictRequest()
        request.model_spec.name = self._name
        request.model_spec.signature_name = SIGNATURES[output]
        if self._version is not None:
            request.model_spec.version.value = int(self._version)
        tensor = request.inputs[INPUT]
        tensor.dtype = types_pb2.DT_STRING
        tensor.tensor_shape.dim.add(size=len(encoded_images))
        tensor.string_val.extend(encoded_images)
        try:
            response = self._stub.Predict(request, timeout=seconds)
        except grpc.RpcError as error:
            if error.code() == grpc.StatusCode.DEADLINE_EXCEEDED:
                raise TimeoutError from error
            raise _failure(self._address, error.code().name, error.details(), output) from error
        names = sorted(response.outputs)
        if output not in names or response.outputs[output].dtype != types_pb2.DT_STRING:
            raise InvalidAnswerError(f"outputs {names}, not strings named {output!r}")
        return list(response.outputs[output].string_val)


def _failure(address: str, code: int | str, message: str, output: str) -> Exception:
    """What an HTTP status or a gRPC code means; raises what a size beyond the model's means."""
    check_not_beyond_limit(address, message, gives_logits=False)
    message, signature = _shortened(message), SIGNATURES[output]
    if "Failed parsing HTTP/2" in message:
        return UserError(f"{address} cannot be asked: what answers there is no gRPC; {_PORTS}")
    if code in (503, "UNAVAILABLE"):
        return UnavailableError(message)
    if code in (404, "NOT_FOUND"):
        return UserError(f"{address}: the server has no such model or version ({message})")
    if f'"{signature}"' in message:
        return NoSignatureError(
            f"{address} refused the request ({message}): is it a model that gcn_keras.export "
            f"wrote, with the signature {signature!r}?"
        )
    if code not in (400, "INVALID_ARGUMENT", "FAILED_PRECONDITION"):
        return UserError(f"{address} failed with {code} ({message})")
    return UserError(f"{address} refused the request ({message})")


def _error_message(content: bytes) -> str:
    """The text of TensorFlow Serving's {"error": …}, or of whatever came in its place."""
    try:
        return str(json.loads(content)["error"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return content[:1000].decode("utf-8", "replace")


def _shortened(message: str) -> str:
    """A message of a server on one line."""
    message = printable(" ".join(message.split())) or "nothing"
    return message if len(message) <= 300 else f"{message[:300]}…"

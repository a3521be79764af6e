"""Servers that are not there, busy or slow."""

import socket
import threading

import grpc
import numpy as np
import pytest
from served_channels import address, listener, picture, refusal
from stand_in_server import RefusalError

from gcn_keras.inference.serving_client import Client


class TestUnavailable:
    def test_asked_again(self, server, kind, sleeps):
        server.unavailable = 3
        image = picture(2, 2)
        labels = Client(address(server, kind)).segment(image)
        np.testing.assert_array_equal(labels, image.argmax(axis=-1))
        assert len(server.requests) == 4
        assert sleeps == [0.2, 0.4, 0.8]

    @pytest.mark.parametrize("retries, attempts", [(0, "1 attempt"), (2, "3 attempts")])
    def test_not_for_ever(self, server, kind, sleeps, retries, attempts):
        server.unavailable = 9
        client = Client(address(server, kind), retries=retries)
        assert refusal(client, picture(2, 2)) == (
            f"{client.address} is not available after {attempts} (the stand-in is told to be "
            "unavailable): does the server run there, and has it loaded the model?"
        )
        assert len(server.requests) == retries + 1

    def test_not_beyond_the_deadline(self, server, kind, sleeps):
        server.unavailable = 99
        client = Client(address(server, kind), retries=50, deadline=3)
        # 0.2 + 0.4 + 0.8 + 1.6 s fit; after them, 3.2 s would not.
        assert "is not available after 5 attempts" in refusal(client, picture(2, 2))

    def test_nobody_there(self, kind, sleeps):
        with socket.create_server(("127.0.0.1", 0)) as unused:
            port = unused.getsockname()[1]
        path = "/v1/models/a" if kind == "http" else "/a"
        client = Client(f"{kind}://127.0.0.1:{port}{path}", retries=2)
        message = refusal(client, picture(2, 2))
        assert message.startswith(f"{client.address} is not available after 3 attempts (")
        assert "onnection refused" in message
        assert message.count("\n") == 0

    def test_the_port_of_the_other_interface(self, server, kind, sleeps):
        other = {"http": "grpc", "grpc": "http"}[kind]
        port = address(server, other).rpartition(":")[2].partition("/")[0]
        path = "/v1/models/channels" if kind == "http" else "/channels"
        client = Client(f"{kind}://127.0.0.1:{port}{path}", retries=2)
        interface = "REST interface" if kind == "http" else "gRPC"
        assert refusal(client, picture(2, 2)) == (
            f"{client.address} cannot be asked: what answers there is no {interface}; unless told "
            "otherwise, TensorFlow Serving has REST at port 8501 and gRPC at 8500"
        )
        assert sleeps == []

    @pytest.mark.parametrize("code", ["INTERNAL", "UNAVAILABLE", "NOT_FOUND", "INVALID_ARGUMENT"])
    def test_what_it_says_does_not_steer_the_terminal(self, server, kind, sleeps, code):
        def fail(outputs):
            raise RefusalError(getattr(grpc.StatusCode, code), "no \x1b[2Jscreen\x07 \x9b31m")

        server.change_outputs = fail
        message = refusal(Client(address(server, kind)), picture(2, 2))
        assert "no \\x1b[2Jscreen\\x07 \\x9b31m" in message and message.isprintable()

    def test_an_image_larger_than_the_model_takes(self, server, kind):
        """As the assertion of a deployed graph says it, behind whatever a server says first."""

        def fail(outputs):
            raise RefusalError(
                grpc.StatusCode.INVALID_ARGUMENT,
                "x" * 300 + " assertion failed: [the model takes images of at most 64x96, and one "
                "is of] [384 512]\n\t [[{{node Assert/Assert}}]]",
            )

        server.change_outputs = fail
        client = Client(address(server, kind))
        assert refusal(client, picture(2, 2)) == (
            f"{client.address} takes images of at most 64x96, got 384x512: cut it into parts, or "
            "give the .keras file and take tiles of that size, tile 64 96"
        )

    def test_nothing_else_is_tried_twice(self, server, kind, sleeps):
        def fail(outputs):
            raise RefusalError(grpc.StatusCode.INTERNAL, "no\n  memory " + "x" * 400)

        server.change_outputs = fail
        client = Client(address(server, kind))
        code = "INTERNAL" if kind == "grpc" else "500"
        shown = "no memory " + "x" * 290
        assert refusal(client, picture(2, 2)) == f"{client.address} failed with {code} ({shown}…)"
        assert len(server.requests) == 1 and sleeps == []


class TestDeadline:
    def test_slow_server(self, server, kind):
        server.delay = 20
        client = Client(address(server, kind), deadline=0.5)
        assert refusal(client, picture(2, 2)) == (
            f"{client.address} gave no answer within 0.5 s: allow a longer deadline, or find out "
            "what keeps the server busy"
        )
        assert len(server.requests) == 1

    @pytest.mark.parametrize("head", [b"HTTP/1.1 200 OK\r\nX: ", b"HTTP/1.1 200 OK\r\n\r\n"])
    def test_drop_by_drop(self, head):
        """Each byte comes in time, in the head or in the body; the answer does not."""

        def drip(connection):
            connection.sendall(head)
            while True:
                connection.sendall(b"a")
                stopped.wait(0.05)

        stopped = threading.Event()
        with listener(drip) as slow:
            assert "gave no answer within 0.4 s" in refusal(
                Client(slow, deadline=0.4), picture(2, 2)
            )

    def test_a_host_that_cannot_be(self):
        client = Client("http://a..b/v1/models/a")
        assert refusal(client, picture(2, 2)).startswith(f"{client.address} cannot be asked: ")

    def test_hung_up(self):
        with listener(lambda connection: connection.recv(10)) as rude:
            message = refusal(Client(rude), picture(2, 2))
        assert message.startswith(f"{rude} cannot be asked: ")

    @pytest.mark.parametrize("deadline", [0, np.inf, np.nan, "1", None, True])
    def test_impossible_deadlines(self, deadline):
        with pytest.raises(ValueError) as caught:
            Client("http://localhost/v1/models/a", deadline=deadline)
        assert str(caught.value) == (f"deadline must be above 0 and finite, received {deadline!r}")

    @pytest.mark.parametrize("retries", [-1, 1.5, "1", None, True])
    def test_impossible_numbers_of_retries(self, retries):
        with pytest.raises(ValueError) as caught:
            Client("http://localhost/v1/models/a", retries=retries)
        assert str(caught.value) == (
            f"retries must be an integer of at least 0, received {retries!r}"
        )

"""Addresses: their form, whether anything listens there, and free ports."""

import socket

import pytest

from pipelines.base.addresses import answers, check_address, free_port, is_loopback
from pipelines.base.errors import UsageError, UserError, as_options


@pytest.mark.parametrize(
    "family, host, written", [("AF_INET", "127.0.0.1", "127.0.0.1"), ("AF_INET6", "::1", "[::1]")]
)
def test_answers(family, host, written):
    try:
        listener = socket.create_server((host, 0), family=getattr(socket, family))
    except OSError:
        pytest.skip(f"this machine has no {family}")
    with listener:
        address = f"{written}:{listener.getsockname()[1]}"
        assert answers(address)
    assert not answers(address)


@pytest.mark.parametrize(
    "address",
    ["localhost", "localhost:", ":5050", "localhost:0", "localhost:65536", "a b:1", "x:y"],
)
def test_an_address_is_host_and_port(address):
    with pytest.raises(UsageError, match=f"^data_service must be HOST:PORT.*got '{address}'"):
        check_address(address, "data_service")


def test_an_address_is_taken_apart():
    assert check_address("10.0.0.7:65535", "dispatcher") == ("10.0.0.7", 65535)
    assert check_address("data-1.example:5050", "dispatcher") == (
        "data-1.example",
        5050,
    )


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1", True),
        ("127.1.2.3", True),
        ("localhost", True),
        ("LOCALHOST", True),
        ("0.0.0.0", False),
        ("10.0.0.7", False),
        ("data-1", False),
    ],
)
def test_which_hosts_are_this_machine_alone(host, expected):
    assert is_loopback(host) is expected


def test_a_port_that_is_taken_is_refused_and_a_free_one_found():
    with socket.socket() as taken:
        taken.bind(("", 0))
        taken.listen()
        port = taken.getsockname()[1]
        message = f"cannot listen on port {port}: .*give another --port"
        with pytest.raises(UserError, match=message), as_options():
            free_port(port)
    assert 1 <= free_port(0) <= 65535
    with pytest.raises(UsageError, match=r"--port must be in 0…65535, got 65536$"), as_options():
        free_port(65536)

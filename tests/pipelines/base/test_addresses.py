"""Whether anything listens at an address."""

import socket

import pytest

from pipelines.base.addresses import answers


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

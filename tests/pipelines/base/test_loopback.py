"""What a port takes of other machines."""

import os
import socket
import sys

import pytest

from pipelines.base.errors import UserError, as_options
from pipelines.base.loopback import restrict


@pytest.fixture
def open_port():
    """A port that this process listens on, at all addresses, as TensorFlow's servers do."""
    with socket.create_server(("", 0), family=socket.AF_INET6, dualstack_ipv6=True) as server:
        yield server.getsockname()[1]


def is_open(port) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except TimeoutError:
        return False
    return True


def test_what_comes_through_the_loopback_is_taken(open_port):
    restrict(open_port, "127.0.0.1")
    assert is_open(open_port)


def test_what_comes_through_another_interface_is_not(open_port, monkeypatch):
    monkeypatch.setattr(socket, "if_nametoindex", lambda name: 4321)  # that of no interface
    restrict(open_port, "localhost")
    assert not is_open(open_port)


def test_other_ports_of_the_process_stay(open_port, monkeypatch):
    monkeypatch.setattr(socket, "if_nametoindex", lambda name: 4321)
    with socket.create_server(("", 0)) as other:
        restrict(open_port, "127.0.0.1")
        assert is_open(other.getsockname()[1])


def test_nothing_is_left_open_or_closed(open_port, tmp_path):
    with socket.socket(socket.AF_UNIX) as other, open(tmp_path / "file", "w") as file:
        other.bind(str(tmp_path / "socket"))
        other.listen()
        before = sorted(os.listdir("/proc/self/fd"))
        restrict(open_port, "127.0.0.1")
        assert sorted(os.listdir("/proc/self/fd")) == before
        assert other.getsockname() == str(tmp_path / "socket")
        file.write("still open")


def test_another_host_leaves_it_open_and_says_so(open_port, monkeypatch, capsys):
    monkeypatch.setattr(socket, "if_nametoindex", lambda name: 4321)
    restrict(open_port, "0.0.0.0")
    assert is_open(open_port)
    said = f"port {open_port} is open: whoever reaches it runs code here\n"
    assert capsys.readouterr().err == said


def test_elsewhere_than_on_linux_it_is_refused(open_port, monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    with pytest.raises(UserError) as caught, as_options():
        restrict(open_port, "127.0.0.1")
    assert str(caught.value) == (
        "--host 127.0.0.1 cannot be kept here, as TensorFlow listens on all addresses: close "
        "the port with a firewall, and give --host 0.0.0.0"
    )

"""Addresses of services: their form, whether anything listens there, and free ports."""

import re
import socket

from pipelines.base.errors import ArgumentError, UserError, argument

_ADDRESS = re.compile(r"([A-Za-z0-9][A-Za-z0-9_.-]*|\[[0-9A-Fa-f:.]+\]):([0-9]{1,5})")


def split_address(address: str) -> tuple[str, int] | None:
    """Host and port of "HOST:PORT", or None; the host may be an IPv6 address in brackets."""
    match = _ADDRESS.fullmatch(address)
    if not match or not 1 <= int(match[2]) <= 65535:
        return None
    return match[1], int(match[2])


def check_address(address: str, name: str) -> tuple[str, int]:
    """Takes "HOST:PORT" apart.

    Args:
        address: a host's name or IPv4 address, and a port.
        name: of the argument, for the message.

    Returns:
        Host and port.

    Raises:
        ArgumentError: it has another form.
    """
    parts = split_address(address) if isinstance(address, str) else None
    if parts is None or parts[0].startswith("["):
        raise ArgumentError(name, f"must be HOST:PORT with a port in 1…65535, got {address!r}")
    return parts


def connect(address: str) -> None:
    """Connects to "HOST:PORT", and hangs up; an OSError if nothing listens there."""
    host, _, port = address.rpartition(":")
    # Of an IPv6 address the brackets are the notation's.
    socket.create_connection((host.strip("[]"), int(port)), timeout=5).close()


def answers(address: str) -> bool:
    """Whether anything listens at an address, "HOST:PORT"."""
    try:
        connect(address)
    except OSError:
        return False
    return True


def is_loopback(host: str) -> bool:
    """Whether a host's name stands for this machine as seen from itself alone."""
    return host.lower() == "localhost" or host.startswith("127.")


def free_port(port: int) -> int:
    """The port, or a free one for 0. gRPC would share a port that is taken, without a word.

    Raises:
        ArgumentError: it is no port.
        UserError: it is taken.
    """
    if not 0 <= port <= 65535:
        raise ArgumentError("port", f"must be in 0…65535, got {port}")
    with socket.socket() as probe:
        # A port whose connections are just being closed is free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("", port))
        except OSError as error:
            raise UserError(
                f"cannot listen on port {port}: {error.strerror}; give another {argument('port')}, "
                "or 0 for any free one"
            ) from error
        return probe.getsockname()[1]

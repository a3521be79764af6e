"""Addresses of services: their form, and whether anything listens there."""

import re
import socket
import threading
import time

from pipelines.base.errors import ArgumentError, UserError

# Started together, the dispatcher may come up last.
SECONDS_TO_WAIT_FOR_DISPATCHER = 60
_ADDRESS_PATTERN = re.compile(r"([A-Za-z0-9](?:[A-Za-z0-9_.-]*)):([0-9]{1,5})")


def check_address(address: str, argument: str) -> tuple[str, int]:
    """Takes "HOST:PORT" apart.

    Args:
        address: a host's name or IPv4 address, and a port.
        argument: its name, for the message.

    Returns:
        Host and port.

    Raises:
        ArgumentError: it has another form.
    """
    match = _ADDRESS_PATTERN.fullmatch(address)
    if not match or not 1 <= int(match[2]) <= 65535:
        raise ArgumentError(argument, f"must be HOST:PORT with a port in 1…65535, got {address!r}")
    return match[1], int(match[2])


def check_listening(address: str) -> None:
    """Checks that a dispatcher can be reached; without one, tf.data would wait for an hour.

    Raises:
        UserError: nothing listens there.
    """
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=5).close()
    except OSError as error:
        command = f"python -m pipelines.service dispatcher --port {port}"
        reason = error.strerror or error
        raise UserError(
            f"no dispatcher answers at {address} ({reason}); start one there with: {command}"
        ) from error


def wait_until_listening(address: str, stopped: threading.Event) -> bool:
    """Waits until something listens there; False if stopped meanwhile.

    Raises:
        UserError: nothing does after `SECONDS_TO_WAIT_FOR_DISPATCHER`.
    """
    deadline = time.monotonic() + SECONDS_TO_WAIT_FOR_DISPATCHER
    while not stopped.is_set():
        try:
            check_listening(address)
            return True
        except UserError:
            if time.monotonic() > deadline:
                raise
        stopped.wait(1.0)
    return False


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
            raise UserError.naming(
                f"cannot listen on port {port}: {error.strerror}; give another {{port}}, or 0 for "
                "any free one"
            ) from error
        return probe.getsockname()[1]

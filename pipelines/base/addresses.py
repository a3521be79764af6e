"""Addresses of services: their form, and whether anything listens there."""

import re
import socket

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
    reason = reason_not_listening(address)
    if reason:
        command = f"python -m pipelines.service dispatcher --port {address.rpartition(':')[2]}"
        raise UserError(
            f"no dispatcher answers at {address} ({reason}); start one there with: {command}"
        )


def reason_not_listening(address: str) -> str | None:
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=5).close()
    except OSError as error:
        return str(error.strerror or error)
    return None

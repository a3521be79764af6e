"""Keeps a port to this machine, where TensorFlow's servers listen on all addresses."""

import ctypes
import os
import socket
import struct
import sys
from collections.abc import Iterator

from pipelines.base.addresses import is_loopback
from pipelines.base.errors import UserError, argument
from pipelines.base.progress import note

_SO_ATTACH_FILTER = 26  # which the module socket does not name


def restrict(port: int, host: str) -> None:
    """Leaves a port that this process listens on to this machine alone, if `host` is loopback.

    TensorFlow's servers listen on all addresses. A filter of the kernel on their sockets drops what
    comes through another interface than the loopback.

    Raises:
        UserError: there are no such filters here: they are Linux'.
    """
    if not is_loopback(host):
        note(f"port {port} is open: whoever reaches it runs code here")
        return
    if sys.platform != "linux":
        raise UserError(
            f"{argument('host')} 127.0.0.1 cannot be kept here, as TensorFlow listens on all "
            f"addresses: close the port with a firewall, and give {argument('host')} 0.0.0.0"
        )
    loopback = socket.if_nametoindex("lo")
    # Classic BPF: load the interface's number; if it is the loopback's take all, else nothing.
    steps = ((0x20, 0, 0, 0xFFFFF008), (0x15, 0, 1, loopback), (6, 0, 0, 0xFFFFFFFF), (6, 0, 0, 0))
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in steps))
    program = struct.pack("HP", len(steps), ctypes.addressof(code))
    for listener in _listeners(port):
        listener.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, program)


def _listeners(port: int) -> Iterator[socket.socket]:
    """This process's sockets that listen on a port, each to be used before the next."""
    for number in os.listdir("/proc/self/fd"):
        try:
            found = socket.socket(fileno=int(number))
        except OSError:  # no socket, or closed meanwhile
            continue
        try:
            is_of_internet = found.family in (socket.AF_INET, socket.AF_INET6)
            if is_of_internet and found.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                if found.getsockname()[1] == port:
                    yield found
        finally:
            found.detach()  # it stays open

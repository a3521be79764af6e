"""Addresses of services: their form, whether anything listens there, and who may reach it."""

import ctypes
import os
import re
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable, Iterator

from pipelines.base.errors import ArgumentError, UserError, argument
from pipelines.base.progress import note

# Started together, the dispatcher may come up last.
SECONDS_TO_WAIT_FOR_DISPATCHER = 60
SECONDS_TO_WAIT_FOR_WORKER = 60
SECONDS_BETWEEN_CHECKS = 20
_SO_ATTACH_FILTER = 26  # which the module socket does not name
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


def check_listening(address: str) -> None:
    """Checks that a dispatcher can be reached; without one, tf.data would wait for an hour.

    Raises:
        UserError: nothing listens there.
    """
    host, _, port = address.rpartition(":")
    try:  # of an IPv6 address the brackets are the notation's
        socket.create_connection((host.strip("[]"), int(port)), timeout=5).close()
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


def reachable_workers(address: str) -> list[str]:
    """Addresses of a dispatcher's workers, of those that answer here.

    Raises:
        UserError: no dispatcher answers, or what answers is none.
    """
    import grpc
    from google.protobuf.descriptor_pb2 import FileDescriptorSet

    check_listening(address)
    with grpc.insecure_channel(address) as channel:
        ask = channel.unary_unary("/tensorflow.data.DispatcherService/GetWorkers")
        try:
            known = ask(b"", timeout=5)
        except grpc.RpcError as error:
            reason = error.code().name
            raise UserError(f"what listens at {address} is no dispatcher ({reason})") from error
    # TensorFlow keeps the answer's type to itself: messages whose first field is a name, as here.
    workers = [worker.name for worker in FileDescriptorSet.FromString(known).file]
    return [worker for worker in workers if answers(worker)]


def answers(address: str) -> bool:
    """Whether anything listens at an address, "HOST:PORT"."""
    try:
        check_listening(address)
    except UserError:
        return False
    return True


def wait_for_worker(address: str) -> None:
    """Waits until a dispatcher has a worker, without which a stream would wait for ever.

    Raises:
        UserError: it has none after `SECONDS_TO_WAIT_FOR_WORKER`, or does not answer.
    """
    deadline = time.monotonic() + SECONDS_TO_WAIT_FOR_WORKER
    missing = f"no worker of the dispatcher at {address} can be reached"
    has_told = False
    while not reachable_workers(address):
        if time.monotonic() > deadline:
            command = f"python -m pipelines.service worker --dispatcher {address}"
            raise UserError(f"{missing}; start one where training can reach it with: {command}")
        if not has_told:
            note(f"{missing}: waiting for one")
        has_told = True
        time.sleep(1)


def watch_workers(address: str, is_wanted: Callable[[], object]) -> None:
    """Says on standard error when a dispatcher has lost its last worker, as long as that is wanted.

    tf.data waits for another one, without a word.
    """

    def watch():
        had_some = True
        while is_wanted():
            try:
                has_some = bool(reachable_workers(address))
            except UserError:  # a dispatcher may be started again
                has_some = False
            if had_some and not has_some:
                note(f"no worker at {address} is left: waiting for one")
            had_some = has_some
            time.sleep(SECONDS_BETWEEN_CHECKS)

    threading.Thread(target=watch, daemon=True).start()


def is_loopback(host: str) -> bool:
    """Whether a host's name stands for this machine as seen from itself alone."""
    return host.lower() == "localhost" or host.startswith("127.")


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

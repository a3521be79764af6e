"""Decoding on other machines: `python -m pipelines.service dispatcher|worker`.

A tf.data service is one dispatcher and any number of workers. The dispatcher deals out work, the
workers read, decode and augment, and training receives batches from them:

    python -m pipelines.service dispatcher --port 5050 --work-dir /var/lib/gcn
    python -m pipelines.service worker --dispatcher HOST:5050        (on each machine)
    python -m gcn_keras.fit --dataset camvid --data-service HOST:5050

The prepared data must be visible to every worker under the same absolute path as where training
runs: a network folder, or a copy in the same place. How the work is divided, and what a dead
worker costs, is told in `stream.segmentation.training_batches`. Traffic is neither encrypted
nor authenticated: for trusted networks only.
"""

import os
import signal
import socket
import threading
import time
from pathlib import Path
from typing import Annotated

import tyro

from pipelines.base.addresses import (
    SECONDS_TO_WAIT_FOR_DISPATCHER,
    check_address,
    check_listening,
    reason_not_listening,
)
from pipelines.base.errors import UsageError, UserError, run_command

# The time that a worker may be silent until the dispatcher takes it for dead.
WORKER_TIMEOUT_MS = 30_000
HEARTBEAT_MS = 5_000


def dispatcher(
    port: int = 5050,
    work_dir: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None,
) -> None:
    """Deal out work to workers.

    Args:
        port: Where to listen; 0 for any free port.
        work_dir: Where the state is kept, so that a dispatcher that is started again goes on.
    """
    port = _free_port(port)
    if work_dir:
        try:
            work_dir.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"cannot make --work-dir {work_dir}: {error.strerror}") from error
    stopped = _stop_signals()
    config = _service().DispatcherConfig(
        port=port,
        work_dir=work_dir and str(work_dir),
        fault_tolerant_mode=work_dir is not None,
        worker_timeout_ms=WORKER_TIMEOUT_MS,
    )
    _serve(lambda: _service().DispatchServer(config), port, stopped)


def worker(
    dispatcher: Annotated[str, tyro.conf.arg(metavar="HOST:PORT")],
    port: int = 0,
    host: str | None = None,
) -> None:
    """Read, decode and augment for training.

    Args:
        dispatcher: The dispatcher to work for.
        port: Where to listen; 0 for any free port.
        host: This machine's name or address as training sees it. By default localhost if the
            dispatcher is there too, else the machine's own name.
    """
    dispatcher_host, _ = check_address(dispatcher, "dispatcher")
    port = _free_port(port)
    if host is None:
        is_local = dispatcher_host in ("localhost", "127.0.0.1")
        host = "localhost" if is_local else socket.gethostname()
    check_address(f"{host}:{port}", "{host} and {port}")
    stopped = _stop_signals()
    if not _wait_for(dispatcher, stopped):
        return
    config = _service().WorkerConfig(
        dispatcher_address=dispatcher,
        worker_address=f"{host}:{port}",
        port=port,
        heartbeat_interval_ms=HEARTBEAT_MS,
    )
    _serve(lambda: _service().WorkerServer(config), port, stopped)


def _service():
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    import tensorflow as tf

    return tf.data.experimental.service


def _free_port(port: int) -> int:
    """The port, or a free one for 0. gRPC would share a port that is taken, without a word."""
    if not 0 <= port <= 65535:
        raise UsageError(f"--port must be in 0…65535, got {port}")
    with socket.socket() as probe:
        # A port whose connections are just being closed is free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("", port))
        except OSError as error:
            raise UserError(
                f"cannot listen on port {port}: {error.strerror}; give another --port, or 0 for "
                f"any free one"
            ) from error
        return probe.getsockname()[1]


def _stop_signals() -> threading.Event:
    """An event that SIGTERM and Ctrl-C set, from now on."""
    stopped = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopped.set())
    return stopped


def _serve(start, port: int, stopped: threading.Event) -> None:
    import tensorflow as tf

    try:
        server = start()
    except tf.errors.OpError as error:
        raise UserError(f"cannot start on port {port}: {error.message}") from error
    print(f"listening on {port}", flush=True)
    stopped.wait()
    server.stop()


def _wait_for(address: str, stopped: threading.Event) -> bool:
    """Waits until something listens there; False if stopped meanwhile."""
    deadline = time.monotonic() + SECONDS_TO_WAIT_FOR_DISPATCHER
    while reason_not_listening(address):
        if time.monotonic() > deadline:
            check_listening(address)
        if stopped.wait(1.0):
            return False
    return not stopped.is_set()


def main() -> None:
    """Entry point of the command."""
    tyro.extras.subcommand_cli_from_dict(
        {"dispatcher": dispatcher, "worker": worker},
        prog="python -m pipelines.service",
        description="Decode and augment on other machines, with a tf.data service.",
    )


if __name__ == "__main__":
    run_command(main)

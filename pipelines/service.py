"""Decoding on other machines: a dispatcher deals out work, workers read, decode and augment.

    python -m pipelines.service dispatcher --port 5050 --work-dir /var/lib/gcn
    python -m pipelines.service worker --dispatcher HOST:5050        (on each machine)
    python -m gcn_keras.fit --dataset camvid --data-service HOST:5050

Every worker must see the prepared data under the same absolute path as training does.
`stream.segmentation.training_batches` says how the work is divided, and what a dead worker costs.
Traffic is neither encrypted nor authenticated: for trusted networks only.
"""

import signal
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import tyro

from pipelines.base.addresses import check_address, free_port, wait_until_listening
from pipelines.base.environment import prepare_tensorflow
from pipelines.base.errors import UserError, run_command
from pipelines.base.files import make_folder

# The time that a worker may be silent until the dispatcher takes it for dead.
WORKER_TIMEOUT_MS = 30_000
HEARTBEAT_MS = 5_000


def dispatcher(
    port: int = 5050,
    work_dir: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None,
) -> None:
    """Deal out work to workers.

    Args:
        port: Port to listen on; 0 for any free one.
        work_dir: Folder of the state, with which a dispatcher that is started again goes on.
    """
    port = free_port(port)
    if work_dir:
        make_folder(work_dir)
    stopped = _stop_signals()
    config = _service().DispatcherConfig(
        port=port,
        work_dir=work_dir and str(work_dir),
        fault_tolerant_mode=work_dir is not None,
        worker_timeout_ms=WORKER_TIMEOUT_MS,
    )
    _serve(_service().DispatchServer, config, stopped)


def worker(
    dispatcher: Annotated[str, tyro.conf.arg(metavar="HOST:PORT")],
    port: int = 0,
    host: str | None = None,
) -> None:
    """Read, decode and augment for training.

    Args:
        dispatcher: Address of the dispatcher to work for.
        port: Port to listen on; 0 for any free one.
        host: This machine as training sees it; by default localhost beside the dispatcher.
    """
    dispatcher_host, _ = check_address(dispatcher, "dispatcher")
    port = free_port(port)
    is_local = dispatcher_host in ("localhost", "127.0.0.1")
    host = host or ("localhost" if is_local else socket.gethostname())
    check_address(f"{host}:{port}", "{host} and {port}")
    stopped = _stop_signals()
    if not wait_until_listening(dispatcher, stopped):
        return
    config = _service().WorkerConfig(
        dispatcher_address=dispatcher,
        worker_address=f"{host}:{port}",
        port=port,
        heartbeat_interval_ms=HEARTBEAT_MS,
    )
    _serve(_service().WorkerServer, config, stopped)


def _service() -> Any:
    prepare_tensorflow()
    import tensorflow as tf

    return tf.data.experimental.service


def _stop_signals() -> threading.Event:
    """An event that SIGTERM and Ctrl-C set."""
    stopped = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopped.set())
    return stopped


def _serve(start: Callable[[Any], Any], config: Any, stopped: threading.Event) -> None:
    import tensorflow as tf

    try:
        server = start(config)
    except tf.errors.OpError as error:
        raise UserError(f"cannot start on port {config.port}: {error.message}") from error
    print(f"listening on {config.port}", flush=True)
    stopped.wait()
    server.stop()


def main() -> None:
    """Entry point of the command."""
    tyro.extras.subcommand_cli_from_dict(
        {"dispatcher": dispatcher, "worker": worker},
        prog="python -m pipelines.service",
        description="Decode and augment on other machines, with a tf.data service.",
    )


if __name__ == "__main__":
    run_command(main)

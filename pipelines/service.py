"""Decoding on other machines: a dispatcher deals out work, workers read, decode and augment.

    python -m pipelines.service dispatcher --host 0.0.0.0 --work-dir /var/lib/gcn
    python -m pipelines.service worker --dispatcher HOST:5050 --host NAME     (on each machine)
    python -m gcn_keras.fit --dataset camvid --data-service HOST:5050

Every worker must see the prepared data under the same absolute path as training does.
`stream.segmentation.training_batches` says how the work is divided, and what a dead worker costs.
Nothing is encrypted or authenticated, and whoever reaches a port runs code in the process.
"""

import signal
from collections.abc import Callable
from pathlib import Path
from threading import Event
from typing import Annotated, Any

import tyro

from pipelines.base.addresses import check_address, free_port, is_loopback
from pipelines.base.errors import ArgumentError, UserError, argument, run_command
from pipelines.base.files import check_folder
from pipelines.base.loopback import restrict
from pipelines.stream.data_service import wait_until_listening


def dispatcher(
    port: int = 5050,
    host: str = "127.0.0.1",
    work_dir: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None,
) -> None:
    """Deal out work to workers. Whoever reaches its port runs code in the workers.

    Args:
        port: Port to listen on; 0 for any free one.
        host: 127.0.0.1 for this machine alone; with any other the port is open to all machines that
            reach this one, without login or encryption.
        work_dir: Folder of the state, with which a dispatcher that is started again goes on.
    """
    port = _own_port(host, port)
    if work_dir:
        check_folder(work_dir)
    stopped = _stop_signals()
    config = _service().DispatcherConfig(
        port=port,
        work_dir=work_dir and str(work_dir),
        fault_tolerant_mode=work_dir is not None,
        worker_timeout_ms=30_000,  # a worker that is silent for so long is dead
    )
    _serve(_service().DispatchServer, config, host, stopped)


def worker(
    dispatcher: Annotated[str, tyro.conf.arg(metavar="HOST:PORT")],
    port: int = 0,
    host: str = "127.0.0.1",
) -> None:
    """Read, decode and augment for training. Whoever reaches its port runs code in it.

    Args:
        dispatcher: Address of the dispatcher to work for.
        port: Port to listen on; 0 for any free one.
        host: 127.0.0.1 for this machine alone; otherwise its name or address as training sees it,
            and the port is open as that of a dispatcher is.
    """
    dispatcher_host, _ = check_address(dispatcher, "dispatcher")
    port = _own_port(host, port)
    if is_loopback(host) and not is_loopback(dispatcher_host):
        reason = f"must be this machine as {dispatcher_host} and training see it, got {host}"
        raise ArgumentError("host", reason)
    stopped = _stop_signals()
    if not wait_until_listening(dispatcher, stopped):
        return
    config = _service().WorkerConfig(
        dispatcher_address=dispatcher,
        worker_address=f"{host}:{port}",
        port=port,
        heartbeat_interval_ms=5_000,
    )
    _serve(_service().WorkerServer, config, host, stopped)


def _own_port(host: str, port: int) -> int:
    """The port, or a free one for 0; ArgumentError where host and port are no address."""
    port = free_port(port)
    check_address(f"{host}:{port}", f"{argument('host')} and {argument('port')}")
    return port


def _service() -> Any:
    import tensorflow as tf

    return tf.data.experimental.service


def _stop_signals() -> Event:
    stopped = Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopped.set())
    return stopped


def _serve(start: Callable[[Any], Any], config: Any, host: str, stopped: Event) -> None:
    try:
        server = start(config)
    except RuntimeError as error:  # of the port, or of a dispatcher's folder; none of tf.errors
        raise UserError(f"cannot start on port {config.port}: {error}") from error
    restrict(config.port, host)
    print(f"listening on {config.port}", flush=True)
    while not stopped.wait(timeout=1):
        pass  # piece by piece: of a signal that comes just before a wait Python hears after it
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

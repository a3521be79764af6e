"""The dispatcher and the workers of a tf.data service, as who needs them sees them."""

import threading
import time
from collections.abc import Callable

from pipelines.base.addresses import answers, connect
from pipelines.base.errors import UserError
from pipelines.base.progress import note

# Started together, the dispatcher may come up last.
SECONDS_TO_WAIT_FOR_DISPATCHER = 60
SECONDS_TO_WAIT_FOR_WORKER = 60
SECONDS_BETWEEN_CHECKS = 20


def check_listening(address: str) -> None:
    """Checks that a dispatcher can be reached; without one, tf.data would wait for an hour.

    Raises:
        UserError: nothing listens there.
    """
    try:
        connect(address)
    except OSError as error:
        command = f"python -m pipelines.service dispatcher --port {address.rpartition(':')[2]}"
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

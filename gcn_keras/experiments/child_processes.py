"""Commands of this project as processes of their own, which never outlive the one that waits."""

import contextlib
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path

from pipelines.base.errors import Interrupted, UserError


def run_logged(command: Sequence[str], log: Path, environment: dict | None = None) -> int:
    """Runs a command, appends what it prints to a file, and waits for its end.

    On SIGTERM and Ctrl-C the command is asked to end by SIGTERM, on which `fit` saves what it needs
    to go on, and is waited for; a second Ctrl-C kills it.

    Args:
        command: the program and its arguments.
        log: the file; its folder is made.
        environment: of the command; by default this process's own.

    Returns:
        The command's exit status.

    Raises:
        Interrupted: a signal came; the command has ended.
        UserError: the file cannot be written.
    """
    child, came = None, []

    def stop(number, _):
        came.append(number)
        if child and len(came) > 1 and number == signal.SIGINT:
            child.kill()
        elif child:
            child.terminate()

    former = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
        with open(log, "ab") as file:
            child = subprocess.Popen(command, stdout=file, stderr=file, env=environment)
        if came:
            child.terminate()
        while child.returncode is None:
            # Piece by piece: of a signal that comes just before a wait Python hears after it.
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(timeout=1)
    except OSError as error:
        raise UserError(f"cannot write {log}: {error.strerror}") from error
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)
    if came:
        raise Interrupted("the same command goes on where this one was stopped", came[0])
    return child.returncode

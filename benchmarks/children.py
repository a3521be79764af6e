"""Measurements in processes of their own, so that none finds what another has left in memory; and
what of it a process has."""

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pipelines.base.environment import prepare_tensorflow
from pipelines.base.errors import UserError

_CHILD = "--child"


def in_child(task: str, environment: dict[str, str] | None = None, **arguments: Any) -> Any:
    """Runs a task of the script that is running in a fresh interpreter, and gives its result.

    Args:
        task: one of those that the script gives to `answered`.
        environment: variables for it, beside those of this process.
        arguments: of the task; what JSON does not know is passed as a string.

    Raises:
        UserError: the task failed; with the end of its messages.
    """
    child = subprocess.run(
        [sys.executable, sys.argv[0], _CHILD, task, json.dumps(arguments, default=str)],
        capture_output=True,
        text=True,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", **(environment or {})},
    )
    if child.returncode:
        raise UserError(f"{task} {arguments} failed: {child.stderr.strip()[-1500:]}")
    return json.loads(child.stdout.splitlines()[-1])


def answered(**tasks: Callable) -> bool:
    """Whether this process is a child of `in_child`; then its task has been done."""
    if sys.argv[1:2] != [_CHILD]:
        return False
    prepare_tensorflow()  # as commands do
    task, arguments = sys.argv[2:]
    result = tasks[task](**json.loads(arguments))
    print("\n" + json.dumps(result))  # whatever the task has printed, a line of its own
    return True


def memory_mib(kind: str = "VmHWM") -> int:
    """Memory of this process, from /proc (Linux): VmRSS is that of now, VmHWM the peak.

    `getrusage` would count in what the parent had when it made this process.
    """
    return _kib(Path("/proc/self/status"), kind) // 1024


def memory_with_children_mib(process: Path = Path("/proc/self")) -> int:
    """Memory that a process and its descendants have now; pages that they share count once.

    Args:
        process: its folder in /proc.
    """
    return _shares_kib(process) // 1024


def _shares_kib(process: Path) -> int:
    """Pss is a process's own pages and, of each that it shares with others, its share."""
    total = _kib(process / "smaps_rollup", "Pss")
    for children in process.glob("task/*/children"):  # of each of its threads
        for child in children.read_text().split():
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it has ended
                total += _shares_kib(process.parent / child)
    return total


def _kib(file: Path, kind: str) -> int:
    """A value of a file of lines such as "VmHWM:  1234 kB"."""
    lines = file.read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{kind}:"))

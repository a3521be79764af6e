"""Commands in forks of a process that has imported what takes its time.

A command of its own process imports TensorFlow first, for five seconds of processor time; a fork
has it already. It runs `python -m MODULE`, or a program in a file, to the letter, `__main__`
included. What depends on the import itself (another backend of Keras, what TensorFlow writes when
it starts) needs a fresh process all the same.
"""

import multiprocessing
import os
import resource
import runpy
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from places import REPOSITORY

PATIENCE = 900  # seconds, on a machine that has other things to do

# None of TensorFlow runs in it: a process with threads cannot be forked safely. No command is
# among them, for `runpy` warns of a module that is there already.
_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(
    ["gcn_keras.training.run", "tensorflow_datasets", "scipy.ndimage", "matplotlib.pyplot"]
)


class Forked:
    """`python -m MODULE ARGUMENTS` in the repository, in a process of its own.

    Args:
        module: its name, or the path of a program.
        arguments: of the command.
        folder: an existing one, for what it prints.
        environment: all its variables; by default this process's own.
        file_bytes: size that no file may have more of.
        cwd: the process's folder.
    """

    def __init__(
        self,
        module,
        arguments,
        folder: Path,
        environment=None,
        file_bytes=None,
        cwd=REPOSITORY,
    ):
        number = len(list(folder.glob("stdout-*")))
        self.outputs = [folder / f"{name}-{number}" for name in ("stdout", "stderr")]
        self.outputs[0].touch()
        self.process = _start(module, arguments, self.outputs, environment, file_bytes, cwd)

    def wait_for(self, condition, seconds: float = PATIENCE) -> None:
        """Waits until something has come true, or the process has ended."""
        deadline = time.monotonic() + seconds
        while not condition() and self.process.is_alive() and time.monotonic() < deadline:
            time.sleep(0.01)

    def send(self, number: int) -> None:
        """Sends a signal."""
        os.kill(self.process.pid, number)

    def finish(self, seconds: float = PATIENCE) -> tuple[int, str, str]:
        """Waits for the end; exit status, standard output and standard error."""
        self.process.join(seconds)
        has_ended = not self.process.is_alive()
        if not has_ended:
            self.process.kill()
        assert has_ended, self.outputs[1].read_text()
        return self.process.exitcode, *(path.read_text() for path in self.outputs)


def run(module, *arguments, cwd=REPOSITORY) -> subprocess.CompletedProcess:
    """What `subprocess.run` gives for `python -m MODULE ARGUMENTS`, with its output as text."""
    with tempfile.TemporaryDirectory() as folder:
        ended = Forked(module, arguments, Path(folder), cwd=cwd).finish()
    return subprocess.CompletedProcess([module, *arguments], *ended)


def run_logged(command, log: Path, environment=None) -> int:
    """Stands in for `child_processes.run_logged`, for `python -m MODULE`."""
    assert command[1] == "-m"
    log.parent.mkdir(parents=True, exist_ok=True)
    process = _start(command[2], command[3:], [log] * 2, environment)
    process.join(PATIENCE)
    return process.exitcode


def _start(module, arguments, outputs, environment=None, file_bytes=None, cwd=REPOSITORY):
    environment = dict(os.environ if environment is None else environment)
    given = (module, [*map(str, arguments)], outputs, environment, file_bytes, cwd)
    process = _FORKS.Process(target=_main, args=given, daemon=True)
    process.start()
    return process


def _main(module, arguments, outputs, environment, file_bytes, cwd) -> None:
    for number, path in enumerate(outputs, start=1):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND), number)
    os.environ.clear()
    os.environ.update(environment)
    if file_bytes:
        resource.setrlimit(resource.RLIMIT_FSIZE, (file_bytes, file_bytes))
    os.chdir(cwd)
    sys.path.insert(0, str(REPOSITORY))
    sys.argv = [str(module), *arguments]
    if isinstance(module, Path):
        runpy.run_path(str(module), run_name="__main__")
    else:
        runpy.run_module(module, run_name="__main__", alter_sys=True)

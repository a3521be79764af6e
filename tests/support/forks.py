"""Commands in forks of a process that has imported what takes its time.

A command of its own process imports TensorFlow first, for five seconds of processor time; a fork
has it already. It does what `python -m MODULE`, or a program, does to the letter, `__main__`
included, and so does what it starts by `sys.executable`. What depends on the import itself (what
TensorFlow writes when it starts, what a module imports) needs a fresh process all the same.
"""

import atexit
import functools
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import fork_server
from executables import write_executable
from fork_server import Asked
from places import REPOSITORY

PATIENCE = 900  # seconds, on a machine that has other things to do

# None of TensorFlow or JAX runs in it: a process with threads cannot be forked safely. No command
# is among them, for `runpy` warns of a module that is there already.
_IMPORTED = (
    "small_backbone",
    "quick_exports",
    "quick_graphs",
    "gcn_keras.training.run",
    "tensorflow_datasets",
    "scipy.ndimage",
    "matplotlib.pyplot",
)


@functools.cache
def _server(backend: str = "tensorflow") -> Path:
    """The folder of a server, which ends with this process; Keras' backend is of its import."""
    folder = tempfile.TemporaryDirectory(prefix="forks-")
    path, program = Path(folder.name), fork_server.__file__
    write_executable(path / "python", program, "ask", folder.name)
    with open(path / "stderr", "wb") as stderr:
        process = subprocess.Popen(
            [sys.executable, program, "serve", path, *_IMPORTED],
            cwd=REPOSITORY,
            env={
                **os.environ,
                "KERAS_BACKEND": backend,
                "PYTHONPATH": os.pathsep.join([str(REPOSITORY), str(Path(__file__).parent)]),
                # Compiling takes most of the time of the few steps of a test.
                "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
            },
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=stderr,
            start_new_session=True,
        )
    atexit.register(_end, process, folder)
    while not (path / "socket").exists():
        assert process.poll() is None, (path / "stderr").read_text()
        time.sleep(0.01)
    return path


def _end(process: subprocess.Popen, folder: tempfile.TemporaryDirectory) -> None:
    process.stdin.close()
    process.wait()
    folder.cleanup()


def python(backend: str = "tensorflow") -> str:
    """The path of a program that does in a fork what Python does with `-m`, `-c` or a file."""
    return str(_server(backend) / "python")


class Forked:
    """`python -m MODULE ARGUMENTS` in the repository, in a process of its own.

    Args:
        module: its name, or the path of a program.
        arguments: of the command.
        folder: an existing one, for what it prints.
        environment: all its variables; by default this process's own.
        file_bytes: size that no file may have more of.
        cwd: the process's folder.
        backend: of Keras.
    """

    def __init__(
        self,
        module,
        arguments,
        folder: Path,
        environment=None,
        file_bytes=None,
        cwd=REPOSITORY,
        backend="tensorflow",
    ):
        number = len(list(folder.glob("stdout-*")))
        self.outputs = [folder / f"{name}-{number}" for name in ("stdout", "stderr")]
        environment = dict(os.environ if environment is None else environment)
        environment["KERAS_BACKEND"] = backend
        given = [module] if isinstance(module, Path) else ["-m", module]
        with (
            open(os.devnull) as nothing,
            open(self.outputs[0], "ab") as stdout,
            open(self.outputs[1], "ab") as stderr,
        ):
            files = [file.fileno() for file in (nothing, stdout, stderr)]
            self.process = Asked(
                _server(backend), [*given, *arguments], files, cwd, environment, file_bytes
            )

    def wait_for(self, condition, seconds: float = PATIENCE) -> None:
        """Waits until something has come true, or the process has ended."""
        deadline = time.monotonic() + seconds
        while not condition() and self.process.wait(0) is None and time.monotonic() < deadline:
            time.sleep(0.01)

    def send(self, number: int) -> None:
        """Sends a signal."""
        os.kill(self.process.pid, number)

    def finish(self, seconds: float = PATIENCE) -> tuple[int, str, str]:
        """Waits for the end; exit status, standard output and standard error."""
        status = self.process.wait(seconds)
        if status is None:
            self.send(9)
        stdout, stderr = (path.read_text() for path in self.outputs)
        assert status is not None, stderr
        return status, stdout, stderr


def run(module, *arguments, cwd=REPOSITORY, backend="tensorflow") -> subprocess.CompletedProcess:
    """What `subprocess.run` gives for `python -m MODULE ARGUMENTS`, with its output as text."""
    with tempfile.TemporaryDirectory() as folder:
        ended = Forked(module, arguments, Path(folder), cwd=cwd, backend=backend).finish()
    return subprocess.CompletedProcess([module, *arguments], *ended)

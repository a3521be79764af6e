"""A process that has imported what takes its time, and forks into each command it is asked for.

    python fork_server.py serve FOLDER MODULE …     imports the modules, then serves FOLDER/socket
    python fork_server.py ask FOLDER ARGUMENT …     does what `python ARGUMENT …` would do

It imports nothing that takes time itself. `forks` starts it, and is what tests use.
"""

import atexit
import contextlib
import importlib
import json
import os
import resource
import runpy
import select
import signal
import socket
import struct
import sys
import threading
from pathlib import Path

_NUMBER = struct.Struct("i")


class Asked:
    """`python ARGUMENT …` in a fork of the server.

    Args:
        folder: of the server.
        arguments: `-m MODULE …`, `-c PROGRAM …` or `FILE …`.
        files: descriptors of its standard input, output and error.
        cwd: the process's folder.
        environment: all its variables.
        file_bytes: size that no file may have more of.

    Attributes:
        pid: of the process.
    """

    def __init__(self, folder, arguments, files, cwd, environment, file_bytes=None):
        self._connection = socket.socket(socket.AF_UNIX)
        self._connection.connect(str(Path(folder) / "socket"))
        socket.send_fds(self._connection, [b"\0"], files)
        request = [[*map(str, arguments)], str(cwd), dict(environment), file_bytes]
        self._connection.sendall(json.dumps(request).encode() + b"\n")
        (self.pid,) = _NUMBER.unpack(self._connection.recv(_NUMBER.size))

    def wait(self, seconds: float | None = None) -> int | None:
        """The exit status, -N after signal N; None if it goes on for longer than these seconds."""
        if not select.select([self._connection], [], [], seconds)[0]:
            return None
        content = self._connection.recv(_NUMBER.size, socket.MSG_PEEK)
        return _NUMBER.unpack(content)[0]


def ask(folder, *arguments) -> int:
    """Is the command, as far as standard streams, signals and the exit status show."""
    asked = Asked(folder, arguments, [0, 1, 2], os.getcwd(), os.environ)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, _: os.kill(asked.pid, number))
    status = asked.wait()
    if status < 0:
        signal.signal(-status, signal.SIG_DFL)
        os.kill(os.getpid(), -status)
    return status


def serve(folder: Path):
    """Returns in each fork, with what was asked for; ends when standard input is closed."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(folder / "starting"))
        listener.listen(64)
        (folder / "starting").rename(folder / "socket")
        while listener in select.select([listener, sys.stdin], [], [])[0]:
            connection, _ = listener.accept()
            with connection:
                if os.fork() == 0:
                    listener.close()
                    return _attend(connection)
            with contextlib.suppress(ChildProcessError):  # there is none
                while os.waitpid(-1, os.WNOHANG)[0]:
                    pass
    os._exit(0)


def _attend(connection):
    """Forks into the command, and tells how that ends; ends it where nobody listens any more."""
    _, files, _, _ = socket.recv_fds(connection, 1, 3)
    request = json.loads(connection.makefile("rb").readline())
    child = os.fork()
    if child == 0:
        for number, file in enumerate(files):
            os.dup2(file, number)
            os.close(file)
        # The server's remember of what kind its own files are, such as whether they can seek.
        sys.stdin = open(0, closefd=False)
        sys.stdout = open(1, "w", closefd=False)
        sys.stderr = open(2, "w", buffering=1, errors="backslashreplace", closefd=False)
        return request
    for number in (*files, 0, 1, 2):
        os.close(number)
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        connection.sendall(_NUMBER.pack(child))
    ended = os.pidfd_open(child)
    if ended not in select.select([connection, ended], [], [])[0]:
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        connection.sendall(_NUMBER.pack(os.waitstatus_to_exitcode(status)))
    os._exit(0)


def run(folder: Path, arguments, cwd, environment, file_bytes) -> None:
    """What Python does with such arguments."""
    os.environ.clear()
    os.environ.update(environment)
    if file_bytes:
        resource.setrlimit(resource.RLIMIT_FSIZE, (file_bytes, file_bytes))
    os.chdir(cwd)
    sys.executable = str(folder / "python")
    first, *rest = arguments
    paths = list(filter(None, environment.get("PYTHONPATH", "").split(os.pathsep)))
    if first == "-m":
        module, *rest = rest
        sys.argv, sys.path[:0] = [module, *rest], [cwd, *paths]
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    elif first == "-c":
        program, *rest = rest
        sys.argv, sys.path[:0] = ["-c", *rest], ["", *paths]
        exec(compile(program, "<string>", "exec"), {"__name__": "__main__"})
    else:
        sys.argv, sys.path[:0] = arguments, [str(Path(first).parent), *paths]
        runpy.run_path(first, run_name="__main__")


def leave(code) -> None:
    """Ends the process as Python does, but frees nothing, for that takes more than a second."""
    if code is not None and not isinstance(code, int):
        print(code, file=sys.stderr)
        code = 1
    threading._shutdown()  # waits for the threads that are no daemons
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(code or 0)


def main(what, folder, *arguments):
    if what == "ask":
        return ask(folder, *arguments)
    for module in arguments:
        importlib.import_module(module)
    try:
        run(Path(folder), *serve(Path(folder)))
    except SystemExit as error:
        leave(error.code)
    leave(0)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))

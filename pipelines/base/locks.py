"""Locks on folders: two commands never write the same files at the same time.

A lock is one of the operating system's on a file in the folder. It ends with the process that
holds it, however that ends; the file goes when the lock is given back, and stays, without a
meaning, where the process was killed.
"""

import contextlib
import errno
import fcntl
import os
from pathlib import Path

from pipelines.base.errors import UserError
from pipelines.base.progress import note

FILE = ".lock"
_UNKNOWN = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)


def claim(folder: Path, wait: bool = False, name: str = FILE) -> contextlib.ExitStack | None:
    """Locks a folder, or what a name stands for in it.

    Where the file system knows no locks, a warning on standard error says so.

    Args:
        folder: an existing one.
        wait: whether to wait until another process gives it free.
        name: of the file that is locked.

    Returns:
        What gives the folder free when it is closed; None if another process has it, unless `wait`.

    Raises:
        UserError: the folder cannot be written to.
    """
    path = folder / name
    while True:
        try:
            file = open(path, "wb")
        except OSError as error:
            raise UserError(f"cannot write to {folder}: {error.strerror}") from error
        with contextlib.ExitStack() as lock:
            lock.enter_context(file)
            try:
                fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            except BlockingIOError:
                return None
            except OSError as error:
                if error.errno not in _UNKNOWN:
                    raise
                note(
                    f"warning: the file system of {folder} knows no locks: do not let two commands "
                    "write there at the same time"
                )
            # Between opening and locking, another process may have removed the file with its lock.
            with contextlib.suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(file.fileno()), path.stat()):
                    lock.callback(path.unlink, missing_ok=True)
                    return lock.pop_all()


def locked(folder: Path, name: str = FILE) -> contextlib.ExitStack:
    """Waits for a folder, and holds it for the length of the block; errors as in `claim`."""
    lock = claim(folder, wait=True, name=name)
    assert lock is not None  # as it has waited
    return lock

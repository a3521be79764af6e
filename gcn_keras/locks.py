"""Locks on folders: two commands never write the same files at the same time.

A lock is one of the operating system's on the file .lock in the folder. It ends with the process
that holds it, however that ends; the file stays.
"""

import contextlib
import errno
import fcntl
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from pipelines.errors import UserError

FILE = ".lock"
_UNKNOWN = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)


def claim(folder: Path, wait: bool = False) -> BinaryIO | None:
    """Locks a folder until what is returned is closed.

    Where the file system knows no locks, a warning on standard error says so.

    Args:
        folder: an existing one.
        wait: whether to wait until another process gives it free.

    Returns:
        What holds the lock; None if another process has it, unless `wait`.

    Raises:
        UserError: the folder cannot be written to.
    """
    try:
        file = open(folder / FILE, "wb")
    except OSError as error:
        raise UserError(f"cannot write to {folder}: {error.strerror}") from error
    try:
        fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        file.close()
        return None
    except OSError as error:
        if error.errno not in _UNKNOWN:
            file.close()
            raise
        print(
            f"warning: the file system of {folder} knows no locks: do not let two commands write "
            "there at the same time",
            file=sys.stderr,
        )
    return file


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Waits for a folder, and holds it for the length of the block; errors as of `claim`."""
    with claim(folder, wait=True):
        yield

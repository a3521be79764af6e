"""Files that are complete or absent, and what may lie among them."""

import contextlib
import fcntl
import functools
import json
import math
import os
import re
import shutil
import socket
import stat
import tempfile
from collections.abc import Iterator, Set
from pathlib import Path
from typing import Any

from pipelines.base.errors import ArgumentError, UsageError, UserError
from pipelines.base.progress import note

LONGEST_NAME = 255  # bytes of a file's name, on most file systems
_OF_FILE_MANAGERS = ("desktop.ini", "thumbs.db", "ehthumbs.db", "icon\r", "@eadir", "__macosx")
# Names of what is being written, as `temporary_beside` gives them.
_TEMPORARY = re.compile(r"\..+\.(?P<host>[^.]+)-(?P<pid>\d+)\.part(\.[^.]*)?")
# What TFDS writes.
_OF_PREPARED_SET = re.compile(
    r"(dataset_info|features|metadata)\.json|.+\.labels\.txt|.+\.tfrecord-.+"
)
_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


@contextlib.contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Gives a temporary path beside `path`, which takes its place when the block has ended well.

    A reader of `path` sees the former file or the whole new one. If the block fails, the temporary
    file is removed and `path` stays as it was. The folder of `path` must exist.

        with replacing("metrics.json") as temporary:  # it has the same ending
            temporary.write_text("{}")

    Raises:
        UserError: if the file cannot be written: no folder, no permission, no space; or a folder, a
            device or a pipe lies there.
    """
    path = Path(path)
    if kind := _kind_of(path):  # root would put a file in the place of /dev/null, for all programs
        raise UserError(f"{path} cannot be written: it is {kind}")
    _remove_leftovers_once(path.parent)
    temporary = temporary_beside(path)
    try:
        try:
            yield temporary
            os.replace(temporary, path)
        except BaseException:  # Ctrl-C too: whatever ended the block, nothing is left behind
            if temporary.exists():
                temporary.unlink()
            raise
    except OSError as error:
        reason = str(error.strerror or error)
        if error.filename not in (None, str(path), str(temporary)):  # another file, in the block
            reason = f"{error.filename}: {reason}"
        raise UserError(f"{path} cannot be written: {reason}") from error


def _kind_of(path: Path) -> str | None:
    """What lies at a path, if it is something else than a file, such as "a folder"."""
    if os.path.realpath(path.parent) == "/dev":  # /dev/stdout may lead to a file
        return "a device"
    try:
        return _KINDS.get(stat.S_IFMT(os.stat(path).st_mode))
    except OSError:  # nothing, or a name that is too long, of which writing tells
        return None


def shortened(name: str, limit: int) -> str:
    """The beginning of a name that takes at most so many bytes."""
    encoded = os.fsencode(name)
    return name if len(encoded) <= limit else encoded[:limit].decode(errors="ignore")


def is_hidden(name: str) -> bool:
    """Whether a file's name begins with a dot, or file managers leave it in folders."""
    return name.startswith(".") or name.lower() in _OF_FILE_MANAGERS


def temporary_beside(path: Path) -> Path:
    """A hidden name in the folder of `path`, with the same ending, that tells who writes there."""
    ending = f".{_host()}-{os.getpid()}.part{path.suffix}"
    return path.with_name(f".{shortened(path.stem, LONGEST_NAME - 1 - len(ending))}{ending}")


def _host() -> str:
    return socket.gethostname().replace(".", "_")


def is_temporary(path: Path) -> bool:
    """Whether a file is named like one that is being written."""
    return _TEMPORARY.fullmatch(path.name) is not None


def remove_leftovers(folder: Path, is_held: bool = False) -> None:
    """Removes what writers that were killed have left in a folder.

    What may belong to a writer on another machine is named on standard error.

    Args:
        folder: perhaps absent.
        is_held: whether a lock keeps other machines away.
    """
    for path in folder.glob(".*"):
        found = _TEMPORARY.fullmatch(path.name)
        if not found:
            continue
        is_ours = found["host"] == _host()
        if is_ours and _is_alive(int(found["pid"])):
            continue
        if is_ours or is_held:
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
        else:
            note(f"warning: {path} was never finished: delete it unless another machine is at work")


# Not each time: a command may write ten thousand files into a folder.
_remove_leftovers_once = functools.cache(remove_leftovers)


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True


def write_json(path: str | Path, content: Any) -> None:
    """Writes a JSON file, as in `replacing`; a figure that is NaN becomes null."""
    with replacing(path) as temporary:
        text = json.dumps(_without_nan(content), indent=2, allow_nan=False)
        temporary.write_text(text + "\n")


def _without_nan(content: Any) -> Any:
    """JSON has no word for NaN, and what Python writes for it only Python reads."""
    if isinstance(content, dict):
        return {key: _without_nan(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [_without_nan(value) for value in content]
    return None if isinstance(content, float) and math.isnan(content) else content


def make_folder(path: Path) -> None:
    """Makes a folder, and those above it, unless it is there; UserError if it cannot be made."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot make the folder {path}: {error.strerror}") from error


def check_folder(path: Path) -> None:
    """Refuses a folder that cannot be made or written to, before there is anything to write.

    Raises:
        UserError: naming it and the reason.
    """
    check_utf8(path)
    there = next(folder for folder in (path, *path.absolute().parents) if os.path.lexists(folder))
    try:
        tempfile.TemporaryFile(dir=there).close()
    except OSError as error:
        raise UserError(f"cannot write to {path}: {there}: {error.strerror}") from error


def checked_path(path: str | Path) -> Path:
    """An argument as a path.

    Raises:
        ArgumentError: it is none, or empty, or has a NUL in it.
    """
    if not isinstance(path, str | os.PathLike):
        raise ArgumentError("path", f"must be a string or a Path, got a {type(path).__name__}")
    if not str(path) or "\0" in str(path):
        raise ArgumentError("path", f"must name a file, got {str(path)!r}")
    return Path(path)


def check_utf8(path: str | Path) -> None:
    """Refuses a path with bytes that are no UTF-8, on which libraries in C++ fail; OpenCV crashes.

    Raises:
        UserError: naming it.
    """
    try:
        str(path).encode()
    except UnicodeEncodeError as error:
        raise UserError(f"{path} has bytes that are no UTF-8 in its name: rename it") from error


def check_target(path: Path | None, option: str, *taken: Path, made: Path | None = None) -> None:
    """Refuses a file that could not be written, before there is anything to write.

    Args:
        path: what the option was given; None passes.
        option: its name, for the message; an argument's as `errors.argument` marks it.
        taken: files that the command itself reads or writes.
        made: a folder that the command makes.

    Raises:
        UsageError: it is one of `taken`, or part of a prepared data set, or no file lies there.
        UserError: there is no such folder, or it cannot be written to.
    """
    if path is None:
        return
    if path.resolve() in (file.resolve() for file in taken):
        raise UsageError(f"{option} {path} would be written over: name another file")
    if kind := _kind_of(path):
        raise UsageError(f"{option} {path} is {kind}: name a file")
    if _OF_PREPARED_SET.fullmatch(path.name) and (path.parent / "dataset_info.json").is_file():
        raise UsageError(
            f"{option} {path} would be written over, and is part of a prepared data set: name "
            "another file"
        )
    if not path.parent.is_dir() and (made is None or path.parent.resolve() != made.resolve()):
        raise UserError(f"{option} {path}: there is no folder {path.parent}")
    check_folder(path.parent)


def check_figures_file(
    path: Path | None,
    keys: Set[str],
    *taken: Path,
    made: Path | None = None,
    are_listed: bool = False,
) -> None:
    """Refuses a file for --json as `check_target` does; and one of something else than figures.

    Args:
        path, taken, made: as in `check_target`.
        keys: names that the command's figures have.
        are_listed: whether these are a list, of which that holds for the first.

    Raises:
        UsageError, UserError: as in `check_target`; a file lies there that has other content.
    """
    option = "--json"
    check_target(path, option, *taken, made=made)
    if path is None or not path.is_file() or not path.stat().st_size:
        return
    try:
        content = json.loads(path.read_bytes())
    except ValueError:  # no JSON, or no text
        content = None
    if are_listed and isinstance(content, list) and content:
        content = content[0]
    if not isinstance(content, dict) or not keys <= content.keys():
        raise UsageError(
            f"{option} {path} would be written over, and holds no figures of this command: name "
            "another file"
        )


@contextlib.contextmanager
def writing_in(folder: Path) -> Iterator[None]:
    """Makes a folder, and removes what killed writers left there: `incomplete.*`.

    Nothing is removed while another process is in such a block, or where its drive has no locks.
    As in `removing_empty`, it is gone in the end if nothing was written.

    Raises:
        UserError: the folder cannot be made.
    """
    with removing_empty(folder):
        make_folder(folder)
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            with contextlib.suppress(OSError):
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                for leftover in folder.glob("incomplete.*"):
                    shutil.rmtree(leftover, ignore_errors=True)
            with contextlib.suppress(OSError):
                fcntl.flock(descriptor, fcntl.LOCK_SH)
            yield
        finally:
            os.close(descriptor)


@contextlib.contextmanager
def removing_empty(folder: Path) -> Iterator[None]:
    """Removes a folder and those above it in the end: what the block has made and left empty."""
    made = [place for place in (folder, *folder.parents) if not os.path.lexists(place)]
    try:
        yield
    finally:
        with contextlib.suppress(OSError):  # at the first that is not empty
            for place in made:
                place.rmdir()


def check_may_be_read(path: str | Path) -> None:
    """Refuses a file that this user may not read, which is no damage; one that is not there passes.

    Raises:
        UserError: naming it.
    """
    try:
        with contextlib.suppress(FileNotFoundError):
            os.close(os.open(path, os.O_RDONLY | os.O_NONBLOCK))
    except PermissionError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from error


def read_regular(path: Path, if_missing: str = "") -> bytes:
    """Reads a file; what could block or never end, such as a FIFO, is not opened.

    Args:
        path: the file.
        if_missing: what the message goes on with if there is none: ": unpack its archive again".

    Raises:
        UserError: it is missing, no regular file, or cannot be read.
    """
    try:
        kind = _KINDS.get(stat.S_IFMT(os.stat(path).st_mode))
        if kind:
            raise UserError(f"{path} is {kind}, and a file is expected")
        return path.read_bytes()
    except ValueError as error:  # a NUL in its name
        raise UserError(f"{str(path)!r} cannot be the name of a file: {error}") from error
    except FileNotFoundError as error:
        if path.is_symlink():
            raise UserError(f"{path} is a broken link: there is no {os.readlink(path)}") from error
        raise UserError(f"there is no {path}{if_missing}") from error
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from error

"""Fetches large files that are published at an address; goes on where it was interrupted.

TFDS's own downloader is not used: it writes every attempt into a new folder of a random name and
asks for the whole file each time (`_Downloader._sync_download` of tensorflow_datasets 4.9), so
that a connection lost after 17 of COCO's 18 GiB costs all of them.
"""

import contextlib
import hashlib
import http.client
import time
import urllib.error
import urllib.request
from pathlib import Path

from pipelines.base.errors import UserError, argument
from pipelines.base.locks import claim, locked
from pipelines.base.progress import byte_bar, note

TIMEOUT = 60  # seconds without an answer
PAUSES = (1, 4, 16)  # seconds before the next attempts that follow one that brought nothing
CHUNK = 1 << 20
_PASSING = (408, 429)  # statuses below 500 that may pass: request timeout, too many requests


class _Failed(Exception):
    """It makes no sense to try again."""


class _Broken(Exception):
    """The next attempt may bring more."""


def download(
    url: str,
    path: str | Path,
    size: int | None = None,
    sha256: str | None = None,
    page: str | None = None,
) -> Path:
    """Fetches a file, unless it is there, and returns its path.

    What has come so far lies in `path`.part: the next call asks for the rest (HTTP Range) if the
    server can give it. `path` itself exists only once everything has come and is checked. Where
    another process fetches the same file, this one waits for it, and says so on standard error.

    Args:
        url: http or https.
        path: the file to write; its folder is made.
        size: bytes, where known.
        sha256: hexadecimal, where known.
        page: where a person finds the file, for messages; by default the url.

    Raises:
        UserError: the server has no such file, does not answer or breaks off several times in a
            row, or the file is not the one that is expected.
    """
    path = Path(path)
    if _is_there(path, size):
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    with _alone(path):
        if _is_there(path, size):  # another process has fetched it meanwhile
            return path
        part = path.with_name(f"{path.name}.part")
        try:
            _fetch(url, part, size)
            _check(part, size, sha256)
        except _Failed as error:
            raise UserError(
                f"cannot download {url}: {error}; {path.name} can also be fetched by hand, from "
                f"{page or url}, and its folder given as {argument('source')} DIR"
            ) from error
        return part.rename(path)


def _is_there(path: Path, size: int | None) -> bool:
    if not path.is_file():
        return False
    found = path.stat().st_size
    if size is not None and found != size:
        raise UserError(f"{path} has {found:,} bytes, not {size:,}: delete it")
    return True


def _alone(path: Path) -> contextlib.AbstractContextManager:
    """Waits until no other process fetches the file, and keeps others waiting."""
    name = f".{path.name}.lock"
    lock = claim(path.parent, name=name)
    if lock is None:
        note(f"{path.name}: waits for another process, which is fetching it")
        lock = locked(path.parent, name)
    return lock


def _fetch(url: str, part: Path, size: int | None) -> None:
    fruitless = 0
    while True:
        before = _length(part)
        try:
            return _receive(url, part, size)
        except _Broken as error:
            kept = _length(part)
            fruitless = 0 if kept > before else fruitless + 1
            if fruitless > len(PAUSES):
                again = f"try again later, {kept:,} bytes are kept" if kept else "try again later"
                raise _Failed(f"{error}: {again}") from error
            time.sleep(PAUSES[max(fruitless - 1, 0)])


def _receive(url: str, part: Path, size: int | None) -> None:
    """One attempt: appends to `part` what it lacks."""
    start = _length(part)
    if start and start == size:
        return
    response = _open(url, part, start)
    with response:
        if response.status != 206:  # the whole file: the server cannot continue one
            start = 0
        elif not response.headers.get("Content-Range", "").startswith(f"bytes {start}-"):
            raise _Failed(f"the server does not go on at byte {start:,} as asked")
        total = None if response.length is None else start + response.length
        if total is not None and size is not None and total != size:
            raise _Failed(f"the file there has {total:,} bytes, not {size:,} as published")
        with part.open("ab" if start else "wb") as file, byte_bar(part.stem, total, start) as bar:
            while chunk := _read(response):
                file.write(chunk)
                bar.update(len(chunk))
    received = _length(part)
    if total is not None and received != total:
        raise _Broken(f"the connection ended after {received:,} of {total:,} bytes")


def _open(url: str, part: Path, start: int):
    headers = {"Range": f"bytes={start}-"} if start else {}
    try:
        return urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        answer = f"the server says {error.code} {error.reason}"
        if error.code == 416:  # there is nothing after `start`: `part` belongs to another file
            part.unlink()
        elif error.code < 500 and error.code not in _PASSING:
            raise _Failed(f"{answer}; the file may have moved") from error
        raise _Broken(answer) from error
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", error)  # urllib wraps the error of the socket
        raise _Broken(f"no answer ({reason})") from error


def _read(response) -> bytes:
    try:
        return response.read(CHUNK)
    except (OSError, http.client.HTTPException) as error:
        raise _Broken(f"the connection broke off ({error})") from error


def _check(part: Path, size: int | None, sha256: str | None) -> None:
    received = _length(part)
    fault = None
    if size is not None and received != size:
        fault = f"{received:,} bytes came, not {size:,} as published"
    elif sha256 is not None:
        with part.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if found != sha256:
            fault = f"what came has the SHA-256 {found}, not {sha256}"
    if fault:
        part.unlink()
        raise _Failed(f"{fault}, and was deleted: try again")


def _length(part: Path) -> int:
    return part.stat().st_size if part.is_file() else 0

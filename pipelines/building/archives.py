"""The files that a data set is made from: unpacked folders, archives, or downloads.

A builder names its archives; `locate` finds each of them as a folder, in this order:

    unpacked below the source folder     used where it lies
    as an archive in the source folder   unpacked into the download folder, once
    not at all, and no source was given  downloaded, once, and unpacked

Where no source was given, the download folder is the source.

TFDS's `DownloadManager.extract` is not used: it reads archives into memory faster than it writes
their files, finishes or leaves gigabytes behind when it is interrupted, and takes a tar that was
cut off between two files for a whole one.
"""

import errno
import gzip
import lzma
import os
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING

from pipelines.base.errors import UserError
from pipelines.base.files import writing_in
from pipelines.base.progress import byte_bar
from pipelines.building.downloads import download

if TYPE_CHECKING:
    import tensorflow_datasets as tfds

# What an archive unpacks to at most, or MOST_TIMES its own bytes: one that was made to fill a disk
# ends there. Images hardly compress, and label maps in PNG neither.
MOST_BYTES, MOST_TIMES, MOST_FILES = 1 << 30, 20, 2_000_000
BLOCK = 1 << 20
# Errors of the system for which damaged content is to blame: a place before the file's start; a
# name that is too long, or that of a folder and of a file.
_OF_CONTENT = (
    None, errno.EINVAL, errno.ENAMETOOLONG, errno.EEXIST, errno.EISDIR, errno.ENOTDIR
)  # fmt: skip
# How other files begin that come under the name of an archive.
_OTHERS = {
    b"7z\xbc\xaf": "a 7z archive",
    b"Rar!": "a RAR archive",
    b"\xfd7zXZ": "an xz archive",
    b"BZh": "a bzip2 archive",
    b"\x28\xb5\x2f\xfd": "a Zstandard archive",
    b"<!DOC": "a web page",
    b"<!doc": "a web page",
    b"<html": "a web page",
}


@dataclass(frozen=True)
class Archive:
    """An archive that its owner publishes.

    Attributes:
        file: its name, as it comes from the official page.
        holds: a folder or file in it: "VOCdevkit/VOC2012/JPEGImages".
        page: the official page.
        url: where it can be fetched without an account; None if it cannot.
        size: bytes, where published.
        sha256: where known.
        needed: False for one that a data set can do without.
    """

    file: str
    holds: str
    page: str
    url: str | None = None
    size: int | None = None
    sha256: str | None = None
    needed: bool = True


def locate(
    dl_manager: "tfds.download.DownloadManager", archives: tuple[Archive, ...], layout: str
) -> dict[str, Path]:
    """Finds the folder below which each archive's files lie; unpacks and downloads as needed.

    Args:
        dl_manager: its `manual_dir` is the source folder.
        archives: what the data set is made from.
        layout: the folder tree of the unpacked archives, as text, for the message.

    Returns:
        For the `file` of each archive that was found, the folder that has its `holds`.

    Raises:
        UserError: needed archives are missing (all are named, with their pages and the layout),
            a download failed, or an archive is damaged or holds something else.
    """
    source, downloads = source_folder(dl_manager), Path(dl_manager.download_dir)
    folder = source or downloads

    def here(archive):
        return (folder / archive.holds).exists() or (folder / archive.file).is_file()

    fetched = [a for a in archives if source is None and a.url and not here(a)]
    missing = [a for a in archives if a.needed and a not in fetched and not here(a)]
    if missing:  # said before anything is downloaded or unpacked
        names = ", ".join(f"{a.file} (from {a.page})" for a in missing)
        raise UserError(
            f"{folder} has neither these archives nor what is in them: {names}; expected is\n"
            f"{layout.strip()}"
        )
    for archive in fetched:
        download(
            str(archive.url), folder / archive.file, archive.size, archive.sha256, page=archive.page
        )
    return {
        archive.file: folder
        if (folder / archive.holds).exists()
        else _unpack(archive, folder / archive.file, downloads / "extracted")
        for archive in archives
        if here(archive)
    }


def source_folder(dl_manager: "tfds.download.DownloadManager") -> Path | None:
    """The folder that `prepare` was given as source; None if it was given none."""
    # `manual_dir` raises where the builder has no instructions for it. Where no source was given,
    # TFDS has DOWNLOADS/manual in its place.
    folder = dl_manager._manual_dir
    return Path(folder) if folder and Path(folder).is_dir() else None


def _unpack(archive: Archive, path: Path, folder: Path) -> Path:
    """Unpacks an archive into `folder`/NAME.BYTES, complete or not at all, once."""
    unpacked = folder / f"{path.name}.{path.stat().st_size}"  # another file: another folder
    if unpacked.is_dir():
        return unpacked
    with (
        writing_in(folder),
        tempfile.TemporaryDirectory(prefix="incomplete.", dir=folder) as temporary,
    ):
        content = Path(temporary, "content")
        content.mkdir()
        _extract(path, content)
        if not (content / archive.holds).exists():
            raise UserError(
                f"{path} is not the archive from {archive.page}: it has no {archive.holds}"
            )
        try:
            content.rename(unpacked)
        except OSError:
            if not unpacked.is_dir():  # else another process was faster
                raise
    return unpacked


def _extract(path: Path, folder: Path) -> None:
    folder = folder.resolve()  # as members are compared with it
    size = path.stat().st_size
    left = most = max(MOST_BYTES, MOST_TIMES * size)
    try:
        with path.open("rb") as file, byte_bar(f"unpacking {path.name}", size) as bar:
            start = file.read(8)
            file.seek(0)
            for other, kind in _OTHERS.items():
                if start.startswith(other):
                    raise UserError(
                        f"{path} is {kind}, not a zip or tar archive: fetch it again, or unpack it "
                        "by hand"
                    )
            members = _zip_members if start.startswith(b"PK") else _tar_members
            for number, (name, content) in enumerate(members(path, file), 1):
                left -= _write(content, folder, name, left)
                if left < 0 or number > MOST_FILES:
                    raise UserError(
                        f"{path} unpacks to more than {most:,} bytes or {MOST_FILES:,} files: if "
                        "that is right, unpack it by hand"
                    )
                bar.update(file.tell() - bar.n)
    except NotImplementedError as error:  # a compression that Python lacks
        raise UserError(f"{path} cannot be unpacked here ({error}): unpack it by hand") from error
    except (
        tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, OSError,
        ValueError,
    ) as error:  # fmt: skip
        if isinstance(error, OSError) and error.errno not in _OF_CONTENT:
            raise
        raise UserError(
            f"{path} is truncated or damaged ({error}): fetch it again, or unpack it by hand"
        ) from error


def _write(content: IO[bytes], folder: Path, name: str, most: int) -> int:
    """Writes a file below `folder`, and returns its bytes; stops when they are more than `most`."""
    target = Path(os.path.normpath(folder / name.lstrip("/")))
    if folder not in target.parents:
        raise ValueError(f"{name!r} lies outside of it")
    target.parent.mkdir(parents=True, exist_ok=True)
    written = 0
    with target.open("wb") as file:
        while written <= most and (block := content.read(BLOCK)):
            written += file.write(block)
    return written


def _zip_members(path: Path, file: IO[bytes]) -> Iterator[tuple[str, IO[bytes]]]:
    """The names and contents of all files."""
    with zipfile.ZipFile(file) as archive:
        # zipfile does not count them: a damaged length in the directory hides those that follow.
        file.seek(max(0, path.stat().st_size - (1 << 16)))
        _, _, end = file.read().rpartition(b"PK\5\6")
        listed = int.from_bytes(end[6:8], "little")  # of larger numbers 16 bits, or all of them set
        found = len(archive.infolist())
        if listed not in (0xFFFF, found & 0xFFFF):
            raise zipfile.BadZipFile(f"{found} of {listed} files are listed")
        for member in archive.infolist():
            if member.flag_bits & 1:
                raise UserError(f"{path} is locked with a password: unpack it by hand")
            with archive.open(member) as content:  # a folder, too: its name is compared
                if member.filename.endswith("/"):
                    continue
                yield member.filename, content
                if content.tell() != member.file_size:
                    raise zipfile.BadZipFile(f"{member.filename} ends early")


def _tar_members(path: Path, file: IO[bytes]) -> Iterator[tuple[str, IO[bytes]]]:
    """The names and contents of all files; links and devices are left out."""
    zipped = file.read(2) == b"\x1f\x8b"
    file.seek(0)
    with (
        gzip.open(file) if zipped else file as stream,
        tarfile.open(fileobj=stream, mode="r:") as archive,
    ):
        for member in archive:
            if member.isfile() and (content := archive.extractfile(member)):
                yield member.name, content
        # tarfile takes a cut between two files, and a damaged header, for the end; the real one
        # is followed by zeros. Reading on to the last byte also has gzip compare its checksum.
        zeros = 0
        while block := stream.read(BLOCK):
            zeros += len(block)
            if block.strip(b"\0") or zeros > MOST_BYTES:
                raise tarfile.ReadError("damaged header")
        if not zeros:
            raise tarfile.ReadError("unexpected end of data")

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

import gzip
import tarfile
import tempfile
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.base.errors import UserError
from pipelines.base.progress import byte_bar
from pipelines.building.downloads import download


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


def locate(dl_manager: Any, archives: tuple[Archive, ...], layout: str) -> dict[str, Path]:
    """Finds the folder below which each archive's files lie; unpacks and downloads as needed.

    Args:
        dl_manager: a `tfds.download.DownloadManager`; its `manual_dir` is the source folder.
        archives: what the data set is made from.
        layout: the folder tree of the unpacked archives, as text, for the message.

    Returns:
        For the `file` of each archive that was found, the folder that has its `holds`.

    Raises:
        UserError: needed archives are missing (all are named, with their pages and the layout),
            a download failed, or an archive is damaged or holds something else.
    """
    source, downloads = _source(dl_manager), Path(dl_manager.download_dir)
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


def _source(dl_manager) -> Path | None:
    # `manual_dir` raises where the builder has no instructions for it. Where no source was given,
    # TFDS has DOWNLOADS/manual in its place.
    folder = dl_manager._manual_dir
    return Path(folder) if folder and Path(folder).is_dir() else None


def _unpack(archive: Archive, path: Path, folder: Path) -> Path:
    """Unpacks an archive into `folder`/NAME.BYTES, complete or not at all, once."""
    unpacked = folder / f"{path.name}.{path.stat().st_size}"  # another file: another folder
    if unpacked.is_dir():
        return unpacked
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="incomplete.", dir=folder) as temporary:
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
    try:
        size = path.stat().st_size
        unpack = _unpack_zip if path.suffix == ".zip" else _unpack_tar
        with path.open("rb") as file, byte_bar(f"unpacking {path.name}", size) as bar:
            for _ in unpack(file, folder):
                bar.update(file.tell() - bar.n)
    except (
        tarfile.TarError, zipfile.BadZipFile, gzip.BadGzipFile, zlib.error,
        EOFError, ValueError, NotImplementedError,
    ) as error:  # fmt: skip
        raise UserError(
            f"{path} is truncated or damaged ({error}): fetch it again, or unpack it by hand"
        ) from error


def _unpack_zip(file, folder):
    """Yields after each file."""
    with zipfile.ZipFile(file) as archive:
        for member in archive.infolist():
            yield archive.extract(member, folder)


def _unpack_tar(file, folder):
    """Yields after each file; links and devices are left out."""
    zipped = file.read(2) == b"\x1f\x8b"
    file.seek(0)
    with (
        gzip.open(file) if zipped else file as stream,
        tarfile.open(fileobj=stream, mode="r:") as archive,
    ):
        for member in archive:
            if member.isfile():
                archive.extract(member, folder, filter="data")
                yield
        # tarfile takes a cut between two files, and a damaged header, for the end; the real one
        # is followed by zeros. Reading on to the last byte also has gzip compare its checksum.
        zeros = 0
        while block := stream.read(1 << 20):
            if block.strip(b"\0"):
                raise tarfile.ReadError("damaged header")
            zeros += len(block)
        if not zeros:
            raise tarfile.ReadError("unexpected end of data")

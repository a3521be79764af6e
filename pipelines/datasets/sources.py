"""The files that a data set is made from: unpacked folders, archives, or downloads.

A builder names its archives; `locate` finds each of them as a folder, in this order:

    unpacked below the source folder     used where it lies
    as an archive in the source folder   unpacked into the download folder, once
    not at all, and no source was given  downloaded, once, and unpacked

and tells of all that are missing in one message.
"""

from dataclasses import dataclass
from pathlib import Path

from pipelines.datasets.downloads import download
from pipelines.errors import UserError


@dataclass(frozen=True)
class Archive:
    """An archive that its owner publishes.

    Attributes:
        file: its name, as it comes from the official page.
        holds: a folder or file that is there once it is unpacked, relative to the place where
            it is unpacked: "VOCdevkit/VOC2012/JPEGImages".
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


def locate(dl_manager, archives: tuple[Archive, ...], layout: str) -> dict[str, Path]:
    """Finds the folder below which each archive's files lie; unpacks and downloads as needed.

    Args:
        dl_manager: a `tfds.download.DownloadManager`; its `manual_dir` is the source folder, or
            None where the user gave none.
        archives: what the data set is made from.
        layout: the folder tree of the unpacked archives, as text, for the message.

    Returns:
        For the `file` of each archive that was found, the folder that has its `holds`.

    Raises:
        UserError: needed archives are missing (all are named, with their pages and the layout),
            a download failed, or an archive is damaged or holds something else.
    """
    source = _source(dl_manager)
    found, missing = {}, []
    for archive in archives:
        if source and (source / archive.holds).exists():
            found[archive.file] = source
        elif source and (source / archive.file).is_file():
            found[archive.file] = _unpack(dl_manager, archive, source / archive.file)
        elif source is None and archive.url:
            folder = Path(dl_manager.download_dir)
            path = download(archive.url, folder / archive.file, archive.size, archive.sha256)
            found[archive.file] = _unpack(dl_manager, archive, path)
        elif archive.needed:
            missing.append(archive)
    if missing:
        names = ", ".join(f"{a.file} (from {a.page})" for a in missing)
        place = f"{source} has neither these archives nor their content" if source else "missing"
        raise UserError(f"{place}: {names}; expected is\n{layout.rstrip()}")
    return found


def _source(dl_manager) -> Path | None:
    # `manual_dir` raises where none was given and the builder has no instructions for one.
    folder = dl_manager._manual_dir
    return Path(folder) if folder else None


def _unpack(dl_manager, archive: Archive, path: Path) -> Path:
    try:
        folder = Path(dl_manager.extract(path))
    except Exception as error:  # zipfile, tarfile and zlib errors have no common base
        raise UserError(f"{path} cannot be unpacked ({error}): fetch it again") from error
    if not (folder / archive.holds).exists():
        raise UserError(f"{path} is not the archive from {archive.page}: no {archive.holds} in it")
    return folder

"""Damaged files, found before anything in them is taken for a value."""

import struct
import zipfile
import zlib
from pathlib import Path

# What zipfile, zlib, numpy, h5py, json, Keras and Pillow raise for a damaged file.
DAMAGE = (
    *(OSError, ValueError, TypeError, LookupError, AttributeError, ArithmeticError, EOFError),
    *(AssertionError, ImportError, MemoryError, RuntimeError, SyntaxError),
    *(zipfile.BadZipFile, zlib.error, struct.error),
)


def check_archive(path: Path) -> None:
    """Reads a ZIP archive through: libraries take some damaged entries as they are.

    Raises:
        One of `DAMAGE`: it is no archive, or an entry does not have its CRC-32.
    """
    with zipfile.ZipFile(path) as archive:
        if damaged := archive.testzip():
            raise zipfile.BadZipFile(f"its entry {damaged} has another CRC-32 than was written")


def is_sound_archive(path: Path) -> bool:
    """Whether there is a ZIP archive that can be read through."""
    try:
        check_archive(path)
    except DAMAGE:
        return False
    return True


def reason_of(error: BaseException) -> str:
    """What an error of `DAMAGE` says, in one line; of the system's, without number and path."""
    text = getattr(error, "strerror", None) or str(error)
    return " ".join(text.split())[:300] or type(error).__name__

"""Reads TFRecord files that may be damaged, as far as they can be read.

A file is a row of frames: the length of the record (8 bytes), a checksum of the length (4), the
record, a checksum of the record (4). A record whose checksum is wrong is named and passed over;
only where a length is damaged, or the file ends too soon, is what follows out of reach.
"""

import os
import struct
import tempfile
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import NamedTuple

import tensorflow as tf

from pipelines.stream.record_order import open_records

_HEAD, _TAIL = 12, 4


class Record(NamedTuple):
    """A serialised example, or the fault in its place.

    Its number in the file counts from 0, and is None where the file as a whole has the fault.
    """

    path: Path
    number: int | None
    data: bytes | None
    fault: str | None = None

    def where(self) -> str:
        """The file's name and the record's number, for messages."""
        name = self.path.name
        return name if self.number is None else f"{name}, record {self.number}"


def read_records(path: str | Path) -> Iterator[Record]:
    """Every record of a file in order, damaged ones as faults; raises nothing on damage."""
    path = Path(path)
    offset = number = 0
    try:
        for tensor in open_records(str(path)):
            data = tensor.numpy()
            yield Record(path, number, data)
            offset += _HEAD + len(data) + _TAIL
            number += 1
    except tf.errors.DataLossError:
        # TensorFlow stops at the first damage; the records behind it are fetched one by one.
        yield from _one_by_one(path, offset, number)
    except tf.errors.NotFoundError:
        yield Record(path, None, None, "the file is missing")
    except tf.errors.OpError as error:
        yield Record(path, None, None, f"the file cannot be read: {error.message}")


def read_some(path: str | Path, numbers: Collection[int]) -> Iterator[Record]:
    """The records of these numbers, in the file's order; what is not asked for is not read.

    Checksums are not looked at. A file that cannot be read, or ends too soon, gives a fault.
    """
    path, number = Path(path), 0
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            for number in range(max(numbers) + 1):
                length = struct.unpack("<Q", file.read(_HEAD)[:8])[0]
                # A damaged length may be more than there is memory.
                if file.tell() + length + _TAIL > size:
                    raise EOFError(f"record {number} goes beyond its end at byte {size:,}")
                if number in numbers:
                    yield Record(path, number, file.read(length))
                    length = 0
                file.seek(length + _TAIL, os.SEEK_CUR)
    except (OSError, struct.error, EOFError) as error:
        yield Record(path, number, None, f"the file cannot be read: {error}")


def _one_by_one(path: Path, offset: int, number: int) -> Iterator[Record]:
    size = path.stat().st_size
    with path.open("rb") as file, tempfile.TemporaryDirectory() as folder:
        while offset < size:
            file.seek(offset)
            head = file.read(_HEAD)
            if len(head) == _HEAD and not _length_is_intact(head):
                yield Record(path, number, None, "its length is damaged; the rest is out of reach")
                return
            length = struct.unpack("<Q", head[:8])[0] if len(head) == _HEAD else size
            end = offset + _HEAD + length + _TAIL
            if end > size:
                yield Record(path, number, None, f"the file is truncated: it ends at byte {size:,}")
                return
            frame = head + file.read(end - offset - _HEAD)
            if _record_is_intact(frame, os.path.join(folder, "record")):
                yield Record(path, number, frame[_HEAD:-_TAIL])
            else:
                yield Record(path, number, None, "its checksum is wrong: the record is damaged")
            offset, number = end, number + 1


def _length_is_intact(head: bytes) -> bool:
    crc = 0xFFFFFFFF
    for byte in head[:8]:  # CRC-32C; no more than eight bytes, so it need not be fast
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 * (crc & 1))
    crc ^= 0xFFFFFFFF
    masked = ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF
    return masked == struct.unpack("<I", head[8:])[0]


def _record_is_intact(frame: bytes, scratch: str) -> bool:
    """Whether TensorFlow takes the checksum of a frame, which is a file of one record."""
    Path(scratch).write_bytes(frame)
    try:
        return sum(1 for _ in open_records(scratch)) == 1
    except tf.errors.DataLossError:
        return False

"""The SBD's label files, checked before scipy reads them.

`scipy.io.loadmat` takes the whole process down where a number in a file is damaged (scipy 1.17:
segmentation fault on an unknown element type). So the structure is followed here first: MATLAB's
level 5 format, of elements that have a type, a length and a body.
"""

import io
import math
import struct
import zlib
from pathlib import Path

import numpy as np
from scipy.io import loadmat

from pipelines.base.errors import UserError
from pipelines.building import image_label

LARGEST = 1 << 26  # bytes of an unpacked variable; those of the SBD have less than one MiB

_HEADER = 128
# Types of elements, and the bytes of an item of those that hold numbers or text.
_INT8, _INT32, _UINT32, _MATRIX, _COMPRESSED = 1, 5, 6, 14, 15
_ITEM_BYTES = {1: 1, 2: 1, 3: 2, 4: 2, 5: 4, 6: 4, 7: 4, 9: 8, 12: 8, 13: 8, 16: 1, 17: 2, 18: 4}
# Classes of matrices.
_CELL, _STRUCT, _CHAR, _SPARSE, _NUMBERS = 1, 2, 4, 5, range(6, 16)
_LOGICAL, _COMPLEX = 0x0200, 0x0800


def read_mat(path: Path, data: bytes, class_names: tuple[str, ...]) -> np.ndarray:
    """`image_label.read_label` of a label file of the SBD: GTcls.Segmentation of a MATLAB file.

    Raises:
        UserError: empty, truncated, damaged, no label file of the SBD, or values that are no class.
    """
    if not data:
        raise UserError(f"{path} is empty")
    try:
        check_structure(data)
        label = loadmat(io.BytesIO(data), variable_names=["GTcls"])["GTcls"]["Segmentation"][0, 0]
    except Exception as error:  # scipy has a dozen for contents that it does not expect
        raise UserError(
            f"{path} is truncated or damaged, or no label file of the SBD: GTcls.Segmentation "
            f"cannot be read ({type(error).__name__}: {error})"
        ) from error
    if not isinstance(label, np.ndarray) or label.dtype != np.uint8 or label.ndim != 2:
        kind = f"{label.dtype} {label.shape}" if isinstance(label, np.ndarray) else type(label)
        raise UserError(f"{path} has a GTcls.Segmentation that is no uint8 [H, W], but {kind}")
    image_label.check_values(path, label, class_names)
    return label


def check_structure(data: bytes) -> None:
    """Follows all elements of a MATLAB file.

    Raises:
        ValueError: it is no MATLAB file of level 5, an element is not what must stand there, or
            it is longer than what holds it, or a variable has more than LARGEST bytes.
        zlib.error: the checksum of a compressed element is wrong.
    """
    _expect(
        data.startswith(b"MATLAB 5.0 MAT-file") and data[_HEADER - 4 : _HEADER] == b"\0\1IM",
        "no MATLAB 5.0 MAT-file of little-endian numbers",
    )
    rest = memoryview(data)[_HEADER:]
    while rest:
        kind, body, rest = _next(rest)
        if kind == _COMPRESSED:
            unpacking = zlib.decompressobj()
            unpacked = unpacking.decompress(body, LARGEST)
            _expect(unpacking.eof, "a variable that is truncated or too large")
            kind, body, after = _next(memoryview(unpacked))
            _expect(not after, "something after a variable")
        _expect(kind == _MATRIX, f"a variable of type {kind}")
        _check_matrix(body)


def _next(data: memoryview) -> tuple[int, memoryview, memoryview]:
    """The first element's type and body, and what follows it."""
    _expect(len(data) >= 8, "unexpected end")
    kind, size = struct.unpack("<II", data[:8])
    if kind >> 16:  # up to four bytes stand in the place of the length
        kind, size = kind & 0xFFFF, kind >> 16
        _expect(size <= 4, f"a short element of {size} bytes")
        return kind, data[4 : 4 + size], data[8:]
    _expect(size <= len(data) - 8, "unexpected end")
    padded = size if kind == _COMPRESSED else -(-size // 8) * 8
    return kind, data[8 : 8 + size], data[8 + padded :]


def _check_matrix(data: memoryview) -> None:
    if not data:  # an empty one may have no content
        return
    (flags, _), rest = _numbers(data, _UINT32, 2)
    dimensions, rest = _numbers(rest, _INT32)
    _, rest = _count(rest, _INT8)  # the name
    _expect(len(dimensions) >= 2 and min(dimensions) >= 0, f"a matrix of {dimensions}")
    of, count, parts = flags & 0xFF, math.prod(dimensions), 1 + bool(flags & _COMPLEX)
    if of in (_CELL, _STRUCT):
        if of == _STRUCT:
            (length,), rest = _numbers(rest, _INT32, 1)
            names, rest = _count(rest, _INT8)
            _expect(length > 0 and names % length == 0, "damaged names of fields")
            count *= names // length
        _expect(count * 8 <= len(rest), "unexpected end")
        for _ in range(count):
            kind, body, rest = _next(rest)
            _expect(kind == _MATRIX, f"a matrix of type {kind}")
            _check_matrix(body)
    elif of == _SPARSE:
        _expect(len(dimensions) == 2, f"a sparse matrix of {dimensions}")
        rows, rest = _numbers(rest, _INT32)
        starts, rest = _numbers(rest, _INT32, dimensions[1] + 1)
        _expect(all(0 <= row < dimensions[0] for row in rows[: starts[-1]]), "damaged rows")
        _expect(list(starts) == sorted(starts) and starts[0] == 0, "damaged columns")
        for _ in range(parts):
            kind, body, rest = _next(rest)
            _expect(kind in _ITEM_BYTES, f"an element of type {kind}")
            # MATLAB calls logical values doubles, and writes them as bytes.
            values = len(body) // (1 if flags & _LOGICAL else _ITEM_BYTES[kind])
            _expect(starts[-1] <= min(values, len(rows)), "unexpected end")
    else:
        _expect(of == _CHAR or of in _NUMBERS, f"a matrix of class {of}")
        for _ in range(parts):
            values, rest = _count(rest)
            _expect(of == _CHAR or values == count, "another number of values")
    _expect(not rest, "something after a matrix")


def _count(data: memoryview, kind: int | None = None) -> tuple[int, memoryview]:
    """How many numbers or characters the first element holds, and what follows it."""
    found, body, rest = _next(data)
    _expect(found in _ITEM_BYTES and kind in (None, found), f"an element of type {found}")
    _expect(len(body) % _ITEM_BYTES[found] == 0, "a part of a number")
    return len(body) // _ITEM_BYTES[found], rest


def _numbers(
    data: memoryview, kind: int, count: int | None = None
) -> tuple[tuple[int, ...], memoryview]:
    """The first element as 32-bit numbers, and what follows it."""
    found, rest = _count(data, kind)
    _expect(count in (None, found), f"{found} numbers instead of {count}")
    _, body, _ = _next(data)
    return struct.unpack(f"<{found}{'I' if kind == _UINT32 else 'i'}", body), rest


def _expect(condition: bool, otherwise: str) -> None:
    if not condition:
        raise ValueError(otherwise)

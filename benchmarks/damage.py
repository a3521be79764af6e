"""Kinds of damage to a file.

Each takes a file's content and a generator, and returns what becomes of it, which may be the same.
"""

import io
import json
import zipfile
from typing import Any

import numpy as np


def _place(size: int, rng: np.random.Generator) -> int:
    """A place in a file, half of them near its ends, where headers and directories are."""
    near = min(size, 128)
    return int(rng.choice([rng.integers(size), rng.integers(near), size - 1 - rng.integers(near)]))


def _length(data: bytes, rng: np.random.Generator) -> int:
    """Of a range: a byte, all of them, or as likely any magnitude in between."""
    return int(len(data) ** rng.uniform())


def _range(data: bytes, rng: np.random.Generator) -> tuple[int, int]:
    start = _place(len(data), rng)
    return start, min(len(data), start + _length(data, rng))


def flipped(data: bytes, rng: np.random.Generator) -> bytes:
    """From one to eight bits."""
    changed = bytearray(data)
    for _ in range(rng.integers(1, 9)):
        changed[_place(len(data), rng)] ^= 1 << rng.integers(8)
    return bytes(changed)


def truncated(data: bytes, rng: np.random.Generator) -> bytes:
    """To nothing at all, too."""
    return data[: int(rng.choice([0, _place(len(data), rng)], p=[0.1, 0.9]))]


def lost(data: bytes, rng: np.random.Generator) -> bytes:
    """A range from the middle."""
    start, end = _range(data, rng)
    return data[:start] + data[end:]


def doubled(data: bytes, rng: np.random.Generator) -> bytes:
    """A range comes twice."""
    start, end = _range(data, rng)
    return data[:end] + data[start:]


def zeroed(data: bytes, rng: np.random.Generator) -> bytes:
    """A range of zeros, as a file system leaves after a power cut."""
    start, end = _range(data, rng)
    return data[:start] + bytes(end - start) + data[end:]


def exchanged(data: bytes, rng: np.random.Generator) -> bytes:
    """Two ranges of equal length change places."""
    first, second = sorted(_place(len(data), rng) for _ in range(2))
    length = min(second - first, len(data) - second, _length(data, rng))
    a, b = data[first : first + length], data[second : second + length]
    return data[:first] + b + data[first + length : second] + a + data[second + length :]


def without_an_entry(data: bytes, rng: np.random.Generator) -> bytes:
    """A zip archive in which all that is left is sound."""
    changed = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as source, zipfile.ZipFile(changed, "w") as target:
        entries = source.infolist()
        left_out = rng.integers(len(entries))
        for number, entry in enumerate(entries):
            if number != left_out:
                target.writestr(entry, source.read(entry))
    return changed.getvalue()


def with_another_value(data: bytes, rng: np.random.Generator) -> bytes:
    """JSON of which one value, or all of it, is of another type, out of range or missing."""
    content = holder = {"": json.loads(data)}
    key: Any = ""
    while isinstance(holder[key], (dict, list)) and holder[key] and rng.random() < 0.8:
        holder = holder[key]
        keys = list(holder) if isinstance(holder, dict) else range(len(holder))
        key = keys[rng.integers(len(keys))]
    others = (None, True, 0, -1, 1.5, 10**30, float("nan"), "", "x", "9", [], [None], {}, {"x": 1})
    choice = int(rng.integers(len(others) + 1))
    if choice == len(others) and key != "":
        del holder[key]
    else:
        holder[key] = others[choice % len(others)]
    return json.dumps(content[""]).encode()


KINDS = (flipped, truncated, lost, doubled, zeroed, exchanged)


def damaged(suffix: str, data: bytes, rng: np.random.Generator) -> tuple[str, bytes]:
    """A kind of damage to a file with this suffix, and the file after it, which is another one."""
    kinds = KINDS
    if suffix == ".json":
        kinds += (with_another_value,) * len(KINDS)
    if suffix in (".npz", ".keras"):
        kinds += (without_an_entry,)
    while True:
        kind = kinds[rng.integers(len(kinds))]
        if (changed := kind(data, rng)) != data:
            return kind.__name__, changed

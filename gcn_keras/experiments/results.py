"""What runs measured: runs.csv; and how their score grew while they were trained: curves.csv.

Both are tables that other programs read, and lines of both are found again by the same three keys.
They may travel without the folders of the runs.
"""

import csv
import io
import math
import statistics
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from pipelines.base.damage import reason_of
from pipelines.base.errors import UserError
from pipelines.base.files import replacing
from pipelines.base.locks import locked

KEYS = ("run", "seed", "configuration")
MEASURED = ("mean_iou", "pixel_accuracy")
_SHARES = (*MEASURED, "boundary_accuracy", "internal_accuracy", "mean_boundary_iou")
TRAINED = ("p5_weights", "parameters", "train_images", "training_seconds")
COLUMNS = (
    *KEYS,
    *_SHARES,
    *TRAINED,
)
CURVE_COLUMNS = (*KEYS, "epoch", "mean_iou")

Key = tuple[str, ...]
# Mean IoU on the validation split, 0…1, after some epochs of a run.
Curve = dict[int, float]


class Results:
    """The results of a folder, as they were when it was looked at last.

    Args:
        path: runs.csv, which need not be there; curves.csv is its neighbour.

    Attributes:
        known: by key, a dict by `COLUMNS`.
        curves: by key, of the runs that have one.

    Raises:
        UserError: a file is no such table.
    """

    def __init__(self, path: Path):
        self.path, self.curves_path = path, path.with_name("curves.csv")
        self._read()

    def _read(self) -> None:
        lines = _lines(self.path, COLUMNS, (*KEYS, *MEASURED))
        self.known = {key: dict(zip(KEYS, key, strict=True)) | values for key, values in lines}
        self.curves: dict[Key, Curve] = {}
        for key, values in _lines(self.curves_path, CURVE_COLUMNS, CURVE_COLUMNS):
            self.curves.setdefault(key, {})[values["epoch"]] = values["mean_iou"]

    def add(self, key: Key, result: dict, curve: Curve) -> None:
        """Writes a result, beside those that other commands may have written meanwhile."""
        with locked(self.path.parent):
            self._read()
            self.known[key] = result
            if curve:
                self.curves[key] = curve
                points = (
                    (*key, *point) for key, curve in self.curves.items() for point in curve.items()
                )
                _write(self.curves_path, CURVE_COLUMNS, points)
            values = ([result[name] for name in COLUMNS] for result in self.known.values())
            _write(self.path, COLUMNS, values)


def read_curve(history: Path) -> Curve:
    """The curve of a run, from its history.csv; epochs without a validation are left out.

    Empty if there is no such file.

    Raises:
        UserError: it cannot be read.
    """
    try:
        with open(history, newline="") as file:
            rows = [row for row in csv.DictReader(file) if row["val_mean_iou"]]
        return {int(row["epoch"]): float(row["val_mean_iou"]) for row in rows}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, KeyError, csv.Error) as error:
        raise UserError(f"{history} cannot be read: {reason_of(error)}") from error


def last_quarter(curve: Curve) -> float | None:
    """What the validations in the last quarter of the epochs add to the best score before, a share.

    None without a validation in the first three quarters. A run that has converged gains next to
    nothing.
    """
    early = [score for epoch, score in curve.items() if epoch <= 0.75 * max(curve)]
    return max(curve.values()) - max(early) if early else None


def deviation(values: Sequence[float]) -> float:
    """Standard deviation of a sample: NaN where one of them is, 0 of a single one."""
    if any(map(math.isnan, values)):  # by which `statistics` fails
        return math.nan
    return statistics.stdev(values) if len(values) > 1 else 0.0


def _lines(
    path: Path, columns: Sequence[str], needed: Sequence[str]
) -> list[tuple[Key, dict[str, Any]]]:
    """Keys and numbers of a table's lines; none if the file is not there.

    Raises:
        UserError: it is no such file, or contradicts itself.
    """
    try:
        text = path.read_bytes().decode()
        if not text.endswith("\n"):  # of a cut line, what is left of a number is another number
            raise ValueError("its last line is cut off" if text else "it is empty")
        reader = csv.DictReader(io.StringIO(text, newline=""))
        rows = list(reader)
        if tuple(reader.fieldnames or ()) != tuple(columns):
            names = ", ".join(reader.fieldnames or ())
            raise ValueError(f"its columns are {names}, not {', '.join(columns)}")
        lines = [_line(number, row, needed) for number, row in enumerate(rows, start=2)]
        _check_agreement(lines)
        return lines
    except FileNotFoundError:
        return []
    except (OSError, ValueError, csv.Error) as error:
        raise UserError(f"{path} cannot be read: {reason_of(error)}") from error


def _line(number: int, row: dict, needed: Sequence[str]) -> tuple[Key, dict]:
    place = f"line {number}"
    if None in row.values():
        raise ValueError(f"{place} is cut off")
    if None in row:
        raise ValueError(f"{place} has more cells than there are columns")
    if not row["seed"].isdecimal():
        raise ValueError(f"{place}: seed is {row['seed']!r}, no number")
    key = tuple(row.pop(name) for name in KEYS)
    return key, {name: _number(place, name, text, name in needed) for name, text in row.items()}


def _check_agreement(lines: Sequence[tuple[Key, dict]]) -> None:
    """Refuses two lines of the same run, of a curve at the same epoch, that differ."""
    places: dict[tuple, int] = {}
    for number, (key, values) in enumerate(lines, start=2):
        place = places.setdefault((*key, values.get("epoch")), number)
        for name, other in lines[place - 2][1].items():
            if repr(values[name]) != repr(other):  # NaN is no equal of itself
                raise ValueError(
                    f"line {number}: {name} is {values[name]!r}, and {other!r} in line {place} of "
                    "the same run: keep one of them"
                )


def _number(place: str, name: str, text: str, needed: bool) -> float | int | None:
    if not text and not needed:
        return None
    try:
        value = int(text) if text.isdecimal() else float(text)
    except ValueError as error:
        raise ValueError(f"{place}: {name} is {text!r}, no number") from error
    if name in _SHARES and (value < 0 or value > 1):
        raise ValueError(f"{place}: {name} is {text!r}, no share in 0…1")
    return value


def _write(path: Path, columns: Sequence[str], rows: Iterable[Iterable]) -> None:
    with replacing(path) as temporary, open(temporary, "w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(rows)

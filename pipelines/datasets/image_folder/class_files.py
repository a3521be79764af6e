"""The files that name somebody's own classes: classes.txt, and what exports have."""

import csv
import re
from collections.abc import Callable, Iterable
from pathlib import Path

from pipelines.base.errors import UserError, argument
from pipelines.base.files import is_hidden, read_regular
from pipelines.building.folders import composed
from pipelines.datasets.image_folder.class_lines import Parsed, check_order, colours_of, parse_lines
from pipelines.datasets.image_folder.classes import Classes, check_colours, check_names
from pipelines.datasets.image_folder.options import COLOUR

NAME = "classes.txt"
_HOW = "it names the classes, one a line, label 0 first"


def find_classes(folder: Path) -> Path | None:
    """The file that names a folder's classes, in any case; None if there is none.

    That is classes.txt, or what comes with an export: CVAT's labelmap.txt, class_dict.csv with a
    colour a class, or Roboflow's _classes.csv, which lies in each split.

    Raises:
        UserError: the splits' files differ.
    """
    files = {path.name.lower(): path for path in folder.iterdir() if not is_hidden(path.name)}
    if found := next((files[name] for name in _READERS if name in files), None):
        return found
    of_splits = sorted(folder.glob(f"*/{_ROBOFLOW}"))
    for path in of_splits[1:]:
        if read_regular(path) != read_regular(of_splits[0]):
            raise UserError(f"{of_splits[0]} and {path} name other classes: make them the same")
    return of_splits[0] if of_splits else None


def other_names(folder: Path) -> str:
    """What a sentence that misses `NAME` ends in: files that have the names in another form.

    None is read: labelme's begins with what has no label, others have colours before the names.
    """
    found = sorted(path.name for path in folder.iterdir() if path.name.lower() in _OTHERS)
    return f"; {' and '.join(found)} may have the names" if found else ""


def read_classes(path: str | Path) -> Classes:
    """Reads the names of classes, and their colours if they have some.

    A line of classes.txt is "road", "road 128 64 128", "road (128, 64, 128)" or "road #804080
    #804081". Lines may all begin with their labels, "0: road" or "0,road", and what begins with #
    is a comment.

    Raises:
        UserError: missing, not UTF-8, empty, a blank line between names, a name or a colour
            twice, colours for some classes only or of another form, or more names than there are
            label values.
    """
    path = Path(path)
    try:
        text = composed(read_regular(path, f": {_HOW}").decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 text: save it in UTF-8 ({error.reason})") from error
    lines = text.rstrip().splitlines()
    names, colours = _READERS.get(path.name.lower(), parse_lines)(path, lines)
    if not names:
        raise UserError(f"{path} is empty: {_HOW}")
    check_names(path, names)
    check_colours(path, names, colours)
    return Classes(tuple(names), tuple(colours))


def _labelmap_txt(path: Path, lines: list[str]) -> Parsed:
    """CVAT's: name:r,g,b:parts:actions. Or label:name, or no colon, as of classes.txt."""
    rows = [
        (number, line, [part.strip() for part in line.split(":")])
        for number, line in enumerate(lines, 1)
        if line.strip() and not line.startswith("#")
    ]
    if not any(":" in line for _, line, _ in rows):
        return parse_lines(path, lines)
    if all(len(row) == 2 and row[0].isdigit() and not _is_colour(row[1]) for *_, row in rows):
        return parse_lines(path, lines)
    names, colours = [], []
    for number, line, (name, *rest) in rows:
        colour = rest[0] if rest else ""
        if colour and not _is_colour(colour):
            raise UserError(
                f"{path} line {number} is {line!r}, and name:r,g,b:parts:actions is expected: "
                f"write it so, or name the classes in {NAME}"
            )
        names.append(name)
        colours.append(colours_of(path, number, line, colour))
    return names, colours


def _class_dict_csv(path: Path, lines: list[str]) -> Parsed:
    """Lines of name, r, g, b; or of the columns that a heading names, in any order."""
    delimiter = max(",;\t", key="".join(lines[:1]).count)
    rows = _rows(path, csv.reader(lines, delimiter=delimiter))
    columns = [0, 1, 2, 3]
    if rows and not any(cell.isdigit() for cell in rows[0][1]):
        heading = rows.pop(0)[1]
        columns = _columns(path, heading)
        _check_ids(path, heading, rows)
    names, colours = [], []
    for number, row in rows:
        name, *parts = (row[column] if column < len(row) else "" for column in columns)
        if not _is_colour(",".join(parts)):
            raise UserError(
                f"{path} line {number} is {lines[number - 1]!r}, and name, r, g, b are expected: "
                f"write it so, or name the classes in {NAME}"
            )
        names.append(name)
        colours.append(colours_of(path, number, lines[number - 1], ",".join(parts)))
    return names, colours


def _rows(path: Path, reader: Iterable[list[str]]) -> list[tuple[int, list[str]]]:
    """The rows that are not blank, and their numbers from 1."""
    try:
        return [(n, [cell.strip() for cell in row]) for n, row in enumerate(reader, 1) if any(row)]
    except csv.Error as error:  # a quotation mark that nothing closes, in a long file
        raise UserError(f"{path} cannot be read as CSV ({error}): save it anew") from error


def _columns(path: Path, heading: list[str]) -> list[int]:
    """Where a heading has name, r, g and b."""
    words = [{"red": "r", "green": "g", "blue": "b"}.get(w := word.lower(), w) for word in heading]
    others = [number for number, word in enumerate(words) if word not in ("r", "g", "b")]
    names = [number for number in others if "name" in words[number]] or others
    if len(names) != 1 or not {"r", "g", "b"} <= set(words):
        raise UserError(
            f"{path} has the columns {', '.join(heading)}, and name, r, g, b are expected: call "
            f"them so, or name the classes in {NAME}"
        )
    return [names[0], *map(words.index, "rgb")]


def _check_ids(path: Path, heading: list[str], rows: list[tuple[int, list[str]]]) -> None:
    """Refuses a column of labels that are not those which the lines have by their order."""
    for column, word in enumerate(heading):
        if not re.search(r"(?i)(?:id|index|label|value|number)$", word):
            continue
        values = [row[column] if column < len(row) else "" for _, row in rows]
        if all(value.isdigit() for value in values):
            check_order(path, [(n, ",".join(row)) for n, row in rows], [*map(int, values)])


def _is_colour(text: str) -> bool:
    """Whether a text is a colour, perhaps one beyond 255."""
    return re.fullmatch(COLOUR, text) is not None


def _roboflow_csv(path: Path, lines: list[str]) -> Parsed:
    """Roboflow's: value and name, after the headings."""
    rows = [row for _, row in _rows(path, csv.reader(lines, skipinitialspace=True))][1:]
    values = [row[0] for row in rows]
    if values != [str(number) for number in range(len(rows))] or any(len(row) < 2 for row in rows):
        raise UserError(
            f"{path} has the values {', '.join(values[:8])}, and 0, 1, 2, … are expected: name the "
            f"classes in {NAME}, and give {argument('map')}"
        )
    return [row[1] for row in rows], [()] * len(rows)


_ROBOFLOW = "_classes.csv"
_READERS: dict[str, Callable[[Path, list[str]], Parsed]] = {
    NAME: parse_lines,
    "labelmap.txt": _labelmap_txt,
    "class_dict.csv": _class_dict_csv,
    _ROBOFLOW: _roboflow_csv,
}
FILES = tuple(_READERS)
# Of labelme, what it exports, fastai's CamVid and Cambridge's, darknet, Roboflow.
_OTHERS = (
    "labels.txt", "class_names.txt", "codes.txt", "label_colors.txt", "obj.names", "data.yaml",
)  # fmt: skip

"""The classes of somebody's own data set and their colours: classes.txt, and what exports have."""

import csv
import re
import unicodedata
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipelines.base import labels
from pipelines.base.errors import UserError, argument
from pipelines.base.files import is_hidden, read_regular
from pipelines.base.labels import IGNORE
from pipelines.building.folders import composed
from pipelines.datasets.image_folder.options import COLOUR, parse_colour

NAME = "classes.txt"
# A name and what follows it: colours "#804080" or "128 64 128", any number of them.
_BRACKETED = rf"(?i:rgb\s*+)?(?:\(\s*+{COLOUR}\s*+\)|\[\s*+{COLOUR}\s*+\])"
# Without a way back into white space, of which a line may have much.
_BETWEEN = r"(?:\s*+[:,;=]\s*+|\s++)"
_BEHIND = rf"{_BETWEEN}(?:{COLOUR}|{_BRACKETED})|(?=[(\[]){_BRACKETED}"
_LINE = re.compile(rf"(?P<name>.+?)(?P<colours>(?:{_BEHIND})*+)\s*+")
# What is left of a name where a colour behind it is written in yet another way.
_STRAY = re.compile(
    r"[\s:,;=](?:#[0-9a-fA-F]{3,8}|0[xX][0-9a-fA-F]{6,8})$"
    r"|(?:\d{1,3}(?:\s*[,;]\s*\d{1,3}){2}|#[0-9a-fA-F]{6})\W*$"
    r"|(?<![\s:,;=])(?:[\s:,;=]++\d++(?:\.\d++)?){3}\s*(?:#.*)?$"
)
_NUMBERED = re.compile(r"(\d+)\s*[:.,;)\t= ]\s*(.+)")
_NUMBER_BEHIND = re.compile(r".*[^\d\s:=]([\s:=]++)(\d+)")
_COLOUR_BEFORE = re.compile(rf"(?:{COLOUR}|{_BRACKETED}){_BETWEEN}[^\W\d]")
_HOW = "it names the classes, one a line, label 0 first"

Parsed = tuple[list[str], list[tuple[int, ...]]]


@dataclass(frozen=True)
class Classes:
    """The classes of a data set.

    Attributes:
        names: one a label, from 0.
        colours: 0xRRGGBB of each class, several where masks show it in several colours; empty
            tuples where there are none.
    """

    names: tuple[str, ...]
    colours: tuple[tuple[int, ...], ...]

    @property
    def coloured(self) -> bool:
        """Whether the classes have colours: all have, or none."""
        return bool(self.colours[0])

    def palette(self) -> np.ndarray:
        """The first colour of each class: uint8 `[256, 3]`; readable ones where there are none."""
        palette = labels.distinct_colours()
        if self.coloured:
            palette[: len(self.names)] = [
                (first >> 16, first >> 8 & 255, first & 255) for first, *_ in self.colours
            ]
        return palette


def plain(names: tuple[str, ...]) -> Classes:
    """Classes without colours."""
    return Classes(names, ((),) * len(names))


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
    names, colours = _READERS.get(path.name.lower(), _classes_txt)(path, lines)
    if not names:
        raise UserError(f"{path} is empty: {_HOW}")
    check_names(path, names)
    _check_colours(path, names, colours)
    return Classes(tuple(names), tuple(colours))


def _classes_txt(path: Path, lines: list[str]) -> Parsed:
    found = [
        (number, line.strip())
        for number, line in enumerate(lines, 1)
        if not line.lstrip().startswith("#")
    ]
    while found and not found[0][1]:
        del found[0]
    for number, line in found:
        if not line:
            raise UserError(f"{path} line {number} is blank, a line between two names: delete it")
    for number, line in found:
        if _COLOUR_BEFORE.match(line):
            raise UserError(
                f"{path} line {number} has a colour before the name, {line!r}: put it behind"
            )
    numbered = [
        _NUMBERED.fullmatch(line) if parse_colour(line) is None else None for _, line in found
    ]
    values = [int(match[1]) for match in numbered if match]
    if len(values) == len(found) - 1 > 1 and not numbered[0] and values == [*range(len(values))]:
        number, line = found[0]
        raise UserError(
            f"{path} line {number} is {line!r}, and all others begin with their labels: delete "
            "it, or number it, too"
        )
    if values and len(values) == len(found) > 1:
        _check_order(path, found, values)
        found = [
            (number, match[2]) for (number, _), match in zip(found, numbered, strict=True) if match
        ]
    else:
        behind = [_NUMBER_BEHIND.fullmatch(line) for _, line in found]
        values = [int(match[2]) for match in behind if match]
        are_labels = all(match and match[1].strip() for match in behind)
        # Without a sign between, they may as well be parts of the names.
        if are_labels or sorted(values) == [*range(len(found))]:
            _check_order(path, found, values)
    names, colours = [], []
    for number, line in found:
        match = _LINE.fullmatch(line)
        assert match is not None  # as there is a character
        if parse_colour(match["name"]) is not None:
            raise UserError(
                f"{path} line {number} has a colour and no name, {line!r}: put the class's name "
                "before it"
            )
        # Of four numbers the first may be the name's, or the last one the opacity.
        is_number = re.match(r"[\s:,;=]+\d", match["colours"])
        if _STRAY.search(match["name"]) or (
            is_number and re.search(r"[\s:,;=]\d{1,3}$", match["name"])
        ):
            raise UserError(
                f"{path} line {number} is {line!r}, and a colour is three numbers or #rrggbb, as "
                'in "road 128 64 128" or "road #804080": write it so'
            )
        names.append(match["name"])
        colours.append(_colours(path, number, line, match["colours"]))
    return names, colours


def _check_order(path: Path, found: list[tuple[int, str]], values: list[int]) -> None:
    """Refuses numbers of lines that are not the labels which the lines have by their order."""
    for label, ((number, line), value) in enumerate(zip(found, values, strict=True)):
        if value != label:
            raise UserError(
                f"{path} line {number} is {line!r}, and by its place it has label {label}: bring "
                "the lines into the order of their labels, or leave the numbers out, and give "
                f"{argument('first_label')} or {argument('map')} if masks hold them"
            )


def _colours(path: Path, number: int, line: str, text: str) -> tuple[int, ...]:
    parsed = [parse_colour(colour) for colour in re.findall(COLOUR, text)]
    if None in parsed:
        raise UserError(f"{path} line {number} has a colour beyond 255: {line!r}")
    return tuple(colour for colour in parsed if colour is not None)


def _labelmap_txt(path: Path, lines: list[str]) -> Parsed:
    """CVAT's: name:r,g,b:parts:actions. Or label:name, or no colon, as of classes.txt."""
    rows = [
        (number, line, [part.strip() for part in line.split(":")])
        for number, line in enumerate(lines, 1)
        if line.strip() and not line.startswith("#")
    ]
    if not any(":" in line for _, line, _ in rows):
        return _classes_txt(path, lines)
    if all(len(row) == 2 and row[0].isdigit() and not _is_colour(row[1]) for *_, row in rows):
        return _classes_txt(path, lines)
    names, colours = [], []
    for number, line, (name, *rest) in rows:
        colour = rest[0] if rest else ""
        if colour and not _is_colour(colour):
            raise UserError(
                f"{path} line {number} is {line!r}, and name:r,g,b:parts:actions is expected: "
                f"write it so, or name the classes in {NAME}"
            )
        names.append(name)
        colours.append(_colours(path, number, line, colour))
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
        colours.append(_colours(path, number, lines[number - 1], ",".join(parts)))
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
            _check_order(path, [(n, ",".join(row)) for n, row in rows], [*map(int, values)])


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
    NAME: _classes_txt,
    "labelmap.txt": _labelmap_txt,
    "class_dict.csv": _class_dict_csv,
    _ROBOFLOW: _roboflow_csv,
}
FILES = tuple(_READERS)
# Of labelme, what it exports, fastai's CamVid and Cambridge's, darknet, Roboflow.
_OTHERS = (
    "labels.txt", "class_names.txt", "codes.txt", "label_colors.txt", "obj.names", "data.yaml",
)  # fmt: skip


def check_names(path: Path, names: list[str]) -> None:
    """Refuses names that a data set cannot have.

    Args:
        path: the file that has them.
        names: of the classes.

    Raises:
        UserError: one is blank, holds control characters, or is there twice; there is one alone,
            or too many for 8 bits.
    """
    if not all(name.strip() for name in names):
        raise UserError(f"{path} has a class without a name: give it one")
    for name in names:
        if any(unicodedata.category(letter) == "Cc" for letter in name if letter != "\t"):
            raise UserError(
                f"{path} has the class {name!r}, with a control character: leave that out, or save "
                "the file in UTF-8"
            )
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise UserError(f"{path} has the class {twice[0]!r} {names.count(twice[0])} times")
    if len(names) < 2:
        raise UserError(
            f"{path} has the one class {names[0]!r}: name the background, too, one class a line"
        )
    if len(names) > IGNORE:
        raise UserError(f"{path} has {len(names)} classes; 8-bit masks can hold {IGNORE}")


def check_first_label(first_label: int, count: int) -> None:
    """Raises UserError if masks that begin with a value cannot hold so many classes."""
    last = first_label + count - 1
    if last >= IGNORE:
        raise UserError(
            f"{argument('first_label')} {first_label} and {count} classes need values up to "
            f"{last}, and {IGNORE} is void: give a smaller one, or name fewer classes"
        )


def _check_colours(path: Path, names: list[str], colours: list[tuple[int, ...]]) -> None:
    without = [name for name, own in zip(names, colours, strict=True) if not own]
    if without and len(without) < len(names):
        raise UserError(
            f"{path} gives colours to some classes but none to {', '.join(map(repr, without))}: "
            "give each class its colour, or none"
        )
    owner: dict[int, str] = {}
    for name, own in zip(names, colours, strict=True):
        for colour in own:
            if colour in owner:
                raise UserError(
                    f"{path} gives the colour #{colour:06x} to {owner[colour]!r} and to {name!r}"
                )
            owner[colour] = name

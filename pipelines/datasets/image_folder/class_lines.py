"""The lines of classes.txt: names, with their labels before them and colours behind them or not."""

import re
from pathlib import Path

from pipelines.base.errors import UserError, argument
from pipelines.datasets.image_folder.options import COLOUR, parse_colour

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
_NUMBER_BEHIND = re.compile(r".*[^\d\s:=,;]([\s:=,;]++)(\d+)")
# What a column of names is headed by in tables that programs write.
_HEADINGS = ("name", "names", "class", "classes", "class_name", "class_names", "label", "labels")
_COLOUR_BEFORE = re.compile(rf"(?:{COLOUR}|{_BRACKETED}){_BETWEEN}[^\W\d]")

# Names, and the colours 0xRRGGBB of each.
Parsed = tuple[list[str], list[tuple[int, ...]]]
# Its number, from 1, and its text.
Line = tuple[int, str]


def parse_lines(path: Path, lines: list[str]) -> Parsed:
    """Reads lines of names: all with their labels before them, or none.

    Args:
        path: the file, for the messages.
        lines: the file's; what begins with # is a comment.

    Raises:
        UserError: a blank line between names, a colour before a name, without one, beyond 255 or
            of another form, or labels that are not the lines' order.
    """
    found = _without_labels(path, _named(path, lines))
    names, colours = [], []
    for number, line in found:
        name, own = _entry(path, number, line)
        names.append(name)
        colours.append(own)
    return names, colours


def _named(path: Path, lines: list[str]) -> list[Line]:
    """The lines that name a class."""
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
    number, line = found[0] if len(found) > 2 else (0, "")
    if line.casefold() in _HEADINGS:
        raise UserError(
            f"{path} line {number} is {line!r}, a heading, and would be class 0: delete it, or, if "
            "it is a class, name it otherwise"
        )
    return found


def _without_labels(path: Path, found: list[Line]) -> list[Line]:
    """The lines without their labels, where all have them: before the name, or behind it after a
    sign, as in "road: 1". Other numbers behind names stay."""
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
        check_order(path, found, values)
        return [
            (number, match[2]) for (number, _), match in zip(found, numbered, strict=True) if match
        ]
    behind = [_NUMBER_BEHIND.fullmatch(line) for _, line in found]
    values = [int(match[2]) for match in behind if match]
    if all(match and match[1].strip() for match in behind):
        check_order(path, found, values)
        return [
            (number, line[: match.start(1)])
            for (number, line), match in zip(found, behind, strict=True)
            if match
        ]
    # Without a sign between, they may as well be parts of the names.
    if sorted(values) == [*range(len(found))]:
        check_order(path, found, values)
    return found


def _entry(path: Path, number: int, line: str) -> tuple[str, tuple[int, ...]]:
    """The name in a line, and its colours."""
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
    return match["name"], colours_of(path, number, line, match["colours"])


def check_order(path: Path, found: list[Line], values: list[int]) -> None:
    """Refuses numbers of lines that are not the labels which the lines have by their order."""
    for label, ((number, line), value) in enumerate(zip(found, values, strict=True)):
        if value != label:
            raise UserError(
                f"{path} line {number} is {line!r}, and by its place it has label {label}: bring "
                "the lines into the order of their labels, or leave the numbers out, and give "
                f"{argument('first_label')} or {argument('map')} if masks hold them"
            )


def colours_of(path: Path, number: int, line: str, text: str) -> tuple[int, ...]:
    """The colours in a part of a line, as 0xRRGGBB; a UserError for one beyond 255."""
    parsed = [parse_colour(colour) for colour in re.findall(COLOUR, text)]
    if None in parsed:
        raise UserError(f"{path} line {number} has a colour beyond 255: {line!r}")
    return tuple(colour for colour in parsed if colour is not None)

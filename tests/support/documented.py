"""What documents show: their blocks of code, their commands and their links.

python tests/support/documented.py      lists the blocks that are not run, with the reason
"""

import functools
import importlib
import re
import shlex
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import tyro
from places import REPOSITORY

from gcn_keras.recipes import command_line

PAGES = [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").glob("*.md"))]
_FENCE = re.compile(r" *```(.*)")
_REASON = re.compile(r"<!-- not run: (.+) -->")
_REASON_OF_PAGE = re.compile(r"^<!-- nothing here is run: (.+) -->$", re.MULTILINE)
_OURS = re.compile(r"(?:^|\s)python -m ((?:gcn_keras|pipelines)\.\w+.*)")


@dataclass(frozen=True)
class Block:
    """A block of code in a document.

    Attributes:
        language: as the fence says: "sh", "python"; "" for an indented block.
        heading: the last one before it.
        not_run: why the tests do not run it, from the comment before it, or from one for the whole
            page; None where they do.
        text: what is in it, without indentation.
    """

    language: str
    heading: str
    not_run: str | None
    text: str

    def lines(self) -> list[str]:
        """Its lines, those that end in a backslash joined with the next."""
        return self.text.replace("\\\n", " ").splitlines()

    def commands(self) -> list[str]:
        """What it has of this project's commands: "python -m pipelines.doctor shapes"."""
        found = (_OURS.search(line) for line in self.lines())
        return [f"python -m {match[1].strip()}" for match in found if match]


def blocks(text: str) -> list[Block]:
    """The blocks of a document, in their order."""
    found, heading, before = [], "", ""
    of_page = _REASON_OF_PAGE.search(text)
    lines = iter([*text.splitlines(), ""])
    for line in lines:
        fence = _FENCE.fullmatch(line)
        if fence or (line.startswith("    ") and not before):
            if fence:
                inside = list(iter(lambda: next(lines), "```"))
            else:
                inside = [line[4:], *_indented(lines)]
            content = "\n".join(inside).rstrip() + "\n"
            reason = _REASON.fullmatch(before) or of_page
            found.append(Block(fence[1] if fence else "", heading, reason and reason[1], content))
            line = ""
        elif line.startswith("#"):
            heading = line.lstrip("# ")
        before = line
    return found


def _indented(lines: Iterator[str]) -> Iterator[str]:
    for line in lines:
        if not line.startswith("    "):
            return
        yield line[4:]


def inline_commands(text: str) -> list[str]:
    """Commands of this project between backticks, as in tables."""
    return re.findall(r"`(python -m (?:gcn_keras|pipelines)\.[^`]+)`", text)


def commands(text: str) -> list[str]:
    """All commands of this project in a document: "python -m pipelines.doctor shapes"."""
    return [each for block in blocks(text) for each in block.commands()] + inline_commands(text)


def parsed(command: str) -> dict:
    """The arguments that a command's function would be called with.

    Raises:
        SystemExit: there is no such option, or a value of another kind; 0 for `--help`.
        UserError: options do not fit together.
    """
    _, _, name, *arguments = shlex.split(command.removesuffix("…"), comments=True)
    if name == "gcn_keras.fit":
        return {"recipe": command_line.parse(arguments)}
    given: dict = {}

    def caught(function):
        @functools.wraps(function)
        def catch(*positional, **named):
            given.update(zip(function.__annotations__, positional, strict=False))
            given.update(named)

        return catch

    def cli(function, **options):
        if isinstance(function, functools.partial):
            function = functools.partial(caught(function.func), **function.keywords)
        else:
            function = caught(function)
        return real_cli(function, **options)

    def subcommands(functions, **options):
        caught_ones = {key: caught(function) for key, function in functions.items()}
        return real_subcommands(caught_ones, **options)

    real_cli, real_subcommands = tyro.cli, tyro.extras.subcommand_cli_from_dict
    with (
        mock.patch("sys.argv", [name, *arguments]),
        mock.patch.object(tyro, "cli", cli),
        mock.patch.object(tyro.extras, "subcommand_cli_from_dict", subcommands),
    ):
        importlib.import_module(name).main()
    return given


def anchors(text: str) -> set[str]:
    """The anchors of a document's headings, as code hosts make them."""
    found: list[str] = []
    for title in re.findall(r"^#+ +(.+)$", _without_code(text), re.MULTILINE):
        anchor = re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")
        found.append(f"{anchor}-{found.count(anchor)}" if anchor in found else anchor)
    return set(found)


def links(text: str) -> list[tuple[str, str]]:
    """Place and anchor of each link and image that leads to no other site; one may be empty."""
    targets = re.findall(
        r"\]\(([^)\s]+)\)|src=\"([^\"]+)\"", re.sub("`[^`\n]+`", "", _without_code(text))
    )
    places = (first or second for first, second in targets)
    return [tuple(place.partition("#")[::2]) for place in places if "://" not in place]


def _without_code(text: str) -> str:
    return re.sub(r"^ *```.*?^ *```$|^ {4}.*?$", "", text, flags=re.MULTILINE | re.DOTALL)


if __name__ == "__main__":
    for page in map(Path, sys.argv[1:] or PAGES):
        for block in blocks(page.read_text()):
            if block.not_run:
                print(f"{page.name}, {block.heading}: {block.not_run}")

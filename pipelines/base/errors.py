"""Errors that a user can cause: what was wrong, the value received, what to do; how they end."""

import contextlib
import errno
import io
import itertools
import os
import re
import select
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextvars import ContextVar
from typing import TextIO

from pipelines.base.environment import prepare_tensorflow


class UserError(Exception):
    """A run that cannot go on, for a reason outside the code: exit status 1.

    A message that names arguments of a function does so by `argument`.

    Attributes:
        template: the message with its names of arguments marked, for `in_options`.
    """

    exit_status = 1

    def __init__(self, message: object = ""):
        self.template = str(message)
        super().__init__(_NAMES.sub(r"\1", self.template))

    def __reduce__(self) -> tuple:
        """Lets it come whole from another process, whatever its constructor takes."""
        return Exception.__new__, (type(self), *self.args), vars(self)


class UsageError(UserError):
    """An invalid option or argument: exit status 2."""

    exit_status = 2


class ArgumentError(UsageError, ValueError):
    """An invalid argument of a function, in the function's own words.

        ArgumentError("overlap", f"needs {argument('tile')}, got 3")

    reads "overlap needs tile, got 3", and at a command "--overlap needs --tile, got 3".

    Args:
        name: of the argument, with dots that of a field inside it: "crf.sigma". Or a phrase that
            names several: f"{argument('host')} and {argument('port')}".
        reason: what is wrong, the value received, what to do.
    """

    def __init__(self, name: str, reason: str):
        self.name, self.reason = name, reason
        super().__init__(f"{name if _NAMES.search(name) else argument(name)} {reason}")


# A name is marked by what no value has before it: paths, options and lines of text hold no NUL.
_NAMES = re.compile(r"\0\{([a-z][a-z0-9_.]*)\}")


def argument(name: str) -> str:
    """The name of a function's argument, as it stands in the message of an error.

        UserError(f"{path} holds no masks: leave {argument('label_folder')} out")

    reads "… leave label_folder out", and at a command "… leave --label-folder out". All else in
    a message is shown as it is, whatever it holds.
    """
    return f"\0{{{name}}}"


def check_flags(**flags: object) -> None:
    """Refuses what is neither True nor False: "no" would count as true.

    Raises:
        ArgumentError: naming the argument and its value.
    """
    for name, value in flags.items():
        if value not in (True, False):
            raise ArgumentError(name, f"must be True or False, got {value!r}")


def flags_of(options: object) -> dict[str, object]:
    """The values of a dataclass's fields whose defaults are True or False, for `check_flags`."""
    return {
        name: value
        for name, value in vars(options).items()
        if isinstance(getattr(type(options), name, None), bool)
    }


def in_options(template: str, **flags: str) -> str:
    """A message with marked names of arguments, in the words of a command.

    Args:
        template: the message, such as an error's `template`.
        flags: what the command calls an argument, where it is not the argument's name.
    """
    return _NAMES.sub(
        lambda match: f"--{flags.get(match[1], match[1]).replace('_', '-')}", template
    )


# What the command that runs calls its arguments; None where no command runs.
_FLAGS: ContextVar[dict[str, str] | None] = ContextVar("flags", default=None)


def command_message(error: UserError) -> str:
    """The message of an error that ends nothing, in the words of the command that runs, if any."""
    flags = _FLAGS.get()
    return str(error) if flags is None else in_options(error.template, **flags)


@contextlib.contextmanager
def as_options(**flags: str) -> Iterator[None]:
    """In its block errors that name arguments become ones that name flags; see `in_options`."""
    outer = _FLAGS.set(flags)
    try:
        yield
    except UserError as error:
        message = in_options(error.template, **flags)
        if message == error.template:
            raise
        kind = UsageError if isinstance(error, UsageError) else UserError
        raise kind(message) from error
    finally:
        _FLAGS.reset(outer)


class Interrupted(Exception):
    """A command was asked to stop, and has saved what it needs to go on.

    Attributes:
        exit_status: 143 after SIGTERM (a scheduler takes the machine away), 130 after Ctrl-C.
    """

    def __init__(self, message: str, number: int):
        super().__init__(message)
        self.exit_status = 128 + number


def printable(text: object) -> str:
    """A text for the terminal: control characters, as those of colours, are escaped, but newlines.

    Names of files and classes, and what a server says, may hold any; and bytes that are no UTF-8,
    which cannot be printed.
    """
    return "".join(
        letter if letter.isprintable() or letter == "\n" else repr(letter)[1:-1]
        for letter in str(text)
    )


def run_command(main: Callable[[], int | None], may_be_empty: Sequence[str] = ()) -> None:
    """Calls `main`, which returns an exit status or None for 0, and ends the process.

    A `UserError` becomes one line on standard error, `Interrupted` one that says how to go on.

    Args:
        main: the command.
        may_be_empty: options whose value may be an empty text. For a path that would be the current
            folder, which nobody means by a variable that is not set.
    """
    _open_closed_streams()
    prepare_tensorflow()
    if isinstance(sys.stdout, io.TextIOWrapper):
        # As standard error does, by itself: what the user's locale lacks, such as "…", is escaped.
        sys.stdout.reconfigure(errors="backslashreplace")
    with _output_may_break_off():
        try:
            _check_not_empty(sys.argv, may_be_empty)
            with as_options():
                sys.exit(main() or 0)
        except UserError as error:
            print(printable(f"error: {error}"), file=sys.stderr)
            sys.exit(error.exit_status)
        except OSError as error:
            if error.errno not in (errno.ENAMETOOLONG, errno.EACCES):
                raise
            # Wherever a path is first looked at; of most other failures, `Path.exists` says no.
            print(printable(f"error: {error.filename}: {error.strerror}"), file=sys.stderr)
            sys.exit(1)
        except Interrupted as interrupted:
            print(printable(f"\n{interrupted}"))
            print("interrupted", file=sys.stderr)
            sys.exit(interrupted.exit_status)
        except KeyboardInterrupt:
            print("interrupted", file=sys.stderr)
            sys.exit(130)


def _check_not_empty(words: Sequence[str], may_be_empty: Sequence[str]) -> None:
    for before, word in itertools.pairwise(words):
        option, sign, value = word.partition("=")
        if not option.startswith("--"):
            option, sign, value = before, "=", word
        if sign and not value and option.replace("_", "-") not in may_be_empty:
            where = f"the value of {option}" if option.startswith("--") else "an argument"
            raise UsageError(f"{where} is empty, as when a variable is not set: name what is meant")


def _open_closed_streams() -> None:
    """Standard streams that were closed before the start, as by `2>&-`, lead nowhere from here on.

    Their descriptors, too: else the next files to be opened would have them, results among them,
    and would hold what native code prints.
    """
    while (number := os.open(os.devnull, os.O_RDWR)) <= 2:  # the lowest that is free
        os.set_inheritable(number, True)
    os.close(number)
    sys.stdout = sys.stdout or open(os.devnull, "w")
    sys.stderr = sys.stderr or open(os.devnull, "w", errors="backslashreplace")


@contextlib.contextmanager
def _output_may_break_off() -> Iterator[None]:
    """Where nobody reads its output any more, as after `| head`, a command ends without a word.

    Exit status 141, that of a process that SIGPIPE ends, which Python ignores.
    """
    try:
        try:
            yield
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        if not _nobody_reads(sys.stdout):  # but a connection of the command's broke
            raise
        # The interpreter flushes once more as it ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(128 + signal.SIGPIPE)


def _nobody_reads(stream: TextIO) -> bool:
    """Whether a stream is a pipe whose other end is closed."""
    poll = select.poll()
    poll.register(stream, 0)
    return any(event & select.POLLERR for _, event in poll.poll(0))

"""Errors that a user can cause: what was wrong, the value received, what to do; how they end."""

import contextlib
import errno
import os
import re
import select
import signal
import sys
from collections.abc import Callable, Iterator
from typing import Self, TextIO

from pipelines.base.environment import prepare_tensorflow


class UserError(Exception):
    """A run that cannot go on, for a reason outside the code: exit status 1.

    Attributes:
        template: the message with the names of arguments in braces, where it names some.
    """

    exit_status = 1
    template: str | None = None

    def __init__(self, message: object = ""):
        super().__init__(_read_out(str(message)))

    @classmethod
    def naming(cls, template: str) -> Self:
        """An error whose message names arguments of the function, in braces.

            UserError.naming("Beam is not installed: leave {beam_options} away")

        reads "… leave beam_options away", and at a command "… leave --beam-options away". A value
        that may hold braces, such as a path, stands in it as `literal` writes it.
        """
        error = cls(_NAMES.sub(r"\1", template))
        error.template = template
        return error


class UsageError(UserError):
    """An invalid option or argument: exit status 2."""

    exit_status = 2


class ArgumentError(UsageError, ValueError):
    """An invalid argument of a function, in the function's own words.

        ArgumentError("overlap", "needs {tile}, got 3")

    reads "overlap needs tile, got 3", and at a command "--overlap needs --tile, got 3".

    Args:
        argument: its name, with dots that of a field inside it: "crf.sigma". Or a phrase that
            names several, in braces: "{host} and {port}".
        reason: what is wrong, the value received, what to do. Names of other arguments stand in
            braces.
    """

    def __init__(self, argument: str, reason: str):
        self.argument, self.reason = argument, reason
        self.template: str = f"{argument if '{' in argument else f'{{{argument}}}'} {reason}"
        super().__init__(_NAMES.sub(r"\1", self.template))


_NAMES = re.compile(r"\{([a-z][a-z0-9_.]*)\}")
# A brace of a value in a template: no name begins so, and no path holds a NUL.
_BRACE = "{\0"


def literal(value: object) -> str:
    """A value as it stands in a template: what it has in braces is not taken for a name."""
    return str(value).replace("{", _BRACE)


def _read_out(text: str) -> str:
    return text.replace(_BRACE, "{")


def in_options(template: str, **flags: str) -> str:
    """A message with the names of arguments in braces, in the words of a command.

    Args:
        template: the message.
        flags: what the command calls an argument, where it is not the argument's name.
    """
    return _read_out(
        _NAMES.sub(lambda match: f"--{flags.get(match[1], match[1]).replace('_', '-')}", template)
    )


@contextlib.contextmanager
def as_options(**flags: str) -> Iterator[None]:
    """In its block errors that name arguments become ones that name flags; see `in_options`."""
    try:
        yield
    except UserError as error:
        if error.template is None:
            raise
        kind = UsageError if isinstance(error, UsageError) else UserError
        raise kind(in_options(error.template, **flags)) from error


class Interrupted(Exception):
    """A command was asked to stop, and has saved what it needs to go on.

    Attributes:
        exit_status: 143 after SIGTERM (a scheduler takes the machine away), 130 after Ctrl-C.
    """

    def __init__(self, message: str, number: int):
        super().__init__(message)
        self.exit_status = 128 + number


def printable(text: object) -> str:
    """A text for the terminal: control characters, as of colours, are escaped, but for newlines.

    Names of files and classes, and what a server says, may hold any; and bytes that are no UTF-8,
    which cannot be printed.
    """
    return "".join(
        letter if letter.isprintable() or letter == "\n" else repr(letter)[1:-1]
        for letter in str(text)
    )


def run_command(main: Callable[[], int | None]) -> None:
    """Calls `main`, which returns an exit status or None for 0, and ends the process.

    A `UserError` becomes one line on standard error, `Interrupted` one that says how to go on.
    """
    prepare_tensorflow()
    with _output_may_break_off():
        try:
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


@contextlib.contextmanager
def _output_may_break_off() -> Iterator[None]:
    """Where nobody reads its output any more, as after `| head`, a command ends without a word.

    Exit status 141, that of a process that SIGPIPE ends, which Python ignores.
    """
    try:
        try:
            yield
        finally:
            if sys.stdout:  # None where it was closed before the start, as by `>&-`
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

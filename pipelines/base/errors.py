"""Errors that a user can cause, and how a command ends on one.

Every message is one sentence or two: what was wrong, the value received, what to do.
"""

import contextlib
import re
import sys
from collections.abc import Callable, Iterator


class UserError(Exception):
    """A run that cannot go on, for a reason outside the code: exit status 1."""

    exit_status = 1


class UsageError(UserError):
    """An invalid option or argument: exit status 2."""

    exit_status = 2


class ArgumentError(UsageError, ValueError):
    """An invalid argument of a function, in the function's own words.

        ArgumentError("overlap", "needs {tile}, got 3")

    reads "overlap needs tile, got 3", and at a command "--overlap needs --tile, got 3".

    Args:
        argument: its name; with dots that of a field inside it: "crf.sigma".
        reason: what is wrong, the value received, what to do. Names of other arguments stand in
            braces.
    """

    def __init__(self, argument: str, reason: str):
        self.argument, self.reason = argument, reason
        plain = _OTHERS.sub(lambda match: match[1], reason)
        super().__init__(f"{argument} {plain}")

    def of_option(self) -> str:
        """The same sentence in the words of a command."""
        reason = _OTHERS.sub(lambda match: _option(match[1]), self.reason)
        return f"{_option(self.argument)} {reason}"


_OTHERS = re.compile(r"\{([a-z_.]+)\}")


def _option(argument: str) -> str:
    return f"--{argument.replace('_', '-')}"


@contextlib.contextmanager
def as_options() -> Iterator[None]:
    """Within its block an `ArgumentError` becomes a `UsageError` in the words of a command."""
    try:
        yield
    except ArgumentError as error:
        raise UsageError(error.of_option()) from error


class Interrupted(Exception):
    """A command was asked to stop, and has saved what it needs to go on.

    Attributes:
        exit_status: 143 after SIGTERM (a scheduler takes the machine away), 130 after Ctrl-C.
    """

    def __init__(self, message: str, number: int):
        super().__init__(message)
        self.exit_status = 128 + number


def run_command(main: Callable[[], int | None]) -> None:
    """Calls `main()` and ends the process; a `UserError` becomes one line on standard error, and
    `Interrupted` one that says how to go on.

    Args:
        main: a function without arguments that returns an exit status, or None for 0.
    """
    try:
        with as_options():
            sys.exit(main() or 0)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_status)
    except Interrupted as interrupted:
        print(f"\n{interrupted}")
        print("interrupted", file=sys.stderr)
        sys.exit(interrupted.exit_status)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)

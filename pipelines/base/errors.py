"""Errors that a user can cause, and how a command ends on one.

Every message is one sentence or two: what was wrong, the value received, what to do.
"""

import sys


class UserError(Exception):
    """A run that cannot go on, for a reason outside the code: exit status 1."""

    exit_status = 1


class UsageError(UserError):
    """An option or argument that cannot be meant: exit status 2."""

    exit_status = 2


class Interrupted(Exception):
    """A command was asked to stop, and has saved what it needs to go on.

    Attributes:
        exit_status: 143 after SIGTERM (a scheduler takes the machine away), 130 after Ctrl-C.
    """

    def __init__(self, message: str, number: int):
        super().__init__(message)
        self.exit_status = 128 + number


def run_command(main) -> None:
    """Calls `main()` and ends the process; a `UserError` becomes one line on standard error, and
    `Interrupted` one that says how to go on.

    Args:
        main: a function without arguments that returns an exit status, or None for 0.
    """
    try:
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

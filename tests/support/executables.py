"""Programs of tests that can be started by their path alone, wherever this checkout lies."""

import shlex
import sys
from pathlib import Path


def write_executable(path: Path, program: Path | str, *arguments: str) -> Path:
    """A file that starts Python, without its `site`, on a program, with what it is given after.

    A shell's line, as the path of the interpreter may hold spaces, which `#!` takes apart.
    """
    command = shlex.join([sys.executable, "-IS", str(program), *arguments])
    path.write_text(f'#!/bin/sh\nexec {command} "$@"\n')
    path.chmod(0o755)
    return path

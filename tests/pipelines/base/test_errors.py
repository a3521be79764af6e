"""Errors: an argument's fault in the words of a function and in those of a command."""

import errno
import os
import pickle
import subprocess
import sys
import traceback
from pathlib import Path

import pytest
from places import REPOSITORY

from pipelines.base.errors import (
    ArgumentError,
    UsageError,
    UserError,
    argument,
    as_options,
    in_options,
    run_command,
)

REASON = f"needs {argument('some_tile')}, got {{some_tile}} {{}} 3"
FAULT = ("crf.bilateral_xy", REASON)


def test_in_the_words_of_the_function():
    error = ArgumentError(*FAULT)
    assert str(error) == "crf.bilateral_xy needs some_tile, got {some_tile} {} 3"
    assert isinstance(error, ValueError) and isinstance(error, UserError)


def test_in_the_words_of_a_command():
    with pytest.raises(UsageError) as caught, as_options():
        raise ArgumentError(*FAULT)
    assert str(caught.value) == "--crf.bilateral-xy needs --some-tile, got {some_tile} {} 3"
    assert not isinstance(caught.value, ArgumentError)


def test_a_phrase_that_names_several_arguments():
    both = f"{argument('host')} and {argument('port')}"
    error = ArgumentError(both, "must be HOST:PORT, got 'a b:1'")
    assert str(error) == "host and port must be HOST:PORT, got 'a b:1'"
    assert in_options(error.template) == "--host and --port must be HOST:PORT, got 'a b:1'"


@pytest.mark.parametrize("kind", [UserError, UsageError])
def test_a_message_that_names_an_argument_in_its_middle(kind):
    error = kind(f"no Beam: leave {argument('beam_options')} out, see {argument('source')} DIR")
    assert str(error) == "no Beam: leave beam_options out, see source DIR"
    with pytest.raises(kind) as caught, as_options(source="from"):
        raise error
    assert type(caught.value) is kind
    assert str(caught.value) == "no Beam: leave --beam-options out, see --from DIR"


class Special(ArgumentError):
    def __init__(self):
        super().__init__("out", f"exists: {argument('resume')} goes on")


def test_an_error_that_names_no_argument_stays_itself():
    error = UserError("there is no {train}")
    with pytest.raises(UserError) as caught, as_options():
        raise error
    assert caught.value is error and str(error) == "there is no {train}"


# A path, the name of a class, a line of a file: whatever stands in a message.
VALUES = ["/{void} x.png", "{void}", "{{void}}", "{", "{}", "{void", "--void", "%(void)s", "a\0b"]


@pytest.mark.parametrize("value", VALUES)
def test_a_value_is_shown_as_it_is(value):
    for kind in UserError, UsageError:
        error = kind(f"{value}{argument('void')}{value}")
        assert str(error) == f"{value}void{value}"
        assert in_options(error.template) == f"{value}--void{value}"
        assert str(kind(value)) == in_options(kind(value).template) == value
    error = ArgumentError("out", f"{value} exists")
    assert str(error) == f"out {value} exists"
    assert in_options(error.template) == f"--out {value} exists"


@pytest.mark.parametrize(
    "error",
    [UserError(REASON), UsageError(REASON), ArgumentError(*FAULT), Special()],
    ids=lambda error: type(error).__name__,
)
def test_no_mark_is_shown(error):
    """Nor in a traceback, nor where it is shown by its representation."""
    shown = [str(error), repr(error), "".join(traceback.format_exception(error))]
    shown += map(str, error.args)
    assert not any("\0" in text or r"\x00" in text for text in shown)
    assert "\0" not in in_options(error.template)


@pytest.mark.parametrize("error", [UserError(REASON), ArgumentError(*FAULT), Special()])
def test_an_error_of_another_process(error):
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is type(error) and str(again) == str(error)
    assert again.template == error.template and vars(again) == vars(error)


def test_control_characters_do_not_reach_the_terminal(capsys):
    def main():
        raise UserError("no\x1b[31m\x9b \u202e \udcff\tfile\ncafé 像 …")

    with pytest.raises(SystemExit) as ended:
        run_command(main)
    assert ended.value.code == 1
    escaped = r"no\x1b[31m\x9b \u202e \udcff\tfile"
    assert capsys.readouterr().err == f"error: {escaped}\ncafé 像 …\n"


def test_a_path_that_is_too_long_is_the_users_fault(capsys):
    path = "a" * 256
    with pytest.raises(SystemExit) as ended:
        run_command(lambda: Path(path).is_dir())
    assert ended.value.code == 1
    assert capsys.readouterr().err == f"error: {path}: File name too long\n"
    with pytest.raises(IsADirectoryError):
        run_command(lambda: Path("/").read_text())


def test_a_path_that_may_not_be_searched(capsys):
    def main():
        raise PermissionError(errno.EACCES, "Permission denied", "/root/run")

    with pytest.raises(SystemExit) as ended:
        run_command(main)
    assert ended.value.code == 1
    assert capsys.readouterr().err == "error: /root/run: Permission denied\n"


STREAMS = """
import os, subprocess, sys
from pipelines.base.errors import run_command

def main():
    with open("results", "w") as file:
        print("out", flush=True)
        print("err", file=sys.stderr, flush=True)
        for number in 1, 2:
            os.write(number, b"native ")
            os.close(os.dup(number))
        subprocess.run(["sh", "-c", "echo of a child; echo of a child >&2"], check=True)
        file.write("whole")
    return 3

run_command(main)
"""


@pytest.mark.parametrize(
    ("closed", "output", "error"),
    [
        (">&-", b"", b"err\nnative of a child\n"),
        ("2>&-", b"out\nnative of a child\n", b""),
        ("<&- >&- 2>&-", b"", b""),
    ],
)
def test_standard_streams_that_were_closed(tmp_path, closed, output, error):
    """What is said there goes nowhere, and above all not into the files that a command writes."""
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    ended = subprocess.run(
        ["sh", "-c", f'exec "$@" {closed}', "sh", sys.executable, "-c", STREAMS],
        capture_output=True, cwd=tmp_path, env=environment,
    )  # fmt: skip
    assert (ended.returncode, ended.stdout, ended.stderr) == (3, output, error)
    assert (tmp_path / "results").read_text() == "whole"


def test_letters_that_a_locale_lacks_go_nowhere_as_well():
    program = "import sys; from pipelines.base.errors import run_command; "
    program += r"run_command(lambda: print('\u2026', file=sys.stderr))"
    poor = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
    ended = subprocess.run(
        ["sh", "-c", 'exec "$@" 2>&-', "sh", sys.executable, "-c", program],
        env={**os.environ, **poor, "PYTHONPATH": str(REPOSITORY)},
    )
    assert ended.returncode == 0


@pytest.mark.parametrize("encoding", ["latin-1", "ascii"])
def test_letters_that_a_locale_lacks(encoding):
    program = "from pipelines.base.errors import run_command; run_command(lambda: print('k … ×'))"
    environment = {**os.environ, "PYTHONIOENCODING": encoding}
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, env=environment)
    expected = "k \\u2026 ×\n".encode(encoding, "backslashreplace")
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, expected, b"")


def test_a_command_ends_with_status_2_and_its_own_words(capsys):
    def main():
        raise ArgumentError("limit", "must be at least 1, got 0")

    with pytest.raises(SystemExit) as caught:
        run_command(main)
    assert caught.value.code == 2
    assert capsys.readouterr().err == "error: --limit must be at least 1, got 0\n"


COMMAND = "from pipelines.base.errors import *\n{}\nrun_command(main)"


@pytest.mark.parametrize(
    "main",
    [
        "def main(): print('x' * 100000)",  # more than its buffer holds
        "def main(): print('x')",
        "def main(): print('usage'); raise SystemExit(0)",  # as --help ends
        "def main(): raise Interrupted('saved', 2)",
    ],
)
def test_output_that_nobody_reads_ends_a_command_without_a_word(main):
    command = subprocess.Popen(
        [sys.executable, "-c", COMMAND.format(main)], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    command.stdout.close()
    words = command.communicate()[1].decode()
    assert (command.returncode, words.removeprefix("interrupted\n")) == (141, "")


def test_a_connection_that_breaks_is_no_output_that_nobody_reads():
    main = "def main(): raise BrokenPipeError(32, 'a connection')"
    command = subprocess.run(
        [sys.executable, "-c", COMMAND.format(main)], capture_output=True, text=True
    )
    assert command.returncode == 1 and "BrokenPipeError: [Errno 32] a connection" in command.stderr

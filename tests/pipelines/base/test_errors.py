"""Errors: an argument's fault in the words of a function and in those of a command."""

import pytest

from pipelines.base.errors import ArgumentError, UsageError, UserError, as_options, run_command

FAULT = ("crf.bilateral_xy", "needs {some_tile}, got {} 3")


def test_in_the_words_of_the_function():
    error = ArgumentError(*FAULT)
    assert str(error) == "crf.bilateral_xy needs some_tile, got {} 3"
    assert isinstance(error, ValueError) and isinstance(error, UserError)


def test_in_the_words_of_a_command():
    with pytest.raises(UsageError) as caught, as_options():
        raise ArgumentError(*FAULT)
    assert str(caught.value) == "--crf.bilateral-xy needs --some-tile, got {} 3"
    assert not isinstance(caught.value, ArgumentError)


def test_a_command_ends_with_status_2_and_its_own_words(capsys):
    def main():
        raise ArgumentError("limit", "must be at least 1, got 0")

    with pytest.raises(SystemExit) as caught:
        run_command(main)
    assert caught.value.code == 2
    assert capsys.readouterr().err == "error: --limit must be at least 1, got 0\n"

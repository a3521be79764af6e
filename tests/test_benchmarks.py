"""What the benchmarks refuse before they measure."""

import re

import pytest
from forks import run
from places import REPOSITORY


@pytest.mark.parametrize(
    ("script", "words", "message"),
    [
        ("crop_parts", ["--seconds", "0"], "--seconds must be above 0, got 0.0"),
        ("damaged_files", ["--count", "0"], "--count must be above 0, got 0"),
        ("encodings", ["--rounds", "0"], "--rounds must be above 0, got 0"),
        ("evaluation", ["a.keras", "--dataset", "shapes", "--images", "0"],
         "--images must be above 0, got 0"),
        ("inference", ["--rounds", "0"], "--rounds must be above 0, got 0"),
        ("inference", ["--num-classes", "256"], "--num-classes must be in 2…255, got 256"),
        ("input_pipeline", ["--seconds", "nan"], "--seconds must be above 0, got nan"),
        ("line_convolutions", ["--turns", "0"], "--turns must be above 0, got 0"),
        ("step_parts", ["--steps", "-1"], "--steps must be above 0, got -1"),
        ("tflite_parts", ["--repeats", "0"], "--repeats must be above 0, got 0"),
        ("training", ["--batches", "4", "0"], "--batches must be above 0, got 0"),
        ("waiting", ["--steps", "1"],
         "--steps must be at least 2, got 1: a step ends with the next"),
    ],
)  # fmt: skip
def test_numbers(script, words, message):
    assert refused(script, *words) == (2, f"error: {message}\n")


def test_a_json_file_that_cannot_be_written():
    message = "error: --json none/rows.json: there is no folder none\n"
    assert refused("encodings", "--json", "none/rows.json") == (1, message)


def test_a_data_directory_that_is_none(tmp_path):
    file = tmp_path / "file"
    file.touch()
    message = f"error: DATA_DIR {file} is a file: name a folder\n"
    assert refused("shapes_classes", file) == (2, message)
    message = f"error: cannot write to {file}/data: {file}: Not a directory\n"
    assert refused("shapes_classes", file / "data") == (1, message)


@pytest.mark.slow
def test_subjects_that_are_none():
    status, message = refused("damaged_files", "--subjects", "png", "nosuch")
    assert status == 2
    assert re.fullmatch(r"error: --subjects knows .*\bpng\b.*, got nosuch\n", message)


def refused(script: str, *words: str) -> tuple[int, str]:
    """Exit status and standard error."""
    done = run(REPOSITORY / "benchmarks" / f"{script}.py", *words)
    assert done.stdout == ""
    return done.returncode, done.stderr

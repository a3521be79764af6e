"""The list of the commands."""

import os
import subprocess
import sys
from importlib.metadata import version

import pytest
from places import REPOSITORY

from gcn_keras.__main__ import COMMANDS, summary


def run(*words, python=(), folder=REPOSITORY, **environment):
    command = [sys.executable, *python, "-m", "gcn_keras", *words]
    environment = os.environ | environment
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, env=environment)


def test_in_a_locale_of_ascii():
    done = run(python=("-X", "utf8=0"), LC_ALL="C", PYTHONCOERCECLOCALE="0")
    assert (done.returncode, done.stdout, done.stderr) == (0, run().stdout, "")


def test_every_command_is_listed():
    modules = {path.stem for path in (REPOSITORY / "gcn_keras").glob("*.py")}
    assert sorted(COMMANDS) == sorted(modules - {"__init__", "__main__"})
    done = run()
    assert (done.returncode, done.stderr) == (0, "")
    lines = [line.split(maxsplit=1) for line in done.stdout.splitlines() if line.startswith("  ")]
    assert lines == [[name, summary(name)] for name in COMMANDS]
    assert summary("fit") == "Trains a model"
    assert run("--help").stdout == done.stdout


@pytest.mark.parametrize("name", COMMANDS)
def test_a_line_is_a_phrase(name):
    assert 10 < len(summary(name)) < 80 and "`" not in summary(name)


@pytest.mark.parametrize("option", ["--version", "-V"])
def test_the_versions(option):
    done = run(option)
    assert (done.returncode, done.stderr) == (0, "")
    python = ".".join(map(str, sys.version_info[:3]))
    assert done.stdout == (
        f"gcn_keras {version('gcn_keras')}, Keras {version('keras')}, "
        f"TensorFlow {version('tensorflow')}, Python {python}\n"
    )


def test_versions_of_what_is_not_installed(tmp_path):
    """Without site-packages: the packages alone, as a checkout may hold metadata of a build."""
    for package in ("gcn_keras", "pipelines"):
        (tmp_path / package).symlink_to(REPOSITORY / package)
    done = run("--version", python=("-S",), folder=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(
        "gcn_keras not installed, Keras not installed, TensorFlow not installed, Python 3."
    )


@pytest.mark.parametrize("words", [["train"], ["--version", "train"]])
def test_a_word(words):
    done = run(*words)
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr == (
        f"error: a command is python -m gcn_keras.NAME with one of {', '.join(COMMANDS)}, "
        "got 'train'\n"
    )


@pytest.mark.parametrize("words", [[], ["--version"]])
def test_nothing_slow_is_imported(words):
    imported = run(*words, python=("-X", "importtime")).stderr
    assert "pipelines.base.errors" in imported
    assert not any(name in imported for name in ("numpy", "keras.", "tensorflow", "tyro"))

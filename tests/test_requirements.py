"""What `make setup` installs, and what the benchmarks compare with, is named to the byte."""

import os
import re
import subprocess
import tomllib

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from places import REPOSITORY

# Files, and the extras that they leave out: CUDA's libraries; the rivals of benchmarks/, which have
# a file of their own.
FILES = {"requirements.txt": {"gpu", "bench"}, "requirements-bench.txt": {"gpu"}}


def lines_of(file: str) -> list[list[str]]:
    """What each requirement of a file says, word by word."""
    text = re.sub(r" *#.*", "", (REPOSITORY / file).read_text()).replace("\\\n", " ")
    return [line.split() for line in text.split("\n") if line.strip()]


@pytest.mark.parametrize("file", FILES)
def test_each_requirement_is_pinned_with_its_hashes(file):
    requirements = lines_of(file)
    assert len(requirements) > 100
    for name, *hashes in requirements:
        assert re.fullmatch(r"[a-z0-9.-]+(?:_[a-z0-9.-]+)*==[\w.+]+", name), name
        assert hashes, name
        assert all(re.fullmatch(r"--hash=sha256:[0-9a-f]{64}", each) for each in hashes), name
    assert "://" not in (REPOSITORY / file).read_text()


@pytest.mark.parametrize(("file", "left_out"), FILES.items())
def test_every_extra_is_installed(file, left_out):
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    named = re.findall(r"--extra=(\S+)", (REPOSITORY / file).read_text())
    assert named == sorted(extras.keys() - left_out)
    pinned = dict(name.split("==") for name, *_ in lines_of(file))
    # CUDA's libraries come with the TensorFlow that is pinned.
    wanted = [*project["dependencies"], *sum((extras[e] for e in [*named, "gpu"]), [])]
    for requirement in map(Requirement, wanted):
        version = pinned[canonicalize_name(requirement.name)]
        assert requirement.specifier.contains(version), requirement


def test_the_rivals_change_nothing_else():
    rivals, ours = (lines_of(file) for file in ("requirements-bench.txt", "requirements.txt"))
    assert [words for words in ours if words not in rivals] == []


@pytest.mark.parametrize(
    ("uv", "install"),
    [
        ("", ".venv/bin/python -m pip install"),
        ("/opt/uv", "/opt/uv pip install --python .venv/bin/python"),
    ],
)
def test_setup_asks_for_the_hashes(uv, install):
    """pip and uv: what make would do, if everything were to be made anew."""
    command = ["make", "--dry-run", "--always-make", "setup", f"UV={uv}"]
    environment = {key: value for key, value in os.environ.items() if key != "MAKEFLAGS"}
    done = subprocess.run(
        command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=True
    )
    assert [line for line in done.stdout.splitlines() if " pip install " in line] == [
        f"{install} --require-hashes -r requirements.txt",
        f"{install} --no-deps --no-build-isolation -e .",
    ]

"""What `make setup` installs is named to the byte."""

import os
import re
import subprocess
import tomllib

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from places import REPOSITORY


def test_each_requirement_is_pinned_with_its_hashes():
    text = (REPOSITORY / "requirements.txt").read_text()
    lines = re.sub(r" *#.*", "", text).replace("\\\n", " ").split("\n")
    requirements = [line.split() for line in lines if line.strip()]
    assert len(requirements) > 100
    for name, *hashes in requirements:
        assert re.fullmatch(r"[a-z0-9.-]+(?:_[a-z0-9.-]+)*==[\w.+]+", name), name
        assert hashes, name
        assert all(re.fullmatch(r"--hash=sha256:[0-9a-f]{64}", each) for each in hashes), name
    assert "://" not in text


def test_every_extra_is_installed():
    """But CUDA's libraries, and the rivals of benchmarks/, which have a file of their own."""
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    text = (REPOSITORY / "requirements.txt").read_text()
    extras = project["optional-dependencies"]
    assert re.findall(r"--extra=(\S+)", text) == sorted(extras.keys() - {"gpu", "bench"})
    pinned = dict(re.findall(r"^([\w.-]+)==([\w.+]+)", text, re.M))
    wanted = [*project["dependencies"], *sum((extras[e] for e in extras if e != "bench"), [])]
    for requirement in map(Requirement, wanted):
        version = pinned[canonicalize_name(requirement.name)]
        assert requirement.specifier.contains(version), requirement


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

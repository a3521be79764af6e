"""What `make setup` installs is named to the byte."""

import os
import re
import subprocess

import pytest
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

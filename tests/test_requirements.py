"""What `make setup` installs is named to the byte."""

import re

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


def test_setup_asks_for_the_hashes():
    makefile = (REPOSITORY / "Makefile").read_text()
    assert "pip install --require-hashes -r requirements.txt" in makefile
    assert "pip install --no-deps --no-build-isolation -e ." in makefile

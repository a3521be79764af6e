"""Trees of files."""

import pytest


@pytest.fixture
def tree(tmp_path):
    """Makes empty files; layouts are found by names alone."""

    def make(*names):
        for name in names:
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        return tmp_path

    return make

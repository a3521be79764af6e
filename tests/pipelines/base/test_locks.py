"""Locks on folders, held by this process and by others."""

import errno
import fcntl
import subprocess
import sys

import pytest

from pipelines.base.errors import UserError
from pipelines.base.locks import claim, locked

HOLD = """
import sys
from pathlib import Path
from pipelines.base.locks import claim
lock = claim(Path(sys.argv[1]))
print(lock is not None, flush=True)
sys.stdin.read()
"""


@pytest.fixture
def other(tmp_path):
    """Another process, which holds tmp_path until it is killed."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, tmp_path], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout.readline() == b"True\n"
        yield process
        process.kill()


def test_one_process_at_a_time(tmp_path, other):
    assert claim(tmp_path) is None
    other.kill()
    other.wait()
    lock = claim(tmp_path)
    assert claim(tmp_path) is None
    lock.close()
    with locked(tmp_path):
        assert claim(tmp_path) is None
        claim(tmp_path, name=".another").close()
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_was_removed_with_its_lock_is_none(tmp_path, monkeypatch):
    """Opened while another process held it, locked when that had given it back."""
    first, flock, calls = claim(tmp_path), fcntl.flock, []

    def late(file, operation):
        if not calls:
            first.close()
        calls.append(operation)
        flock(file, operation)

    monkeypatch.setattr(fcntl, "flock", late)
    second = claim(tmp_path)
    assert len(calls) == 2 and (tmp_path / ".lock").exists()
    assert claim(tmp_path) is None
    second.close()


def test_a_file_system_without_locks(tmp_path, monkeypatch, capsys):
    def refuse(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    assert claim(tmp_path) is not None
    assert capsys.readouterr().err == (
        f"warning: the file system of {tmp_path} knows no locks: do not let two commands write "
        "there at the same time\n"
    )


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(UserError, match=f"^cannot write to {tmp_path}/none: No such file"):
        claim(tmp_path / "none")

"""A share of the damaged files of benchmarks/damaged_files.py, those of one seed."""

import subprocess
import sys

import pytest
from places import REPOSITORY

COUNT = 363


@pytest.mark.slow
def test_none_ends_in_a_traceback_or_as_something_else():
    done = subprocess.run(
        [sys.executable, "benchmarks/damaged_files.py", "--count", str(COUNT), "--seed", "1"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout + done.stderr[-2000:]
    rows = [line.strip("| ").split(" | ") for line in done.stdout.splitlines()[2:]]
    counts = {name: int(damaged) for name, damaged, *_ in rows}
    assert counts.pop("all") == COUNT and sum(counts.values()) == COUNT
    assert {
        "checkpoint",
        "model",
        "config",
        "records",
        "mask",
        "mask-tiff",
        "png",
        "zip",
    } <= counts.keys()
    assert min(counts.values()) >= 10
    assert all(int(row[2]) + int(row[3]) > 0 for row in rows)  # as before, or refused

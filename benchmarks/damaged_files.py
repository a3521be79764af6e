"""Damages files in thousands of ways and has the project read each.

    python benchmarks/damaged_files.py [--count 5000] [--seed 0] [--subjects NAME …]

Bits flip; ranges are cut off, lost, doubled, filled with zeros or change places; archives lose an
entry, JSON files get another value. What is read then is what the sound file holds, or one of the
project's own errors, and no file is changed; what has no checksum (JPEG, JSON, CSV, plain tar) may
hold something else. Anything else is a failure, which is shown with its number: exit status 1.
"""

import collections
import contextlib
import faulthandler
import os
import tempfile
import traceback
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from checks import check
from damage import damaged
from readers import Subject, make_subjects
from tqdm import tqdm

from gcn_keras.inference.tflite_model import quiet_stderr
from pipelines.base.errors import ArgumentError, UserError, run_command

OUTCOMES = ("same", "refused", "other", "WRONG", "TRACEBACK", "OVERWRITTEN")
SECONDS = 60  # after which a reader hangs


def _equal(one: Any, other: Any) -> bool:
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(_equal(one[key], other[key]) for key in one)
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(_equal, one, other))
    return bool(np.array_equal(one, other))


def _contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    with open(os.devnull, "w") as nowhere, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with contextlib.redirect_stdout(nowhere), contextlib.redirect_stderr(nowhere):
            yield


def outcome_of(subject: Subject, sound: Any, changed: bytes) -> tuple[str, str]:
    """What comes of a damaged file: "same", "other", "refused", or a failure and what it was."""
    folder = subject.file.parents[subject.file.parent.name == "checkpoints"]
    data = subject.file.read_bytes()
    subject.file.write_bytes(changed)
    before = _contents(folder)
    try:
        with _silence():
            found = subject.read()
        same = _equal(found, sound)
        outcome = ("same" if same else "WRONG" if subject.has_checksums else "other", "")
    except UserError as error:
        outcome = ("refused", str(error))
    except SystemExit as status:  # of a command line that is refused by its parser
        outcome = ("refused" if status.code == 2 else "TRACEBACK", f"exit status {status.code}")
    except Exception:
        outcome = ("TRACEBACK", traceback.format_exc())
    if _contents(folder) != before:
        outcome = ("OVERWRITTEN", "a file was changed")
    subject.file.write_bytes(data)
    return outcome


def run(
    count: int, seed: int = 0, subjects: tuple[str, ...] = (), first: int = 0
) -> tuple[dict[str, collections.Counter], list[str]]:
    """Damages files one after another, the subjects in turn.

    Args:
        count: of damaged files.
        seed: of the damage; number and seed are enough to make one again.
        subjects: names; none for all.
        first: number of the first.

    Returns:
        How often what came of each subject, by its name; a text about each failure.
    """
    counts: dict[str, collections.Counter] = collections.defaultdict(collections.Counter)
    failures = []
    # Decoders write to standard error past Python.
    with open(os.dup(2), "w") as shown, quiet_stderr(), tempfile.TemporaryDirectory() as folder:
        with _silence():
            known = make_subjects(Path(folder))
            if unknown := set(subjects) - known.keys():
                names = ", ".join(known)
                raise ArgumentError("subjects", f"knows {names}, got {' '.join(sorted(unknown))}")
            sound = {name: subject.read() for name, subject in known.items()}
        names = [name for name in known if not subjects or name in subjects]
        for number in tqdm(range(first, first + count), unit=" files", mininterval=0.5, file=shown):
            name = names[number % len(names)]
            rng = np.random.default_rng((seed, number))
            kind, changed = damaged(known[name].file.suffix, known[name].file.read_bytes(), rng)
            faulthandler.dump_traceback_later(SECONDS, exit=True, file=shown)
            outcome, text = outcome_of(known[name], sound[name], changed)
            faulthandler.cancel_dump_traceback_later()
            counts[name][outcome] += 1
            if outcome.isupper():
                failures.append(f"{outcome}: number {number}, {name} {kind}\n{text}")
    return counts, failures


def damaged_files(
    count: int = 5000, seed: int = 0, subjects: tuple[str, ...] = (), first: int = 0
) -> int:
    """Damage files of every kind that the project reads, and count what comes of it.

    Args:
        count: Number of damaged files.
        seed: Seed of the damage.
        subjects: Kinds of files, such as checkpoint or png; by default all.
        first: Number of the first one, to look at a failure again with --count 1.
    """
    check(count=count)
    counts, failures = run(count, seed, subjects, first)
    print(f"| file | damaged | {' | '.join(OUTCOMES)} |\n|---|---:|{'---:|' * len(OUTCOMES)}")
    for name, found in {**counts, "all": sum(counts.values(), collections.Counter())}.items():
        cells = " | ".join(f"{found[outcome]:,}" for outcome in OUTCOMES)
        print(f"| {name} | {found.total():,} | {cells} |")
    for failure in failures:
        print(failure)
    return int(bool(failures))


def main() -> int:
    """Entry point of the command; the exit status."""
    return tyro.cli(damaged_files, prog="python benchmarks/damaged_files.py")


if __name__ == "__main__":
    run_command(main)

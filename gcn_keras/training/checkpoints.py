"""Checkpoints of a run: complete or absent, the last few kept, damage found before it is used."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from pipelines.base.damage import DAMAGE, check_archive, reason_of
from pipelines.base.errors import UserError, argument
from pipelines.base.files import replacing

_STATE = "state.json"


class Checkpoint(NamedTuple):
    """Everything that a run goes on from.

    Attributes:
        step: steps taken.
        state: what is no array, as JSON has it.
        arrays: weights of model and optimizer by name.
        origin: what the run depends on, see `provenance.origin`; {} where that was not kept yet.
    """

    step: int
    state: dict
    arrays: dict[str, np.ndarray]
    origin: dict = {}


def write(folder: Path, checkpoint: Checkpoint, keep: int) -> Path:
    """Writes `folder/step-N.npz` and then removes all but the newest `keep` up to it.

    Checkpoints with more steps stay: they do not belong to this run's past, as they are damaged, or
    of a run with longer epochs. The file is on the disk before it gets its name, so a power cut
    leaves no half one either. It holds numpy arrays (never pickled objects), each with a CRC-32.

    Raises:
        UserError: it cannot be written; the former ones stay.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"step-{checkpoint.step:08d}.npz"
    # The names of the arrays, too: an archive that has lost one is still an archive.
    about = {"origin": checkpoint.origin, "arrays": list(checkpoint.arrays)}
    state = np.frombuffer(json.dumps(checkpoint.state | about).encode(), np.uint8)
    with replacing(path) as temporary, open(temporary, "wb") as file:
        np.savez(file, **{_STATE: state, **checkpoint.arrays})  # type: ignore[arg-type]
        file.flush()
        os.fsync(file.fileno())
    past = [each for each in paths(folder) if _step(each) <= checkpoint.step]
    for old in {*paths(folder)} - {*past[:keep]}:
        old.unlink(missing_ok=True)
    return path


def paths(folder: Path) -> list[Path]:
    """Checkpoints of a folder, the newest first."""
    found = [path for path in folder.glob("step-*.npz") if path.stem[5:].isdecimal()]
    return sorted(found, key=_step, reverse=True)


def _step(path: Path) -> int:
    return int(path.stem.removeprefix("step-"))


def read(path: Path) -> Checkpoint:
    """Reads a checkpoint.

    Raises:
        UserError: it is damaged, or something else.
    """
    try:
        check_archive(path)
        # Closed here: numpy leaves the file open if it finds no archive in it.
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as content:
            arrays = {name: content[name] for name in content.files}
        state = json.loads(arrays.pop(_STATE).tobytes())
        origin, names = state.pop("origin", {}), state.pop("arrays", list(arrays))
        if names != list(arrays):
            raise ValueError(f"{len(arrays)} of {len(names)} arrays are there")
        return Checkpoint(_step(path), state, arrays, origin)
    except DAMAGE as error:
        raise UserError(f"the checkpoint {path} is damaged ({reason_of(error)})") from error


def read_newest(folder: Path) -> Iterator[Checkpoint | UserError]:
    """The newest checkpoint that is whole, after an error for each newer one that is not.

    Raises:
        UserError: there are checkpoints, and none is whole.
    """
    damaged = []
    for path in paths(folder):
        try:
            yield read(path)
            return
        except UserError as error:
            yield error
            damaged.append(path.name)
    if damaged:
        raise UserError(
            f"no checkpoint in {folder} can be read ({', '.join(damaged)}), and nothing there was "
            f"changed: begin a new run in another {argument('out')}, by {argument('weights')} from "
            "this one's best.keras"
        )

"""What a run was made from and with: versions, commit, configuration, checksums of the data."""

import hashlib
import platform
import subprocess
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path

import keras

from gcn_keras.training.run_folder import RunFolder, read_json
from pipelines.datasets import PreparedDataset

_PACKAGES = ("tensorflow", "keras", "numpy", "tensorflow-datasets")


def of_run(run: RunFolder, dataset: PreparedDataset) -> dict:
    """The part of metrics.json that says where the numbers of a run on a data set come from.

    Returns:
        `versions`, `backend`, `git_commit` (None outside a checkout; "-modified" is appended where
        files differ from it), `configuration`, and `data_sha256`: for each split a checksum of its
        record files, in their order.
    """
    return {
        "versions": {"python": platform.python_version(), **{p: version(p) for p in _PACKAGES}},
        "backend": keras.backend.backend(),
        "git_commit": _git_commit(),
        "configuration": read_json(run.config),
        "data_sha256": {split: _checksum(files) for split, files in dataset.files.items()},
    }


def _git_commit() -> str | None:
    root = Path(__file__).parents[2]
    if not (root / ".git").exists():  # else that of a repository that holds an installed copy
        return None
    try:
        commit, changes = (
            subprocess.check_output(["git", "-C", root, *command], stderr=subprocess.DEVNULL)
            for command in (["rev-parse", "HEAD"], ["status", "--porcelain", "-uno"])
        )
    except (OSError, subprocess.CalledProcessError):  # no git, or a checkout of somebody else
        return None
    return commit.decode().strip() + ("-modified" if changes else "")


def _checksum(files: Iterable[str | Path]) -> str:
    digest = hashlib.sha256()
    for path in files:
        with open(path, "rb") as file:
            hashlib.file_digest(file, lambda: digest)
    return digest.hexdigest()

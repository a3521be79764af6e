"""What a run was made from and with: versions, commit, configuration, checksums of the data."""

import functools
import hashlib
import platform
import subprocess
from pathlib import Path

import keras

from gcn_keras.inference.legend import Legend, check_same_names
from gcn_keras.recipes.recipe import Recipe, configuration
from gcn_keras.training.run_folder import RunFolder, differences, read_json
from pipelines.base.environment import installed_version
from pipelines.base.errors import UserError, argument
from pipelines.base.plurals import count_of
from pipelines.datasets import PreparedDataset

_PACKAGES = ("tensorflow", "keras", "numpy", "tensorflow-datasets")


def of_run(run: RunFolder, dataset: PreparedDataset) -> dict:
    """The part of metrics.json that says where the numbers of a run on a data set come from.

    Returns:
        `versions`, `backend`, `git_commit` (None outside a checkout; "-modified" is appended where
        files differ from it), `configuration`, `data_sha256`: for each split a checksum of its
        record files, in their order; and `accepted_changes`, those that it went on with.
    """
    return {
        "versions": {
            "python": platform.python_version(),
            **{p: installed_version(p) for p in _PACKAGES},
        },
        "backend": keras.backend.backend(),
        "git_commit": _git_commit(),
        "configuration": read_json(run.config),
        "data_sha256": {split: _checksum(dataset, split) for split in dataset.files},
        "accepted_changes": run.origin.get("accepted_changes", []),
    }


def origin(recipe: Recipe, dataset: PreparedDataset, steps_per_epoch: int) -> dict:
    """What a run depends on, for its checkpoints.

    Returns:
        `configuration`, `class_names`, `steps_per_epoch`, and `data_sha256`, as in metrics.json, of
        the splits that the run trains and measures on.
    """
    splits = (recipe.train_split, dataset.validation_split(recipe.val_split))
    if (size := sum(dataset.num_bytes[split] for split in splits) / 2**30) > 1:
        print(f"reads {size:.1f} GiB of records for their checksums", flush=True)
    return {
        "configuration": configuration(recipe),
        "class_names": list(dataset.class_names),
        "steps_per_epoch": steps_per_epoch,
        "data_sha256": {split: _checksum(dataset, split) for split in splits},
    }


def check_origin(run: RunFolder, former: dict, recipe: Recipe) -> None:
    """Refuses to go on with a run that was begun with something else than `run.origin`.

    Args:
        run: the run.
        former: origin of its checkpoint; {} in one from before it was kept.
        recipe: by `accept_changes` it goes on with another configuration or other records, which
            `run.origin` tells from then on.

    Raises:
        UserError: naming what has changed; whatever is accepted, where a schedule does not go with
            the length of the epochs any more.
    """
    known = former.get("class_names")
    if known is None and run.legend.is_file():  # else it is only written anew
        known = Legend.read(run.legend).class_names
    if known is not None:
        check_same_names(run.path, known, repr(recipe.dataset), run.origin["class_names"])
    if not former:
        return
    run.origin["accepted_changes"] = accepted = former.get("accepted_changes", [])
    found = [
        f"{key} is {new!r} in {run.config} and was {old!r}"
        for key, old, new in differences(former["configuration"], recipe)
    ]
    for split, digest in run.origin["data_sha256"].items():
        if None not in (digest, own := former["data_sha256"].get(split)) and digest != own:
            found.append(f"split {split!r} of {recipe.dataset!r} has other records")
    if not found:
        return
    text = f"since its last checkpoint the run in {run.path} has changed: {'; '.join(found)}"
    steps = run.origin["steps_per_epoch"]
    # Unknown of a run from before it was kept.
    if recipe.schedule != "constant" and (was := former.get("steps_per_epoch", steps)) != steps:
        raise UserError(
            f"{text}, and an epoch has {count_of(steps, 'step')} instead of {was}; undo that, or "
            + run.advise_anew(recipe, "again")
        )
    if not recipe.accept_changes:
        raise UserError(
            f"{text}; undo that, or go on all the same with {argument('accept_changes')}"
        )
    accepted += found
    print(f"{text}; it goes on all the same")


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


@functools.cache
def _checksum(dataset: PreparedDataset, split: str) -> str | None:
    """None if a file cannot be read; the stream reports that."""
    digest = hashlib.sha256()
    try:
        for path in dataset.files[split]:
            with open(path, "rb") as file:
                hashlib.file_digest(file, lambda: digest)
    except OSError:
        return None
    return digest.hexdigest()

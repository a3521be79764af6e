"""A tiny data set and short runs of the commands, for the tests of training."""

import importlib
import multiprocessing
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from PIL import Image

from pipelines import datasets

REPOSITORY = Path(__file__).parents[2]
CLASSES = ("left", "right")
# The model that is made soonest.
SMALL = ("--backbone", "resnet_nearsighted", "--block", "conv1x1", "--no-boundary-refinement")


def prepare_halves(folder: Path) -> Path:
    """Images with a dark left and a bright right side: eight to train on, four to measure.

    Returns:
        The data directory, folder/data, in which they are `image_folder`.
    """
    random = np.random.default_rng(0)
    for number in range(12):
        split = folder / "source" / ("train" if number < 8 else "val")
        edge = 16 + 3 * number
        label = np.zeros((64, 64), np.uint8)
        label[:, edge:] = 1
        label[:, edge - 1 : edge + 1] = 255
        image = random.integers(0, 60, (64, 64, 3)) + 150 * (label == 1)[..., None]
        for part, pixels, ending in (("images", image, "jpg"), ("labels", label, "png")):
            (split / part).mkdir(parents=True, exist_ok=True)
            path = split / part / f"{number}.{ending}"
            Image.fromarray(pixels.astype(np.uint8)).save(path)
    (folder / "source" / "classes.txt").write_text("\n".join(CLASSES))
    datasets.prepare("image_folder", folder / "source", folder / "data")
    return folder / "data"


def command(module, *arguments) -> list[str]:
    return [sys.executable, "-m", f"gcn_keras.{module}", *map(str, arguments)]


def run(module, *arguments):
    return subprocess.run(
        command(module, *arguments), cwd=REPOSITORY, capture_output=True, text=True
    )


def fit_options(data_dir, out, **options) -> list:
    given = {
        "recipe": "shapes",
        "dataset": "image_folder",
        "data-dir": data_dir,
        "val-split": "val",
        "crop": (64, 64),
        "kernel-size": (3,),
        "batch": (4,),
        "epochs": 2,
        "warmup-steps": 0,
        "saved-model": out.with_name(f"{out.name}-saved-model"),
        "out": out,
        **options,
    }
    arguments = []
    for name, value in given.items():
        arguments += [f"--{name}", *(value if isinstance(value, tuple) else (value,))]
    return arguments


# Forks of a process that has imported what takes its time; none of TensorFlow has run in it.
_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(["gcn_keras.fit", "gcn_keras.training.run"])


class ForkedFit:
    """`python -m gcn_keras.fit` in a process of its own that starts at once.

    Args:
        options: of the command.
        folder: an existing one, for what it prints.
        environment: variables that are set in it.
        file_bytes: size that no file may have more of.
    """

    def __init__(self, options, folder: Path, environment=None, file_bytes=None):
        number = len(list(folder.glob("stdout-*")))
        self.outputs = [folder / f"{name}-{number}" for name in ("stdout", "stderr")]
        self.outputs[0].touch()
        options = [*map(str, options), "--no-export"]
        arguments = ("gcn_keras.fit", options, self.outputs, environment, file_bytes)
        self.process = _FORKS.Process(target=_main, args=arguments, daemon=True)
        self.process.start()

    def wait_for(self, condition, seconds: float = 300) -> None:
        """Waits until something has come true, or the process has ended."""
        deadline = time.monotonic() + seconds
        while not condition() and self.process.is_alive() and time.monotonic() < deadline:
            time.sleep(0.01)

    def send(self, number: int) -> None:
        """Sends a signal."""
        os.kill(self.process.pid, number)

    def finish(self, seconds: float = 300) -> tuple[int, str, str]:
        """Waits for the end; exit status, standard output and standard error."""
        self.process.join(seconds)
        assert not self.process.is_alive(), self.outputs[1].read_text()
        return self.process.exitcode, *(path.read_text() for path in self.outputs)


def run_forked(command, log: Path, environment=None) -> int:
    """Stands in for `child_processes.run_logged`, for `python -m MODULE`."""
    assert command[1] == "-m"
    log.parent.mkdir(parents=True, exist_ok=True)
    arguments = (command[2], command[3:], [log] * 2, environment, None)
    process = _FORKS.Process(target=_main, args=arguments, daemon=True)
    process.start()
    process.join(300)
    return process.exitcode


def _main(module, options, outputs, environment, file_bytes) -> None:
    from pipelines.base.errors import run_command

    for number, path in enumerate(outputs, start=1):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND), number)
    os.environ.update(environment or {})
    if file_bytes:
        resource.setrlimit(resource.RLIMIT_FSIZE, (file_bytes, file_bytes))
    os.chdir(REPOSITORY)
    sys.argv = [module, *options]
    run_command(importlib.import_module(module).main)

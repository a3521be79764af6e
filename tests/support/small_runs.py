"""A tiny data set and short runs of the commands, for the tests of training."""

from pathlib import Path

import forks
import numpy as np
from forks import Forked
from PIL import Image

from pipelines import datasets

CLASSES = ("left", "right")
# The model that is made soonest, and a log without images, which take longer than its validation.
SMALL = ("--backbone", "small", "--block", "conv1x1", "--no-boundary-refinement")
SMALL += ("--tensorboard-samples", "0")


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


def run(module, *arguments):
    """A command of gcn_keras, by its last name."""
    return forks.run(f"gcn_keras.{module}", *arguments)


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


class ForkedFit(Forked):
    """`python -m gcn_keras.fit` in a process of its own that starts at once, without an export."""

    def __init__(self, options, folder: Path, environment=None, file_bytes=None):
        place = options.index("--saved-model") if "--saved-model" in options else len(options)
        options = [*options[:place], "--no-export", *options[place + 2 :]]
        super().__init__("gcn_keras.fit", options, folder, environment, file_bytes)

"""Writes shapes' scenes of one outline, each with its class, to pretrain a backbone on.

python benchmarks/shapes_classes.py DATA_DIR
python -m gcn_keras.fit --recipe imagenet-pretrain --dataset shapes_classes --data-dir DATA_DIR …

The scenes are none of the data set `shapes`, as images of ImageNet are none of the set that a model
is tuned on.
"""

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import tensorflow_datasets as tfds
import tyro

from pipelines.base.encoding import encode_jpeg
from pipelines.base.errors import UsageError, run_command
from pipelines.base.files import check_folder
from pipelines.base.labels import IGNORE
from pipelines.datasets.shapes import scenes

SPLITS = {"train": (1000, 12_000), "validation": (2000, 600)}  # seed, scenes


class ShapesClasses(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """Scenes of one outline, and which it is."""

    VERSION = tfds.core.Version("1.0.0")
    pkg_dir_path = Path(__file__).parent

    def _info(self):
        return self.dataset_info_from_configs(
            description="Scenes of one outline.",
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Image(shape=(None, None, 3), encoding_format="jpeg"),
                    "label": tfds.features.ClassLabel(names=scenes.CLASS_NAMES[1:]),
                    "file_name": tfds.features.Text(),
                }
            ),
        )

    def _split_generators(self, download_manager):
        return {split: self._generate_examples(*source) for split, source in SPLITS.items()}

    def _generate_examples(self, seed: int, count: int) -> Iterator[tuple[str, dict]]:
        """The first `count` scenes that have one outline."""
        number = -1
        for _ in range(count):
            classes: set[int] = set()
            while len(classes) != 1:
                number += 1
                image, labels = scenes.render_scene(np.random.default_rng([seed, number]))
                classes = set(np.unique(labels).tolist()) - {0, IGNORE}
            file = io.BytesIO(encode_jpeg(image))
            named = {"label": classes.pop() - 1, "file_name": f"{seed}-{number}"}
            yield str(number), {"image": file, **named}


def write(data_dir: tyro.conf.Positional[Path]) -> None:
    """Writes the data set `shapes_classes` into a data directory.

    Args:
        data_dir: Where prepared data sets live.
    """
    if data_dir.is_file():
        raise UsageError(f"DATA_DIR {data_dir} is a file: name a folder")
    check_folder(data_dir)
    ShapesClasses(data_dir=data_dir, file_format="tfrecord").download_and_prepare()


def main() -> None:
    """Entry point of the command."""
    tyro.cli(write, prog="python benchmarks/shapes_classes.py")


if __name__ == "__main__":
    run_command(main)

"""The embedded data set with its first scenes only, for tests that need one and not its size."""

from pathlib import Path
from unittest import mock

from pipelines import datasets
from pipelines.datasets import PreparedDataset

# As many as the notebooks show scenes of split test.
SCENES = {"train": 64, "validation": 16, "test": 40}


def prepare_shapes(data_dir: Path) -> PreparedDataset:
    """Draws "shapes"; each scene is that of the whole data set."""
    with mock.patch("pipelines.datasets.shapes.shapes_dataset_builder.SPLITS", SCENES):
        return datasets.prepare("shapes", data_dir=data_dir)

"""Anybody's own images and index masks as TFRecords."""

from functools import partial
from pathlib import Path

import tensorflow_datasets as tfds

from pipelines.building import folders, image_label
from pipelines.building.builder import SegmentationBuilder
from pipelines.datasets.names import VERSIONS


class Builder(SegmentationBuilder):
    """A folder of images and labels; see README.md for its layout.

    One config a data set, so that several can live in one data directory.
    """

    VERSION = tfds.core.Version(VERSIONS["image_folder"])
    MANUAL_DOWNLOAD_INSTRUCTIONS = "manual_dir is the folder with classes.txt; see README.md."

    def _split_generators(self, dl_manager):
        source = Path(dl_manager.manual_dir)
        class_names = folders.read_class_names(source / "classes.txt")
        self.info.metadata["class_names"] = list(class_names)
        splits = folders.find_splits(source, allow_flat=True)
        make = partial(image_label.make_example, class_names=class_names)
        return self.generators(splits, splits.__getitem__, make, title=self.builder_config.name)

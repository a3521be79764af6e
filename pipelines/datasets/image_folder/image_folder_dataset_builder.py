"""Anybody's own images, with masks or annotation files, as TFRecords."""

from pathlib import Path

import tensorflow_datasets as tfds

from pipelines.base.progress import note, note_passed_over
from pipelines.building.builder import SegmentationBuilder
from pipelines.datasets.image_folder.options import FolderOptions
from pipelines.datasets.image_folder.sources import open_source
from pipelines.datasets.names import VERSIONS


class Builder(SegmentationBuilder):
    """A folder of images and masks; see docs/your-own-data.md for its layouts.

    One config a data set, so that several can live in one data directory.

    Attributes:
        options: how the folder is read; set by `prepare`.
    """

    VERSION = tfds.core.Version(VERSIONS["image_folder"])
    MANUAL_DOWNLOAD_INSTRUCTIONS = "manual_dir is the folder; see docs/your-own-data.md."
    TAKES_BINARY = True
    options = FolderOptions()

    def _split_generators(self, dl_manager):
        source = open_source(Path(dl_manager.manual_dir), self.options)
        note(f"found {source.words}")
        note_passed_over(source.passed_over)
        names = source.classes.names
        self.first_label = self.options.first_label
        # TFDS writes the metadata when all examples are made: the counts are complete then.
        self.info.metadata.update(
            class_names=list(names),
            palette=source.palette[: len(names)].tolist(),
            mask_pixels=source.counts,
        )
        return self.generators(
            source.splits,
            source.splits.__getitem__,
            source.make_example,
            title=self.builder_config.name,
        )

"""Anybody's own images, with masks or annotation files, as TFRecords."""

from pathlib import Path

import numpy as np
import tensorflow_datasets as tfds

from pipelines.base.errors import argument
from pipelines.base.labels import IGNORE, one_class_fault
from pipelines.base.progress import note, note_passed_over
from pipelines.building.builder import SegmentationBuilder
from pipelines.datasets.image_folder.annotated_image import background_of
from pipelines.datasets.image_folder.options import FolderOptions
from pipelines.datasets.image_folder.sources import open_source
from pipelines.datasets.names import VERSIONS


class Builder(SegmentationBuilder):
    """A folder of images and masks; see docs/your-own-data.md for its layouts.

    One config a data set, so that several can live in one data directory.

    Attributes:
        options: how the folder is read; set by `prepare`.
        is_annotated: whether annotation files take the place of masks.
    """

    VERSION = tfds.core.Version(VERSIONS["image_folder"])
    MANUAL_DOWNLOAD_INSTRUCTIONS = "manual_dir is the folder; see docs/your-own-data.md."
    TAKES_BINARY = True
    options = FolderOptions()
    is_annotated = False

    def _split_generators(self, dl_manager):
        source = open_source(Path(dl_manager.manual_dir), self.options)
        note(f"found {source.words}")
        note_passed_over(source.passed_over)
        names = source.classes.names
        self.first_label = self.options.first_label
        self.is_annotated = source.is_annotated
        # Who says what colours or values stand for has not taken masks of one kind for another.
        said = source.classes.coloured or self.options.map or self.options.void
        self.index_masks = not (said or source.is_annotated)
        # TFDS writes the metadata when all examples are made: the counts are complete then.
        self.info.metadata.update(
            class_names=list(names),
            palette=source.palette[: len(names)].tolist(),
            counts=source.counts,
        )
        return self.generators(
            source.splits,
            source.splits.__getitem__,
            source.make_example,
            title=self.builder_config.name,
        )

    def fault_of(self, split: str, pixels: np.ndarray) -> str | None:
        """As in `SegmentationBuilder`; and one class alone in `train`."""
        fault = one_class_fault(split, pixels, self.info.metadata["class_names"])
        # The fault of masks of 0 and 255 is more specific.
        return super().fault_of(split, pixels) or (fault and f"{fault}; {self.advice(pixels)}")

    def advice(self, pixels: np.ndarray) -> str:
        """As in `SegmentationBuilder`, for what is no index mask."""
        if self.is_annotated:
            names = self.info.metadata["class_names"]
            if pixels[IGNORE] and background_of(names) == IGNORE:
                return "name background in classes.txt, for pixels without a region"
            return f"annotate regions of {'another' if pixels[: len(names)].any() else 'a'} class"
        if self.options.nearest_colour:
            nearest = argument("nearest_colour")
            return f"leave {nearest} out, and it is said which colours the masks hold"
        if self.options.binary or not self.index_masks:
            return "add images whose masks show another class"
        return super().advice(pixels)

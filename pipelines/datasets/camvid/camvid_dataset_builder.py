"""CamVid as TFRecords, from the folders of its 11-class version."""

from functools import partial
from pathlib import Path

import tensorflow_datasets as tfds

from pipelines.base import labels
from pipelines.base.errors import UserError
from pipelines.base.progress import note, note_passed_over
from pipelines.building import image_label, layouts
from pipelines.building.builder import SegmentationBuilder
from pipelines.datasets.names import VERSIONS

UNLABELLED = 11  # becomes IGNORE


class Builder(SegmentationBuilder):
    """CamVid: 11 classes of road scenes; see README.md for the folders it expects."""

    VERSION = tfds.core.Version(VERSIONS["camvid"])
    METADATA = {"class_names": list(labels.CAMVID_CLASSES)}
    HOMEPAGE = "http://mi.eng.cam.ac.uk/research/projects/VideoRec/CamVid/"
    MANUAL_DOWNLOAD_INSTRUCTIONS = "manual_dir is the folder with train/ and val/; see README.md."

    def _split_generators(self, dl_manager):
        source = Path(dl_manager.manual_dir)
        splits, words, passed_over = layouts.find_layout(source)
        note(f"found {words}")
        note_passed_over(passed_over)
        if not {"train", "val"} <= splits.keys():
            raise UserError(f"{source} has no train/ and val/ with images/ and labels/ in each")
        read = partial(image_label.read_label, class_names=labels.CAMVID_CLASSES, void=UNLABELLED)
        make = partial(image_label.make_example, read=read)
        return self.generators(splits, splits.__getitem__, make)

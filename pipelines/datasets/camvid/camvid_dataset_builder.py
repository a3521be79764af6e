"""CamVid as TFRecords, from the folders of its 11-class version."""

from functools import partial

import tensorflow_datasets as tfds

from pipelines.base import labels
from pipelines.building import encoding, examples, folders, image_label
from pipelines.datasets.names import VERSIONS

UNLABELLED = 11  # becomes IGNORE


class Builder(tfds.core.GeneratorBasedBuilder):
    """CamVid: 11 classes of road scenes; see README.md for the folders it expects."""

    VERSION = tfds.core.Version(VERSIONS["camvid"])
    RELEASE_NOTES = {"1.0.0": "First version."}
    MANUAL_DOWNLOAD_INSTRUCTIONS = "manual_dir is the folder with train/ and val/; see README.md."
    skipped = None

    def _info(self):
        return self.dataset_info_from_configs(
            features=encoding.features(),
            metadata=tfds.core.MetadataDict(class_names=list(labels.CAMVID_CLASSES)),
            homepage="http://mi.eng.cam.ac.uk/research/projects/VideoRec/CamVid/",
        )

    def _split_generators(self, dl_manager):
        splits = folders.find_splits(dl_manager.manual_dir)
        return {name: self._generate_examples(name, found) for name, found in splits.items()}

    def _generate_examples(self, name, found):
        return examples.examples(
            lambda: found,
            partial(image_label.make_example, class_names=labels.CAMVID_CLASSES, void=UNLABELLED),
            f"camvid {name}",
            skipped=self.skipped,
        )

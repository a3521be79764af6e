"""CamVid as TFRecords, from the folders of its 11-class version."""

import tensorflow_datasets as tfds

from pipelines import labels
from pipelines.datasets import VERSIONS, pairs, records
from pipelines.datasets.progress import progress

UNLABELLED = 11  # becomes IGNORE


class Builder(tfds.core.GeneratorBasedBuilder):
    """CamVid: 11 classes of road scenes; see README.md for the folders it expects."""

    VERSION = tfds.core.Version(VERSIONS["camvid"])
    RELEASE_NOTES = {"1.0.0": "First version."}
    MANUAL_DOWNLOAD_INSTRUCTIONS = "manual_dir is the folder with train/ and val/; see README.md."

    def _info(self):
        return self.dataset_info_from_configs(
            features=records.features(),
            metadata=tfds.core.MetadataDict(class_names=list(labels.CAMVID_CLASSES)),
            homepage="http://mi.eng.cam.ac.uk/research/projects/VideoRec/CamVid/",
        )

    def _split_generators(self, dl_manager):
        splits = pairs.find_splits(dl_manager.manual_dir)
        return {name: self._generate_examples(name, found) for name, found in splits.items()}

    def _generate_examples(self, name, found):
        for pair in progress(found, f"camvid {name}"):
            yield pair.image.stem, pairs.read_pair(pair, labels.CAMVID_CLASSES, void=UNLABELLED)

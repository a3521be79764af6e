"""Anybody's own images and index masks as TFRecords."""

from functools import partial

import tensorflow_datasets as tfds

from pipelines.building import encoding, examples, folders, image_label
from pipelines.datasets.names import VERSIONS


class Builder(tfds.core.GeneratorBasedBuilder):
    """A folder of images and labels; see README.md for its layout.

    One config a data set, so that several can live in one data directory.
    """

    VERSION = tfds.core.Version(VERSIONS["image_folder"])
    RELEASE_NOTES = {"1.0.0": "First version."}
    MANUAL_DOWNLOAD_INSTRUCTIONS = "manual_dir is the folder with classes.txt; see README.md."
    skipped = None

    def _info(self):
        # The class names are only known once the source is; they follow in _split_generators.
        return self.dataset_info_from_configs(
            features=encoding.features(), metadata=tfds.core.MetadataDict()
        )

    def _split_generators(self, dl_manager):
        source = dl_manager.manual_dir
        class_names = folders.read_class_names(source / "classes.txt")
        self.info.metadata["class_names"] = list(class_names)
        splits = folders.find_splits(source, allow_flat=True)
        return {
            name: self._generate_examples(name, found, class_names)
            for name, found in splits.items()
        }

    def _generate_examples(self, name, found, class_names):
        return examples.examples(
            lambda: found,
            partial(image_label.make_example, class_names=class_names),
            f"{self.builder_config.name} {name}",
            skipped=self.skipped,
        )

"""The embedded data set `shapes`: rendered, deterministic, nothing to download."""

import numpy as np
import tensorflow_datasets as tfds

from pipelines.base import encoding
from pipelines.building import features
from pipelines.building.builder import SegmentationBuilder
from pipelines.datasets.names import VERSIONS
from pipelines.datasets.shapes import scenes

# Scenes of each split. The position in this table is part of a scene's seed.
SPLITS = {"train": 4000, "validation": 400, "test": 400}
SIZE = 128
SEED = 0


class Builder(SegmentationBuilder):
    """Scenes whose objects are told apart by their outline alone.

    Raise the version in `VERSIONS` whenever `scenes` or a constant above changes what is
    rendered.
    """

    VERSION = tfds.core.Version(VERSIONS["shapes"])
    METADATA = {"class_names": list(scenes.CLASS_NAMES)}

    def _split_generators(self, dl_manager):
        return self.generators(SPLITS, _list_scenes, lambda scene: render_example(*scene))


def _list_scenes(split):
    number = list(SPLITS).index(split)
    return [(split, number, index) for index in range(SPLITS[split])]


def render_example(split: str, number: int, index: int) -> tuple[str, dict]:
    """Renders one scene from its own generator, so that it depends on no other scene.

    Args:
        split: name of the split, for the image id.
        number: position of the split in `SPLITS`.
        index: position of the scene in its split.
    """
    rng = np.random.default_rng((SEED, number, index))
    image, label = scenes.render_scene(rng, size=SIZE)
    image_id = f"{split}_{index:05d}"
    return image_id, features.example(image_id, encoding.encode_jpeg(image), label)

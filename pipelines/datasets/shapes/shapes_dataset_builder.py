"""The embedded data set `shapes`: rendered, deterministic, nothing to download."""

import os
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import tensorflow_datasets as tfds

from pipelines.base.progress import progress
from pipelines.building import encoding
from pipelines.datasets.names import VERSIONS
from pipelines.datasets.shapes import scenes

# Scenes of each split. The position in this table is part of a scene's seed.
SPLITS = {"train": 4000, "validation": 400, "test": 400}
SIZE = 128
SEED = 0
JPEG_QUALITY = 95


class Builder(tfds.core.GeneratorBasedBuilder):
    """Scenes whose objects are told apart by their outline alone.

    Raise the version in `VERSIONS` whenever `scenes` or a constant above changes what is
    rendered.
    """

    VERSION = tfds.core.Version(VERSIONS["shapes"])
    RELEASE_NOTES = {"1.0.0": "First version."}

    def _info(self):
        return self.dataset_info_from_configs(
            features=encoding.features(),
            metadata=tfds.core.MetadataDict(class_names=list(scenes.CLASS_NAMES)),
        )

    def _split_generators(self, dl_manager):
        return {name: self._generate_examples(name, number) for number, name in enumerate(SPLITS)}

    def _generate_examples(self, name, number):
        # Threads help: rendering is numpy, which mostly runs outside of the interpreter's lock.
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            examples = pool.map(partial(render_example, name, number), range(SPLITS[name]))
            yield from progress(examples, f"shapes {name}", total=SPLITS[name])


def render_example(split: str, number: int, index: int) -> tuple[str, dict]:
    """Renders one scene from its own generator, so that it depends on no other scene.

    Args:
        split: name of the split, for the image id.
        number: position of the split in `SPLITS`.
        index: position of the scene in its split.

    Returns:
        The key and the example as `encoding.features` wants it.
    """
    rng = np.random.default_rng((SEED, number, index))
    image, label = scenes.render_scene(rng, size=SIZE)
    image_id = f"{split}_{index:05d}"
    return image_id, encoding.example(image_id, encoding.encode_jpeg(image, JPEG_QUALITY), label)

"""A miniature of ImageNet, written by TFDS as it writes ImageNet: dark images and bright ones."""

import io
from pathlib import Path

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image

CLASSES = 260
DARK, BRIGHT = 7, 255  # 255 is a class like any other here
TRAIN, VALIDATION = 20, 7


class Imagenet2012(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """Features, splits and name are those of TFDS' own builder, whose place it must not take."""

    VERSION = tfds.core.Version("5.1.0")
    RELEASE_NOTES = {"5.1.0": ""}
    pkg_dir_path = Path(__file__).parent
    label = None  # of every example; None: what the image shows

    def _info(self):
        return self.dataset_info_from_configs(
            description="dark and bright",
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Image(encoding_format="jpeg"),
                    "label": tfds.features.ClassLabel(num_classes=CLASSES),
                    "file_name": tfds.features.Text(),
                }
            ),
        )

    def _split_generators(self, download_manager):
        return {
            "train": self._generate_examples("train", TRAIN),
            "validation": self._generate_examples("validation", VALIDATION),
        }

    def _generate_examples(self, split, count):
        for number in range(count):
            label = BRIGHT if number % 2 else DARK
            name = f"{split}-{number}.JPEG"
            example = {"image": io.BytesIO(jpeg(number, label)), "file_name": name}
            yield name, {**example, "label": label if self.label is None else self.label}


def jpeg(number: int, label: int) -> bytes:
    """An image of noise around 60 or 190; its size varies with the number."""
    random = np.random.default_rng(number)
    height, width = 40 + 3 * (number % 5), 52 - 2 * (number % 7)
    pixels = random.integers(0, 60, (height, width, 3)) + (160 if label == BRIGHT else 30)
    file = io.BytesIO()
    Image.fromarray(pixels.astype(np.uint8)).save(file, "JPEG", quality=95)
    return file.getvalue()


def write_images(data_dir, builder=Imagenet2012, **options) -> Path:
    """Writes the records below `data_dir`, and returns it."""
    builder(data_dir=str(data_dir), **options).download_and_prepare()
    return Path(data_dir)

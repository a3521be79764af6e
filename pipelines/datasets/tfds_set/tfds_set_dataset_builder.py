"""Any TFDS set with an image and a mask, checked and recorded as the sets of this project are."""

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np
import tensorflow_datasets as tfds

from pipelines.base.errors import ArgumentError, UsageError, UserError, argument
from pipelines.base.labels import IGNORE
from pipelines.base.progress import progress
from pipelines.building import features, image_label
from pipelines.building.archives import source_folder
from pipelines.building.builder import SegmentationBuilder
from pipelines.building.examples import all_faults
from pipelines.building.folders import IMAGE_SUFFIXES
from pipelines.datasets.image_folder.class_files import read_classes
from pipelines.datasets.image_folder.classes import check_first_label
from pipelines.datasets.names import VERSIONS
from pipelines.datasets.tfds_set.options import TfdsOptions

_FILES = ("file_name", "filename")  # features that name an image's file


class Item(NamedTuple):
    """An example of the foreign set: its name, for messages and as id, and its files' bytes."""

    name: str
    image: bytes
    label: bytes


class Builder(SegmentationBuilder):
    """A copy of the TFDS set `source`, which `prepare` sets together with `options`."""

    VERSION = tfds.core.Version(VERSIONS["tfds_set"])
    source: str
    options: TfdsOptions = TfdsOptions()

    def _split_generators(self, dl_manager):
        self.first_label = self.options.first_label
        if folder := source_folder(dl_manager):  # TFDS' own data directory
            source = open_prepared_source(self.source, folder)
        else:
            source = open_source(self.source, dl_manager.download_dir.parent / "tfds")
        features = pick_features(self.source, source.info.features, self.options)
        read = partial(Items, source, features)
        splits = list(source.info.splits)
        class_names = self._class_names(read, splits)
        self.info.metadata["class_names"] = list(class_names)
        make = partial(make_example, first_label=self.first_label, num_classes=len(class_names))
        return self.generators(splits, read, make, title=self.source)

    def _class_names(self, read, splits) -> tuple[str, ...]:
        if self.options.class_names is not None:
            names = read_classes(self.options.class_names).names
            check_first_label(self.first_label, len(names))
            return names
        largest, has_void, faults = -1, False, []
        for split in splits:
            for item in progress(read(split), f"{self.source} {split}: classes"):
                try:
                    values = np.unique(
                        image_label.decode_mask(f"the mask of {item.name}", item.label)
                    )
                except UserError as fault:
                    faults.append(fault)  # said again when the example is made
                    continue
                largest = max([largest, *values[values != IGNORE].tolist()])
                has_void |= IGNORE in values
        count = largest - self.first_label + 1
        if count < 2 and faults:
            raise all_faults(faults)
        if count < 2:
            void = f", and {IGNORE} is void: write class 1 as 1, or give {argument('class_names')}"
            raise UserError(
                f"the masks of tfds:{self.source} hold no two classes from "
                f"{argument('first_label')} {self.first_label} on; their largest value is "
                f"{largest}{void if has_void else ''}"
            )
        return tuple(f"class {index}" for index in range(count))


def open_source(name: str, data_dir: Path) -> tfds.core.DatasetBuilder:
    """Opens a TFDS set; TFDS downloads and prepares it where that has not been done.

    Raises:
        UsageError: TFDS has no such set.
        UserError: it could not be downloaded or prepared.
    """
    builder = _builder(name, data_dir, "")
    try:
        builder.download_and_prepare(
            download_config=tfds.download.DownloadConfig(try_download_gcs=False)
        )
    except Exception as error:  # whatever a foreign builder and its downloads raise
        reason = " ".join(str(error).split())[:200]
        raise UserError(
            f"TFDS cannot prepare {name!r} ({type(error).__name__}: {reason}): prepare it with "
            f"TFDS elsewhere and give its data directory as {argument('source')} DIR"
        ) from error
    return builder


def open_prepared_source(name: str, data_dir: Path) -> tfds.core.DatasetBuilder:
    """Opens a TFDS set that lies in a data directory of TFDS; nothing is downloaded into it.

    Raises:
        UsageError: TFDS has no such set, and the folder holds none.
        UserError: the folder does not hold it.
    """
    builder = _builder(name, data_dir, f", and {data_dir} holds none")
    if not builder.is_prepared():
        raise UserError(
            f"{data_dir} holds no prepared {name!r}: leave {argument('source')} out to have TFDS "
            "download it"
        )
    return builder


def _builder(name: str, data_dir: Path, searched: str) -> tfds.core.DatasetBuilder:
    try:
        return tfds.builder(name, data_dir=str(data_dir))
    except (tfds.core.DatasetNotFoundError, ValueError, AssertionError) as error:
        raise UsageError(
            f"TFDS has no data set {name!r}{searched}; https://www.tensorflow.org/datasets lists "
            "them"
        ) from error


def pick_features(name: str, features: Mapping, options: TfdsOptions) -> tuple[str, str]:
    """The features that hold image and mask.

    Args:
        name: of the set, for messages.
        features: its `tfds.features.FeaturesDict`.
        options: names that were given are taken; otherwise the image is the feature `image` or
            the only one with three channels, the mask the only other image.

    Raises:
        UsageError: a feature is no image, there is none of that name, or more than one.
    """
    images = {key: f for key, f in features.items() if isinstance(f, tfds.features.Image)}
    shown = ", ".join(f"{key} {tuple(f.shape)}" for key, f in images.items()) or "none"

    def pick(feature, given, candidates):
        if given is not None:
            if given not in images:
                raise ArgumentError(
                    feature,
                    f"{given}: tfds:{name} has no image of that name; its images are {shown}",
                )
            return given
        if len(candidates) != 1:
            raise UsageError(
                f"tfds:{name} needs {argument(feature)}: its images are {shown}, and "
                f"{'none' if not candidates else 'more than one'} is a candidate"
            )
        return candidates[0]

    rest = [key for key in images if key != options.label_feature]
    coloured = [key for key in rest if images[key].shape[-1] == 3]
    image = pick("image_feature", options.image_feature, ["image"] if "image" in rest else coloured)
    others = [key for key in images if key != image]
    label = pick("label_feature", options.label_feature, others)
    if image == label:
        raise ArgumentError("image_feature", f"and {argument('label_feature')} are both {image}")
    return image, label


class Items:
    """The examples of a split in a fixed order, as files' bytes; iterated as often as wanted."""

    def __init__(self, source, features: tuple[str, str], split: str):
        self._source, self._features, self._split = source, features, split
        known = dict(source.info.features)
        names = (*_FILES, "image_id", "name")
        texts = (key for key in names if isinstance(known.get(key), tfds.features.Text))
        self._name = next(texts, None)

    def __len__(self) -> int:
        return self._source.info.splits[self._split].num_examples

    def __iter__(self) -> Iterator[Item]:
        image, label = self._features
        decoders = {key: tfds.decode.SkipDecoding() for key in self._features}
        examples = self._source.as_dataset(split=self._split, decoders=decoders)
        for index, example in enumerate(examples):
            name = f"{self._split}_{index:06}"
            if self._name:
                name = example[self._name].numpy().decode(errors="replace")
                # Of ids and of other files' names what follows a dot tells images apart.
                path = PurePosixPath(name)
                if self._name in _FILES and path.suffix.lower() in IMAGE_SUFFIXES:
                    name = str(path.with_suffix(""))
            yield Item(name, example[image].numpy(), example[label].numpy())


def make_example(item: Item, first_label: int, num_classes: int) -> tuple[str, dict]:
    """Checks an example and brings its labels to 0…num_classes - 1 and 255.

    Raises:
        UserError: image or mask cannot be used; the message names the example and says why.
    """
    image, mask = f"the image of {item.name}", f"the mask of {item.name}"
    height, width = image_label.check_image(image, item.image)
    values = image_label.decode_mask(mask, item.label)
    if values.shape != (height, width):
        raise UserError(
            f"{mask} is {values.shape[1]}x{values.shape[0]} pixels, but the image is "
            f"{width}x{height}"
        )
    strays = np.setdiff1d(values, [*range(first_label + num_classes), IGNORE])
    if strays.size:
        raise UserError(
            f"{mask} has the value {strays[0]}, but the classes are {first_label} to "
            f"{first_label + num_classes - 1}, and {IGNORE} is void"
        )
    label = np.full_like(values, IGNORE)
    valid = (values >= first_label) & (values != IGNORE)
    label[valid] = values[valid] - first_label
    return item.name, features.example(item.name, item.image, label)

"""A data set that lies on disk as TFRecords, and how it is opened."""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.base import labels
from pipelines.base.errors import UsageError, UserError
from pipelines.base.files import check_may_be_read
from pipelines.building.features import example_features
from pipelines.datasets.names import prepared_folder


@dataclass(frozen=True, eq=False)
class PreparedDataset:
    """A data set that lies on disk as TFRecords.

    Attributes:
        name: as given to `load`: "camvid", "image_folder/mine".
        class_names: one a label, from 0.
        palette: uint8 `[256, 3]` RGB, a colour for each label; row 255 is void. Empty, `[0, 3]`,
            where images have one class each.
        splits: examples in each split.
        files: the TFRecord files of each split.
        lengths: the examples in each of the files.
        num_bytes: the size of each split's examples.
        parse: takes a serialised example, a scalar string, apart: `image` and `label`, the bytes
            of JPEG or PNG files, and `image_id`, scalar strings all three. Runs in a graph.
        unlabelled_splits: those whose labels are void throughout because there are none.
        overlapping_splits: pairs of splits that share images by their definition.
        skipped: images that preparation left out because they or their labels could not be used,
            by what its progress bar said: {"camvid train": 2}.
        label_pixels: the pixels of each class, and last those of void, in the labels of each split,
            as preparation counted them; empty where it did not (with Beam, or long ago).
        counts: of an image_folder the images that were "turned" upright; with colour masks the
            "pixels" that were read, and how many of them the "nearest" colour decided.
        index_masks: whether masks held the classes' own values, so that those of 0 and 255 could be
            taken for them; True where preparation did not record it (long ago).
    """

    name: str
    class_names: tuple[str, ...]
    palette: np.ndarray = field(repr=False)
    splits: dict[str, int]
    files: dict[str, tuple[str, ...]] = field(repr=False)
    lengths: dict[str, tuple[int, ...]] = field(repr=False)
    num_bytes: dict[str, int] = field(repr=False)
    parse: Callable[[Any], dict[str, Any]] = field(repr=False)
    unlabelled_splits: tuple[str, ...] = ()
    overlapping_splits: tuple[tuple[str, str], ...] = ()
    skipped: dict[str, int] = field(default_factory=dict)
    label_pixels: dict[str, tuple[int, ...]] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    index_masks: bool = True

    @property
    def num_classes(self) -> int:
        """How many classes there are; void (255) is none."""
        return len(self.class_names)

    def check_split(self, split: str) -> None:
        """Raises UsageError if there is no such split."""
        if not isinstance(split, str) or split not in self.splits:
            raise UsageError(
                f"{self.name!r} has no split {split!r}; it has: {', '.join(self.splits)}"
            )

    def validation_split(self, name: str | None = None) -> str:
        """The split to measure on: `name`, or by default "val" or "validation".

        Raises:
            UsageError: there is no such split.
        """
        if name is None:
            name = next((split for split in ("val", "validation") if split in self.splits), None)
        if name is None:
            raise UsageError(
                f"{self.name!r} has no split 'val' or 'validation'; it has: "
                f"{', '.join(self.splits)}"
            )
        self.check_split(name)
        return name

    @classmethod
    def from_info(cls, info: Any, **attributes: Any) -> "PreparedDataset":
        """The data set of a `tfds.core.DatasetInfo`, which knows its splits and their files.

        Raises:
            ValueError: it has no splits, or one without examples.
        """
        splits = dict(info.splits.items())
        shortest = [min(part.shard_lengths, default=0) for part in splits.values()]
        if min(shortest, default=0) <= 0:
            raise ValueError(f"splits with files of {shortest} examples")
        return cls(
            splits={split: part.num_examples for split, part in splits.items()},
            files={split: tuple(map(str, part.filepaths)) for split, part in splits.items()},
            lengths={split: tuple(part.shard_lengths) for split, part in splits.items()},
            num_bytes={split: part.num_bytes for split, part in splits.items()},
            **attributes,
        )


def open_prepared(name: str, data_dir: str | Path) -> PreparedDataset:
    """Opens a data set that has been prepared, no mixture; UserError where it is damaged."""
    import tensorflow_datasets as tfds

    folder = prepared_folder(name, data_dir)
    skip = tfds.decode.SkipDecoding()

    def parse(record):
        return features.deserialize_example(record, decoders={"image": skip, "label": skip})

    with naming_damaged_set(folder, "dataset_info.json, features.json or metadata.json"):
        info = tfds.builder_from_directory(folder).info
        features, listed = info.features, info.metadata["class_names"]
        if missing := {"image", "label", "image_id"} - features.keys():
            raise KeyError(f"no feature {', '.join(sorted(missing))}")
        if features.get_serialized_info() != example_features().get_serialized_info():
            raise TypeError(f"features are {features.get_serialized_info()}")
        if not isinstance(listed, list) or not all(isinstance(c, str) and c for c in listed):
            raise TypeError(f"class_names is {listed}")
        class_names = tuple(listed)
        pixels = {s: tuple(map(int, c)) for s, c in info.metadata.get("label_pixels", {}).items()}
        if any(len(counts) != len(class_names) + 1 for counts in pixels.values()):
            raise ValueError(f"label_pixels is {pixels}")
        return PreparedDataset.from_info(
            info,
            name=name,
            class_names=class_names,
            palette=_palette(info.metadata, class_names, name),
            parse=parse,
            unlabelled_splits=tuple(info.metadata.get("unlabelled_splits", ())),
            overlapping_splits=tuple(map(tuple, info.metadata.get("overlapping_splits", ()))),
            skipped=dict(info.metadata.get("skipped", {})),
            label_pixels=pixels,
            counts=dict(info.metadata.get("counts", {})),
            index_masks=info.metadata.get("index_masks", True),
        )


@contextlib.contextmanager
def naming_damaged_set(folder: Path, files: str) -> Iterator[None]:
    """In its block whatever TFDS raises on damaged `files` of `folder` becomes a UserError."""
    for path in folder.glob("*.json"):
        check_may_be_read(path)
    try:
        yield
    except Exception as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise UserError(
            f"{folder} has a damaged {files} ({reason}); delete the folder and prepare the data "
            "set anew"
        ) from error


def _palette(metadata: Any, class_names: tuple[str, ...], name: str) -> np.ndarray:
    """The colours that were recorded, or those of the data set's name."""
    palette = labels.palette(name)
    if "palette" in metadata:
        palette[: len(class_names)] = metadata["palette"]
    return palette

"""Data sets of pictures with one class each, as TFDS prepares them; ImageNet above all.

They lie in DATA_DIR/NAME/VERSION, where `tfds build` puts them. TensorFlow is imported by `load`,
not with this module.
"""

import re
import shlex
from pathlib import Path

import numpy as np

from pipelines.datasets import DEFAULT_DATA_DIR, PreparedDataset
from pipelines.errors import UsageError, UserError

_NAME = re.compile(r"[a-z0-9_]+(/[A-Za-z0-9][A-Za-z0-9_.+-]*)?")
_VERSION = re.compile(r"\d+\.\d+\.\d+")


def check_name(name: str) -> None:
    """Checks that `name` can be that of a set: "imagenet2012", or with a config "imagenette/160px".

    Raises:
        UsageError: it cannot.
    """
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"--dataset must be the name of a set that TFDS has, such as imagenet2012 or "
            f"imagenette/160px, got {name!r}"
        )


def check_prepared(name: str, data_dir: str | Path = DEFAULT_DATA_DIR) -> Path:
    """The folder of a prepared set's newest version; imports nothing heavy.

    Raises:
        UserError: it is not prepared in `data_dir`.
    """
    folder = Path(data_dir, *name.split("/"))
    versions = [path.parent for path in folder.glob("*/dataset_info.json")]
    versions = [path for path in versions if _VERSION.fullmatch(path.name)]
    if versions:
        return max(versions, key=lambda path: tuple(map(int, path.name.split("."))))
    command = f"tfds build {name} --data_dir {shlex.quote(str(data_dir))}"
    if name == "imagenet2012":
        advice = (
            "put ILSVRC2012_img_train.tar and ILSVRC2012_img_val.tar from "
            f"https://image-net.org/download-images into a folder DIR and run: {command} "
            "--manual_dir DIR"
        )
    else:
        advice = f"prepare it with: {command}"
    raise UserError(f"{name!r} is not prepared in {data_dir} (looked in {folder}); {advice}")


def load(name: str, data_dir: str | Path = DEFAULT_DATA_DIR) -> PreparedDataset:
    """Opens a prepared set.

    Returns:
        A data set whose `parse` gives `image`, the bytes of a JPEG or PNG file, `label`, an int64
        scalar (a picture without one is an error), and `image_id`, a string. It has no palette.

    Raises:
        UserError: it is not prepared, damaged, or no set of pictures with one class each.
    """
    folder = check_prepared(name, data_dir)
    import tensorflow as tf
    import tensorflow_datasets as tfds

    try:
        info = tfds.builder_from_directory(folder).info
        features, splits = info.features, dict(info.splits.items())
        file_format = info.file_format
    except Exception as error:  # whatever TFDS stumbles over in a damaged file
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise UserError(
            f"{folder} has a damaged dataset_info.json or features.json ({reason}); delete the "
            "folder and prepare the data set anew"
        ) from error
    if not _is_classified(features):
        raise UserError(
            f"{name!r} is no set of pictures with one class each: it needs the features image and "
            f"label, and has {', '.join(sorted(features))}"
        )
    if file_format != tfds.core.FileFormat.TFRECORD:
        raise UserError(
            f"{folder} holds {file_format.value} files, and TFRecords are read: prepare it with "
            "--file_format tfrecord"
        )

    def parse(record):
        parsed = features.deserialize_example(
            record, decoders={"image": tfds.decode.SkipDecoding()}
        )
        tf.debugging.Assert(parsed["label"] >= 0, ["a picture has no class"])
        image_id = parsed.get("file_name", tf.constant(""))
        return {"image": parsed["image"], "label": parsed["label"], "image_id": image_id}

    return PreparedDataset(
        name=name,
        class_names=tuple(features["label"].names),
        palette=np.zeros((0, 3), np.uint8),
        splits={split: part.num_examples for split, part in splits.items()},
        files={split: tuple(map(str, part.filepaths)) for split, part in splits.items()},
        lengths={split: tuple(part.shard_lengths) for split, part in splits.items()},
        num_bytes={split: part.num_bytes for split, part in splits.items()},
        parse=parse,
    )


def _is_classified(features) -> bool:
    import tensorflow_datasets as tfds

    wanted = {"image": tfds.features.Image, "label": tfds.features.ClassLabel}
    return isinstance(features, dict | tfds.features.FeaturesDict) and all(
        name in features and isinstance(features[name], kind) for name, kind in wanted.items()
    )

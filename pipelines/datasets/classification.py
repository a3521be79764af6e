"""Data sets of images with one class each, as TFDS prepares them; ImageNet above all.

TensorFlow is imported by the functions, not with this module.
"""

import contextlib
import io
import re
import shlex
import tarfile
from pathlib import Path

import numpy as np

from pipelines.base.errors import ArgumentError, UserError
from pipelines.base.files import check_folder, removing_empty, writing_in
from pipelines.datasets.names import DEFAULT_DATA_DIR, preparing
from pipelines.datasets.prepared import PreparedDataset, naming_damaged_set

IMAGENET = "imagenet2012"
_ARCHIVES = ("ILSVRC2012_img_train.tar", "ILSVRC2012_img_val.tar")
_PAGE = "https://image-net.org/download-images"
_NAME = re.compile(r"[a-z0-9_]+(/[A-Za-z0-9][A-Za-z0-9_.+-]*)?")
_VERSION = re.compile(r"\d+\.\d+\.\d+")


def check_name(name: str) -> None:
    """Checks the form of a set's name: "imagenet2012", or with a config "imagenette/160px".

    Raises:
        ArgumentError: it has another form; the message calls it `dataset`.
    """
    if not _NAME.fullmatch(name):
        raise ArgumentError(
            "dataset",
            "must be the name of a set that TFDS has, such as imagenet2012 or imagenette/160px, "
            f"got {name!r}",
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
    if name == IMAGENET:
        advice = (
            f"put {' and '.join(_ARCHIVES)} from {_PAGE} into a folder DIR and run: "
            f"{preparing(name, data_dir)}"
        )
    else:
        # Not by the command `tfds build`, which needs Apache Beam whatever it builds.
        program = (
            f"import tensorflow_datasets as tfds; tfds.builder({name!r}, data_dir="
            f"{str(data_dir)!r}, file_format='tfrecord').download_and_prepare()"
        )
        advice = f"prepare it with: python -c {shlex.quote(program)}"
    raise UserError(f"{name!r} is not prepared in {data_dir} (looked in {folder}); {advice}")


def prepare_imagenet(source: str | Path, data_dir: str | Path = DEFAULT_DATA_DIR) -> Path:
    """Writes ImageNet as TFRecords with TFDS' own builder, which leaves what is prepared as it is.

    Args:
        source: folder of the archives as ImageNet gives them.
        data_dir: where prepared data sets live; made if absent.

    Raises:
        UserError: an archive is missing, whatever is prepared, or damaged, or the records cannot
            be written.
    """
    missing = [name for name in _ARCHIVES if not Path(source, name).is_file()]
    if missing:
        raise UserError(
            f"{source} lacks {' and '.join(missing)}, which {_PAGE} gives to whoever registers"
        )
    check_folder(Path(data_dir, IMAGENET))
    import tensorflow as tf
    import tensorflow_datasets as tfds

    try:
        builder = tfds.builder(IMAGENET, data_dir=str(data_dir), file_format="tfrecord")
        options = tfds.download.DownloadConfig(manual_dir=str(source), try_download_gcs=False)
        downloads, folder = Path(data_dir, "downloads"), Path(data_dir, IMAGENET)
        # TFDS reports a download that does not happen; its progress is on standard error.
        with (
            writing_in(folder),
            removing_empty(downloads / "extracted"),
            contextlib.redirect_stdout(io.StringIO()),
        ):
            builder.download_and_prepare(download_dir=str(downloads), download_config=options)
    except (OSError, RuntimeError, tarfile.TarError, tf.errors.OpError) as error:
        raise UserError(f"cannot prepare {IMAGENET!r} in {data_dir}: {error}") from error
    return check_prepared(IMAGENET, data_dir)


def load(name: str, data_dir: str | Path = DEFAULT_DATA_DIR) -> PreparedDataset:
    """Opens a prepared set.

    Returns:
        A data set without a palette, whose `parse` gives `label` as an int64 scalar.

    Raises:
        UserError: it is not prepared, damaged, or no set of images with one class each.
    """
    folder = check_prepared(name, data_dir)
    import tensorflow as tf
    import tensorflow_datasets as tfds

    from pipelines.base.checked import checked

    with naming_damaged_set(folder, "dataset_info.json or features.json"):
        info = tfds.builder_from_directory(folder).info
        features, file_format = info.features, info.file_format
    known = dict(features) if isinstance(features, dict | tfds.features.FeaturesDict) else {}
    if not (
        isinstance(known.get("image"), tfds.features.Image)
        and isinstance(known.get("label"), tfds.features.ClassLabel)
    ):
        raise UserError(
            f"{name!r} is no set of images with one class each: it needs the features image and "
            f"label, and has {', '.join(sorted(known))}"
        )
    if file_format != tfds.core.FileFormat.TFRECORD:
        raise UserError(
            f"{folder} holds {file_format.value} files, and TFRecords are read: prepare it with "
            "file_format='tfrecord'"
        )

    def parse(record):
        parsed = features.deserialize_example(
            record, decoders={"image": tfds.decode.SkipDecoding()}
        )
        label = checked(parsed["label"], parsed["label"] >= 0, "an image has no class")
        image_id = parsed.get("file_name", tf.constant(""))
        return {"image": parsed["image"], "label": label, "image_id": image_id}

    with naming_damaged_set(folder, "dataset_info.json or features.json"):
        return PreparedDataset.from_info(
            info,
            name=name,
            class_names=tuple(features["label"].names),
            palette=np.zeros((0, 3), np.uint8),
            parse=parse,
        )

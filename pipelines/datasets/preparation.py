"""Writes data sets as TFRecords, with TFDS."""

import contextlib
import dataclasses
import importlib
import io
import logging
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pipelines.base import extras
from pipelines.base.errors import ArgumentError, UsageError, UserError, argument, check_flags
from pipelines.base.files import check_folder, removing_empty, writing_in
from pipelines.base.locks import locked
from pipelines.base.progress import note
from pipelines.building import examples
from pipelines.datasets.image_folder.options import FolderOptions
from pipelines.datasets.names import (
    DEFAULT_DATA_DIR,
    DOWNLOADED,
    GENERATED,
    MIXTURES,
    ON_BEAM,
    TFDS,
    is_prepared,
    parse_name,
    parts_of,
    prepared_folder,
)
from pipelines.datasets.prepared import PreparedDataset, open_prepared
from pipelines.datasets.tfds_set.options import TfdsOptions


def check_source(
    name: str,
    source: str | Path | None,
    beam_options: str | None = None,
    options: TfdsOptions | FolderOptions | None = None,
    skip_errors: bool = False,
) -> None:
    """Checks that `prepare` can be called so; imports nothing heavy.

    Raises:
        UsageError: unknown name, a source for a generated set, or none for another, or options
            of Beam for a set that cannot use it, or together with `skip_errors`.
        UserError: the source is no folder, or an empty one; Beam or pycocotools is not installed.
    """
    base, _ = parse_name(name)
    if base in MIXTURES:
        raise UsageError(
            f"{name!r} is a stream over {' and '.join(parts_of(name))}: prepare those, then train "
            f"on {argument('dataset')} {name}"
        )
    if beam_options is not None:
        if base not in ON_BEAM:
            raise UsageError(
                f"{name!r} is not prepared with Beam, which is for {' and '.join(ON_BEAM)}"
            )
        if skip_errors:
            raise ArgumentError(
                "beam_options",
                f"excludes {argument('skip_errors')}: workers cannot tell what they skip",
            )
        examples.check_beam(beam_options)
    if options is not None:
        _check_options(name, base, options)
    if base == "coco_voc":
        extras.check("coco_voc needs", "pycocotools")
    if base in GENERATED:
        if source is not None:
            raise UsageError(f"{name!r} is generated and takes no source, got {str(source)!r}")
        return
    if source is not None and not isinstance(source, str | os.PathLike):
        raise ArgumentError("source", f"must be a folder's path, got {source!r}")
    if source == "":  # as a path it would be the current folder
        raise ArgumentError("source", "must be a folder, got ''")
    if source is None and base in DOWNLOADED:
        return
    if source is None:
        raise UsageError(
            f"{name!r} needs the folder of its images and labels: {argument('source')} DIR"
        )
    try:
        if Path(source).is_file():
            raise UserError(
                f"{source} is a file: name a folder; an archive of your own set has to be unpacked"
            )
        if not Path(source).is_dir():
            raise UserError(f"there is no folder {source}")
        if not any(Path(source).iterdir()):
            raise UserError(f"the folder {source} is empty")
    except OSError as error:
        raise UserError(f"the folder {source} cannot be read: {error.strerror}") from error


def _check_options(name: str, base: str, options: TfdsOptions | FolderOptions) -> None:
    if not isinstance(options, TfdsOptions | FolderOptions):
        raise ArgumentError("options", f"must be FolderOptions or TfdsOptions, got {options!r}")
    kind = {"tfds_set": TfdsOptions, "image_folder": FolderOptions}.get(base)
    if kind is not type(options):
        given = [
            argument(field.name)
            for field in dataclasses.fields(options)
            if getattr(options, field.name) != field.default
        ]
        sets = f"{TFDS}NAME" if isinstance(options, TfdsOptions) else "image_folder"
        raise ArgumentError(
            " and ".join(given) or "options",
            f"{'is' if len(given) == 1 else 'are'} for {sets}, not {name!r}",
        )
    options.check()


def prepare(
    name: str,
    source: str | Path | None = None,
    data_dir: str | Path = DEFAULT_DATA_DIR,
    beam_options: str | None = None,
    options: TfdsOptions | FolderOptions | None = None,
    skip_errors: bool = False,
    accept_findings: bool = False,
    overwrite: bool = False,
) -> PreparedDataset:
    """Writes a data set as TFRecords, unless that has been done.

    The records are written into a folder `incomplete.…` which gets its name when all is written:
    what `load` finds is complete.

    Args:
        name: one of `VERSIONS`, or "image_folder/ANY_NAME", "coco_voc/2014", "tfds:NAME".
        source: the folder of images and labels, or of the archives; None for "shapes", or to
            download what has an open address.
        data_dir: where prepared data sets live; made if absent.
        beam_options: of Apache Beam, "NAME=VALUE,…"; None to prepare in this process.
        options: how the features of "tfds:NAME", or the folder of an image_folder, are read; None
            for the defaults.
        skip_errors: leave out images that cannot be used, or whose labels cannot or are missing,
            and name them on standard error; `skipped` of the data set tells how many. What is
            wrong with the source as a whole, such as a missing archive, stays an error.
        accept_findings: keep a split whose labels hold nothing but void, or class 0 and void, or a
            `train` of one class. They are refused otherwise, but under Beam, which counts nothing.
        overwrite: write it anew where it is prepared already. What is there stays until the new
            one is whole. Whoever is reading it meanwhile would go on with the new records.

    Raises:
        UsageError: the name is unknown, or the source or Beam does not fit it.
        UserError: the source has faults (the message shows twenty and counts them; with
            `skip_errors`, a split has no image that can be used), or `data_dir` cannot be written.
    """
    check_flags(skip_errors=skip_errors, accept_findings=accept_findings, overwrite=overwrite)
    check_source(name, source, beam_options, options, skip_errors)
    folder = prepared_folder(name, data_dir)
    _take_back(folder)
    replaces = is_prepared(name, data_dir)
    if replaces and not overwrite:
        return open_prepared(name, data_dir)
    try:
        check_folder(folder.parent)
    except UserError as error:
        raise UserError(f"cannot prepare {name!r} in {data_dir}: {error}") from error
    import tensorflow as tf
    import tensorflow_datasets as tfds

    base, config = parse_name(name)
    module = importlib.import_module(f"pipelines.datasets.{base}.{base}_dataset_builder")
    configs = {"config": tfds.core.BuilderConfig(name=config)} if config else {}
    download_config = tfds.download.DownloadConfig(
        manual_dir=source and str(source), try_download_gcs=False
    )
    if beam_options is not None:
        download_config.beam_options = examples.pipeline_options(beam_options)
    downloads = Path(data_dir, "downloads")  # TFDS makes it, with a folder inside, in any case
    try:
        with (
            writing_in(folder.parent),
            removing_empty(downloads / "extracted"),
            _place_to_build(folder, data_dir) as place,
            _silence(tfds),
            examples.errors_of_beam(),
        ):
            builder = module.Builder(data_dir=str(place), **configs)
            builder.beam = beam_options is not None
            builder.accept_findings = accept_findings
            if base == "tfds_set":
                builder.source = name.removeprefix(TFDS)
            if options is not None:
                builder.options = options
            if skip_errors:
                # Filled while the examples are made; TFDS writes the metadata after that.
                builder.skipped = builder.info.metadata["skipped"] = {}
            builder.download_and_prepare(
                download_dir=str(downloads), download_config=download_config
            )
    except (OSError, RuntimeError, tf.errors.OpError) as error:
        # While it writes, TFDS wraps TensorFlow's errors in RuntimeErrors of its own.
        reason = error.__cause__ if type(error) is RuntimeError else error
        if not isinstance(reason, (OSError, tf.errors.OpError)):
            raise
        if replaces or not is_prepared(name, data_dir):
            text = reason.message if isinstance(reason, tf.errors.OpError) else reason
            raise UserError(f"cannot prepare {name!r} in {data_dir}: {text}") from error
        note(f"{name}: another process has prepared it meanwhile")
    return open_prepared(name, data_dir)


def _former(folder: Path) -> Path:
    """Where a set waits while another one takes its place."""
    return folder.with_name(f"{folder.name}.former")


def _take_back(folder: Path) -> None:
    """Gives a set its name back, if a process was killed before the new one had it."""
    if folder.exists() or not _former(folder).exists():
        return
    with locked(folder.parent):
        if not folder.exists():  # nor has the process that was waited for put it there
            _former(folder).rename(folder)


@contextlib.contextmanager
def _place_to_build(folder: Path, data_dir: str | Path) -> Iterator[Path]:
    """The data directory; or, where `folder` is there, one beside it: what was built in it when
    the block has ended well takes the place of `folder`."""
    if not folder.exists():
        yield Path(data_dir)
        return
    # A name as TFDS gives what it has not finished.
    with tempfile.TemporaryDirectory(prefix="incomplete.", dir=folder.parent) as temporary:
        yield Path(temporary)
        # Not into the temporary folder, which the next writer removes after a kill.
        former = _former(folder)
        with locked(folder.parent):
            shutil.rmtree(former, ignore_errors=True)
            folder.rename(former)
            try:
                Path(temporary, folder.relative_to(data_dir)).rename(folder)
            except BaseException:
                former.rename(folder)
                raise
            shutil.rmtree(former)


@contextlib.contextmanager
def _silence(tfds: Any) -> Iterator[None]:
    """TFDS reports downloads that do not happen, and that a set has a name of its own; the builders
    show their own progress."""
    tfds.display_progress_bar(False)
    logger = logging.getLogger("absl")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        tfds.display_progress_bar(True)
        logger.setLevel(level)

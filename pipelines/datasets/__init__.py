"""The data sets: prepared once as TFRecords, opened from then on.

    prepared = load("shapes", "data")
    prepared.class_names, prepared.splits

A set lies in DATA_DIR/NAME/VERSION, written by TFDS; nothing but that folder is needed to read
it. TensorFlow is imported by the functions, not with this module.
"""

import contextlib
import difflib
import importlib
import io
import re
import shlex
import sys
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.base import labels
from pipelines.base.errors import UsageError, UserError
from pipelines.building import examples
from pipelines.datasets.tfds_set.options import TfdsOptions

DEFAULT_DATA_DIR = "data"
# A prepared copy is found by its version: raise it whenever what is recorded changes.
VERSIONS = {
    "shapes": "1.0.0",
    "camvid": "1.0.0",
    "image_folder": "1.0.0",
    "voc2012_sbd": "1.0.0",
    "coco_voc": "1.0.0",
    "cityscapes19": "1.0.0",
    "tfds_set": "1.0.0",
}
# Streams over several prepared sets: the sets and the split of each that make one split.
MIXTURES = {
    # Stage-1 of the paper's Section 4.2: COCO, SBD and VOC together, measured on VOC.
    "stage1": {
        "train": (("coco_voc", "train"), ("voc2012_sbd", "trainaug")),
        "val": (("voc2012_sbd", "val"),),
    },
}
NAMES = (*VERSIONS, *MIXTURES)

_GENERATED = ("shapes",)  # needs no source
_DOWNLOADED = ("voc2012_sbd", "coco_voc", "tfds_set")  # are fetched where no source is given
_ON_BEAM = ("coco_voc", "cityscapes19")  # can be prepared with Apache Beam
_COCO = (re.compile(r"(2014|2017)(_min\d{1,9})?"), "2017", "2014, 2017 or 2017_min1000")
# What may follow "NAME/": a pattern, the default, and the pattern in words.
_CONFIGS = {
    "image_folder": (
        re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*"), "default", "letters, digits, '_', '-' and '.'"
    ),
    "coco_voc": _COCO,
    "stage1": _COCO,
    "tfds_set": (
        re.compile(r"[a-z0-9_]+(-[A-Za-z0-9_.+-]+)?"), None, "the name of a set that TFDS has"
    ),
}  # fmt: skip
_TFDS = "tfds:"  # "tfds:NAME" is what users write for "tfds_set/NAME"


@dataclass(frozen=True, eq=False)
class PreparedDataset:
    """A data set that lies on disk as TFRecords.

    Attributes:
        name: as given to `load`: "camvid", "image_folder/mine".
        class_names: one a label, from 0.
        palette: uint8 `[256, 3]` RGB, a colour for each label; row 255 is void.
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

    @property
    def num_classes(self) -> int:
        """How many classes there are; void (255) is none."""
        return len(self.class_names)

    def validation_split(self, name: str | None = None) -> str:
        """The split to measure on: `name`, or by default "val" or "validation".

        Raises:
            UsageError: there is no such split.
        """
        if name is None:
            name = next((split for split in ("val", "validation") if split in self.splits), None)
        if name not in self.splits:
            wanted = repr(name) if name else "'val' or 'validation'"
            raise UsageError(
                f"{self.name!r} has no split {wanted}; it has: {', '.join(self.splits)}"
            )
        return name


def parse_name(name: str) -> tuple[str, str | None]:
    """Splits "image_folder/mine" into data set and config; "image_folder" has "default".

    The config of a mixture is that of its parts which have configs: "stage1/2014" is made from
    "coco_voc/2014".

    Raises:
        UsageError: there is no such data set, or it has no configs, or none of this name.
    """
    base, slash, config = name.partition("/")
    if name.startswith(_TFDS):
        # TFDS' own "/CONFIG" cannot be part of a folder's name.
        base, slash, config = "tfds_set", "/", name.removeprefix(_TFDS).replace("/", "-")
    elif base == "tfds_set":
        base = ""  # nobody need know that name
    if base not in NAMES:
        close = difflib.get_close_matches(base, NAMES, n=1)
        hint = f" (did you mean {close[0]!r}?)" if close else ""
        known = ", ".join(f"{_TFDS}NAME" if name == "tfds_set" else name for name in NAMES)
        raise UsageError(f"there is no data set {name!r}{hint}; there are: {known}")
    if base not in _CONFIGS:
        if slash:
            raise UsageError(f"{base!r} is a single data set, got {name!r}")
        return base, None
    pattern, default, words = _CONFIGS[base]
    if slash and not pattern.fullmatch(config):
        raise UsageError(f"{name!r} cannot name a data set: {words} after the slash")
    return base, config or default


def check_source(
    name: str,
    source: str | Path | None,
    beam_options: str | None = None,
    tfds_options: TfdsOptions | None = None,
    skip_errors: bool = False,
) -> None:
    """Checks that `prepare` can be called so; imports nothing heavy.

    Raises:
        UsageError: unknown name, a source for a generated set, or none for another, or options
            of Beam for a set that cannot use it, or together with `skip_errors`.
        UserError: the source is no folder, or an empty one, or Beam is not installed.
    """
    base, _ = parse_name(name)
    if base in MIXTURES:
        raise UsageError(
            f"{name!r} is a stream over {' and '.join(_parts(name))}: prepare those, then train "
            f"on --dataset {name}"
        )
    if beam_options is not None:
        if base not in _ON_BEAM:
            raise UsageError(
                f"{name!r} is not prepared with Beam, which is for {' and '.join(_ON_BEAM)}"
            )
        if skip_errors:
            raise UsageError(
                "--beam-options excludes --skip-errors: workers cannot tell what they skip"
            )
        examples.check_beam(beam_options)
    if tfds_options is not None:
        if base != "tfds_set":
            raise UsageError(
                "--image-feature, --label-feature, --first-label and --class-names are for "
                f"{_TFDS}NAME, not for {name!r}"
            )
        tfds_options.check()
    if base in _GENERATED:
        if source is not None:
            raise UsageError(f"{name!r} is generated and takes no source, got {str(source)!r}")
        return
    if source is None and base in _DOWNLOADED:
        return
    if source is None:
        raise UsageError(f"{name!r} needs the folder of its images and labels: --from DIR")
    if not Path(source).is_dir():
        raise UserError(f"there is no folder {source}")
    if not any(Path(source).iterdir()):
        raise UserError(f"the folder {source} is empty")


def prepare(
    name: str,
    source: str | Path | None = None,
    data_dir: str | Path = DEFAULT_DATA_DIR,
    beam_options: str | None = None,
    tfds_options: TfdsOptions | None = None,
    skip_errors: bool = False,
) -> PreparedDataset:
    """Writes a data set as TFRecords, unless that has been done.

    The records are written into a folder `incomplete.…` which gets its name when all is written:
    what `load` finds is complete.

    Args:
        name: one of `VERSIONS`, or "image_folder/ANY_NAME", "coco_voc/2014", "tfds:NAME".
        source: the folder of images and labels, or of the archives; None for "shapes", or to
            download what has an open address.
        data_dir: where prepared data sets live; made if absent.
        beam_options: prepare with Apache Beam, with options as `generation.pipeline_options`
            takes them; None to prepare in this process.
        tfds_options: how the features of "tfds:NAME" are read; None for the defaults.
        skip_errors: leave out images that cannot be used, or whose labels cannot, and name them
            on standard error; `skipped` of the data set tells how many. What is wrong with the
            source as a whole, such as a missing archive or label file, stays an error.

    Returns:
        The data set, open for reading.

    Raises:
        UsageError: the name is unknown, or the source or Beam does not fit it.
        UserError: the source has a fault (the message names the file; with `skip_errors`, a split
            has no image that can be used), or `data_dir` cannot be written.
    """
    check_source(name, source, beam_options, tfds_options, skip_errors)
    if not is_prepared(name, data_dir):
        _build(name, source, data_dir, beam_options, tfds_options, skip_errors)
    return _open(name, data_dir)


def load(name: str, data_dir: str | Path = DEFAULT_DATA_DIR) -> PreparedDataset:
    """Opens a prepared data set; "shapes" is generated on first use.

    Raises:
        UsageError: the name is unknown.
        UserError: the data set is not prepared in `data_dir`.
    """
    check_prepared(name, data_dir)
    base, _ = parse_name(name)
    if base in MIXTURES:
        return _mix(name, data_dir)
    if not is_prepared(name, data_dir):
        print(f"{name}: generating into {prepared_folder(name, data_dir)} (only once)")
        _build(name, None, data_dir)
    return _open(name, data_dir)


def check_prepared(name: str, data_dir: str | Path = DEFAULT_DATA_DIR) -> None:
    """Checks that `load` can open a data set; imports nothing heavy.

    Raises:
        UsageError: the name is unknown.
        UserError: the data set, or one of those that it mixes, is not prepared in `data_dir`.
    """
    parse_name(name)
    for part in _parts(name) or (name,):
        if part not in _GENERATED and not is_prepared(part, data_dir):
            raise UserError(
                f"{part!r} is not prepared in {data_dir} (looked for "
                f"{prepared_folder(part, data_dir)}); prepare it with: python -m "
                f"pipelines.prepare {part} --from DIR --data-dir {shlex.quote(str(data_dir))}"
            )


def _recipe(name: str) -> dict[str, tuple[tuple[str, str], ...]]:
    """A mixture's splits, with the mixture's config given on to its parts; {} for other sets."""
    base, slash, config = name.partition("/")
    return {
        split: tuple(
            (f"{part}/{config}" if slash and part in _CONFIGS else part, part_split)
            for part, part_split in sources
        )
        for split, sources in MIXTURES.get(base, {}).items()
    }


def _parts(name: str) -> tuple[str, ...]:
    """The data sets that a mixture is made of; none for any other."""
    sources = (source for split in _recipe(name).values() for source in split)
    return tuple(dict.fromkeys(part for part, _ in sources))


def prepared_folder(name: str, data_dir: str | Path = DEFAULT_DATA_DIR) -> Path:
    """The folder that holds a data set once it is prepared: DATA_DIR/NAME/VERSION."""
    base, config = parse_name(name)
    return Path(data_dir, base, config or "", VERSIONS[base])


def is_prepared(name: str, data_dir: str | Path = DEFAULT_DATA_DIR) -> bool:
    """Whether `load` would find the data set; imports nothing heavy."""
    return (prepared_folder(name, data_dir) / "dataset_info.json").is_file()


def _build(
    name: str,
    source: str | Path | None,
    data_dir: str | Path,
    beam_options: str | None = None,
    tfds_options: TfdsOptions | None = None,
    skip_errors: bool = False,
) -> None:
    import tensorflow as tf
    import tensorflow_datasets as tfds

    base, config = parse_name(name)
    module = importlib.import_module(f"pipelines.datasets.{base}.{base}_dataset_builder")
    try:
        Path(data_dir).mkdir(parents=True, exist_ok=True)
        options = {"config": tfds.core.BuilderConfig(name=config)} if config else {}
        builder = module.Builder(data_dir=str(data_dir), **options)
        download_config = tfds.download.DownloadConfig(
            manual_dir=source and str(source),
            try_download_gcs=False,
        )
        if base == "tfds_set":
            builder.source = name.removeprefix(_TFDS)
            builder.options = tfds_options or TfdsOptions()
        if beam_options is not None:
            builder.beam = True
            download_config.beam_options = examples.pipeline_options(beam_options)
        if skip_errors:
            # Filled while the examples are made; TFDS writes the metadata after that.
            builder.skipped = builder.info.metadata["skipped"] = {}
        # TFDS reports downloads that do not happen; the builders show their own progress.
        with (
            contextlib.redirect_stdout(io.StringIO()),
            _without_tfds_bars(tfds),
            examples.errors_of_beam(),
        ):
            builder.download_and_prepare(
                download_dir=str(Path(data_dir, "downloads")), download_config=download_config
            )
    except (OSError, RuntimeError, tf.errors.OpError) as error:
        # While it writes, TFDS wraps TensorFlow's errors in RuntimeErrors of its own.
        reason = error.__cause__ if type(error) is RuntimeError else error
        if not isinstance(reason, (OSError, tf.errors.OpError)):
            raise
        if is_prepared(name, data_dir):  # another process was faster
            print(f"{name}: another process has prepared it meanwhile", file=sys.stderr)
            return
        text = reason.message if isinstance(reason, tf.errors.OpError) else reason
        raise UserError(f"cannot prepare {name!r} in {data_dir}: {text}") from error


@contextlib.contextmanager
def _without_tfds_bars(tfds):
    tfds.display_progress_bar(False)
    try:
        yield
    finally:
        tfds.display_progress_bar(True)


def _open(name: str, data_dir: str | Path) -> PreparedDataset:
    import tensorflow_datasets as tfds

    folder = prepared_folder(name, data_dir)
    try:
        info = tfds.builder_from_directory(folder).info
        class_names = tuple(info.metadata["class_names"])
        features, splits = info.features, dict(info.splits.items())
    except Exception as error:  # whatever TFDS stumbles over in a damaged file
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise UserError(
            f"{folder} has a damaged dataset_info.json, features.json or metadata.json ({reason}); "
            "delete the folder and prepare the data set anew"
        ) from error
    skip = tfds.decode.SkipDecoding()

    def parse(record):
        return features.deserialize_example(record, decoders={"image": skip, "label": skip})

    return PreparedDataset(
        name=name,
        class_names=class_names,
        palette=labels.palette(len(class_names), name),
        splits={split: part.num_examples for split, part in splits.items()},
        files={split: tuple(map(str, part.filepaths)) for split, part in splits.items()},
        lengths={split: tuple(part.shard_lengths) for split, part in splits.items()},
        num_bytes={split: part.num_bytes for split, part in splits.items()},
        parse=parse,
        unlabelled_splits=tuple(info.metadata.get("unlabelled_splits", ())),
        overlapping_splits=tuple(map(tuple, info.metadata.get("overlapping_splits", ()))),
        skipped=dict(info.metadata.get("skipped", {})),
    )


def _mix(name: str, data_dir: str | Path) -> PreparedDataset:
    """One data set over the records of several, which share classes and features."""
    recipe = _recipe(name)
    parts = {part: load(part, data_dir) for part in _parts(name)}
    first = next(iter(parts.values()))

    def collect(field_name, start):
        return {
            split: sum((getattr(parts[part], field_name)[s] for part, s in sources), start)
            for split, sources in recipe.items()
        }

    return replace(
        first,
        name=name,
        splits=collect("splits", 0),
        files=collect("files", ()),
        lengths=collect("lengths", ()),
        num_bytes=collect("num_bytes", 0),
        unlabelled_splits=(),
        overlapping_splits=(),
        skipped={},
    )

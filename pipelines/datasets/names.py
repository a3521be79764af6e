"""The names of data sets: which there are, what follows their slash, where they lie."""

import difflib
import os
import re
import shlex
from pathlib import Path

from pipelines.base.errors import ArgumentError, UsageError

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
    # That of Section 4.3: 2,975 fine and 19,998 coarse label maps, each of an image of its own.
    "cityscapes_stage1": {
        "train": (("cityscapes19", "train"), ("cityscapes19", "coarse")),
        "val": (("cityscapes19", "val"),),
    },
}
NAMES = (*VERSIONS, *MIXTURES)

GENERATED = ("shapes",)  # needs no source
DOWNLOADED = ("voc2012_sbd", "coco_voc", "tfds_set")  # are fetched where no source is given
ON_BEAM = ("coco_voc", "cityscapes19")  # can be prepared with Apache Beam
COCO_CONFIG = "2017"  # where none is given
_COCO = (re.compile(r"(2014|2017)(_min\d{1,9})?"), COCO_CONFIG, "2014, 2017 or 2017_min1000")
# What may follow "NAME/": a pattern, the default, and the pattern in words.
_CONFIGS = {
    "image_folder": (
        re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*"), "default",
        "a letter (a to z) or digit, and then these, '_', '-' and '.'"
    ),
    "coco_voc": _COCO,
    "stage1": _COCO,
    "tfds_set": (
        re.compile(r"[a-z0-9_]+(-[A-Za-z0-9_.+-]+)?"), None, "the name of a set that TFDS has"
    ),
}  # fmt: skip
TFDS = "tfds:"  # "tfds:NAME" is what users write for "tfds_set/NAME"


def parse_name(name: str) -> tuple[str, str | None]:
    """Splits "image_folder/mine" into data set and config; "image_folder" has "default".

    Raises:
        UsageError: there is no such data set, or it has no configs, or none of this name.
    """
    if not isinstance(name, str):
        raise UsageError(f"the name of a data set must be a string, got {name!r}")
    base, slash, config = name.partition("/")
    if name.startswith(TFDS):
        # TFDS' own "/CONFIG" cannot be part of a folder's name.
        base, slash, config = "tfds_set", "/", name.removeprefix(TFDS).replace("/", "-")
    elif base == "tfds_set":
        base = ""  # nobody need know that name
    if base not in NAMES:
        close = difflib.get_close_matches(base, NAMES, n=1)
        hint = f" (did you mean {close[0]!r}?)" if close else ""
        written = {"image_folder": "image_folder/NAME (your own)", "tfds_set": f"{TFDS}NAME"}
        known = ", ".join(written.get(known, known) for known in NAMES)
        raise UsageError(f"there is no data set {name!r}{hint}; there are: {known}")
    if base not in _CONFIGS:
        if slash:
            raise UsageError(f"{base!r} is a single data set, got {name!r}")
        return base, None
    pattern, default, words = _CONFIGS[base]
    after = "the slash" if base != "tfds_set" else f"{TFDS!r}"
    if len(config) > 255:
        raise UsageError(f"{name[:40]!r}… cannot name a data set: 255 characters after {after}")
    if slash and not pattern.fullmatch(config):
        raise UsageError(f"{name!r} cannot name a data set: {words} after {after}")
    return base, config or default


def mixture(name: str) -> dict[str, tuple[tuple[str, str], ...]]:
    """A mixture's splits, with the mixture's config given on to its parts; {} for other sets."""
    base, slash, config = name.partition("/")
    return {
        split: tuple(
            (f"{part}/{config}" if slash and part in _CONFIGS else part, part_split)
            for part, part_split in sources
        )
        for split, sources in MIXTURES.get(base, {}).items()
    }


def parts_of(name: str) -> tuple[str, ...]:
    """The data sets that a mixture is made of; of any other, itself."""
    sources = (source for split in mixture(name).values() for source in split)
    return tuple(dict.fromkeys(part for part, _ in sources)) or (name,)


def prepared_folder(name: str, data_dir: str | Path = DEFAULT_DATA_DIR) -> Path:
    """The folder that holds a data set once it is prepared: DATA_DIR/NAME/VERSION."""
    base, config = parse_name(name)
    if not isinstance(data_dir, str | os.PathLike):
        raise ArgumentError("data_dir", f"must be a folder's path, got {data_dir!r}")
    return Path(data_dir, base, config or "", VERSIONS[base])


def is_prepared(name: str, data_dir: str | Path = DEFAULT_DATA_DIR) -> bool:
    """Whether `load` would find the data set; imports nothing heavy."""
    # Not by pathlib, which raises where a folder may not be entered.
    return all(
        os.path.isfile(prepared_folder(part, data_dir) / "dataset_info.json")
        for part in parts_of(name)
    )


def preparing(name: str, data_dir: str | Path) -> str:
    """The command that prepares a data set from a folder DIR, for messages."""
    return f"python -m pipelines.prepare {name} --from DIR --data-dir {shlex.quote(str(data_dir))}"

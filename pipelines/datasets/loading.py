"""Opens prepared data sets, and streams over several of them."""

from dataclasses import replace
from pathlib import Path

from pipelines.base.errors import UserError
from pipelines.base.files import check_folder
from pipelines.datasets.names import (
    DEFAULT_DATA_DIR,
    GENERATED,
    MIXTURES,
    is_prepared,
    mixture,
    parse_name,
    parts_of,
    prepared_folder,
    preparing,
)
from pipelines.datasets.preparation import prepare
from pipelines.datasets.prepared import PreparedDataset, open_prepared


def load(name: str, data_dir: str | Path = DEFAULT_DATA_DIR) -> PreparedDataset:
    """Opens a prepared data set; "shapes" is generated on first use, as a line of output says.

    Args:
        name: as `prepare` was given it: "camvid", "image_folder/mine", "tfds:oxford_iiit_pet"; or
            a mixture of prepared ones, such as "stage1".
        data_dir: the folder of prepared data sets.

    Returns:
        The data set: names and colours of its classes, its splits and their files.

    Raises:
        UsageError: the name is unknown.
        UserError: the data set is not prepared in `data_dir`, or lacks a split that is mixed.
    """
    check_prepared(name, data_dir)
    base, _ = parse_name(name)
    if base in MIXTURES:
        return _mix(name, data_dir)
    if not is_prepared(name, data_dir):
        print(f"{name}: generating into {prepared_folder(name, data_dir)} (only once)")
        return prepare(name, None, data_dir)
    return open_prepared(name, data_dir)


def check_prepared(name: str, data_dir: str | Path = DEFAULT_DATA_DIR) -> None:
    """Checks that `load` can open a data set; imports nothing heavy.

    Raises:
        UsageError: the name is unknown.
        UserError: the data set, or one of those that it mixes, is not prepared in `data_dir`.
    """
    parse_name(name)
    for part in parts_of(name):
        if is_prepared(part, data_dir):
            continue
        if part in GENERATED:
            check_folder(prepared_folder(part, data_dir).parent)
        else:
            raise UserError(
                f"{part!r} is not prepared in {data_dir} (looked for "
                f"{prepared_folder(part, data_dir)}); prepare it with: {preparing(part, data_dir)}"
            )


def _mix(name: str, data_dir: str | Path) -> PreparedDataset:
    """One data set over the records of several, which share classes and features."""
    recipe = mixture(name)
    parts = {part: load(part, data_dir) for part in parts_of(name)}
    for part, split in (source for sources in recipe.values() for source in sources):
        parts[part].check_split(split)
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
        index_masks=any(part.index_masks for part in parts.values()),
        label_pixels={
            split: tuple(map(sum, zip(*found, strict=True)))
            for split, sources in recipe.items()
            if all(found := [parts[part].label_pixels.get(s, ()) for part, s in sources])
        },
    )

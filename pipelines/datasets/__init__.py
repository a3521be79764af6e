"""The data sets: prepared once as TFRecords, opened from then on.

    prepared = load("shapes", "data")
    prepared.class_names, prepared.splits

A set lies in DATA_DIR/NAME/VERSION, written by TFDS; nothing but that folder is needed to read
it. TensorFlow is imported by the functions, not with this package. May import `building` and
`base`.
"""

from pipelines.datasets.loading import check_prepared, load
from pipelines.datasets.names import (
    DEFAULT_DATA_DIR,
    MIXTURES,
    NAMES,
    VERSIONS,
    is_prepared,
    parse_name,
    prepared_folder,
)
from pipelines.datasets.preparation import check_source, prepare
from pipelines.datasets.prepared import PreparedDataset

__all__ = [
    "DEFAULT_DATA_DIR",
    "MIXTURES",
    "NAMES",
    "VERSIONS",
    "PreparedDataset",
    "check_prepared",
    "check_source",
    "is_prepared",
    "load",
    "parse_name",
    "prepare",
    "prepared_folder",
]

"""The data sets: prepared once as TFRecords, opened from then on.

    prepared = load("shapes", "data")
    prepared.class_names, prepared.splits

A set lies in DATA_DIR/NAME/VERSION, written by TFDS; nothing but that folder is needed to read
it. TensorFlow is imported by the functions, not with this package. May import `building` and
`base`.
"""

from pipelines.datasets.loading import check_prepared as check_prepared
from pipelines.datasets.loading import load as load
from pipelines.datasets.names import DEFAULT_DATA_DIR as DEFAULT_DATA_DIR
from pipelines.datasets.names import MIXTURES as MIXTURES
from pipelines.datasets.names import is_prepared as is_prepared
from pipelines.datasets.names import parse_name as parse_name
from pipelines.datasets.names import prepared_folder as prepared_folder
from pipelines.datasets.preparation import prepare as prepare
from pipelines.datasets.prepared import PreparedDataset as PreparedDataset

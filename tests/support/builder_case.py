"""TFDS's own checks of a builder, on a miniature of its source."""

import shutil
import tempfile
from pathlib import Path

import pytest
import tensorflow as tf
import tensorflow_datasets as tfds

from pipelines.building import archives


class BuilderCase(tfds.testing.DatasetBuilderTestCase):
    """Base of the builders' cases: they set DATASET_CLASS, SPLITS and `write_source`."""

    SKIP_CHECKSUMS = True  # they are in the builders' tables of archives

    @staticmethod
    def write_source(folder: Path) -> Path:
        """Writes the miniature into an empty folder and returns it."""
        raise NotImplementedError

    @classmethod
    def setUpClass(cls):
        if cls is BuilderCase:
            pytest.skip("the base of the builders' cases")
        cls.EXAMPLE_DIR = cls.write_source(Path(tempfile.mkdtemp()))
        cls.addClassCleanup(shutil.rmtree, cls.EXAMPLE_DIR)
        super().setUpClass()

    def setUp(self):
        super().setUp()
        # TFDS's case gives the folder only to builders that cannot download.
        patcher = pytest.MonkeyPatch()
        patcher.setattr(archives, "source_folder", lambda dl_manager: self.dummy_data)
        self.addCleanup(patcher.undo)

    def _assertAsDataset(self, builder):  # noqa: N802, TFDS calls it when all is written
        super()._assertAsDataset(builder)
        for path in Path(builder.data_dir).glob("*.tfrecord*"):
            for record in records(path):
                assert record == in_order(tf.train.Example.FromString(record))

    def test_an_example_is_the_same_bytes_in_every_process(self):
        path = Path(self.tmp_dir, "a.tfrecord")
        # Serialised messages one after the other are one message: the order of TFDS on a bad day.
        parts = [example(image=b"i"), example(label=b"l"), example(image_id=b"n")]
        shuffled = b"".join(part.SerializeToString() for part in reversed(parts))
        self._make_builder()._example_writer().write(path, [(0, shuffled)])
        whole = example(image=b"i", label=b"l", image_id=b"n")
        assert records(path) == [in_order(whole)] != [shuffled]


def example(**features):
    lists = {name: tf.train.BytesList(value=[value]) for name, value in features.items()}
    features = {name: tf.train.Feature(bytes_list=each) for name, each in lists.items()}
    return tf.train.Example(features=tf.train.Features(feature=features))


def in_order(message):
    return message.SerializeToString(deterministic=True)


def records(path):
    return [record.numpy() for record in tf.data.TFRecordDataset(str(path))]

"""TFDS's own checks of a builder, on a miniature of its source."""

import shutil
import tempfile
from pathlib import Path

import pytest
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
        patcher.setattr(archives, "_source", lambda dl_manager: self.dummy_data)
        self.addCleanup(patcher.undo)

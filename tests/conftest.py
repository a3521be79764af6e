"""How a run of many files keeps its memory, and in which order it takes them."""

import ctypes
import gc
import sys

import pytest
import small_backbone  # noqa: F401 - before the recipes

# The longest of all, by their processor time; they begin first, so that at the end no process works
# alone. The last two are those of `make test-fast`.
LONGEST = (
    "training/test_devices.py",
    "training/test_resume.py",
    "docs/test_documented_runs.py",
    "base/test_environment.py",
    "test_notebooks_of_tables.py",
    "training/test_run.py",
    "test_reproduce.py",
    "training/test_classification.py",
    "test_notebooks.py",
    "deployment/test_saved_model.py",
    "stream/test_segmentation.py",
    "models/test_gcn.py",
)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items):
    def place(item):
        path = str(item.path)
        return next((i for i, name in enumerate(LONGEST) if path.endswith(name)), len(LONGEST))

    items.sort(key=place)  # which keeps the order of the others


def pytest_collection_finish():
    """What was imported stays: a search for garbage need not go through it each time."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True, scope="module")
def models_are_freed():
    """Keras keeps what it has built, in circles; the C library keeps what Python gives back."""
    yield
    if keras := sys.modules.get("keras"):
        keras.utils.clear_session()  # and collects garbage
    if sys.platform == "linux":
        ctypes.CDLL(None).malloc_trim(0)

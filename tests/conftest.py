"""How a run of many files keeps its memory, and in which order it takes them."""

import ctypes
import gc
import sys

import pytest

# The longest of all; they begin first, so that at the end no process works alone.
LONGEST = (
    "test_notebooks.py",
    "test_documentation.py",
    "training/test_resume.py",
    "training/test_devices.py",
    "deployment/test_saved_model.py",
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

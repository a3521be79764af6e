"""Marks of tests."""

import keras
import pytest

needs_tensorflow = pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="keras-cv, or the test, needs TensorFlow"
)

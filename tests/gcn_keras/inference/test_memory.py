"""Whatever library runs out of memory, the image is named, and tiles."""

import numpy as np
import pytest
import tensorflow as tf

from gcn_keras.inference.memory import naming_large_image
from pipelines.base.errors import UserError, as_options

SENTENCE = "a.png is too large for the memory: take tiles, --tile 512 512, or smaller ones"


class XlaRuntimeError(RuntimeError):
    """Has the name and the kind of JAX's."""


def numpys_error() -> MemoryError:
    with pytest.raises(MemoryError) as caught:
        np.zeros((2**60,), np.uint8)
    return caught.value


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        numpys_error(),
        tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor"),
        tf.errors.AbortedError(
            None, None, "Operation received an exception:Status: 1, message: could not create a "
            "primitive, in file mkl_conv_ops.cc",
        ),
        XlaRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 8589934592 bytes."),
    ],
    ids=lambda error: type(error).__name__,
)  # fmt: skip
def test_out_of_memory(error):
    with pytest.raises(UserError) as caught, as_options(), naming_large_image("a.png"):
        raise error
    assert str(caught.value) == SENTENCE and caught.value.exit_status == 1


@pytest.mark.parametrize(
    "error",
    [
        ValueError("another fault"),
        tf.errors.InvalidArgumentError(None, None, "bad shape"),
        UserError("grpc://host:8500/a failed with RESOURCE_EXHAUSTED (OOM)"),
        KeyboardInterrupt(),
    ],
    ids=lambda error: type(error).__name__,
)
def test_other_errors_stay(error):
    with pytest.raises(type(error)) as caught, naming_large_image("a.png"):
        raise error
    assert caught.value is error

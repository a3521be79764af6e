"""Whatever library runs out of memory, the image is named, and tiles."""

from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf

from gcn_keras.evaluation import crf_search, measure
from gcn_keras.inference.memory import naming_large_image
from gcn_keras.web.answers import Answers
from pipelines.base.errors import UserError, as_options
from pipelines.stream import evaluation

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
        tf.errors.InternalError(None, None, "Failed copying input tensor: Dst tensor is not "
                                            "initialized."),
        tf.errors.UnknownError(None, None, "CUDNN_STATUS_ALLOC_FAILED in cudnn.cc"),
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
        tf.errors.ResourceExhaustedError(None, None, "cache/a; No space left on device"),
        UserError("grpc://host:8500/a failed with RESOURCE_EXHAUSTED (OOM)"),
        KeyboardInterrupt(),
    ],
    ids=lambda error: type(error).__name__,
)
def test_other_errors_stay(error):
    with pytest.raises(type(error)) as caught, naming_large_image("a.png"):
        raise error
    assert caught.value is error


IMAGES = np.zeros((2, 4, 5, 3), np.uint8)


def too_much(images):
    raise tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor")


def test_evaluation_names_the_images(monkeypatch):
    batch = IMAGES, IMAGES[..., 0], ["street", "field"]
    monkeypatch.setattr(measure, "evaluation_batches", lambda *_, **__: [batch])
    with pytest.raises(UserError, match=r"^street, field is too large for the memory"):
        measure.evaluate_model(too_much, SimpleNamespace(num_classes=2), "val")


def test_the_crfs_search_names_the_image(monkeypatch):
    example = {"image": IMAGES[0], "label": IMAGES[0, ..., 0], "image_id": b"street"}
    examples = SimpleNamespace(as_numpy_iterator=lambda: iter([example]))
    monkeypatch.setattr(evaluation, "evaluation_examples", lambda *_: examples)
    dataset = SimpleNamespace(num_classes=2, splits={"val": 1})
    with pytest.raises(UserError, match="^street is too large for the memory"):
        crf_search.measure(too_much, dataset, "val", None, [])


def test_the_demo_names_the_size():
    answers = Answers(SimpleNamespace(segment=too_much), [IMAGES[0]])
    assert "the image of 5×4 is too large for the memory" in answers.answer_example(0)[0]

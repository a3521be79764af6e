"""A split goes through a model: what is read meanwhile, what is counted, and how errors arrive."""

from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf

from gcn_keras import ConfusionMatrix
from gcn_keras.evaluation import measure
from gcn_keras.evaluation.options import DEFAULT
from gcn_keras.inference import batches
from pipelines.base.errors import UserError
from pipelines.stream import evaluation

DATASET = SimpleNamespace(
    name="noise", num_classes=3, class_names=("a", "b", "c"), splits={"val": 40},
    unlabelled_splits=(),
)  # fmt: skip


class Examples:
    """Stands for a split: 40 images of 4×5, or 5×4 from the 20th on; counts those that are read."""

    def __init__(self, classes: int = 3, damaged: int | None = None):
        self.read, self.classes, self.damaged = 0, classes, damaged
        random = np.random.default_rng(0)
        self.images = [
            random.integers(0, 3, (4, 5, 3) if number < 20 else (5, 4, 3)).astype(np.uint8)
            for number in range(40)
        ]
        self.labels = [
            random.integers(0, classes, image.shape[:2]).astype(np.uint8) for image in self.images
        ]

    def as_numpy_iterator(self):
        for number, (image, label) in enumerate(zip(self.images, self.labels, strict=True)):
            if number == self.damaged:
                raise tf.errors.DataLossError(None, None, "corrupted record at 7")
            self.read += 1
            yield {"image": image, "label": label, "image_id": b"%d" % number}


@pytest.fixture
def split(monkeypatch):
    def given(**options):
        examples = Examples(**options)
        monkeypatch.setattr(evaluation, "evaluation_examples", lambda *_, **__: examples)
        return examples

    return given


def red(images: np.ndarray) -> np.ndarray:
    return images[..., 0]


def test_every_image_is_counted_once_and_in_order(split):
    examples, expected = split(), ConfusionMatrix(3)
    for image, label in zip(examples.images, examples.labels, strict=True):
        expected.update(label, image[..., 0])
    other, kept, counted, shapes = ConfusionMatrix(3), [], [], []

    def segment(images):
        shapes.append(images.shape[:3])
        return red(images)

    def keep(image_ids, predictions):
        kept.extend(zip(image_ids, predictions, strict=True))

    matrix = measure.evaluate_model(segment, DATASET, "val", None, [other], keep, counted.append)
    assert matrix.counts.tolist() == other.counts.tolist() == expected.counts.tolist()
    assert [image_id for image_id, _ in kept] == [str(number) for number in range(40)]
    assert all((label == examples.images[int(i)][..., 0]).all() for i, label in kept)
    # Never across chunks of 16 or of one size.
    assert shapes == [(16, 4, 5), (4, 4, 5), (12, 5, 4), (8, 5, 4)]
    assert counted == [16, 4, 12, 8]


def test_no_more_is_read_ahead_than_a_batch_and_its_chunk(split, monkeypatch):
    monkeypatch.setattr(batches, "BATCH_PIXELS", 1)
    examples, number = split(), 0

    def segment(images):
        nonlocal number
        number += 1
        assert len(images) == 1
        chunks_to_the_next_batch = -(-min(number + 1, 40) // measure.CHUNK)
        assert number <= examples.read <= measure.CHUNK * chunks_to_the_next_batch
        return red(images)

    measure.evaluate_model(segment, DATASET, "val")
    assert number == examples.read == 40


def test_a_model_of_more_classes(split, tmp_path, monkeypatch):
    """Is found out by what it predicts, in the thread that counts."""
    split()
    segmenter = SimpleNamespace(segment=lambda x: red(x) + 2, num_classes=None, legend=None)
    monkeypatch.setattr(measure, "open_segmenter", lambda address: segmenter)
    with pytest.raises(UserError) as caught:
        measure.measure("model.tflite", DATASET, "val", DEFAULT)
    assert str(caught.value) == (
        "model.tflite and 'noise' do not belong together: predictions must be below 3, found 2…4"
    )


def test_another_fault_is_not_called_so(split, monkeypatch):
    """A traceback, which shows where it is, and no advice that leads astray."""
    split()

    def segment(images):
        raise ValueError("images must be of another shape")

    segmenter = SimpleNamespace(segment=segment, num_classes=3, legend=None)
    monkeypatch.setattr(measure, "open_segmenter", lambda address: segmenter)
    with pytest.raises(ValueError, match=r"^images must be of another shape$"):
        measure.measure("model.tflite", DATASET, "val", DEFAULT)


def test_records_that_are_damaged(split, monkeypatch):
    split(damaged=18)
    segmenter = SimpleNamespace(segment=red, num_classes=3, legend=None)
    monkeypatch.setattr(measure, "open_segmenter", lambda address: segmenter)
    with pytest.raises(UserError) as caught:
        measure.measure("model.tflite", DATASET, "val", DEFAULT)
    assert str(caught.value) == "'noise' cannot be read: corrupted record at 7"


def test_nothing_but_void(split, monkeypatch):
    for label in split().labels:
        label.fill(255)
    segmenter = SimpleNamespace(segment=red, num_classes=3, legend=None)
    monkeypatch.setattr(measure, "open_segmenter", lambda address: segmenter)
    with pytest.raises(UserError) as caught:
        measure.measure("model.tflite", DATASET, "val", DEFAULT)
    assert str(caught.value) == "split 'val' of 'noise' has no label but void: no score"


@pytest.mark.parametrize("error", [UserError("the server is down"), KeyboardInterrupt()])
def test_an_error_of_the_model(split, error):
    split()

    def segment(images):
        raise error

    with pytest.raises(type(error)) as caught:
        measure.evaluate_model(segment, DATASET, "val")
    assert caught.value is error

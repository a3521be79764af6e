"""SavedModels of other origin: what is no segmentation model is told, not used."""

import numpy as np
import pytest
import tensorflow as tf

from gcn_keras.inference.segmenters import open_segmenter
from pipelines.base.errors import UserError

IMAGES = tf.TensorSpec((None, None, None, 3), tf.uint8, name="images")


def saved(folder, images=IMAGES, labels=lambda images: images[..., 0] // 50, **signatures):
    serve = tf.function(lambda images: {"labels": labels(images)}, input_signature=[images])
    tf.saved_model.save(tf.Module(), str(folder), {"serving_default": serve, **signatures})
    return folder


def picture() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (1, 4, 5, 3)).astype(np.uint8)


def test_labels_are_enough(tmp_path):
    segmenter = open_segmenter(saved(tmp_path / "m"))
    assert segmenter.logits is None and segmenter.num_classes is None
    np.testing.assert_array_equal(segmenter.segment(picture()), picture()[..., 0] // 50)


@pytest.mark.parametrize(
    "images, labels, found",
    [
        (tf.float32, lambda x: tf.cast(x[..., 0], tf.uint8), "images (float32, rank 4), labels (u"),
        (tf.uint8, lambda x: tf.cast(x[..., 0], tf.int64), "labels (int64, rank 3)"),
        (tf.uint8, lambda x: x, "labels (uint8, rank 4)"),
    ],
    ids=["floats in", "int64 out", "channels out"],
)
def test_other_types_and_ranks(tmp_path, images, labels, found):
    spec = tf.TensorSpec(IMAGES.shape, images, name="images")
    with pytest.raises(UserError, match="is no segmentation model of this project") as caught:
        open_segmenter(saved(tmp_path / "m", spec, labels))
    assert found in str(caught.value)
    assert str(caught.value).endswith("not images (uint8, rank 4), labels (uint8, rank 3)")


def test_signatures_of_other_meaning_are_left_alone(tmp_path):
    other = tf.function(lambda images: {"other": images}, input_signature=[IMAGES])
    segmenter = open_segmenter(saved(tmp_path / "m", logits=other, legend=other))
    assert segmenter.logits is None and segmenter.legend is None


def test_a_model_that_fails_on_an_image(tmp_path):
    folder = saved(tmp_path / "m", labels=lambda x: tf.ensure_shape(x[..., 0], (None, 8, 8)))
    with pytest.raises(UserError) as caught:
        open_segmenter(folder).segment(picture())
    assert str(caught.value).startswith(f"{folder} fails on an image of 4x5: ")

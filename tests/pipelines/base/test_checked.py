"""What is checked of a tensor comes before whatever takes it."""

import numpy as np
import pytest
import tensorflow as tf

from pipelines.base import decoding
from pipelines.base.checked import checked
from pipelines.stream import crops


def png(shape):
    return tf.io.encode_png(np.zeros((*shape, 1), np.uint8))


def test_the_value_is_passed_on():
    assert checked(tf.constant([3, 5]), tf.constant(True), "unused").numpy().tolist() == [3, 5]


def test_the_message_has_the_tensors_values():
    with pytest.raises(tf.errors.InvalidArgumentError, match="(?s)an image has.*12.*pixels"):
        checked(tf.constant(0), tf.constant(False), "an image has", tf.constant(12), "pixels")


def ancestors(op):
    """The operations that have run when `op` runs."""
    found, rest = set(), [op]
    while rest:
        op = rest.pop()
        inputs = [*(tensor.op for tensor in op.inputs), *op.control_inputs]
        rest += [each for each in inputs if each not in found]
        found.update(inputs)
    return {each.type for each in found}


def test_what_takes_the_value_runs_after_the_check():
    graph = tf.function(lambda x: tf.sqrt(checked(x, x > 0, "not positive")))
    concrete = graph.get_concrete_function(tf.TensorSpec((), tf.float32)).graph
    [root] = [op for op in concrete.get_operations() if op.type == "Sqrt"]
    assert "Assert" in ancestors(root)


def test_a_label_is_decoded_after_its_form_is_known():
    graph = tf.function(decoding.decode_label)
    concrete = graph.get_concrete_function(tf.TensorSpec((), tf.string)).graph
    [decoder] = [op for op in concrete.get_operations() if op.type == "DecodePng"]
    assert "Assert" in ancestors(decoder)


@pytest.mark.slow
@pytest.mark.parametrize("format", ["JPEG", "PNG"])
def test_sizes_are_compared_before_a_window_is_cut(format):
    def cut(image, label):
        return crops.random_crop(image, label, [0, 0], crop=(4, 4))

    graph = tf.function(cut, input_signature=[tf.TensorSpec((), tf.string)] * 2)
    image = np.zeros((2, 2, 3), np.uint8)
    image = tf.io.encode_jpeg(image) if format == "JPEG" else tf.io.encode_png(image)
    for _ in range(20):
        with pytest.raises(decoding.DecodeError, match="image and label differ in size"):
            graph(image, png((9, 9)))

"""What must hold of a tensor before a graph goes on with it."""

import tensorflow as tf


def checked(value: tf.Tensor, condition: tf.Tensor, *message: object) -> tf.Tensor:
    """`value`, once it is known that `condition` holds.

    A bare assertion runs beside later operations, which may fail first with another message.

    Args:
        value: any tensor; what takes the result waits for the check.
        condition: bool scalar.
        message: parts of the sentence, strings or tensors.

    Raises:
        tf.errors.InvalidArgumentError: the condition does not hold; the text is the message.
    """
    with tf.control_dependencies([tf.debugging.Assert(condition, message)]):
        return tf.identity(value)

"""JPEG and PNG bytes to pixels and labels, in a graph."""

import tensorflow as tf

from pipelines.base.checked import checked

DecodeError = tf.errors.InvalidArgumentError


def decode_image(encoded: tf.Tensor) -> tf.Tensor:
    """Decodes a JPEG or PNG of any channels to uint8 `[H, W, 3]`.

    Raises:
        DecodeError: the bytes are neither, or damaged.
    """
    return tf.cond(
        tf.io.is_jpeg(encoded),
        lambda: tf.io.decode_jpeg(encoded, channels=3, dct_method="INTEGER_ACCURATE"),
        lambda: tf.io.decode_png(encoded, channels=3),
    )


def image_size(encoded: tf.Tensor) -> tf.Tensor:
    """Height and width of a JPEG or PNG, int32 `[2]`; the pixels of a JPEG are not decoded.

    Raises:
        DecodeError: the bytes are neither, or damaged.
    """
    return tf.cond(
        tf.io.is_jpeg(encoded),
        lambda: tf.io.extract_jpeg_shape(encoded)[:2],
        lambda: tf.shape(tf.io.decode_png(encoded))[:2],
    )


def decode_label(encoded: tf.Tensor) -> tf.Tensor:
    """Decodes an 8-bit grayscale PNG of indices to uint8 `[H, W]`.

    Raises:
        DecodeError: the bytes are no such file, or damaged.
    """
    # The decoder takes any image, and turns colours, and other depths, into other values.
    head = tf.strings.join([tf.strings.substr(encoded, 0, 26), "\0" * 26])
    start, kind = tf.strings.substr(head, 0, 8), tf.strings.substr(head, 24, 2)
    is_gray = (start == b"\x89PNG\r\n\x1a\n") & (kind == b"\x08\x00")
    gray = checked(encoded, is_gray, "the label is no 8-bit grayscale PNG")
    return tf.io.decode_png(gray, channels=1)[..., 0]


def of_size(value: tf.Tensor, image_size: tf.Tensor, label_size: tf.Tensor) -> tf.Tensor:
    """`value`, once image and label, int32 `[2]` each, are of one size; else a DecodeError."""
    equal = tf.reduce_all(image_size == label_size)
    return checked(value, equal, "image and label differ in size")

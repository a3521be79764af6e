"""Converts a model to TFLite: float32, float16, or full integer."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

from gcn_keras.deployment.tflite_converter import converting, make_converter
from gcn_keras.deployment.tflite_file import with_signature
from gcn_keras.deployment.tflite_int8 import calibrate

if TYPE_CHECKING:
    import keras

KINDS = ("tflite", "tflite-fp16", "tflite-int8")


def convert(
    model: keras.Model,
    kind: str,
    size: tuple[int, int],
    representative: Iterable[np.ndarray] | None = None,
) -> bytes:
    """Converts a Keras model into the content of a TFLite file.

    The file takes one image, uint8 `[1, H, W, 3]` RGB, and gives its label map, uint8
    `[1, H, W]`; its signature "serving_default" calls them "image" and "labels". A size that is no
    multiple of the network's stride is padded with the rounded mean pixel and cropped inside, as
    `gcn_keras.segment` does.

    Args:
        model: Keras model from images to logits.
        kind: "tflite", float32; "tflite-fp16", weights in float16; "tflite-int8", everything in
            integers, weights with a scale for each channel.
        size: height and width of the images.
        representative: for int8: images of the training set, uint8 `[1, H, W, 3]`, from which
            the ranges of the activations are measured; a hundred are plenty.

    Raises:
        UserError: the model has another fixed size, the converter fails, or ai-edge-litert is not
            installed.
        ValueError: an unknown kind, or representative images of another shape or type.
    """
    if kind not in KINDS:
        raise ValueError(f"unknown kind {kind!r}: choose one of {', '.join(KINDS)}")
    if kind == "tflite-int8":
        return calibrate(model, size, representative).quantize()
    import tensorflow as tf

    converter = make_converter(model, size, tf.uint8, integers=False)
    if kind == "tflite-fp16":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.target_spec.supported_types = [tf.float16]
    with converting(kind):
        return with_signature(converter.convert())

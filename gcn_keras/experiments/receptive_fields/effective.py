"""The effective receptive field: the gradient of the score."""

from typing import TYPE_CHECKING

import numpy as np

from gcn_keras.experiments.receptive_fields.score import padded_sides, scored_class
from gcn_keras.inference.keras_model import check_on_tensorflow
from gcn_keras.inference.padding import pad_with_mean

if TYPE_CHECKING:
    import keras


def effective_receptive_field(
    model: "keras.Model", image: np.ndarray, at: tuple[int, int], class_index: int | None = None
) -> np.ndarray:
    """|d score / d pixel|, summed over the channels (Luo et al. 2016). Needs TensorFlow.

    The gradient is by the raw pixel, 0…255, for the model normalises inside; batch norms use their
    moving statistics.

    Args:
        model, image, at, class_index: as in `score.scored_class`.

    Returns:
        float32 `[H, W]`, at least 0, in logits for each step of a pixel's value.

    Raises:
        ValueError, UserError: as in `score.scored_class`.
        UserError: Keras computes with something else than TensorFlow.
    """
    check_on_tensorflow("the effective receptive field takes gradients of")
    import tensorflow as tf

    class_index = scored_class(model, image, at, class_index)
    height, width, _ = image.shape
    pixels = tf.constant(
        pad_with_mean(image[None], *padded_sides(model, (height, width))), tf.float32
    )
    with tf.GradientTape() as tape:
        tape.watch(pixels)
        score = model(pixels, training=False)[0, at[0], at[1], class_index]
    gradient = tape.gradient(score, pixels, unconnected_gradients="zero")
    return np.abs(gradient.numpy()[0, :height, :width]).sum(axis=-1)

"""Models whose receptive fields are known, and an image for them."""

import keras
import numpy as np

IMAGE = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
AT = (16, 12)


def model_of(block, weight: float) -> keras.Model:
    """A model of images of any size, all of whose kernels hold one weight."""
    image = keras.Input((None, None, 3))
    model = keras.Model(image, block(image))
    model.set_weights([np.full(array.shape, weight) for array in model.get_weights()])
    return model


def convolution(k: int) -> keras.Model:
    return model_of(keras.layers.Conv2D(2, k, padding="same"), 0.5)


def window(height: int, width: int, at, k: int) -> np.ndarray:
    """Where the k×k square around a point lies."""
    field = np.zeros((height, width), bool)
    field[max(0, at[0] - k // 2) : at[0] + k // 2 + 1, max(0, at[1] - k // 2) :] = True
    field[:, at[1] + k // 2 + 1 :] = False
    return field

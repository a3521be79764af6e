"""Effective receptive fields of models of which they are known."""

import keras
import numpy as np
import pytest
from keras import layers
from known_fields import AT, IMAGE, convolution, model_of, window

from gcn_keras.experiments.receptive_fields.effective import effective_receptive_field
from gcn_keras.experiments.receptive_fields.score import scored_class
from gcn_keras.experiments.receptive_fields.squares import square_side
from gcn_keras.models import blocks
from pipelines.base.errors import UserError


class TestEffective:
    @pytest.mark.parametrize("at", [AT, (0, 31)])
    def test_a_convolution_has_its_window(self, at):
        field = effective_receptive_field(convolution(5), IMAGE, at, 1)
        # Three channels of weight 0.5.
        assert field.tolist() == (1.5 * window(32, 32, at, 5)).tolist()
        assert field.dtype == np.float32
        if at == AT:
            assert square_side(field, at, 0.5) == 5  # 12.5 of 25 pixels; 3×3 holds 9

    def test_the_paper_s_block_has_the_window_of_its_kernel(self):
        model = model_of(lambda x: blocks.global_convolution(x, 2, 7, "gcn"), 0.5)
        field = effective_receptive_field(model, IMAGE, AT, 0)
        # Two branches of two channels: 2 · 2 · 0.5², in each of three channels of the image.
        assert field.tolist() == (3.0 * window(32, 32, AT, 7)).tolist()

    def test_a_image_of_any_size(self):
        field = effective_receptive_field(convolution(5), IMAGE[:30, :21], (29, 20), 1)
        assert field.tolist() == (1.5 * window(30, 21, (29, 20), 5)).tolist()

    def test_the_gradient_is_by_the_raw_pixel(self):
        image = keras.Input((None, None, 3))
        normalised = layers.Normalization(mean=[0.0] * 3, variance=[16.0] * 3)(image)
        outputs = layers.Conv2D(2, 1, kernel_initializer="ones")(normalised)
        field = effective_receptive_field(keras.Model(image, outputs), IMAGE, AT, 0)
        assert field[AT] == field.sum() == 0.75

    def test_batch_norm_uses_its_moving_statistics(self):
        image = keras.Input((None, None, 3))
        norm = layers.BatchNormalization(epsilon=0.0)
        model = keras.Model(image, layers.Conv2D(2, 1, kernel_initializer="ones")(norm(image)))
        norm.moving_variance.assign([4.0] * 3)
        field = effective_receptive_field(model, IMAGE, AT, 0)
        assert field[AT] == field.sum() == 1.5

    def test_the_predicted_class_is_the_default(self):
        model = convolution(1)
        kernel = np.zeros((1, 1, 3, 2))
        kernel[..., 0], kernel[..., 1] = -1.0, 2.0
        model.set_weights([kernel, np.zeros(2)])
        assert scored_class(model, IMAGE, AT) == 1
        assert effective_receptive_field(model, IMAGE, AT)[AT] == 6.0
        assert effective_receptive_field(model, IMAGE, AT, 0)[AT] == 3.0


def test_a_model_of_one_size():
    image = keras.Input((50, 50, 3))
    model = keras.Model(image, layers.Conv2D(2, 1, kernel_initializer="ones")(image))
    for size in (32, 50):  # as large, and smaller: it is padded
        field = effective_receptive_field(model, np.zeros((size, size, 3), np.uint8), AT, 0)
        assert field.shape == (size, size) and field[AT] == field.sum() == 3.0
    message = "^the model takes images of at most 50×50 pixels, and this one has 51×50$"
    with pytest.raises(UserError, match=message):
        effective_receptive_field(model, np.zeros((51, 50, 3), np.uint8), AT, 0)


def test_another_backend(monkeypatch):
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    with pytest.raises(UserError) as caught:
        effective_receptive_field(convolution(1), IMAGE, AT, 0)
    assert str(caught.value) == (
        "the effective receptive field takes gradients of TensorFlow, and Keras computes with "
        "jax: set KERAS_BACKEND=tensorflow"
    )

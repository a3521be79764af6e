"""Schedules against their formulas; weight decay and clipping against arithmetic done by hand."""

import dataclasses
import math

import keras
import numpy as np
import pytest

from gcn_keras import RECIPES
from gcn_keras.training.optimizers import WarmUp, clip, compile_model, learning_rate


def recipe(**fields):
    return dataclasses.replace(
        RECIPES["shapes"], **{"learning_rate": 0.2, "weight_decay": 0.05, **fields}
    )


class TestLearningRate:
    """Over 100 steps with a peak of 0.2; the n-th step is trained with the rate at n - 1."""

    STEPS = 100

    def rates(self, **fields) -> list[float]:
        schedule = learning_rate(recipe(**fields), self.STEPS)
        return [float(schedule(step)) for step in range(self.STEPS)]

    def test_constant(self):
        assert learning_rate(recipe(schedule="constant", warmup_steps=0), self.STEPS) == 0.2

    def test_poly(self):
        expected = [0.2 * (1 - step / 100) ** 0.9 for step in range(100)]
        assert self.rates(schedule="poly", warmup_steps=0) == pytest.approx(expected)

    def test_poly_with_warm_up(self):
        rising = [0.2 * step / 10 for step in range(10)]
        falling = [0.2 * (1 - step / 90) ** 0.9 for step in range(90)]
        rates = self.rates(schedule="poly", warmup_steps=10)
        assert rates == pytest.approx(rising + falling, rel=1e-5)
        assert rates[10] == max(rates) == pytest.approx(0.2)

    def test_cosine(self):
        expected = [0.1 * (1 + math.cos(math.pi * step / 100)) for step in range(100)]
        assert self.rates(schedule="cosine", warmup_steps=0) == pytest.approx(expected, abs=1e-7)

    def test_cosine_with_warm_up(self):
        rising = [0.2 * step / 10 for step in range(10)]
        falling = [0.1 * (1 + math.cos(math.pi * step / 90)) for step in range(90)]
        rates = self.rates(schedule="cosine", warmup_steps=10)
        assert rates == pytest.approx(rising + falling, abs=1e-7)

    @pytest.mark.slow
    @pytest.mark.parametrize("schedule", ["poly", "cosine"])
    def test_warm_up_takes_at_most_a_tenth_of_the_run(self, schedule):
        long = self.rates(schedule=schedule, warmup_steps=1000)
        assert long == self.rates(schedule=schedule, warmup_steps=10)
        assert np.argmax(long) == 10

    def test_warm_up_schedule_survives_its_config(self):
        schedule = learning_rate(recipe(schedule="poly", warmup_steps=10), self.STEPS)
        copy = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(schedule))
        for step in (0, 3, 10, 60):
            assert float(copy(step)) == float(schedule(step))


def small_model() -> keras.Model:
    """Convolutions, a backbone's and another, and a batch norm; bias, gamma, beta are not zero."""
    keras.utils.set_random_seed(0)
    x = keras.Input((None, None, 3))
    y = keras.layers.Conv2D(4, 3, padding="same", name="conv1_conv")(x)
    y = keras.layers.Conv2DTranspose(3, 1)(keras.layers.BatchNormalization()(y))
    model = keras.Model(x, y)
    for weight in model.trainable_weights:
        if weight.name != "kernel":
            weight.assign(np.full(weight.shape, 0.7))
    return model


class TestWeightDecay:
    """On void pixels alone the data have no gradient: what still moves is decay."""

    VOID = np.ones((1, 4, 4, 3), "float32"), np.full((1, 4, 4), 255, np.uint8)

    def compiled(self, **fields) -> keras.Model:
        model = small_model()
        compile_model(model, recipe(schedule="constant", warmup_steps=0, **fields), 10)
        return model

    @pytest.mark.slow
    @pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
    def test_only_kernels_decay(self, optimizer):
        model = self.compiled(optimizer=optimizer)
        before = {weight.path: weight.numpy() for weight in model.trainable_weights}
        model.train_on_batch(*self.VOID)
        factors = {"kernel": 1 - 0.2 * 0.05, "bias": 1, "gamma": 1, "beta": 1}
        assert {weight.name for weight in model.trainable_weights} == set(factors)
        for weight in model.trainable_weights:
            expected = factors[weight.name] * before[weight.path]
            np.testing.assert_allclose(weight.numpy(), expected, rtol=1e-5)

    @pytest.mark.slow
    @pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
    def test_a_slow_backbone_decays_as_slowly(self, optimizer):
        model = self.compiled(optimizer=optimizer, backbone_learning_rate_factor=0.1)
        first, last = (w for w in model.trainable_weights if w.name == "kernel")
        before = [kernel.numpy() for kernel in (first, last)]
        model.train_on_batch(*self.VOID)
        np.testing.assert_allclose(first.numpy(), (1 - 0.02 * 0.05) * before[0], rtol=1e-5)
        np.testing.assert_allclose(last.numpy(), (1 - 0.2 * 0.05) * before[1], rtol=1e-5)

    @pytest.mark.slow
    def test_of_sgd_goes_through_the_momentum(self):
        """Caffe: v = momentum·v - rate·wd·w, w = w + v."""
        model = self.compiled(optimizer="sgd", momentum=0.9)
        kernel = next(w for w in model.trainable_weights if w.name == "kernel")
        expected, velocity = kernel.numpy().astype(np.float64), 0
        for _ in range(3):
            velocity = 0.9 * velocity - 0.2 * 0.05 * expected
            expected = expected + velocity
            model.train_on_batch(*self.VOID)
        np.testing.assert_allclose(kernel.numpy(), expected, rtol=1e-5)

    def test_of_sgd_is_half_the_sum_of_squares(self):
        model = self.compiled(optimizer="sgd")
        kernels = [w.numpy() for w in model.trainable_weights if w.name == "kernel"]
        assert len(kernels) == 2
        expected = 0.05 / 2 * sum((kernel.astype(np.float64) ** 2).sum() for kernel in kernels)
        assert float(sum(model.losses)) == pytest.approx(expected)

    def test_of_adamw_is_no_term_of_the_loss(self):
        assert self.compiled(optimizer="adamw").losses == []


class TestClip:
    """One vector of 3, 0 and 4 has the norm 5."""

    GRADIENTS = [np.array([3.0, 0.0], "float32"), np.array([[4.0]], "float32")]

    def clipped(self, *given) -> list:
        return [keras.ops.convert_to_numpy(g).tolist() for g in clip(self.GRADIENTS, *given)]

    def test_by_hand(self):
        assert self.clipped(2.5) == [[1.5, 0], [[2]]]

    @pytest.mark.parametrize("most", [5.0, 7.3])
    def test_a_short_one_stays_as_it_is(self, most):
        assert self.clipped(most) == [[3, 0], [[4]]]

    def test_the_norm_is_of_the_whole(self):
        """Of which these are one part of two."""
        whole = [2 * gradient for gradient in self.GRADIENTS]
        assert self.clipped(5.0, whole) == [[1.5, 0], [[2]]]

    @pytest.mark.parametrize("number", [1e30, np.inf, np.nan])
    def test_an_infinite_norm_is_no_step(self, number):
        """1e30² is more than float32 holds."""
        clipped = clip([*self.GRADIENTS, np.array([number], "float32")], 2.5)
        for gradient in clipped:
            assert np.isnan(keras.ops.convert_to_numpy(gradient)).all()


def test_a_configuration_gives_a_warm_up_twice():
    config = WarmUp(keras.optimizers.schedules.PolynomialDecay(0.4, 10, 0.0), 4).get_config()
    for _ in range(2):
        schedule = WarmUp.from_config(config)
        assert [float(schedule(step)) for step in (0, 2, 4, 9)] == pytest.approx([0, 0.2, 0.4, 0.2])

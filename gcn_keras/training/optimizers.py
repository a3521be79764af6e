"""Optimizers, learning-rate schedules, weight decay and clipping of a recipe."""

from collections.abc import Sequence
from typing import Any, Self

import keras
from keras import ops

from gcn_keras.models.layer_names import is_in_backbone
from gcn_keras.recipes.recipe import Recipe
from gcn_keras.training.losses import PixelCrossentropy
from gcn_keras.training.weight_averages import WarmAverage

POLY_POWER = 0.9
NOT_DECAYED = ("bias", "gamma", "beta")


class _SlowBackbone:
    """For an optimizer of Keras: some variables learn, and decay, at a part of the rate.

    Attributes:
        slow: their places among the variables.
        factor: of their rate.
        decayed: places of those whose decay is left to this class. Keras decays all at one rate.
    """

    slow: frozenset[int] = frozenset()
    factor = 1.0
    decayed: frozenset[int] = frozenset()

    def update_step(self: Any, gradient: Any, variable: Any, learning_rate: Any) -> None:
        place = self._get_variable_index(variable)
        if place in self.slow:
            learning_rate = ops.cast(learning_rate, variable.dtype) * self.factor
        if place in self.decayed:
            self.assign_sub(variable, variable * self.weight_decay * learning_rate)
        super().update_step(gradient, variable, learning_rate)  # type: ignore[misc]


class _SGD(_SlowBackbone, WarmAverage, keras.optimizers.SGD):
    pass


class _AdamW(_SlowBackbone, WarmAverage, keras.optimizers.AdamW):
    pass


def compile_model(
    model: keras.Model, recipe: Recipe, total_steps: int, loss: keras.losses.Loss | None = None
) -> None:
    """Compiles the model with the recipe's optimizer and schedule.

    Args:
        model: what is trained. Where its backbone is not to learn at all, its layers are frozen as
            by Keras' `trainable`, so batch norms there keep their statistics, too.
        recipe: how.
        total_steps: steps of the whole run.
        loss: from `gcn_keras.training.losses`; None for `PixelCrossentropy`.
    """
    rate = learning_rate(recipe, total_steps)
    factor = recipe.backbone_learning_rate_factor
    backbone = [layer for layer in model.layers if is_in_backbone(layer.name)]
    if factor == 0:
        for layer in backbone:
            layer.trainable = False
    own = {id(variable) for layer in backbone for variable in layer.trainable_variables}
    slow = {i: v for i, v in enumerate(model.trainable_variables) if id(v) in own and factor < 1}
    # Named explicitly: TensorFlow rejects scope names that begin like our classes' (`_`).
    common = {"name": recipe.optimizer, "use_ema": recipe.ema > 0, "ema_momentum": recipe.ema}
    if recipe.optimizer == "sgd":
        optimizer = _SGD(rate, momentum=recipe.momentum, **common)
        # Caffe's weight decay is a term of the gradient, wd·w, so a term wd/2·w² of the loss.
        # Keras' SGD(weight_decay=…) would decay apart from gradient and momentum instead.
        for variable in model.trainable_variables:
            if variable.name == "kernel":
                variable.regularizer = keras.regularizers.L2(recipe.weight_decay / 2)
    else:
        optimizer = _AdamW(rate, weight_decay=recipe.weight_decay, **common)
        kernels = {i: v for i, v in slow.items() if not any(n in v.name for n in NOT_DECAYED)}
        optimizer.exclude_from_weight_decay([*kernels.values()], NOT_DECAYED)
        optimizer.decayed = frozenset(kernels)
    optimizer.slow, optimizer.factor = frozenset(slow), factor
    model.compile(optimizer, loss or PixelCrossentropy(), jit_compile=recipe.jit_compile)


def clip(gradients: Sequence, most: Any, whole: Sequence | None = None) -> list:
    """Scales gradients so that their norm, that of one vector of all their numbers, is no larger.

    Keras' optimizers clip what a replica has, before they add up the replicas' gradients.

    Args:
        gradients: float tensors.
        most: largest norm.
        whole: the sums that the gradients are parts of, whose norm it is; None for themselves.

    Returns:
        The gradients, to the bit where the norm is at most `most`; NaN where it is not finite.
    """
    norm = ops.sqrt(sum(ops.sum(ops.square(part)) for part in whole or gradients))
    scale = ops.where(ops.isfinite(norm), most / ops.maximum(norm, most), float("nan"))
    return [gradient * scale for gradient in gradients]


def learning_rate(
    recipe: Recipe, total_steps: int
) -> float | keras.optimizers.schedules.LearningRateSchedule:
    """The schedule over `total_steps` steps: a float, or a Keras `LearningRateSchedule`."""
    if recipe.schedule == "constant":
        return recipe.learning_rate
    warmup = min(recipe.warmup_steps, total_steps // 10)
    decay = max(total_steps - warmup, 1)
    if recipe.schedule == "poly":
        poly = keras.optimizers.schedules.PolynomialDecay(
            recipe.learning_rate, decay, end_learning_rate=0.0, power=POLY_POWER
        )
        return WarmUp(poly, warmup) if warmup else poly
    if not warmup:
        return keras.optimizers.schedules.CosineDecay(recipe.learning_rate, decay)
    return keras.optimizers.schedules.CosineDecay(
        0.0, decay, warmup_target=recipe.learning_rate, warmup_steps=warmup
    )


@keras.saving.register_keras_serializable(package="gcn_keras")
class WarmUp(keras.optimizers.schedules.LearningRateSchedule):
    """Rises linearly to the start of `schedule` over `steps` steps, then follows it."""

    def __init__(self, schedule: keras.optimizers.schedules.LearningRateSchedule, steps: int):
        super().__init__()
        self.schedule, self.steps = schedule, steps

    def __call__(self, step):
        step = keras.ops.cast(step, "float32")
        rising = self.schedule(0) * step / self.steps
        return keras.ops.where(step < self.steps, rising, self.schedule(step - self.steps))

    def get_config(self) -> dict:
        schedule = keras.saving.serialize_keras_object(self.schedule)
        return {"schedule": schedule, "steps": self.steps}

    @classmethod
    def from_config(cls, config: dict) -> Self:
        schedule = keras.saving.deserialize_keras_object(config["schedule"])
        return cls(schedule, config["steps"])

"""The same training step on JAX. One device; TensorFlow only reads the data."""

import warnings
from typing import Any

import jax
import keras
import numpy as np
from jax import numpy as jnp

from gcn_keras.training.optimizers import clip
from gcn_keras.training.step import Step
from gcn_keras.training.weight_averages import build_optimizer


class JaxStep(Step):
    """Steps of a compiled model, whose state lives in here between `pull` and `push`.

    Args:
        model: built and compiled (`optimizers.compile_model`) under KERAS_BACKEND=jax.
        accumulate, gradient_clip: as in `TensorFlowStep`.
    """

    def __init__(self, model: keras.Model, accumulate: int = 1, gradient_clip: float | None = None):
        self.model, self.accumulate, self.gradient_clip = model, accumulate, gradient_clip
        self.optimizer, self.loss = model.optimizer, model.loss
        self.scales = isinstance(self.optimizer, keras.optimizers.LossScaleOptimizer)
        places = {id(v): place for place, v in enumerate(model.non_trainable_variables)}
        self.only_averaged = [places[id(variable)] for variable in build_optimizer(model)]
        self._compiled_step = jax.jit(self._step, donate_argnums=0)
        self.pull()

    def pull(self) -> None:
        # Copies: a step gives its buffers away, and the model's own must stay.
        self.state = jax.tree.map(
            jnp.copy, tuple([v.value for v in variables] for variables in self._variables())
        )

    def push(self) -> None:
        for variables, values in zip(self._variables(), self.state, strict=True):
            for variable, value in zip(variables, values, strict=True):
                variable.assign(jnp.copy(value))

    def _variables(self):
        model = self.model
        return model.trainable_variables, model.non_trainable_variables, self.optimizer.variables

    def __call__(self, images: Any, labels: Any, stop: bool = False) -> jax.Array:
        """Takes one step; arguments and result are those of `TensorFlowStep`."""
        # Tensors of TensorFlow are nothing that JAX takes.
        images, labels = np.asarray(images), np.asarray(labels)
        self.state, (loss, taken) = self._compiled_step(self.state, images, labels)
        return jnp.stack([loss, taken, jnp.float32(stop)])

    def _step(self, state, images, labels):
        trainable, others, optimizer = state
        total = jnp.maximum(self.loss.total_weight(labels), keras.config.epsilon())
        parts = [
            array.reshape(-1, self.accumulate, *array.shape[1:]).swapaxes(0, 1)
            for array in (images, labels)
        ]

        def add(carried, part):
            loss, gradients, others = carried
            (_, (more, others)), more_gradients = jax.value_and_grad(self._loss, has_aux=True)(
                trainable, others, optimizer, total, *part
            )
            return (loss + more, jax.tree.map(jnp.add, gradients, more_gradients), others), None

        start = (jnp.float32(0), jax.tree.map(jnp.zeros_like, trainable), others)
        if self.accumulate == 1:
            (loss, gradients, new_others), _ = add(start, [array[0] for array in parts])
        else:
            (loss, gradients, new_others), _ = jax.lax.scan(add, start, parts)
        if self.gradient_clip is not None:
            gradients = clip(gradients, self._scaled(self.gradient_clip, optimizer))
        taken = jnp.isfinite(loss)
        if not self.scales:
            taken &= jnp.isfinite(sum(jnp.sum(jnp.abs(gradient)) for gradient in gradients))
        new_trainable, new_optimizer = self._apply_gradients(
            gradients, trainable, new_others, optimizer
        )
        new_state = (new_trainable, list(new_others), new_optimizer)
        state = jax.tree.map(lambda new, old: jnp.where(taken, new, old), new_state, state)
        return state, (loss, taken.astype(jnp.float32))

    def _apply_gradients(self, gradients, trainable, others, optimizer):
        averaged = [others[place] for place in self.only_averaged]
        with warnings.catch_warnings():  # of what has no gradient
            warnings.filterwarnings("ignore", "Gradients do not exist for variables")
            new, optimizer = self.optimizer.stateless_apply(
                optimizer, [*gradients, *[None] * len(averaged)], [*trainable, *averaged]
            )
        return list(new[: len(trainable)]), list(optimizer)

    def _loss(self, trainable, others, optimizer, total, images, labels):
        logits, others, losses = self.model.stateless_call(
            trainable, others, images, training=True, return_losses=True
        )
        loss = jnp.sum(self.loss.weighted_sum(labels, logits) / total)
        loss += sum(losses) / self.accumulate
        return self._scaled(loss, optimizer), (loss, list(others))

    def _scaled(self, loss, optimizer):
        with keras.StatelessScope(
            state_mapping=list(zip(self.optimizer.variables, optimizer, strict=True))
        ):
            return self.optimizer.scale_loss(loss)

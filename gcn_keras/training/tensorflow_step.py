"""A training step on any number of devices, with TensorFlow.

Keras' own `fit` takes the mean of each replica's loss, then the mean of those, which weighs pixels
by how much void the others in their replica have; and it breaks under MultiWorkerMirroredStrategy
(keras-team/keras#20585). Here the loss is the mean over all valid pixels of the whole batch, so a
batch gives the same step however it is divided: over replicas, over machines, over time
(`accumulate`).
"""

from functools import partial

import keras
import tensorflow as tf

from gcn_keras.models.fused_batch_norms import fuse_batch_norms
from gcn_keras.models.line_convolutions import convolve_along_lines
from gcn_keras.training.devices import Team
from gcn_keras.training.optimizers import clip
from gcn_keras.training.step import Step
from gcn_keras.training.weight_averages import batch_norms, build_optimizer, moving_statistics


class TensorFlowStep(Step):
    """Steps of a compiled model, whose own weights are always current.

    Args:
        model: built and compiled (`optimizers.compile_model`) in `team.strategy.scope()`.
        team: the replicas.
        accumulate: parts that a batch is worked through in, one after another, so that memory is
            needed for one of them only. Batch norm sees a part at a time; everything else is as
            if the batch was one.
        jit_compile: compile with XLA.
        gradient_clip: largest norm of the gradient of the whole batch, see `optimizers.clip`; None
            for no limit.
    """

    def __init__(
        self,
        model: keras.Model,
        team: Team,
        accumulate: int = 1,
        jit_compile: bool = False,
        gradient_clip: float | None = None,
    ):
        self.model, self.team, self.accumulate = model, team, accumulate
        self.optimizer, self.loss = model.optimizer, model.loss
        self.gradient_clip = gradient_clip
        self.scales = isinstance(self.optimizer, keras.optimizers.LossScaleOptimizer)
        if not jit_compile:  # which has kernels of its own
            convolve_along_lines(model)
            fuse_batch_norms(model)
        for layer in batch_norms(model):
            layer.synchronized = team.replicas > 1  # statistics of the whole batch
        self.statistics = moving_statistics(model)
        with team.strategy.scope():
            build_optimizer(model)
        # No branch in here depends on a tensor but by tf.cond: rewriting Python, which takes
        # seconds, would change nothing.
        function = partial(tf.function, autograph=False)
        self._compiled_step = function(self._step)
        self._compiled_begin, self._compiled_add = function(self._begin), function(self._add)
        self._compiled_finish = function(self._finish)
        # Replicas exchange values in the middle, which they cannot from a function of their own.
        self._gradients, self._apply = self._gradients_of_part, self._apply_gradients
        if jit_compile:
            self._gradients = function(self._gradients, jit_compile=True)
            self._apply = function(self._apply, jit_compile=True)

    def __call__(self, images: tf.Tensor, labels: tf.Tensor, stop: bool = False) -> tf.Tensor:
        """Takes one step with this worker's part of a batch.

        Nothing changes where the loss, or a gradient, is not finite. (Under float16 a gradient
        overflows now and then: that lowers the loss scale, and the step counts as taken, as batch
        norm has seen its batch.)

        Args:
            images: uint8 `[n, H, W, 3]`, labels: uint8 `[n, H, W]`, or what else the model's loss
                takes; equal n on all workers.
            stop: whether this worker wants to stop.

        Returns:
            float32 `[3]`, the same on all workers: the loss; 1 if the step was taken, else 0; how
            many replicas want to stop.
        """
        stop = tf.constant(float(stop))
        # Any parts would do, as the loss is that of the whole batch.
        parts = [
            tuple(self.team.split(array[i :: self.accumulate]) for array in (images, labels))
            for i in range(self.accumulate)
        ]
        if self.accumulate == 1:
            return self._compiled_step(*parts[0], stop)
        total, before = self._compiled_begin([labels for _, labels in parts])
        loss, gradients = self._compiled_add(*parts[0], total, None)
        for part in parts[1:]:
            more, gradients = self._compiled_add(*part, total, gradients)
            loss += more
        return self._compiled_finish(loss, gradients, before, stop)

    def _step(self, images, labels, stop):
        total, before = self._begin([labels])
        loss, gradients = self._add(images, labels, total, None)
        return self._finish(loss, gradients, before, stop)

    def _run(self, function, *arguments):
        return self.team.strategy.run(function, arguments)

    def _sum(self, value):
        return self.team.strategy.reduce("sum", value, axis=None)

    def _begin(self, labels):
        """What must be known before: the weight of the whole batch; batch norm's statistics."""
        total = tf.add_n([self._sum(self._run(self.loss.total_weight, part)) for part in labels])
        # A batch without a valid pixel has loss 0, not 0 / 0.
        total = tf.maximum(total, keras.config.epsilon())
        return total, self._run(lambda: [tf.identity(v.value) for v in self.statistics])

    def _add(self, images, labels, total, gradients):
        """The batch's loss as far as it is due to these images, and gradients added to others."""
        loss, more = self._run(self._gradients, images, labels, total)
        if gradients is not None:
            more = self._run(_add_lists, gradients, more)
        return self._sum(loss), more

    def _gradients_of_part(self, images, labels, total):
        with tf.GradientTape() as tape:
            logits = self.model(images, training=True)
            loss = tf.reduce_sum(self.loss.weighted_sum(labels, logits) / total)
            # Weight decay, once for all of them.
            loss += sum(self.model.losses, 0.0) / (self.team.replicas * self.accumulate)
            scaled = self.optimizer.scale_loss(loss)
        return loss, tape.gradient(scaled, self.model.trainable_weights)

    def _finish(self, loss, gradients, before, stop):
        if self.gradient_clip is not None:
            gradients = self._run(self._clipped, gradients)
        broken = self._sum(self._run(_is_not_finite, gradients)) > 0
        taken = tf.math.is_finite(loss) & (self.scales | ~broken)

        def take():
            # Keras' loss scaling sees the gradients of its own replica, and all must agree.
            self._run(self._apply, gradients, tf.where(broken, float("nan"), 0.0))
            return 1.0

        def leave():
            self._run(self._restore, before)
            return 0.0

        taken = tf.cond(taken, take, leave)
        return tf.stack([loss, taken, self._sum(self._run(tf.identity, stop))])

    def _clipped(self, gradients):
        whole = gradients
        if self.team.replicas > 1:
            whole = tf.distribute.get_replica_context().all_reduce("sum", gradients)
        return clip(gradients, self.optimizer.scale_loss(tf.constant(self.gradient_clip)), whole)

    def _apply_gradients(self, gradients, poison):
        if self.scales and self.team.replicas > 1:
            gradients = [gradient + tf.cast(poison, gradient.dtype) for gradient in gradients]
        # The optimizer adds up the replicas' gradients.
        self.optimizer.apply(gradients, self.model.trainable_weights)

    def _restore(self, before):
        for variable, value in zip(self.statistics, before, strict=True):
            variable.assign(value)


def _add_lists(first, second):
    return [a + b for a, b in zip(first, second, strict=True)]


def _is_not_finite(gradients):
    """1 if any gradient is not finite, else 0; a sum is finite only if all of its parts are."""
    sums = [tf.reduce_sum(tf.abs(gradient)) for gradient in gradients]
    return tf.cast(~tf.math.is_finite(tf.add_n(sums)), tf.float32)

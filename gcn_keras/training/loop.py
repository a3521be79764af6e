"""The loop of a run: steps and epochs, validation, checkpoints, and what stops it."""

import collections
import json
import math
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras

from gcn_keras.inference.memory import naming_exhausted_memory
from gcn_keras.training.devices import Team
from gcn_keras.training.interruption import Interruption
from gcn_keras.training.training_state import Progress, TrainingState
from gcn_keras.training.weight_averages import averaged_weights
from pipelines.base.errors import Interrupted, UserError, argument
from pipelines.base.plurals import count_of

# With on_nan = skip: so many steps in a row mean that the model is lost, not an image.
MOST_SKIPPED_IN_A_ROW = 100
TOO_LITTLE_MEMORY = (
    f"training stopped: too little memory for a step: lower {argument('batch')} or "
    f"{argument('crop')}, or raise {argument('accumulate')}"
)


class Loop:
    """Trains a model to the end of its recipe, from wherever its run stands.

    Args:
        state: of the run.
        stream: from the number of batches used to an iterator over the next ones: images, labels
            and image ids, this worker's part.
        validate: from a function that it calls now and then, and which may raise, to what was
            measured on the validation split: a `ConfusionMatrix`, say.
        team: whose chief writes; all of its workers end together.
        scores: attributes of what was measured for the history. By the first a model is the best.
        callbacks: of Keras, for the chief; called as `gcn_keras.training.callbacks` says.
    """

    def __init__(
        self,
        state: TrainingState,
        stream: Callable[[int], Iterator],
        validate: Callable[[Callable[[], None]], Any],
        team: Team,
        scores: tuple[str, ...],
        callbacks: Sequence[keras.callbacks.Callback] = (),
    ):
        self.state, self.stream, self.validate = state, stream, validate
        self.recipe, self.run = state.recipe, state.run
        self.model, self.step = state.model, state.step
        self.scores, self.callbacks = scores, list(callbacks)
        self.worker, self.workers, self.is_chief = team.worker, team.workers, team.is_chief
        self.any_of = team.any_of
        self.interruption = Interruption()

    @property
    def progress(self) -> Progress:
        """Where the run stands."""
        return self.state.progress

    def __call__(self) -> Progress:
        """Runs to the end.

        Raises:
            UserError: the loss is not finite, or something cannot be written.
            Interrupted: by SIGTERM or Ctrl-C, after a checkpoint was written.
        """
        self.shows_bar = self.is_chief and sys.stdout.isatty()
        self.model.stop_training = False
        self.hooks = keras.callbacks.CallbackList(
            self.callbacks if self.is_chief else [],
            add_progbar=self.shows_bar,
            model=self.model,
            verbose=1 if self.shows_bar else 2,  # Keras' words for a bar, and a line an epoch
            epochs=self.recipe.epochs,
            steps=self.state.steps_per_epoch,
        )
        self.logs: dict[str, float] = {}
        self.hooks.on_train_begin()
        with self.interruption:
            try:
                self._replace_best()
                batches = self.stream(self.state.steps_taken())
                while self.progress.epoch < self.recipe.epochs and not self.progress.ended:
                    self.hooks.on_epoch_begin(self.progress.epoch)
                    self.step.pull()  # what a callback has set
                    with naming_exhausted_memory(TOO_LITTLE_MEMORY):
                        self._train_epoch(batches)
                    self._end_epoch()
            except _Stop:
                stopped = self._interrupted()
                self.hooks.on_train_end(self.logs)
                raise stopped from None
        self.hooks.on_train_end(self.logs)
        return self.progress

    def _train_epoch(self, batches: Iterator) -> None:
        progress, every = self.progress, self.recipe.checkpoint_steps
        # The result of a step is read when the next one is on its way: a device never waits for
        # Python.
        unread: collections.deque = collections.deque()
        started = time.monotonic()
        while progress.step < self.state.steps_per_epoch:
            images, labels, ids = next(batches)
            self.hooks.on_train_batch_begin(progress.step)
            result = self.step(images, labels, self.interruption.number is not None)
            unread.append((result, ids))
            progress.step += 1
            due = progress.step % every == 0 or progress.step == self.state.steps_per_epoch
            stop = self._read(unread, 0 if due else 1)
            if due or stop:
                stop |= self._read(unread, 0)
                progress.seconds += time.monotonic() - started
                started = time.monotonic()
            if stop:
                raise _Stop
            if due and (progress.step < self.state.steps_per_epoch or self._validates()):
                self._save()  # also before a validation, which may run out of memory

    def _read(self, unread: collections.deque, leave: int) -> bool:
        """Reads results of steps, all but the last `leave`; whether anyone wants to stop."""
        stop = False
        while len(unread) > leave:
            result, ids = unread.popleft()
            loss, taken, stops = map(float, keras.ops.convert_to_numpy(result))
            step = self.progress.step - len(unread)
            if taken:
                self.progress.loss_sum += loss
                self.progress.losses += 1
                self.progress.skipped_in_a_row = 0
            else:
                self._not_taken(loss, step, ids)
            mean = self.progress.loss_sum / max(1, self.progress.losses)
            # The mean is of steps that were taken; callbacks may wait for such a loss.
            shown = mean if math.isfinite(loss) else loss
            self.hooks.on_train_batch_end(step - 1, {"loss": shown})
            stop |= stops > 0
        return stop

    def _not_taken(self, loss: float, step: int, ids: Any) -> None:
        """A step whose loss or gradients were not finite has changed nothing: it is noted."""
        self.step.push()
        epoch, rate = self.progress.epoch + 1, self._learning_rate()
        name = "not_finite.jsonl" if self.is_chief else f"not_finite-worker{self.worker}.jsonl"
        path = self.run.path / name
        images = [i.decode(errors="replace") for i in ids.numpy().tolist()]
        record: dict = {"epoch": epoch, "step": step, "learning_rate": rate}
        # JSON has no word for "nan" and "inf".
        record["loss"] = loss if math.isfinite(loss) else str(loss)
        with open(path, "a") as file:
            file.write(json.dumps({**record, "images": images}, allow_nan=False) + "\n")
        self.progress.skipped += 1
        self.progress.skipped_in_a_row += 1
        what = f"the loss became {loss}" if not math.isfinite(loss) else "a gradient overflowed"
        where = f"{what} in epoch {epoch}, step {step}, at learning rate {rate:.3g}"
        advice = f"lower {argument('learning_rate')} or raise {argument('warmup_steps')}"
        kept = f"its images are named in {path}; models of finished epochs are kept"
        if self.recipe.on_nan == "stop":
            raise UserError(
                f"{where}: {advice}, or leave such steps out with {argument('on_nan')} skip; {kept}"
            )
        if self.progress.skipped_in_a_row == MOST_SKIPPED_IN_A_ROW:
            raise UserError(
                f"{where}, as in the {MOST_SKIPPED_IN_A_ROW - 1} before: {advice}; {kept}"
            )
        if self.is_chief:
            print("\n" * self.shows_bar + f"{where}: step skipped", flush=True)

    def _learning_rate(self) -> float:
        return float(keras.ops.convert_to_numpy(self.model.optimizer.learning_rate))

    def _validates(self) -> bool:
        """Whether the present epoch ends with a validation."""
        number = self.progress.epoch + 1
        return number % self.recipe.validate_every == 0 or number == self.recipe.epochs

    def _end_epoch(self) -> None:
        """Validation, history, models; and only then the checkpoint that says they are there."""
        progress, started = self.progress, time.monotonic()
        self.step.push()
        number = progress.epoch + 1
        logs = {
            "loss": progress.loss_sum / progress.losses if progress.losses else math.nan,
            "learning_rate": self._learning_rate(),
        }
        scores = self._validate() if self._validates() else {}
        self.hooks.on_epoch_end(progress.epoch, logs | scores)
        self.step.pull()  # what a callback has set
        ended = self.any_of(self.model.stop_training)
        if ended and not scores:  # the last epoch is always validated
            scores = self._validate()
        self.logs = logs | scores
        row = {"epoch": number, **logs, **{f"val_{score}": None for score in self.scores}, **scores}
        for key, value in row.items():
            progress.history.setdefault(key, []).append(value)
        impatient = bool(scores) and self._is_out_of_patience()
        progress.ended = ended or impatient
        if self.is_chief:
            self.run.write_history(progress.history)
            with averaged_weights(self.model):
                self.run.save_model(self.model, self.run.model)
        progress.epoch, progress.step = number, 0
        progress.loss_sum, progress.losses = 0.0, 0
        progress.seconds += time.monotonic() - started
        self._save()
        if self.is_chief and not self.shows_bar:
            values = ", ".join(f"{key} {value:.4g}" for key, value in self.logs.items())
            print(f"epoch {number}/{self.recipe.epochs}: {values}", flush=True)
        if self.is_chief and impatient and number < self.recipe.epochs:
            best = progress.best_epoch
            what = f"was better than that of epoch {best}" if best else "had a score"
            patience = self.recipe.patience
            print(f"ends after epoch {number}: none of {patience} validations {what}", flush=True)

    def _validate(self) -> dict[str, float]:
        """The scores by their names in the history; the best model so far is kept."""
        progress = self.progress
        with averaged_weights(self.model):
            self.hooks.on_test_begin()
            measured = self.validate(self._check_stop)
            scores = {name: getattr(measured, name) for name in self.scores}
            self.hooks.on_test_end(scores)
            score = scores[self.scores[0]]
            if score > progress.best_score:  # False for NaN
                progress.best_epoch, progress.best_score = progress.epoch + 1, score
                if self.is_chief:
                    self.run.save_model(self.model, self.run.best)
        return {f"val_{name}": value for name, value in scores.items()}

    def _replace_best(self) -> None:
        """After an epoch with a score its model is the best, where the one that was is lost."""
        progress = self.progress
        scores = progress.history.get(f"val_{self.scores[0]}", [None])
        if progress.best_epoch or progress.step or scores[-1] is None or math.isnan(scores[-1]):
            return
        progress.best_epoch, progress.best_score = progress.epoch, scores[-1]
        if self.is_chief:
            with averaged_weights(self.model):
                self.run.save_model(self.model, self.run.best)
        self._save()

    def _is_out_of_patience(self) -> bool:
        """Whether the last validations, as many as the recipe says, have brought nothing better."""
        patience, progress = self.recipe.patience, self.progress
        since = max(progress.best_epoch, progress.extended_epoch)
        later = progress.history[f"val_{self.scores[0]}"][since:]
        return patience is not None and sum(score is not None for score in later) >= patience

    # === Stopping ===

    def _check_stop(self) -> None:
        """Stops between two steps of something that changes nothing, such as validation."""
        # With several workers all must stop at the same place, which is after their next step.
        if self.interruption.number is not None and self.workers == 1:
            raise _Stop

    def _save(self) -> None:
        self.step.push()
        if self.is_chief:
            self.state.save()

    def _interrupted(self) -> Interrupted:
        self._save()
        if self.is_chief:
            with averaged_weights(self.model):
                self.run.save_model(self.model, self.run.model)
        epochs, step = self.progress.epoch, self.progress.step
        # Where another worker got the signal, it was from its scheduler.
        number = self.interruption.number or signal.SIGTERM
        return Interrupted(
            f"stopped after {count_of(epochs, 'epoch')} and {count_of(step, 'step')}: "
            f"{self.run.model} is saved",
            number,
        )


class _Stop(Exception):
    """Someone asked the run to stop, and it stands where it can."""

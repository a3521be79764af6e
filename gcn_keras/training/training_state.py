"""Where a run stands: model, optimizer and progress, written as checkpoints and read again."""

import dataclasses

import keras

from gcn_keras.recipes.recipe import Recipe
from gcn_keras.training import checkpoints, provenance
from gcn_keras.training.run_folder import RunFolder
from gcn_keras.training.step import Step
from pipelines.base.damage import DAMAGE, check_archive, reason_of
from pipelines.base.errors import UserError


@dataclasses.dataclass
class Progress:
    """Where a run stands. Everything that is drawn follows from the seed and from this.

    Attributes:
        epoch: finished epochs.
        step: steps of the present epoch, skipped ones too; batches that were used of the stream
            are `epoch * steps_per_epoch + step`.
        loss_sum, losses: of the present epoch.
        skipped, skipped_in_a_row: steps whose loss was not finite.
        seconds: spent in training, validation after epochs included.
        history: one list a column; epochs count from 1. An epoch without validation has None for
            scores, an empty cell in history.csv.
        best_epoch, best_score: of the model in best.keras; 0 and -1 before any validation.
        ended: whether it came to its end before its last epoch, because a callback wanted that, or
            for want of patience.
        extended_epoch: the epoch with which it had ended so before it got more epochs, or after
            which its best model was lost: from there on patience counts anew; 0 if neither was so.
    """

    epoch: int = 0
    step: int = 0
    loss_sum: float = 0.0
    losses: int = 0
    skipped: int = 0
    skipped_in_a_row: int = 0
    seconds: float = 0.0
    history: dict[str, list] = dataclasses.field(default_factory=dict)
    best_epoch: int = 0
    best_score: float = -1.0
    ended: bool = False
    extended_epoch: int = 0


class TrainingState:
    """All that a run needs to go on as if it had never stopped.

    Args:
        recipe, run: what is trained, and where its checkpoints are.
        model: built and compiled.
        step: of the model; it has the current values where those are not in the model.
        steps_per_epoch: steps in an epoch.

    Attributes:
        progress: where the run stands.
    """

    def __init__(
        self,
        recipe: Recipe,
        run: RunFolder,
        model: keras.Model,
        step: Step,
        steps_per_epoch: int,
    ):
        self.recipe, self.run, self.model, self.step = recipe, run, model, step
        self.steps_per_epoch = steps_per_epoch
        self.progress = Progress()

    def steps_taken(self) -> int:
        """Steps of all epochs so far."""
        return self.progress.epoch * self.steps_per_epoch + self.progress.step

    def restore(self) -> int:
        """Goes back to the newest checkpoint that is whole; a damaged one is named.

        A best model that has been lost since is named, and is the best no longer.

        Returns:
            Steps taken; 0 where there is no checkpoint.

        Raises:
            UserError: a checkpoint of another model.
        """
        for found in checkpoints.read_newest(self.run.checkpoints):
            if isinstance(found, UserError):
                print(f"{found}; trying the one before it")
                continue
            provenance.check_origin(self.run, found.origin, self.recipe)
            variables = self._variables()
            shapes = {name: variable.shape for name, variable in variables.items()}
            found_shapes = {name: array.shape for name, array in found.arrays.items()}
            # What came into it later has its default in a checkpoint from before.
            state = vars(Progress()) | found.state
            if (state.keys(), found_shapes) != (vars(Progress()).keys(), shapes):
                raise UserError(
                    f"the checkpoints in {self.run.checkpoints} are of another model, optimizer or "
                    "schedule, or of another version of this package: begin a new run"
                )
            for name, variable in variables.items():
                variable.assign(found.arrays[name])
            self.progress = Progress(**state)
            self._take_changes(found.origin.get("configuration", {}))
            self._check_best()
            self.step.pull()
        return self.steps_taken()

    def _take_changes(self, former: dict) -> None:
        """What the recipe says otherwise than the configuration of the checkpoint, and it holds."""
        recipe, progress = self.recipe, self.progress
        if recipe.epochs > former.get("epochs", recipe.epochs) and progress.ended:
            progress.ended, progress.extended_epoch = False, progress.epoch
        rate = recipe.learning_rate
        # A callback may have set another one; a schedule is no variable.
        if recipe.schedule == "constant" and rate != former.get("learning_rate", rate):
            self.model.optimizer.learning_rate = rate

    def _check_best(self) -> None:
        """Where the best model is lost, the best one from now on takes its place."""
        progress, best = self.progress, self.run.best
        if not progress.best_epoch:
            return
        try:
            check_archive(best)
        except DAMAGE as error:
            progress.best_epoch, progress.best_score = 0, -1.0
            progress.extended_epoch = progress.epoch
            print(f"{best} cannot be read ({reason_of(error)}); the run makes another one")

    def save(self) -> None:
        """Writes a checkpoint; what the step has is in the model already (`Step.push`)."""
        variables = self._variables().items()
        arrays = {name: keras.ops.convert_to_numpy(variable) for name, variable in variables}
        state, origin = vars(self.progress), self.run.origin
        checkpoint = checkpoints.Checkpoint(self.steps_taken(), state, arrays, origin)
        checkpoints.write(self.run.checkpoints, checkpoint, self.recipe.keep_checkpoints)

    def _variables(self) -> dict[str, keras.Variable]:
        # Not by their paths, in which Keras counts the models and optimizers of the process.
        weights = [(f"model-{v.name}", v) for v in self.model.weights]
        weights += [("optimizer", v) for v in self.model.optimizer.variables]
        # Where the random numbers of layers such as dropout stand is no weight.
        known = {id(v) for v in self.model.weights}
        others = [v for v in self.model.non_trainable_variables if id(v) not in known]
        weights += [("random", v) for v in others]
        return {f"{i:05d}-{kind}": v for i, (kind, v) in enumerate(weights)}

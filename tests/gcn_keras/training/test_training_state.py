"""What a run goes on from: written, read again, and refused where it is not this run's."""

import dataclasses

import keras
import numpy as np
import pytest

from gcn_keras import RECIPES
from gcn_keras.recipes.recipe import configuration
from gcn_keras.training import checkpoints
from gcn_keras.training.optimizers import compile_model
from gcn_keras.training.run_folder import RunFolder
from gcn_keras.training.step import Step
from gcn_keras.training.training_state import Progress, TrainingState
from pipelines.base.errors import UserError

STEPS = 5


def make_state(folder, **fields) -> TrainingState:
    recipe = dataclasses.replace(RECIPES["shapes"], **fields)
    x = keras.Input((None, None, 3))
    model = keras.Model(x, keras.layers.Conv2D(1, 1)(x))
    compile_model(model, recipe, 100)
    model.optimizer.build(model.trainable_variables)
    return TrainingState(recipe, RunFolder(folder), model, Step(), STEPS)


def save(folder, number: float, **progress) -> TrainingState:
    """A state all of whose floating-point values are `number`."""
    state = make_state(folder)
    state.progress = Progress(**progress)
    for variable in values(state):
        variable.assign(np.full(variable.shape, number))
    state.save()
    return state


def values(state) -> list[keras.Variable]:
    variables = [*state.model.weights, *state.model.optimizer.variables]
    return [variable for variable in variables if variable.dtype == "float32"]


def test_a_round_trip(tmp_path):
    save(tmp_path, 0.5, epoch=2, step=1, loss_sum=3.5, losses=1, history={"loss": [2.0, 1.0]})
    again = make_state(tmp_path)
    assert again.restore() == again.steps_taken() == 2 * STEPS + 1
    assert again.progress == Progress(2, 1, 3.5, 1, history={"loss": [2.0, 1.0]})
    # Kernel and bias, and the two moments of each.
    assert len(values(again)) == 6
    for variable in values(again):
        np.testing.assert_array_equal(variable, np.full(variable.shape, 0.5))


def test_random_numbers_go_on(tmp_path):
    """Those of EfficientNet's dropout, which are drawn from a count."""

    def dropped():
        x = keras.Input((None, None, 3))
        model = keras.Model(x, keras.layers.Dropout(0.5, seed=7)(keras.layers.Conv2D(1, 1)(x)))
        compile_model(model, RECIPES["shapes"], 100)
        model.optimizer.build(model.trainable_variables)
        return TrainingState(RECIPES["shapes"], RunFolder(tmp_path), model, Step(), STEPS)

    ones = np.ones((1, 8, 8, 3), "float32")
    state = dropped()
    first = np.array(state.model(ones, training=True))
    state.save()
    second = np.array(state.model(ones, training=True))
    again = dropped()
    again.restore()
    np.testing.assert_array_equal(np.array(again.model(ones, training=True)), second)
    assert not np.array_equal(first == 0, second == 0)


def test_nothing_to_go_on_from(tmp_path):
    state = make_state(tmp_path)
    assert (state.restore(), state.progress) == (0, Progress())


def test_a_damaged_checkpoint_is_named_and_the_one_before_it_taken(tmp_path, capsys):
    save(tmp_path, 0.25, step=3)
    save(tmp_path, 0.5, step=4)
    newest = checkpoints.paths(tmp_path / "checkpoints")[0]
    newest.write_bytes(newest.read_bytes()[:-100])
    again = make_state(tmp_path)
    assert again.restore() == 3
    [line] = capsys.readouterr().out.splitlines()
    assert str(newest) in line and line.endswith("; trying the one before it")
    assert float(values(again)[1].numpy()[0]) == 0.25


def test_the_step_takes_the_weights_that_were_restored(tmp_path):
    """JAX holds its own."""
    save(tmp_path, 0.5)
    again, pulled = make_state(tmp_path), []
    again.step.pull = lambda: pulled.append(float(again.model.layers[-1].bias.numpy()[0]))
    again.restore()
    assert pulled == [0.5]


def test_a_checkpoint_of_another_model(tmp_path):
    save(tmp_path, 0.5)
    with pytest.raises(UserError, match="are of another model, optimizer or schedule"):
        make_state(tmp_path, optimizer="sgd").restore()


@pytest.mark.parametrize("rate, wanted", [(3e-3, 1e-3), (2e-3, 2e-3)])
def test_a_constant_learning_rate_that_is_accepted_is_taken(tmp_path, rate, wanted):
    """But one that is as it was leaves what a callback has set, 1e-3."""
    fields = {"schedule": "constant", "warmup_steps": 0}
    state = make_state(tmp_path, learning_rate=3e-3, **fields)
    state.run.origin = {
        "configuration": configuration(state.recipe),
        "class_names": [],
        "steps_per_epoch": STEPS,
        "data_sha256": {},
    }
    state.model.optimizer.learning_rate = 1e-3
    state.save()
    again = make_state(tmp_path, learning_rate=rate, resume=True, accept_changes=True, **fields)
    again.run.origin = state.run.origin
    again.restore()
    assert float(again.model.optimizer.learning_rate.numpy()) == np.float32(wanted)


@pytest.fixture
def newest(tmp_path):
    save(tmp_path, 0.5, epoch=3)
    return checkpoints.read(checkpoints.paths(tmp_path / "checkpoints")[0])


def test_a_checkpoint_of_another_version(tmp_path, newest):
    newest.state["best_of_all"] = newest.state.pop("best_score")
    checkpoints.write(tmp_path / "checkpoints", newest, keep=1)
    with pytest.raises(UserError, match="are of another model, optimizer or schedule"):
        make_state(tmp_path).restore()


def test_a_checkpoint_from_before_runs_could_end_early(tmp_path, newest):
    del newest.state["ended"]
    checkpoints.write(tmp_path / "checkpoints", newest, keep=1)
    again = make_state(tmp_path)
    assert again.restore() == 3 * STEPS and again.progress.ended is False

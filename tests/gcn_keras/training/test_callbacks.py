"""Callbacks of the user's own: how they are found, and a run with them."""

import dataclasses
import itertools
import json
from pathlib import Path

import forks
import keras
import pytest
from small_runs import SMALL, prepare_halves

from gcn_keras import RECIPES
from gcn_keras.recipes.command_line import parse
from gcn_keras.recipes.recipe import configuration
from gcn_keras.training.callbacks import function_of, made_by
from gcn_keras.training.run import train
from gcn_keras.training.run_folder import RunFolder, find_run
from pipelines.base.errors import ArgumentError, UsageError
from pipelines.base.files import write_json

_numbers = itertools.count()


@pytest.fixture
def module(tmp_path, monkeypatch):
    """A function that writes a module and returns its name."""
    monkeypatch.syspath_prepend(tmp_path)

    def write(text: str) -> str:
        name = f"mine_{next(_numbers)}"
        (tmp_path / f"{name}.py").write_text(text)
        return name

    return write


def refusal(function, *arguments) -> str:
    with pytest.raises(ArgumentError) as caught:
        function(*arguments)
    assert caught.value.name == "callbacks"
    return str(caught.value)


class TestFunction:
    def test_of_a_module(self, module):
        name = module("def make():\n    return 3\n\nclass Some:\n    make = make\n")
        assert function_of(f"{name}:make")() == function_of(f"{name}:Some.make")() == 3
        assert function_of("keras.callbacks:TerminateOnNaN") is keras.callbacks.TerminateOnNaN

    def test_no_such_module(self):
        assert refusal(function_of, "no_such_module:make") == (
            "callbacks no_such_module:make: there is no module 'no_such_module', installed or in "
            "the current folder"
        )
        assert "there is no module 'keras.no_such'," in refusal(function_of, "keras.no_such:make")

    def test_a_module_that_needs_another(self, module):
        name = module("import no_such_module\n")
        assert refusal(function_of, f"{name}:make") == (
            f"callbacks {name}:make cannot be imported: there is no module 'no_such_module'"
        )

    @pytest.mark.parametrize(
        ("text", "reason"),
        [("1 / 0", "ZeroDivisionError: division by zero"), ("def (", "SyntaxError: ")],
    )
    def test_a_module_that_cannot_be_imported(self, module, text, reason):
        name = module(text)
        expected = f"callbacks {name}:make cannot be imported: {reason}"
        assert refusal(function_of, f"{name}:make").startswith(expected)

    def test_no_such_function(self, module, tmp_path):
        name = module("make = 3\n")
        file = tmp_path / f"{name}.py"
        assert refusal(function_of, f"{name}:made") == (
            f"callbacks {name}:made: made is not there in {file}"
        )
        assert refusal(function_of, f"{name}:make") == (
            f"callbacks {name}:make: make is no function in {file}"
        )


class TestMade:
    def test_one_or_several(self):
        one, other = keras.callbacks.TerminateOnNaN(), keras.callbacks.History()
        assert made_by(lambda: one, "a:b") == [one]
        assert made_by(lambda: [one, other], "a:b") == made_by(lambda: (one, other), "a:b")
        assert made_by(lambda: [], "a:b") == []

    @pytest.mark.parametrize(
        "callback",
        [keras.callbacks.ReduceLROnPlateau(), keras.callbacks.LearningRateScheduler(lambda _: 0.1)],
    )
    def test_one_that_sets_the_rate_needs_a_constant_schedule(self, callback):
        assert made_by(lambda: callback, "a:b", "constant") == [callback]
        assert refusal(made_by, lambda: callback, "a:b", "poly") == (
            f"callbacks a:b returns a {type(callback).__name__}, which sets the learning rate: "
            "give schedule constant, got poly"
        )

    @pytest.mark.parametrize("value", [None, 3, keras.callbacks.Callback])
    def test_something_else(self, value):
        expected = (
            f"callbacks a:b must return a keras.callbacks.Callback or a list of them, got {value!r}"
        )
        assert refusal(made_by, lambda: value, "a:b") == expected
        assert refusal(made_by, lambda: [keras.callbacks.History(), value], "a:b") == expected

    def test_an_error(self):
        def make():
            raise RuntimeError("no key")

        assert refusal(made_by, make, "a:b") == "callbacks a:b raised RuntimeError: no key"


@pytest.mark.parametrize("value", ["mine", "mine:", ":make", "a b:c", "mine.py:make()", "a:b:c"])
def test_what_is_no_name_of_a_function_is_refused(value):
    with pytest.raises(UsageError) as caught:
        parse(["--callbacks", value])
    assert str(caught.value) == f"--callbacks must be MODULE:FUNCTION, got {value!r}"


def test_they_belong_to_a_runs_configuration(tmp_path):
    recipe = parse(["--callbacks", "mine:make", "--out", str(tmp_path / "run")])
    run = RunFolder(recipe.out)
    run.path.mkdir()
    begun = dataclasses.replace(recipe, callbacks="mine:others")
    write_json(run.config, configuration(begun))
    run.model.touch()
    with pytest.raises(ArgumentError) as caught:
        find_run(dataclasses.replace(recipe, resume=True))
    assert "holds a run with callbacks = 'mine:others', and this one has 'mine:make'" in str(
        caught.value
    )


MINE = """
import json
import keras

class Noting(keras.callbacks.Callback):
    def on_epoch_end(self, epoch, logs):
        with open("noted.jsonl", "a") as file:
            file.write(json.dumps([epoch, sorted(logs), self.params]) + "\\n")
        self.model.stop_training = epoch == 1

    def on_train_end(self, logs):
        with open("noted.jsonl", "a") as file:
            file.write('"the end"')

def make():
    return Noting()
"""


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["tensorflow", "jax"])
def test_a_run_with_a_module_of_the_current_folder(tmp_path, backend):
    data_dir = prepare_halves(tmp_path)
    (tmp_path / "mine.py").write_text(MINE)
    command = [
        *("--callbacks", "mine:make", "--no-export"),
        *("--dataset", "image_folder", "--data-dir", data_dir, "--out", "run", "--batch", "4"),
        *SMALL,
        *("--crop", "64", "64", "--epochs", "9", "--backend", backend),
    ]

    def fit(*more):
        return forks.run("gcn_keras.fit", *command, *more, cwd=tmp_path, backend=backend)

    wrong = fit("--callbacks", "mine:nothing")
    file = tmp_path / "mine.py"
    assert wrong.returncode == 2 and "Traceback" not in wrong.stderr
    assert wrong.stderr.splitlines()[-1] == (
        f"error: --callbacks mine:nothing: nothing is not there in {file}"
    )
    assert not (tmp_path / "run").exists()
    done = fit()
    assert done.returncode == 0, done.stderr
    params = {"verbose": 2, "epochs": 9, "steps": 2}
    keys = ["learning_rate", "loss", "val_mean_iou", "val_pixel_accuracy"]
    *epochs, end = (tmp_path / "noted.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in epochs] == [[0, keys, params], [1, keys, params]]
    assert end == '"the end"'
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert metrics["train_images"] == 2 * 2 * 4
    assert metrics["configuration"]["callbacks"] == "mine:make"
    assert fit().stdout.startswith("run is finished: mean IoU ")


@pytest.mark.slow
def test_a_wrong_return_value_leaves_no_folder(tmp_path, module):
    name = module("def make():\n    return [3]\n")
    recipe = dataclasses.replace(
        RECIPES["shapes"],
        dataset="image_folder",
        data_dir=str(prepare_halves(tmp_path)),
        crop=(64, 64),
        kernel_size=(3,),
        batch=4,
        callbacks=f"{name}:make",
        out=str(tmp_path / "run"),
    )
    assert refusal(train, recipe, RunFolder(recipe.out)).endswith("or a list of them, got 3")
    assert not Path(recipe.out).exists()

"""Keras callbacks of the user's own: `--callbacks MODULE:FUNCTION`.

    python -m gcn_keras.fit --callbacks mine:callbacks

    # mine.py, installed or in the folder in which the command is given
    def callbacks():
        return [WandbMetricsLogger(), keras.callbacks.EarlyStopping("val_mean_iou", mode="max")]

They are called as `keras.Model.fit` calls them, with the model that is trained, and on the chief
alone (the one of several workers that writes): set_model, set_params (epochs, steps, verbose),
on_train_begin; for each epoch on_epoch_begin, on_train_batch_begin and on_train_batch_end for each
step, on_test_begin and on_test_end around a validation, and on_epoch_end with the loss, the
learning rate and, after a validation, the scores (val_mean_iou, val_pixel_accuracy); on_train_end.
What is not as in `fit`:

- An interrupted run has its on_train_end, too. A resumed one begins with on_train_begin and the
  epoch in which it stands, without that epoch's steps from before. What a callback kept in memory
  is gone.
- on_train_batch_end comes when the next step is on its way. A validation has no batches. A loss
  that is not finite is shown at its own step alone, and with `on_nan` stop at none: the run has
  stopped by then. So `TerminateOnNaN` needs `on_nan` skip.
- `model.stop_training = True` ends the run after the epoch, with a validation, as a finished one.
- With `ema` the model has the averaged weights in a validation, else those that are trained.
- On JAX it has its weights at the beginnings and ends of epochs, and not at those of steps.

Not needed are `ModelCheckpoint` and `BackupAndRestore` (a run has checkpoints), `TensorBoard` (it
has a log, see `gcn_keras.training.tensorboard`), `SwapEMAWeights` (see `ema`), and
`EarlyStopping`'s `restore_best_weights` (best.keras is there). What sets the learning rate
(`ReduceLROnPlateau`, `LearningRateScheduler`) needs `schedule` constant.

A result may follow from them, so MODULE:FUNCTION is part of a run's configuration, and a resume has
the same. What the function does is not.
"""

import importlib
from collections.abc import Callable
from typing import Any

import keras

from pipelines.base.errors import ArgumentError, argument

Callback = keras.callbacks.Callback
_SETTING_THE_RATE = (
    keras.callbacks.LearningRateScheduler,
    keras.callbacks.ReduceLROnPlateau,
)


def function_of(name: str) -> Callable[[], Any]:
    """Imports what makes the callbacks.

    Args:
        name: "module:function", of a module that Python finds: installed, or in the current folder.

    Raises:
        ArgumentError: there is no such module or function, or it cannot be imported.
    """
    module_name, _, function_name = name.partition(":")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            raise ArgumentError(
                "callbacks", f"{name} cannot be imported: there is no module {error.name!r}"
            ) from error
        raise ArgumentError(
            "callbacks",
            f"{name}: there is no module {error.name!r}, installed or in the current folder",
        ) from error
    except Exception as error:
        raise ArgumentError(
            "callbacks", f"{name} cannot be imported: {type(error).__name__}: {error}"
        ) from error
    function: Any = module
    for part in function_name.split("."):
        function = getattr(function, part, None)
    if not callable(function):
        found = "is no function" if function is not None else "is not there"
        raise ArgumentError("callbacks", f"{name}: {function_name} {found} in {_place(module)}")
    return function


def made_by(function: Callable[[], Any], name: str, schedule: str = "constant") -> list[Callback]:
    """The callbacks that a function returns: one, or a list of them.

    Args:
        function: from `function_of`.
        name: its name, for messages.
        schedule: of the learning rate.

    Raises:
        ArgumentError: it raises something, or returns anything else; a callback of Keras that sets
            the learning rate meets a schedule that does.
    """
    try:
        made = function()
    except Exception as error:
        raise ArgumentError(
            "callbacks", f"{name} raised {type(error).__name__}: {error}"
        ) from error
    found = list(made) if isinstance(made, list | tuple) else [made]
    for each in found:
        if not isinstance(each, Callback):
            raise ArgumentError(
                "callbacks",
                f"{name} must return a keras.callbacks.Callback or a list of them, got {each!r}",
            )
        if schedule != "constant" and isinstance(each, _SETTING_THE_RATE):
            raise ArgumentError(
                "callbacks",
                f"{name} returns a {type(each).__name__}, which sets the learning rate: give "
                f"{argument('schedule')} constant, got {schedule}",
            )
    return found


def _place(module: Any) -> str:
    return str(getattr(module, "__file__", None) or module.__name__)

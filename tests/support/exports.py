"""A model whose predictions are known, the command `export` on it, and older exports."""

import dataclasses

import keras
import numpy as np

from gcn_keras.deployment.options import ExportOptions
from gcn_keras.export import export as export_command
from gcn_keras.inference.legend import Legend
from pipelines.base import labels

CLASSES = ("red", "green", "blue")
LEGEND = Legend(CLASSES, labels.palette("camvid"))


def stand_in(classes=3, shape=(None, None, 3)):
    """Stands for a network: a pixel's class is its largest channel, after a batch norm."""
    x = keras.Input(shape)
    convolution = keras.layers.Conv2D(classes, 1, use_bias=False)
    batch_norm = keras.layers.BatchNormalization(epsilon=0)
    model = keras.Model(x, batch_norm(convolution(x)))
    convolution.set_weights([np.eye(3, classes).reshape(1, 1, 3, classes) / 255])
    batch_norm.set_weights([np.full(classes, value) for value in (4, 1, 0.5, 1)])
    return model


def export(model, out, formats=("savedmodel",), size=None, **given) -> None:
    """Calls the command with options by their names."""
    names = {field.name for field in dataclasses.fields(ExportOptions)} & set(given)
    options = ExportOptions(formats, size, **{name: given.pop(name) for name in names})
    export_command(model, out, options, **given)


def names(folder) -> set[str]:
    return {path.name for path in folder.iterdir()}


def older_versions(out, legends) -> None:
    """As a SavedModel's versions lie there, with a legend or, of long ago, with None."""
    for version, legend in legends.items():
        (out / version / "assets").mkdir(parents=True)
        (out / version / "saved_model.pb").touch()
        if legend:
            legend.write(out / version / "assets" / "labels.json")

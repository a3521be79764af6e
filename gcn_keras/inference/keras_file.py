"""`.keras` files that earlier versions of Keras load, too, and that compute alike everywhere."""

import json
import zipfile
from collections.abc import Sequence
from pathlib import Path

import keras
import numpy as np

from gcn_keras.inference.legend import Legend, legend_of_model
from pipelines.base.files import checked_path, replacing

# Arguments that Keras 3.5 does not know, at the values at which they change nothing.
_LATER = {
    "ragged": False,
    "quantization_config": None,
    "input_axes": None,
    "output_axes": None,
    "renorm": False,
    "renorm_clipping": None,
    "renorm_momentum": 0.99,
}
# Policies of layers that keep their weights in float32 and compute in 16 bits.
_MIXED = ("mixed_bfloat16", "mixed_float16")


def save_model(
    model: keras.Model,
    path: str | Path,
    class_names: Sequence[str] | None = None,
    palette: np.ndarray | Sequence[Sequence[int]] | None = None,
) -> None:
    """Writes a model without its training configuration, for Keras 3.5 and later.

        gcn_keras.save_model(model, "mine.keras", dataset.class_names, dataset.palette)
        model = keras.models.load_model("mine.keras")  # without this package, too

    A later Keras writes arguments of its layers into the file that an earlier one refuses, even
    where they are at their defaults. These are left out; layers of your own keep all of theirs. So
    is the mixed precision that a model was trained in: what is loaded computes in float32, as its
    weights are, since a CPU without units for bfloat16 would emulate it, many times slower. And
    `synchronized` of batch norms, which JAX lacks: set it again to train on several devices.

    The names and colours of the classes lie in the file, too, as `fit` writes them: `evaluate`,
    `predict` and `export` find them there, and plain Keras passes over them.

    Args:
        model: a functional or a sequential model, which stays as it is.
        path: the file, which must end in .keras; it is replaced in one step.
        class_names: one for each of the model's classes; None for those in `model.class_names`,
            where `load_model` puts them, if there are any.
        palette: RGB of the classes, integers in 0…255, `[C, 3]` or `[256, 3]`; None for that in
            `model.palette`, else for the colours of VOC.

    Raises:
        ValueError: another ending; a model of another kind, of several outputs, or without inputs
            yet; names that are not one for each class, a palette of another form, or one without
            names.
        UserError: the file cannot be written.
    """
    if checked_path(path).suffix != ".keras":
        raise ValueError(f"path must end in .keras, received {str(path)!r}")
    graph = _graph(model)
    if len(graph.outputs) > 1:
        raise ValueError(
            f"model must have one output, received {model.name!r}, which has {len(graph.outputs)}"
        )
    legend = _legend(model, graph.outputs[0].shape[-1], class_names, palette)
    with replacing(path) as temporary:
        graph.save(temporary)
        with zipfile.ZipFile(temporary) as archive:
            content = {entry: archive.read(entry) for entry in archive.infolist()}
        with zipfile.ZipFile(temporary, "w") as archive:
            for entry, data in content.items():
                if entry.filename == "config.json":
                    data = json.dumps(_portable(json.loads(data))).encode()
                archive.writestr(entry, data)
        if legend:
            legend.write_into(temporary)


def _graph(model: keras.Model) -> keras.Model:
    """The model without its training configuration."""
    if not isinstance(model, keras.Model):
        raise ValueError(f"model must be a Keras model, received a {type(model).__name__}")
    if not getattr(model, "inputs", None):  # of another class, or a Sequential without keras.Input
        raise ValueError(
            "model must be a functional or a sequential one that begins with keras.Input, received "
            f"the {type(model).__name__} {model.name!r}"
        )
    if isinstance(model, keras.Sequential):  # which has no `input` and `output`
        return keras.Model(model.inputs[0], model.outputs[0], name=model.name)
    return keras.Model(model.input, model.output, name=model.name)


def _legend(model, classes, class_names, palette) -> Legend | None:
    """What is given, else what the model has."""
    if own := legend_of_model(model):
        class_names = own.class_names if class_names is None else class_names
        palette = own.palette if palette is None else palette
    if class_names is None:
        if palette is not None:
            raise ValueError("palette needs class_names: give both, or neither")
        return None
    legend = Legend.from_names(class_names, palette)
    if len(legend.class_names) != classes:
        raise ValueError(
            f"class_names must be one for each of {classes} classes, received "
            f"{len(legend.class_names)}: {', '.join(legend.class_names)}"
        )
    return legend


def _portable(part):
    """What Keras' own objects are made of, in the terms of Keras 3.5; others stay as they are."""
    if isinstance(part, list):
        return [_portable(each) for each in part]
    if not isinstance(part, dict):
        return part
    part = {key: _portable(value) for key, value in part.items()}
    config = part.get("config")
    if str(part.get("module")).partition(".")[0] != "keras" or not isinstance(config, dict):
        return part
    if part["class_name"] == "DTypePolicy" and config["name"] in _MIXED:
        return part | {"config": {"name": "float32"}}
    if part["class_name"] == "BatchNormalization":
        config = config | {"synchronized": False}  # which JAX's cannot be
    kept = {key: v for key, v in config.items() if key not in _LATER or v != _LATER[key]}
    return part | {"config": kept}

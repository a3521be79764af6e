"""`.keras` files that earlier versions of Keras load, too, and that compute alike everywhere."""

import json
import zipfile
from pathlib import Path

import keras

from pipelines.base.files import replacing

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


def save_model(model: keras.Model, path: str | Path) -> None:
    """Writes a model without its training configuration, for Keras 3.5 and later.

        gcn_keras.save_model(model, "mine.keras")
        model = keras.models.load_model("mine.keras")  # without this package, too

    A later Keras writes arguments into the file that an earlier one refuses, even where they are at
    their defaults. These are left out. So is the mixed precision that a model was trained in: what
    is loaded computes in float32, as its weights are, since a CPU without units for bfloat16 would
    emulate it, many times slower.

    Args:
        model: a functional or a sequential model, which stays as it is.
        path: the file, which must end in .keras; it is replaced in one step.

    Raises:
        ValueError: another ending; a model of another kind, or one without inputs yet.
        UserError: the file cannot be written.
    """
    if Path(path).suffix != ".keras":
        raise ValueError(f"path must end in .keras, received {str(path)!r}")
    graph = _graph(model)
    with replacing(path) as temporary:
        graph.save(temporary)
        with zipfile.ZipFile(temporary) as archive:
            content = {entry: archive.read(entry) for entry in archive.infolist()}
        with zipfile.ZipFile(temporary, "w") as archive:
            for entry, data in content.items():
                if entry.filename == "config.json":
                    data = json.dumps(_portable(json.loads(data))).encode()
                archive.writestr(entry, data)


def _graph(model: keras.Model) -> keras.Model:
    """The model without its training configuration."""
    if not getattr(model, "inputs", None):  # of another class, or a Sequential without keras.Input
        raise ValueError(
            "model must be a functional or a sequential one that begins with keras.Input, received "
            f"the {type(model).__name__} {model.name!r}"
        )
    if isinstance(model, keras.Sequential):  # which has no `input` and `output`
        return keras.Model(model.inputs[0], model.outputs[0], name=model.name)
    return keras.Model(model.input, model.output, name=model.name)


def _portable(config):
    if isinstance(config, list):
        return [_portable(part) for part in config]
    if not isinstance(config, dict):
        return config
    if config.get("class_name") == "DTypePolicy" and config["config"]["name"] in _MIXED:
        return config | {"config": {"name": "float32"}}
    if "synchronized" in config:  # as on several devices, which JAX's batch norm cannot be
        config = config | {"synchronized": False}
    return {
        key: _portable(value)
        for key, value in config.items()
        if key not in _LATER or value != _LATER[key]
    }

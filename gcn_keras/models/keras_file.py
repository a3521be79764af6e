"""`.keras` files that earlier versions of Keras load, too."""

import json
import zipfile
from pathlib import Path

import keras

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


def save_keras(model: keras.Model, path: str | Path) -> None:
    """Writes a model without its training configuration, for Keras 3.5 and later.

    A later Keras writes arguments into the file that an earlier one refuses, even where they are at
    their defaults. These are left out.

    Args:
        model: a functional model.
        path: the file, which must end in .keras; it is replaced.
    """
    keras.Model(model.input, model.output, name=model.name).save(path)
    with zipfile.ZipFile(path) as archive:
        content = {entry: archive.read(entry) for entry in archive.infolist()}
    with zipfile.ZipFile(path, "w") as archive:
        for entry, data in content.items():
            if entry.filename == "config.json":
                data = json.dumps(_without_later(json.loads(data))).encode()
            archive.writestr(entry, data)


def _without_later(config):
    if isinstance(config, list):
        return [_without_later(part) for part in config]
    if not isinstance(config, dict):
        return config
    return {
        key: _without_later(value)
        for key, value in config.items()
        if key not in _LATER or value != _LATER[key]
    }

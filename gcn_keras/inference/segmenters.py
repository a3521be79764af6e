"""A trained model in any of its forms, behind one function: images in, label maps out."""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from gcn_keras.inference import keras_model
from gcn_keras.inference.failures import naming_failed_model
from gcn_keras.inference.images import checked_batch
from gcn_keras.inference.legend import (
    Legend,
    check_same_names,
    file_beside,
    legend_of,
    legend_of_model,
)
from gcn_keras.inference.onnx_model import OnnxSegmenter
from gcn_keras.inference.serving_client import Client
from gcn_keras.inference.serving_transports import parse_address
from gcn_keras.inference.tflite_model import TFLiteSegmenter
from pipelines.base import extras
from pipelines.base.errors import ArgumentError, UserError
from pipelines.base.plurals import count_of
from pipelines.base.progress import note_once

if TYPE_CHECKING:
    from pipelines.datasets import PreparedDataset

# From images, uint8 `[B, H, W, 3]` RGB of any size, to labels, uint8 `[B, H, W]`.
Segment = Callable[[np.ndarray], np.ndarray]

FORMS = (
    "a .keras file, a SavedModel folder, a .tflite or .onnx file, "
    "http://HOST:8501/v1/models/NAME or grpc://HOST:8500/NAME"
)


class Segmenter(Protocol):
    """A model that can be asked."""

    @property
    def legend(self) -> Legend | None:
        """Names and colours of the classes; None where this form does not carry them."""

    @property
    def num_classes(self) -> int | None:
        """Number of classes; None where this form does not carry it."""

    @property
    def logits(self) -> Callable[[np.ndarray], np.ndarray] | None:
        """From uint8 `[B, H, W, 3]` of any size to float32 `[B, H, W, C]`; None where this form
        gives labels alone."""

    def segment(self, images: np.ndarray) -> np.ndarray:
        """Labels every pixel: uint8 `[B, H, W, 3]` RGB of any size to uint8 `[B, H, W]`."""


class KerasSegmenter:
    """A `.keras` file, loaded in safe mode; `size` is that of a model of one size, or None."""

    def __init__(self, path: Path):
        self.model = keras_model.load_model(path)
        self.num_classes: int = self.model.output.shape[-1]
        size = self.model.input_shape[1:3]
        self.size = None if None in size else size
        self.legend = legend_of_model(self.model)

    def segment(self, images: np.ndarray) -> np.ndarray:
        return keras_model.segment(self.model, checked_batch(images))

    def logits(self, images: np.ndarray) -> np.ndarray:
        return keras_model.predict_logits(self.model, checked_batch(images))


class SavedModelSegmenter:
    """The newest version of a SavedModel folder, or one version of it."""

    def __init__(self, path: Path):
        import tensorflow as tf

        folder = newest_version(path)
        try:
            self._saved = tf.saved_model.load(str(folder))
            self._serve = self._saved.signatures["serving_default"]
        except (OSError, ValueError, KeyError, tf.errors.OpError) as error:
            raise UserError(f"{folder} cannot be loaded as a SavedModel: {error}") from error
        outputs = self._serve.structured_outputs
        inputs = self._serve.structured_input_signature[1]
        given = {name: _form(spec) for name, spec in (inputs | outputs).items()}
        served = {name: form for name, form in given.items() if name in _SERVED}
        if set(inputs) != {"images"} or served != _SERVED:
            found = ", ".join(f"{name} ({form})" for name, form in given.items())
            wanted = ", ".join(f"{name} ({form})" for name, form in _SERVED.items())
            raise UserError(
                f"{folder} is no segmentation model of this project: its serving_default has "
                f"{found}, not {wanted}"
            )
        self._folder = folder
        logits, legend = self._signature("logits"), self._signature("legend")
        self.logits = functools.partial(self._output, logits, "logits") if logits else None
        self.num_classes = logits.structured_outputs["logits"].shape[-1] if logits else None
        content = legend(bytes=tf.constant([""]))["legend_bytes"].numpy()[0] if legend else None
        self.legend = legend_of(folder, self.num_classes, content)

    def segment(self, images: np.ndarray) -> np.ndarray:
        return self._output(self._serve, "labels", images)

    def _signature(self, name: str) -> Any:
        """A signature of this project; None where there is none, or another one of its name."""
        inputs, outputs = _OTHERS[name]
        found = self._saved.signatures.get(name)
        if found is None or inputs not in found.structured_input_signature[1]:
            return None
        return found if outputs in found.structured_outputs else None

    def _output(self, signature: Callable, name: str, images: np.ndarray) -> np.ndarray:
        import tensorflow as tf

        images = checked_batch(images)
        with naming_failed_model(self._folder, *images.shape[1:3]):
            return signature(images=tf.constant(images))[name].numpy()


# Inputs and outputs of the signatures, as `deployment.saved_model` writes them.
_SERVED = {"images": "uint8, rank 4", "labels": "uint8, rank 3"}
_OTHERS = {"logits": ("images", "logits"), "legend": ("bytes", "legend_bytes")}


def _form(spec) -> str:
    return f"{spec.dtype.name}, rank {spec.shape.rank}"


def open_segmenter(address: str | Path) -> Segmenter:
    """Opens a model by its path or address.

    Args:
        address: a .keras file; a SavedModel, or the folder of its versions, of which the newest
            is taken; a .tflite or .onnx file; the address of a server, see `Client`. A SavedModel
            is code, which runs with all that the user may do: open those alone whose origin you
            trust. The others are data.

    Returns:
        What segments images with it; see `Segmenter`.

    Raises:
        UserError: there is no model, or it cannot be used; a server is asked at the first
            image.
    """
    check_exists(address)
    if is_server(str(address)):
        return Client(str(address))
    path = Path(address)
    if path.is_dir():
        return SavedModelSegmenter(path)
    return _FILES[path.suffix](path)


_FILES: dict[str, Callable[[Path], Segmenter]] = {
    ".keras": KerasSegmenter,
    ".tflite": TFLiteSegmenter,
    ".onnx": OnnxSegmenter,
}
# What opens files with these endings, and servers with this scheme: packages of extras.
_PACKAGES = {".tflite": "ai_edge_litert", ".onnx": "onnxruntime", "grpc": "tensorflow_serving"}


def check_exists(address: str | Path) -> None:
    """Refuses what can be no model, or cannot be opened here, before anything slow is imported.

    Raises:
        UserError: nothing lies there, or something with another ending; the package that opens
            models of this form is missing.
        UsageError: the address of a server, but of another form.
    """
    if not isinstance(address, str | os.PathLike):
        raise ArgumentError("address", f"must be a string or a Path, got {address!r}")
    path = Path(address)
    kind = path.suffix
    if is_server(str(address)):
        kind = parse_address(str(address)).scheme
    elif not str(address):  # which Path takes for the current folder
        raise UserError(f"there is no model at '': expected {FORMS}")
    elif os.path.isdir(path):
        newest_version(path)
        return
    elif not os.path.isfile(path) or path.suffix not in _FILES:
        raise UserError(f"there is no model at {address}: expected {FORMS}")
    if kind in _PACKAGES:
        extras.check(f"{address} needs", _PACKAGES[kind])


def files_of(address: str | Path) -> list[Path]:
    """The files that a model is read from, and the one beside it that may name its classes.

    None of a server's.
    """
    path = Path(address)
    if is_server(str(address)):
        return []
    if path.is_dir():
        return list(newest_version(path).rglob("*"))
    return [path, file_beside(path)]


def logits_of(segmenter: Segmenter, address: str | Path) -> Callable:
    """`segmenter.logits`; a UserError, which names its address, if its form gives none."""
    logits = getattr(segmenter, "logits", None)
    if logits is None:
        raise _no_logits(address)
    return logits


def check_gives_logits(address: str | Path) -> None:
    """Refuses the forms that never give logits, before anything slow is imported.

    Raises:
        UserError: naming the forms that do.
    """
    if is_server(str(address)) or Path(address).suffix in (".tflite", ".onnx"):
        raise _no_logits(address)


def _no_logits(address: str | Path) -> UserError:
    return UserError(
        f"{address} gives labels alone, and scales, mirrored views, tiles and the dense CRF need "
        "logits: take a .keras file, or a SavedModel folder with the signature 'logits', as "
        "gcn_keras.export writes"
    )


def check_same_classes(segmenter: Segmenter, address: str | Path, dataset: PreparedDataset) -> None:
    """Refuses a model whose classes are not those of a data set, in the same order.

    Names that a model does not carry cannot be compared: a note on standard error says so.

    Args:
        segmenter: the model.
        address: its path or address, for the message.
        dataset: what it is to be used on.

    Raises:
        UserError: they do not belong together.
    """
    legend = segmenter.legend
    if legend and legend.is_named:
        check_same_names(address, legend.class_names, repr(dataset.name), dataset.class_names)
        return
    if segmenter.num_classes not in (None, dataset.num_classes):
        raise UserError(
            f"{address} knows {count_of(segmenter.num_classes, 'class')} and {dataset.name!r} has "
            f"{dataset.num_classes}: they do not belong together"
        )
    note_once(
        f"note: {address} carries no class names; they are taken to be those of {dataset.name!r}: "
        f"{', '.join(dataset.class_names)}"
    )


def is_server(address: str) -> bool:
    """Whether an address is a server's, and no path."""
    return bool(re.match(r"(https?|grpc)://", address, re.IGNORECASE))


def newest_version(path: Path) -> Path:
    """The SavedModel in a folder: itself, or its version folder with the highest number.

    Raises:
        UserError: it holds neither.
    """
    if (path / "saved_model.pb").is_file():
        return path
    versions = versions_of(path)
    if not versions:
        # A run's folder has best.keras, and one of exports has files of other forms.
        models = sorted(file.name for file in path.iterdir() if file.suffix in _FILES)
        hint = f"; name a model in it: {', '.join(models)}" if models else ""
        raise UserError(
            f"{path} holds no SavedModel: neither saved_model.pb nor version folders such as "
            f"{path / '1'}{hint}"
        )
    return versions[-1]


def versions_of(path: Path) -> list[Path]:
    """The version folders of a SavedModel, the newest last."""
    folders = [file.parent for file in path.glob("*/saved_model.pb")]
    versions = [folder for folder in folders if folder.name.isdecimal()]
    return sorted(versions, key=lambda version: int(version.name))

"""Runs a TFLite file on LiteRT, without TensorFlow or Keras: numpy is all it needs beside.

A TFLite file takes one image of one size. Other sizes come to it as tiles: a side that is too
short is padded with the mean pixel, a longer one is covered with overlapping tiles.
"""

import contextlib
import itertools
import os
import re
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from gcn_keras.inference.images import checked_batch
from gcn_keras.inference.legend import FILE, legend_of
from gcn_keras.inference.padding import pad_with_mean
from gcn_keras.inference.tiles import nearest_tiles
from pipelines.base import extras
from pipelines.base.environment import cores
from pipelines.base.errors import UserError
from pipelines.base.files import check_utf8
from pipelines.base.progress import note_once

_QUIETING = threading.RLock()
_OVERLAP = 4  # neighbouring tiles share at least a quarter of their side


class TFLiteSegmenter:
    """A `.tflite` file as `gcn_keras.export` writes it, on all cores.

    Attributes:
        size: height and width of the images that the file takes.
        legend: from the file, and NAME.json beside NAME.tflite; None if there is none.
        num_classes: how many classes the legend names; None without one.

    Raises:
        UserError: the file is missing, no TFLite model, truncated, or takes or gives something
            else than an image and its labels; its legend is damaged.
    """

    num_classes: int | None
    logits = None  # the file gives labels alone

    def __init__(self, path: str | Path):
        self._path = path = Path(path)
        self._interpreter = _interpreter(path)
        self._input, self._output = _input_and_output(self._interpreter, path)
        self.legend = legend_of(path, None, _metadata(path))
        self.num_classes = len(self.legend.class_names) if self.legend else None
        self.size = tuple(int(side) for side in self._input["shape"][1:3])
        self._lock = threading.Lock()  # an interpreter serves one thread at a time

    def segment(self, images: np.ndarray) -> np.ndarray:
        """As in `Segmenter`; a ValueError for an array of another shape or type.

        An image larger than `size` is cut into overlapping tiles, evenly spaced. Each pixel is
        labelled by the tile whose middle is nearest: what a tile's network sees ends at its
        border, so labels are best in its middle (our choice).
        """
        return np.stack([self._segment_one(image) for image in checked_batch(images)])

    def _segment_one(self, image: np.ndarray) -> np.ndarray:
        (height, width), (tile_height, tile_width) = image.shape[:2], self.size
        if height < tile_height or width < tile_width:
            note_once(
                f"note: {self._path} takes images of {tile_height}x{tile_width}; smaller ones are "
                "padded, and labelled worse: export a file of their size"
            )
        padded = pad_with_mean(image, max(height, tile_height), max(width, tile_width))
        labels = np.empty(padded.shape[:2], np.uint8)
        rows = nearest_tiles(padded.shape[0], tile_height, tile_height // _OVERLAP)
        columns = nearest_tiles(padded.shape[1], tile_width, tile_width // _OVERLAP)
        for (y, top, bottom), (x, left, right) in itertools.product(rows, columns):
            tile = self._invoke(padded[y : y + tile_height, x : x + tile_width])
            labels[top:bottom, left:right] = tile[top - y : bottom - y, left - x : right - x]
        return labels[:height, :width]

    def _invoke(self, tile: np.ndarray) -> np.ndarray:
        with self._lock:
            self._interpreter.set_tensor(self._input["index"], tile[None])
            self._interpreter.invoke()
            return self._interpreter.get_tensor(self._output["index"])[0]


def _interpreter(path: Path):
    """A LiteRT interpreter that is ready to run."""
    interpreter_class = extras.require(f"{path} needs", "ai_edge_litert.interpreter").Interpreter
    check_utf8(path)
    try:
        with open(path, "rb") as file:
            marker = file.read(8)[4:]
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from error
    if marker != b"TFL3":  # the file identifier of TFLite's flatbuffers
        raise UserError(f"{path} is no TFLite model, or a damaged one")
    try:
        with quiet_stderr():
            interpreter = interpreter_class(str(path), num_threads=cores())
            interpreter.allocate_tensors()
    except (ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{path} cannot be loaded as a TFLite model: {reason}") from error
    return interpreter


def _metadata(path: Path) -> bytes | None:
    """The legend in a file that the interpreter has found sound."""
    from ai_edge_litert.schema_py_generated import Model

    model = Model.GetRootAs(path.read_bytes())
    for entry in map(model.Metadata, range(model.MetadataLength())):
        if entry.Name() == FILE.encode():
            # An array, but 0 for a buffer without content: bytes() makes b"" of that.
            return bytes(model.Buffers(entry.Buffer()).DataAsNumpy())
    return None


def _input_and_output(interpreter, path: Path) -> tuple[dict, dict]:
    """What the interpreter says of its input and its output, if they are ours."""
    inputs, outputs = interpreter.get_input_details(), interpreter.get_output_details()
    taken, given = ", ".join(map(_form, inputs)), ", ".join(map(_form, outputs))
    size = re.fullmatch(r"uint8 \[1, (\d+, \d+)\]", given)  # -1 is a side that is free
    if size and taken == f"uint8 [1, {size[1]}, 3]":
        return inputs[0], outputs[0]
    raise UserError(
        f"{path} is no segmentation model of this project: it takes {taken or 'nothing'} and gives "
        f"{given or 'nothing'}, not uint8 [1, H, W, 3] and uint8 [1, H, W]"
    )


def _form(tensor: dict) -> str:
    return f"{np.dtype(tensor['dtype']).name} {tensor['shape_signature'].tolist()}"


@contextlib.contextmanager
def quiet_stderr() -> Iterator[Path]:
    """Gives a file that holds what native code prints to standard error while the block runs.

    LiteRT and the converter report their progress there, past Python and without a switch. The
    process has one standard error: another thread's block waits.
    """
    with _QUIETING, tempfile.NamedTemporaryFile() as file:
        sys.stderr.flush()
        original = os.dup(2)
        os.dup2(file.fileno(), 2)
        try:
            yield Path(file.name)
        finally:
            sys.stderr.flush()
            os.dup2(original, 2)
            os.close(original)

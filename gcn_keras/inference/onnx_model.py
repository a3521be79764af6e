"""Runs an ONNX file on ONNX Runtime, without TensorFlow or Keras."""

from pathlib import Path

import numpy as np

from gcn_keras.inference.failures import check_fits, fixed_of, naming_failed_model
from gcn_keras.inference.images import checked_batch
from gcn_keras.inference.legend import FILE, legend_of
from pipelines.base import extras
from pipelines.base.environment import cores
from pipelines.base.errors import UserError

# Where the metadata of a file have the largest image that it takes.
LIMIT = "largest_image"
# What ONNX Runtime calls them, for any batch, height and width.
_INPUT, _OUTPUT = ("images", "tensor(uint8)", 4), ("labels", "tensor(uint8)", 3)


class OnnxSegmenter:
    """An `.onnx` file as `gcn_keras.export` writes it, on all cores.

    Attributes:
        legend: from the file, and NAME.json beside NAME.onnx; None if there is none.
        num_classes: how many classes the legend names; None without one.

    Raises:
        UserError: ONNX Runtime is missing; the file is no ONNX model, damaged, or takes or gives
            something else than images and their labels; its legend is damaged.
    """

    num_classes: int | None
    logits = None  # the file gives labels alone

    def __init__(self, path: str | Path):
        path = Path(path)
        onnxruntime = extras.require(f"{path} needs", "onnxruntime")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = cores()  # by itself it counts physical ones
        options.log_severity_level = 4  # what fails is raised, and need not be printed, too
        try:
            self._session = onnxruntime.InferenceSession(
                str(path), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # onnxruntime's have no common base
            reason = " ".join(str(error).split())
            raise UserError(f"{path} cannot be loaded as an ONNX model: {reason}") from error
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        found = [(x.name, x.type, len(x.shape)) for x in (*inputs, *outputs)]
        if (len(inputs), found) != (1, [_INPUT, _OUTPUT]):
            raise UserError(
                f"{path} is no segmentation model of this project: it takes and gives {found}, "
                f"not {_INPUT} and {_OUTPUT}"
            )
        inside = self._session.get_modelmeta().custom_metadata_map
        self.legend = legend_of(path, None, inside.get(FILE))
        self.num_classes = len(self.legend.class_names) if self.legend else None
        self._path, self._fixed = path, fixed_of(inside.get(LIMIT))

    def segment(self, images: np.ndarray) -> np.ndarray:
        images = checked_batch(images)
        size = images.shape[1:3]
        check_fits(self._path, self._fixed, size, gives_logits=False)
        with naming_failed_model(self._path, *size):
            return self._session.run(["labels"], {"images": images})[0]

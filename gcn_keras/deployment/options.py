"""In which forms a model is exported, and within which bounds: the options of `export`."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

import tyro

from gcn_keras.inference.padding import padded_size
from gcn_keras.inference.serving_client import REQUEST_PIXELS
from pipelines.base import extras
from pipelines.base.errors import ArgumentError, UsageError, argument

Format = Literal["savedmodel", "tflite", "tflite-fp16", "tflite-int8", "onnx"]
Precision = Literal["float32", "bfloat16"]
# A small file may announce any number of pixels, and bring a server down (our choice).
MOST_PIXELS = REQUEST_PIXELS
WARM_UP_SIZE = (256, 256)
# What makes each form and tries it, beyond the package's own requirements.
_PACKAGES: dict[Format, tuple[str, ...]] = {
    "savedmodel": (),
    "tflite": ("ai_edge_litert",),
    "tflite-fp16": ("ai_edge_litert",),
    "tflite-int8": ("ai_edge_litert",),
    "onnx": ("tf2onnx", "onnxruntime"),
}


@dataclass(frozen=True)
class ExportOptions:
    """What is written of a model; the default is a SavedModel."""

    formats: tuple[Format, ...] = ("savedmodel",)
    """What to write."""
    size: Annotated[tuple[int, int] | None, tyro.conf.arg(metavar="H W")] = None
    """Height and width of the images that TFLite files take, for good; the other formats take what
    the model takes, and are timed and warmed up with this size."""
    split: str | None = None
    """Split to measure on; by default val or validation."""
    budget: float | None = None
    """How many points of mean IoU int8 may lose: sensitive layers stay in float until it fits, or
    nothing is written."""
    most_pixels: int = MOST_PIXELS
    """Pixels that a SavedModel's serve_bytes takes in one request, all its images together. It
    bounds a server's memory, see serving/README.md."""
    precision: Precision = "float32"
    """Number type of a SavedModel's weights and of what it computes: bfloat16 is half the size, and
    faster on CPUs that have units for it."""

    def check(self, has_dataset: bool) -> None:
        """Refuses what is invalid or does not go together, before anything slow is imported.

        Args:
            has_dataset: whether there is a data set to measure on.

        Raises:
            UsageError: naming the field, the value and what it can be.
            UserError: a package that a format needs is missing.
        """
        formats, size, budget = self.formats, self.size, self.budget
        dataset = argument("dataset")
        if not formats:
            raise ArgumentError("formats", "must name at least one")
        if size is not None and min(size) < 1:
            raise ArgumentError(
                "size", f"must be a height and a width of at least 1, got {size[0]} and {size[1]}"
            )
        if not has_dataset and "tflite-int8" in formats:
            raise UsageError(
                f"tflite-int8 needs {dataset}: the ranges of its integers are measured on images "
                "of the training split"
            )
        if not has_dataset and self.split is not None:
            raise ArgumentError("split", f"is about a data set: name it by {dataset}")
        if budget is not None:
            if not has_dataset:
                raise ArgumentError("budget", f"needs {dataset}: mean IoU is measured on it")
            if "tflite-int8" not in formats:
                add = f"add tflite-int8 to {argument('formats')}"
                raise ArgumentError("budget", f"is about int8: {add}")
            if not 0 <= budget < math.inf:
                raise ArgumentError("budget", f"must be 0 or more points of mean IoU, got {budget}")
        if "savedmodel" in formats:
            check_most_pixels(self.most_pixels, size or WARM_UP_SIZE)
        elif self.most_pixels != MOST_PIXELS:
            add = f"add savedmodel to {argument('formats')}"
            raise ArgumentError("most_pixels", f"is about a server: {add}")
        check_precision(self.precision, formats)
        packages = [package for kind in formats for package in _PACKAGES[kind]]
        extras.check(f"{argument('formats')} {' '.join(formats)} needs", *packages)


DEFAULT = ExportOptions()


def check_most_pixels(most_pixels: int, size: tuple[int, int]) -> None:
    """Refuses a limit that is below the pixels of a warm-up request with images of this size.

    Raises:
        ArgumentError: naming the limit that is needed.
    """
    height, width = padded_size(size)
    half, _ = padded_size((size[0] // 2 + 1, size[1]))
    if most_pixels < (height + half) * width:
        raise ArgumentError(
            "most_pixels",
            f"must be at least {(height + half) * width}, the pixels of a request that a server "
            f"warms up with, got {most_pixels}: {argument('size')} makes its images smaller",
        )


def check_precision(precision: Precision, formats: Sequence[str]) -> None:
    """Refuses formats that cannot be written in this precision: only a SavedModel has bfloat16.

    Raises:
        ArgumentError: naming them.
    """
    others = [kind for kind in formats if kind != "savedmodel"]
    if precision != "float32" and others:
        raise ArgumentError(
            "precision",
            f"must be float32 for {', '.join(others)}, got {precision}: only savedmodel can be "
            "in it, so export that alone",
        )

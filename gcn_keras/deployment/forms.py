"""The forms of a deployed model, written, compared and measured."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from gcn_keras.deployment.deployable import (
    MOST_PIXELS,
    WARM_UP_SIZE,
    Deployable,
    check_precision,
)
from gcn_keras.inference.padding import pad_with_mean
from pipelines.base.bfloat16 import note_emulation
from pipelines.base.errors import ArgumentError, UsageError, UserError, printable
from pipelines.base.files import replacing

if TYPE_CHECKING:
    from pipelines.datasets import PreparedDataset

Format = Literal["savedmodel", "tflite", "tflite-fp16", "tflite-int8", "onnx"]
# What lies in the folder beside the versions, after its name.
ENDINGS = {
    "tflite": ".tflite",
    "tflite-fp16": "-fp16.tflite",
    "tflite-int8": "-int8.tflite",
    "onnx": ".onnx",
}
REPRESENTATIVE = 100  # images from which the ranges of an int8 model are measured
_COMPARED_SIZE = (256, 256)  # where no other size is asked for
_COMPARED_SECONDS = 3


def export_file(model: Path, out: Path, formats: Sequence[Format] = ("savedmodel",)) -> list[str]:
    """Exports a `.keras` file, see `export_model`; gives the lines that the command prints."""
    said: list[str] = []
    export_model(Deployable.load(model), out, formats, say=said.append)
    return "\n".join(said).splitlines()


def export_model(
    deployable: Deployable,
    out: Path,
    formats: Sequence[Format],
    size: tuple[int, int] | None = None,
    dataset: PreparedDataset | None = None,
    split: str | None = None,
    budget: float | None = None,
    most_pixels: int = MOST_PIXELS,
    say: Callable[[str], None] = print,
) -> dict:
    """Compares a model with its deployed graph, writes its forms, and measures them.

    Nothing is written before everything is converted.

    Args:
        deployable: a model from a file.
        out: the folder to write to: the SavedModel as its next version folder, the others under
            the folder's name and `ENDINGS`, with names and colours of the classes beside each.
        formats: what to write.
        size: height and width of the images that TFLite files take, if the model takes more than
            one; the other forms take any size, and are timed and warmed up with this one.
        dataset: what every form is measured on, and calibrates "tflite-int8" with its split
            train; None measures nothing.
        split: to measure on; None for val or validation.
        budget: how many points of mean IoU int8 may lose, see `quantization.fit_budget`.
        most_pixels: that a SavedModel serves at most, see `saved_model.export_saved_model`.
        say: takes the lines about what was found and written.

    Returns:
        `model`, the path; `graph`, as of `compare`; with a data set also `dataset`, its name,
        `split`, and `formats`, the rows of `quantization.report`.

    Raises:
        ValueError: the model comes from no file; int8 without a data set; a format that has not
            the model's precision.
        UserError: TFLite without a size, for a model of any; no int8 model keeps within the
            budget; something cannot be converted, read or written.
    """
    import tensorflow as tf

    from gcn_keras.deployment.quantization import markdown, report

    check_precision(deployable.precision, formats)
    if deployable.precision == "bfloat16":
        note_emulation()
    figures: dict = {"model": str(deployable.file)}
    size = _size_of_files(deployable.network, formats, size)
    split = dataset.validation_split(split) if dataset else ""
    figures["graph"] = compare(deployable, size)
    say(graph_table(figures["graph"]))
    try:
        contents = {
            kind: _tflite(deployable, kind, size, dataset, split, budget, say)
            for kind in formats
            if kind.startswith("tflite")
        }
        files = _write(deployable, out, formats, contents, size, most_pixels, say)
        if dataset:
            rows = report([deployable.file, *files], dataset, split)
            figures |= {"dataset": dataset.name, "split": split, "formats": rows}
            say(printable(f"\n{dataset.name}, split {split}\n\n{markdown(rows)}"))
    except tf.errors.OpError as error:
        name = dataset.name if dataset else None
        raise UserError(f"{name!r} cannot be read: {error.message}") from error
    return figures


def _size_of_files(network, formats, size) -> tuple[int, int] | None:
    if size is not None or not any(name.startswith("tflite") for name in formats):
        return size
    _, height, width, _ = network.input_shape
    if None in (height, width):
        raise UsageError.naming(
            "TFLite files take images of one size, and this model takes any: name it by {size} H W"
        )
    return height, width


def compare(deployable: Deployable, size: tuple[int, int] | None) -> dict:
    """What folding gave, and convolving line by line.

    Args:
        deployable: a model from a file.
        size: of the image whose time is taken; None for one of 256×256.

    Returns:
        `training` and `deployed`, each with `layers`, `operations` of the graph, `parameters`,
        `mib` (of the file; of the graph with its weights) and `ms`, the median time of an image;
        `height` and `width` of that image; `speed_ratio`.
    """
    import tensorflow as tf

    from gcn_keras.deployment.graphs import logits_graph

    functions = logits_graph(deployable.network), deployable.graph
    height, width = size or _COMPARED_SIZE
    pixels = np.random.default_rng(0).integers(0, 256, (1, height, width, 3))
    times = _times(functions, tf.constant(pixels, tf.uint8))
    models = deployable.network, deployable.folded
    weights = sum(v.dtype.size * v.shape.num_elements() for v in deployable.graph.variables)
    sizes = deployable.file.stat().st_size, weights + functions[1].graph.as_graph_def().ByteSize()
    training, deployed = (
        {
            "layers": len(model.layers),
            "operations": len(function.graph.get_operations()),
            "parameters": model.count_params(),
            "mib": size / 2**20,
            "ms": ms,
        }
        for model, function, size, ms in zip(models, functions, sizes, times, strict=True)
    )
    ratio = training["ms"] / deployed["ms"]
    sides = {"height": height, "width": width}
    return {"training": training, "deployed": deployed, **sides, "speed_ratio": ratio}


def _write(deployable, out, formats, contents, size, most_pixels, say) -> list[Path]:
    """Writes what was asked for, TFLite's contents being there; tells what lies where."""
    from gcn_keras.deployment import saved_model
    from gcn_keras.deployment.quantization import mib_of
    from gcn_keras.deployment.tflite_file import with_legend

    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot export to {out}: {error.strerror}") from error
    written = []
    for kind in formats:
        if kind == "savedmodel":
            warm_up = size or WARM_UP_SIZE
            path = saved_model.export_saved_model(deployable, out, warm_up, most_pixels)
        else:
            path = out / f"{out.resolve().name}{ENDINGS[kind]}"
            deployable.legend.write(path.with_suffix(".json"))
            if kind == "onnx":
                saved_model.export_onnx(deployable, path)
            else:
                with replacing(path) as temporary:
                    temporary.write_bytes(with_legend(contents[kind], deployable.legend))
        written.append(path)
        say(f"{kind}: {path}, {mib_of(path):.2f} MiB")
    return written


def _tflite(deployable, kind, size, dataset, split, budget, say) -> bytes:
    from gcn_keras.deployment import quantization, tflite
    from gcn_keras.evaluation.measure import evaluate_model
    from gcn_keras.inference.keras_model import segment

    if kind != "tflite-int8":
        return tflite.convert(deployable.folded, kind, size)
    if dataset is None:
        raise ArgumentError("dataset", "is needed: tflite-int8 is calibrated with its split train")
    images = representative_images(dataset, size)
    if budget is None:
        return tflite.convert(deployable.folded, kind, size, representative=images)

    def mean_iou(segment: Callable) -> float:
        return evaluate_model(segment, dataset, split).mean_iou

    reference = mean_iou(lambda images: segment(deployable.network, images))
    return quantization.fit_budget(
        deployable.folded, size, images, mean_iou, reference, budget, say=say
    ).content


def representative_images(dataset: PreparedDataset, size: tuple[int, int]) -> list[np.ndarray]:
    """Images of the training split as a TFLite file of this height and width will meet them.

    Returns:
        At most `REPRESENTATIVE` arrays uint8 `[1, height, width, 3]`, none resized: windows
        anywhere in larger images; smaller ones padded with the mean pixel at the bottom and right.

    Raises:
        UsageError: the data set has no split train.
    """
    from pipelines.stream.evaluation import evaluation_examples

    examples = evaluation_examples(dataset, "train", REPRESENTATIVE)
    random = np.random.default_rng(0)
    images = []
    for example in examples.as_numpy_iterator():
        image = example["image"]
        spare = np.maximum(np.subtract(image.shape[:2], size), 0)
        top, left = (random.integers(0, most + 1) for most in spare)
        window = image[top:, left:][: size[0], : size[1]]
        images.append(pad_with_mean(window[None], *size))
    return images


def _times(functions, images) -> list[float]:
    """Median milliseconds of each; they take turns, so that what disturbs one disturbs all."""
    times: list[list[float]] = [[] for _ in functions]
    for function in functions:
        function(images)  # the first call optimises the graph
    end = time.perf_counter() + _COMPARED_SECONDS
    while len(times[0]) < 5 or time.perf_counter() < end:
        for function, taken in zip(functions, times, strict=True):
            start = time.perf_counter()
            function(images)
            taken.append(1000 * (time.perf_counter() - start))
    return [float(np.median(taken)) for taken in times]


def graph_table(figures: dict) -> str:
    """The figures of `compare` as aligned text."""
    training, deployed = figures["training"], figures["deployed"]
    names = {"mib": "MiB", "ms": f"ms, {figures['height']}x{figures['width']}"}
    forms = {"mib": ".2f", "ms": ".1f"}
    lines = [f"{'':<16}{'training graph':>16}{'deployed graph':>16}"]
    for key, value in training.items():
        form = forms.get(key, ",d")
        lines.append(f"{names.get(key, key):<16}{value:>16{form}}{deployed[key]:>16{form}}")
    return "\n".join(lines) + f"   {figures['speed_ratio']:.2f} x as fast"

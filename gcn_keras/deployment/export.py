"""The forms of a deployed model, written, compared and measured."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from gcn_keras.deployment.deployable import (
    MOST_PIXELS,
    Deployable,
    check_precision,
    tried_size,
)
from gcn_keras.inference.failures import check_scores, naming_failed_model
from gcn_keras.inference.legend import FILE, Legend, check_same_names
from gcn_keras.inference.padding import pad_with_mean, padded_size
from gcn_keras.inference.segmenters import open_segmenter, versions_of
from pipelines.base.bfloat16 import note_emulation
from pipelines.base.errors import ArgumentError, UsageError, UserError, argument, printable
from pipelines.base.files import make_folder, removing_empty, replacing
from pipelines.base.progress import note

if TYPE_CHECKING:
    from pipelines.datasets import PreparedDataset

Format = Literal["savedmodel", "tflite", "tflite-fp16", "tflite-int8", "onnx"]
# What lies in the folder beside the versions, after its name.
ENDINGS: dict[Format, str] = {
    "tflite": ".tflite",
    "tflite-fp16": "-fp16.tflite",
    "tflite-int8": "-int8.tflite",
    "onnx": ".onnx",
}
REPRESENTATIVE = 100  # images from which the ranges of an int8 model are measured
_COMPARED_SECONDS = 3
_TOLERANCE = 0.01  # of the largest score: rounding in a hundred layers is far below it


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
            one; the other forms take what the model takes, and are timed and warmed up with this
            size.
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
        UserError: TFLite without a size, for a model of any; a size beyond the model's; as of
            `check_classes_stay`; no int8 model keeps within the budget; something cannot be
            converted, read or written.
    """
    import tensorflow as tf

    from gcn_keras.deployment.quantization import markdown, report

    check_precision(deployable.precision, formats)
    if deployable.precision == "bfloat16":
        note_emulation()
    figures: dict = {"model": str(deployable.file)}
    size = _size_of_files(deployable.network, formats, size)
    check_classes_stay(out, deployable.legend.class_names, deployable.file, formats)
    split = dataset.validation_split(split) if dataset else ""
    if dataset and split in dataset.unlabelled_splits:
        raise UsageError(
            f"{dataset.name!r} has no labels for split {split!r} to measure by: name another "
            f"{argument('split')}"
        )
    figures["graph"] = compare(deployable, size)
    say(graph_table(figures["graph"]))
    try:
        contents = {
            kind: _content(deployable, kind, size, dataset, split, budget, say)
            for kind in formats
            if kind != "savedmodel"
        }
        files = _write(deployable, out, formats, contents, size, most_pixels, say)
        if dataset:
            rows = report([deployable.file, *files], dataset, split)
            figures |= {"dataset": dataset.name, "split": split, "formats": rows}
            say(printable(f"\n{dataset.name}, split {split}\n\n{markdown(rows)}"))
    except tf.errors.OpError as error:
        if dataset is None:
            raise UserError(f"{deployable.file} cannot be exported: {error.message}") from error
        raise UserError(f"{dataset.name!r} cannot be read: {error.message}") from error
    return figures


def _size_of_files(network, formats, size) -> tuple[int, int]:
    _, *fixed, _ = network.input_shape
    if size is not None:
        most = padded_size(size, fixed)
        if any(side > limit for side, limit in zip(size, most, strict=True)):
            raise UsageError(
                f"{argument('size')} {size[0]} {size[1]} is beyond what the model takes, images of "
                f"at most {most[0]}x{most[1]}"
            )
        return size
    if None in fixed and any(name.startswith("tflite") for name in formats):
        raise UsageError(
            "TFLite files take images of one size, and this model takes any: name it by "
            f"{argument('size')} H W"
        )
    return tried_size(network)


def path_of(kind: Format, out: Path) -> Path:
    """Where a form that is a file lies; its legend lies beside it, as `.json`."""
    return out / f"{out.resolve().name}{ENDINGS[kind]}"


def check_classes_stay(
    out: Path,
    class_names: Sequence[str],
    source: object,
    formats: Sequence[Format] = ("savedmodel",),
    folder: str = "out",
) -> None:
    """Refuses an export that gives another meaning to the labels of an earlier one.

    A server goes over to the next version and an app takes the new file, and neither is told. A
    file that stays, ONNX beside TFLite, shares its legend with the one that is written. A version
    inside of another is never served.

    Args:
        out, formats: as of `export_model`.
        class_names: of the model to export.
        source: what has these classes, for the message.
        folder: what the caller calls `out`.

    Raises:
        UserError: `out` is a version itself; an earlier export knows other classes, if only in
            their order. Names may be added where it had none.
    """
    if (out / "saved_model.pb").is_file():
        version = out if out.name else out.resolve()
        is_numbered = version.name.isdecimal()
        there = f"the folder of its versions, {argument(folder)} {version.parent}"
        raise UserError(
            f"{out} is a SavedModel, and inside of it no other is found: give "
            f"{there if is_numbered else f'another {argument(folder)}'}"
        )
    for path, beside, stays in _earlier_exports(out, formats):
        try:
            earlier, count = _legend_of_earlier(path, beside), len(class_names)
            if earlier is None:
                continue
            if not stays and not earlier.is_named and len(earlier.class_names) == count:
                continue
            if earlier.is_named and tuple(class_names) == Legend.unnamed(count).class_names:
                known = ", ".join(earlier.class_names)
                raise UserError(
                    f"{path} knows the classes {known}, and {source} has no names for its own, "
                    "which gcn_keras.save_model writes"
                )
            check_same_names(path, earlier.class_names, source, class_names)
        except UserError as error:
            raise UserError(f"{error}; give another {argument(folder)}") from error


def _earlier_exports(out, formats) -> Iterator[tuple[Path, Path, bool]]:
    """Models whose next version or whose legend is written; their legends; whether they stay."""
    for version in versions_of(out)[-1:] if "savedmodel" in formats else []:
        yield version, version / "assets" / FILE, False
    written = {path_of(kind, out).with_suffix(".json") for kind in formats if kind in ENDINGS}
    for kind in ENDINGS:
        path = path_of(kind, out)
        legend = path.with_suffix(".json")
        if legend in written and path.is_file():
            yield path, legend, kind not in formats


def _legend_of_earlier(path: Path, beside: Path) -> Legend | None:
    """The one beside a model counts; the one inside where that is gone. None of a damaged model."""
    if beside.is_file():
        return Legend.read(beside)
    try:
        return open_segmenter(path).legend
    except UserError:
        return None


def compare(deployable: Deployable, size: tuple[int, int]) -> dict:
    """What folding gave, and convolving line by line.

    Args:
        deployable: a model from a file.
        size: of the image whose time is taken.

    Raises:
        UserError: the model fails on the image, gives no scores of its size, or the deployed graph
            gives others.

    Returns:
        `training` and `deployed`, each with `layers`, `operations` of the graph, `parameters`,
        `mib` (of the file; of the graph with its weights) and `ms`, the median time of an image;
        `height` and `width` of that image; `speed_ratio`.
    """
    import tensorflow as tf

    from gcn_keras.deployment.graphs import logits_graph, noise

    height, width = size
    pixels = tf.constant(noise(height, width))
    with naming_failed_model(deployable.file, height, width):
        _check_scores(deployable, height, width)
        functions = logits_graph(deployable.network), deployable.graph
        _check_same(deployable, *(function(pixels).numpy() for function in functions))
        times = _times(functions, pixels)
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


def _check_scores(deployable, height, width) -> None:
    """Refuses a model that has not a score for each pixel."""
    import keras

    sides = padded_size((height, width), deployable.network.input_shape[1:3])
    image = keras.KerasTensor((1, *sides, 3))
    given = deployable.network.compute_output_spec(image).shape[1:3]
    check_scores(deployable.file, given, sides)


def _check_same(deployable, expected: np.ndarray, found: np.ndarray) -> None:
    """Refuses a deployed graph whose scores are not the model's, where both are in float32."""
    from gcn_keras.deployment.batch_norm_folding import is_float32

    if not is_float32(deployable.network) or not is_float32(deployable.folded):
        return
    difference, scale = np.abs(found - expected).max(), np.abs(expected).max()
    if not difference <= _TOLERANCE * scale:
        raise UserError(
            f"{deployable.file} cannot be deployed: its graph without batch norms gives scores "
            f"that are up to {difference:.3g} off, where the model's go to {scale:.3g}; a layer of "
            "the model computes with something that is none of its weights"
        )


def _write(deployable, out, formats, contents, size, most_pixels, say) -> list[Path]:
    """Writes what was asked for, the contents of files being there; tells what lies where."""
    from gcn_keras.deployment import saved_model
    from gcn_keras.deployment.quantization import mib_of

    written = []
    with removing_empty(out):
        make_folder(out)
        for kind in formats:
            if kind == "savedmodel":
                path = saved_model.export_saved_model(deployable, out, size, most_pixels)
            else:
                path = path_of(kind, out)
                with replacing(path) as temporary:
                    temporary.write_bytes(contents[kind])
                _write_beside(deployable.legend, path.with_suffix(".json"))
            written.append(path)
            say(f"{kind}: {path}, {mib_of(path):.2f} MiB")
    return written


def _write_beside(legend: Legend, path: Path) -> None:
    """Writes the legend beside a file; colours that lie there for the same classes stay."""
    if path.is_file():
        with contextlib.suppress(UserError):  # something else lies there, beside no model
            given, used = Legend.read(path), len(legend.class_names)
            if given.class_names == legend.class_names:
                if not np.array_equal(given.palette[:used], legend.palette[:used]):
                    note(
                        f"note: {path} keeps its colours; the model's are others: to have those, "
                        "delete it and export again"
                    )
                return
    legend.write(path)


def _content(deployable, kind, size, dataset, split, budget, say) -> bytes:
    """Of a form that is a file, its legend inside."""
    from gcn_keras.deployment.onnx_file import onnx_content
    from gcn_keras.deployment.tflite_file import with_legend

    if kind == "onnx":
        return onnx_content(deployable)
    content = _tflite(deployable, kind, size, dataset, split, budget, say)
    return with_legend(content, deployable.legend)


def _tflite(deployable, kind, size, dataset, split, budget, say) -> bytes:
    from gcn_keras.deployment import quantization, tflite
    from gcn_keras.evaluation.measure import check_scored, evaluate_model
    from gcn_keras.inference.keras_model import segment

    if kind != "tflite-int8":
        return tflite.convert(deployable.folded, kind, size)
    if dataset is None:
        raise ArgumentError("dataset", "is needed: tflite-int8 is calibrated with its split train")
    images = representative_images(dataset, size)
    if budget is None:
        return tflite.convert(deployable.folded, kind, size, representative=images)

    def mean_iou(segment: Callable) -> float:
        matrix = evaluate_model(segment, dataset, split)
        check_scored(matrix, dataset, split)
        return matrix.mean_iou

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

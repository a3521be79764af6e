"""The forms of a deployed model, written and compared."""

import os
import time
from pathlib import Path
from typing import Literal

import numpy as np

from pipelines.base.errors import UserError
from pipelines.base.files import replacing
from pipelines.base.imagenet import MEAN_RGB

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


def compare(network, folded, graph, frozen, path, size: tuple[int, int] | None) -> dict:
    """What folding and freezing gave.

    Args:
        network: the trained model.
        folded: the same with its batch norms folded.
        graph, frozen: the functions made of them, see `saved_model.logits_graph` and `freeze`.
        path: the file of the trained model.
        size: of the image whose time is taken; None for one of 256×256.

    Returns:
        `training` and `deployed`, each with `layers`, `operations` of the graph, `parameters`,
        `mib` (of the file; of the graph with its weights) and `ms`, the median time of an image;
        `height` and `width` of that image; `speed_ratio`.
    """
    import tensorflow as tf

    height, width = size or _COMPARED_SIZE
    pixels = np.random.default_rng(0).integers(0, 256, (1, height, width, 3))
    training_ms, deployed_ms = _times((graph, frozen), tf.constant(pixels, tf.uint8))
    return {
        "training": {
            "layers": len(network.layers),
            "operations": len(graph.graph.get_operations()),
            "parameters": network.count_params(),
            "mib": os.path.getsize(path) / 2**20,
            "ms": training_ms,
        },
        "deployed": {
            "layers": len(folded.layers),
            "operations": len(frozen.graph.get_operations()),
            "parameters": folded.count_params(),
            "mib": frozen.graph.as_graph_def().ByteSize() / 2**20,
            "ms": deployed_ms,
        },
        "height": height,
        "width": width,
        "speed_ratio": training_ms / deployed_ms,
    }


def write_forms(
    network, folded, legend, out, formats, size, prepared, split, budget
) -> dict[str, Path]:
    """Writes what was asked for, once everything is converted; what was written where."""
    from gcn_keras.deployment import saved_model

    contents = {}
    for kind in formats:
        if kind.startswith("tflite"):
            contents[kind] = _tflite(network, folded, kind, size, prepared, split, budget)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot export to {out}: {error.strerror}") from error
    written = {}
    for kind in formats:
        if kind == "savedmodel":
            shown = {"size": size} if size else {}
            path = saved_model.export_saved_model(network, out, legend, **shown)
        else:
            path = out / f"{out.resolve().name}{ENDINGS[kind]}"
            legend.write(path.with_suffix(".json"))
            if kind == "onnx":
                saved_model.export_onnx(network, path)
            else:
                with replacing(path) as temporary:
                    temporary.write_bytes(contents[kind])
        written[kind] = path
        print(f"{kind}: {path}, {_mib(path):.2f} MiB")
    return written


def _tflite(network, folded, kind, size, prepared, split, budget) -> bytes:
    """The content of a TFLite file; the names of the layers that stay in float are printed."""
    from gcn_keras.deployment import quantization, tflite
    from gcn_keras.evaluation.measure import evaluate_model
    from gcn_keras.inference.keras_model import segment

    if kind != "tflite-int8":
        return tflite.convert(folded, kind, size)
    images = representative_images(prepared, size)
    if budget is None:
        return tflite.convert(folded, kind, size, representative=images)

    def mean_iou(segment) -> float:
        return evaluate_model(segment, prepared, split).mean_iou

    fitted = quantization.fit_budget(
        folded,
        size,
        images,
        evaluate=mean_iou,
        reference=mean_iou(lambda images: segment(network, images)),
        budget=budget,
    )
    return fitted.content


def representative_images(dataset, size: tuple[int, int]) -> list[np.ndarray]:
    """Images of the training split as a TFLite file will meet them: never resized.

    Args:
        dataset: `pipelines.datasets.PreparedDataset` with a split train.
        size: height and width.

    Returns:
        At most `REPRESENTATIVE` arrays uint8 `[1, height, width, 3]`: windows anywhere in larger
        images; smaller ones padded with the mean pixel at the bottom and right.

    Raises:
        UsageError: the data set has no split train.
    """
    from pipelines.stream.segmentation import evaluation_examples

    examples = evaluation_examples(dataset, "train", REPRESENTATIVE)
    random = np.random.default_rng(0)
    images = []
    for example in examples.as_numpy_iterator():
        image = example["image"]
        tops = [random.integers(0, max(have - want, 0) + 1) for have, want in _sides(image, size)]
        window = image[tops[0] :, tops[1] :][: size[0], : size[1]]
        padded = np.empty((1, *size, 3), np.uint8)
        padded[:] = np.rint(MEAN_RGB)
        padded[0, : window.shape[0], : window.shape[1]] = window
        images.append(padded)
    return images


def _sides(image, size):
    return zip(image.shape[:2], size, strict=True)


def _times(functions, images) -> list[float]:
    """Median milliseconds of each; they take turns, so that what disturbs one disturbs all."""
    times = [[] for _ in functions]
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
    training, deployed = figures["training"], figures["deployed"]
    time_label = f"ms, {figures['height']}x{figures['width']}"
    lines = [f"{'':<16}{'training graph':>16}{'deployed graph':>16}"]
    for name, key, form in (
        ("layers", "layers", ",d"),
        ("operations", "operations", ",d"),
        ("parameters", "parameters", ",d"),
        ("MiB", "mib", ".2f"),
        (time_label, "ms", ".1f"),
    ):
        lines.append(f"{name:<16}{training[key]:>16{form}}{deployed[key]:>16{form}}")
    return "\n".join(lines) + f"   {figures['speed_ratio']:.2f} x as fast"


def _mib(path: Path) -> float:
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    return sum(file.stat().st_size for file in files) / 2**20

"""Exports a trained model: `python -m gcn_keras.export MODEL --out saved_models/NAME`."""

import importlib.util
import json
import os
import time
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import tyro

from gcn_keras.environment import prepare_tensorflow
from gcn_keras.images import check_target, replacing
from gcn_keras.legends import Legend
from gcn_keras.segmenters import legend_beside
from pipelines import datasets
from pipelines.errors import UsageError, UserError, run_command
from pipelines.imagenet import MEAN_RGB

Format = Literal["savedmodel", "tflite", "tflite-fp16", "tflite-int8", "onnx"]
# What lies in the folder beside the versions, after its name.
ENDINGS = {
    "tflite": ".tflite",
    "tflite-fp16": "-fp16.tflite",
    "tflite-int8": "-int8.tflite",
    "onnx": ".onnx",
}
REPRESENTATIVE = 100  # pictures from which the ranges of an int8 model are measured
_COMPARED_SIZE = (256, 256)  # where no other size is asked for
_COMPARED_SECONDS = 3


def export(
    model: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="MODEL")],
    out: Annotated[Path, tyro.conf.arg(metavar="DIR")],
    formats: tuple[Format, ...] = ("savedmodel",),
    size: Annotated[tuple[int, int] | None, tyro.conf.arg(metavar="H W")] = None,
    dataset: str | None = None,
    data_dir: Annotated[Path, tyro.conf.arg(metavar="DIR")] = Path(datasets.DEFAULT_DATA_DIR),
    split: str | None = None,
    budget: float | None = None,
    json_file: Annotated[Path | None, tyro.conf.arg(name="json", metavar="FILE")] = None,
) -> None:
    """Export a model for servers and phones: batch norms folded, weights frozen into constants.

    With --dataset, every form is measured on it beside the model that it was made from.

    Args:
        model: A .keras file.
        out: Folder to write to, such as saved_models/NAME: the SavedModel as its next version
            folder, the others as NAME.tflite, NAME-fp16.tflite, NAME-int8.tflite and NAME.onnx,
            with names and colours of the classes beside each.
        formats: What to write.
        size: Height and width of the pictures that TFLite files take, for good; the other
            formats take any size, and are timed and warmed up with this one.
        dataset: Prepared data set to measure on; class names and colours are taken from it, and
            what an int8 model is calibrated with, from split train.
        data_dir: Where prepared data sets live.
        split: Split to measure on; by default val or validation.
        budget: How many points of mean IoU int8 may lose: sensitive layers stay in float until it
            fits, or nothing is written.
        json_file: Write the figures here, too.
    """
    formats = tuple(dict.fromkeys(formats))
    _check_options(formats, size, dataset, split, budget)
    if not model.is_file() or model.suffix != ".keras":
        raise UserError(f"there is no model at {model}: expected a .keras file, as `fit` writes")
    check_target(json_file, "--json")
    if dataset:
        datasets.check_prepared(dataset, data_dir)
    prepare_tensorflow()
    import tensorflow as tf

    from gcn_keras.folding import fold_batch_norm
    from gcn_keras.inference import load_model
    from gcn_keras.quantization import markdown, report
    from gcn_keras.saved_model import freeze, logits_graph

    network = load_model(model)
    size = _size_of_files(network, formats, size)
    prepared = datasets.load(dataset, data_dir) if dataset else None
    legend = _legend(model, network.output.shape[-1], prepared)
    split = prepared.validation_split(split) if prepared else None

    folded = fold_batch_norm(network)
    graph = logits_graph(network)
    frozen = freeze(logits_graph(folded))
    figures = {"model": str(model), "graph": compare(network, folded, graph, frozen, model, size)}
    print(_graph_table(figures["graph"]))
    try:
        files = _write(network, folded, legend, out, formats, size, prepared, split, budget)
        if prepared:
            files.pop("onnx", None)  # no form that `evaluate` takes
            rows = report([model, *files.values()], prepared, split)
            figures |= {"dataset": dataset, "split": split, "formats": rows}
            print(f"\n{dataset}, split {split}\n\n{markdown(rows)}")
    except tf.errors.OpError as error:
        raise UserError(f"{dataset!r} cannot be read: {error.message}") from error
    if json_file:
        with replacing(json_file) as temporary:
            temporary.write_text(json.dumps(figures, indent=2) + "\n")


def compare(network, folded, graph, frozen, path, size: tuple[int, int] | None) -> dict:
    """What folding and freezing gave.

    Args:
        network: the trained model.
        folded: the same with its batch norms folded.
        graph, frozen: the functions made of them, see `saved_model.logits_graph` and `freeze`.
        path: the file of the trained model.
        size: of the picture whose time is taken; None for one of 256×256.

    Returns:
        `training` and `deployed`, each with `layers`, `operations` of the graph, `parameters`,
        `mib` (of the file; of the graph with its weights) and `ms`, the median time of a picture;
        `height` and `width` of that picture; `speed_ratio`.
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


def _check_options(formats, size, dataset, split, budget) -> None:
    """Refuses options that do not go together, before anything slow is imported."""
    if not formats:
        raise UsageError("--formats must name at least one")
    if size is not None and min(size) < 1:
        raise UsageError(
            f"--size must be a height and a width of at least 1, got {size[0]} and {size[1]}"
        )
    if dataset is not None:
        datasets.parse_name(dataset)
    elif "tflite-int8" in formats:
        raise UsageError(
            "tflite-int8 needs --dataset: the ranges of its integers are measured on pictures of "
            "the training split"
        )
    elif split is not None:
        raise UsageError("--split is about a data set: name it by --dataset")
    if budget is not None:
        if dataset is None:
            raise UsageError("--budget needs --dataset: mean IoU is measured on it")
        if "tflite-int8" not in formats:
            raise UsageError("--budget is about int8: add tflite-int8 to --formats")
        if not 0 <= budget < np.inf:
            raise UsageError(f"--budget must be 0 or more points of mean IoU, got {budget}")
    if "onnx" in formats and not importlib.util.find_spec("tf2onnx"):
        raise UserError("onnx needs tf2onnx, which is not installed: pip install 'gcn_keras[onnx]'")


def _has_tflite(formats) -> bool:
    return any(name.startswith("tflite") for name in formats)


def _size_of_files(network, formats, size) -> tuple[int, int] | None:
    """Height and width for TFLite: the one asked for, or the model's own if it has a fixed one."""
    fixed = network.input.shape[1:3]
    if size is not None or not _has_tflite(formats):
        return size
    if None in fixed:
        raise UsageError(
            "TFLite files take pictures of one size, and this model takes any: name it by "
            "--size H W"
        )
    return fixed


def _legend(path, num_classes, prepared) -> Legend:
    """Of the data set, or what lies beside the model, or numbers for names."""
    if prepared is None:
        beside = legend_beside(path.with_name("labels.json"), path, num_classes)
        return beside or Legend.unnamed(num_classes)
    if prepared.num_classes != num_classes:
        raise UserError(
            f"{path} knows {num_classes} classes and {prepared.name!r} has "
            f"{prepared.num_classes}: they do not belong together"
        )
    return Legend.of(prepared)


def _write(network, folded, legend, out, formats, size, prepared, split, budget) -> dict[str, Path]:
    """Writes what was asked for, once everything is converted; what was written where."""
    from gcn_keras import saved_model

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
    from gcn_keras import quantization, tflite
    from gcn_keras.evaluate import evaluate_model
    from gcn_keras.inference import segment

    if kind != "tflite-int8":
        return tflite.convert(folded, kind, size)
    pictures = representative_pictures(prepared, size)
    if budget is None:
        return tflite.convert(folded, kind, size, representative=pictures)

    def mean_iou(segment) -> float:
        return evaluate_model(segment, prepared, split).mean_iou

    fitted = quantization.fit_budget(
        folded,
        size,
        pictures,
        evaluate=mean_iou,
        reference=mean_iou(lambda images: segment(network, images)),
        budget=budget,
    )
    return fitted.content


def representative_pictures(dataset, size: tuple[int, int]) -> list[np.ndarray]:
    """Pictures of the training split as a TFLite file will meet them: never resized.

    Args:
        dataset: `pipelines.datasets.PreparedDataset` with a split train.
        size: height and width.

    Returns:
        At most `REPRESENTATIVE` arrays uint8 `[1, height, width, 3]`: windows anywhere in larger
        pictures; smaller ones padded with the mean pixel at the bottom and right.

    Raises:
        UsageError: the data set has no split train.
    """
    from pipelines.input_pipeline import evaluation_examples

    examples = evaluation_examples(dataset, "train", REPRESENTATIVE)
    random = np.random.default_rng(0)
    pictures = []
    for example in examples.as_numpy_iterator():
        image = example["image"]
        tops = [random.integers(0, max(have - want, 0) + 1) for have, want in _sides(image, size)]
        window = image[tops[0] :, tops[1] :][: size[0], : size[1]]
        picture = np.empty((1, *size, 3), np.uint8)
        picture[:] = np.rint(MEAN_RGB)
        picture[0, : window.shape[0], : window.shape[1]] = window
        pictures.append(picture)
    return pictures


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


def _graph_table(figures: dict) -> str:
    training, deployed = figures["training"], figures["deployed"]
    picture = f"ms, {figures['height']}x{figures['width']}"
    lines = [f"{'':<16}{'training graph':>16}{'deployed graph':>16}"]
    for name, key, form in (
        ("layers", "layers", ",d"),
        ("operations", "operations", ",d"),
        ("parameters", "parameters", ",d"),
        ("MiB", "mib", ".2f"),
        (picture, "ms", ".1f"),
    ):
        lines.append(f"{name:<16}{training[key]:>16{form}}{deployed[key]:>16{form}}")
    return "\n".join(lines) + f"   {figures['speed_ratio']:.2f} x as fast"


def _mib(path: Path) -> float:
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    return sum(file.stat().st_size for file in files) / 2**20


def main() -> None:
    """Entry point of the command."""
    tyro.cli(export, prog="python -m gcn_keras.export")


if __name__ == "__main__":
    run_command(main)

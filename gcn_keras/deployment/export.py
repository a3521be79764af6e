"""A trained model in all the forms that are asked for: converted, written and measured."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from gcn_keras.deployment.deployable import Deployable, tried_size
from gcn_keras.deployment.export_folder import check_classes_stay, path_of, write_beside
from gcn_keras.deployment.graph_comparison import compare, graph_table
from gcn_keras.deployment.options import DEFAULT, ExportOptions
from gcn_keras.inference.keras_model import check_on_tensorflow
from gcn_keras.inference.legend import file_beside
from gcn_keras.inference.padding import padded_size
from pipelines.base.bfloat16 import note_emulation
from pipelines.base.errors import UsageError, UserError, argument, printable
from pipelines.base.files import make_folder, removing_empty, replacing

if TYPE_CHECKING:
    from pipelines.datasets import PreparedDataset


def export_file(model: Path, out: Path) -> list[str]:
    """Exports a `.keras` file as a SavedModel; gives the lines that the command prints."""
    said: list[str] = []
    export_model(model, out, say=said.append)
    return "\n".join(said).splitlines()


def export_model(
    model: Path,
    out: Path,
    options: ExportOptions = DEFAULT,
    dataset: PreparedDataset | None = None,
    say: Callable[[str], None] = print,
) -> dict:
    """Compares a model with its deployed graph, writes its forms, and measures them.

    Nothing is written before everything is converted.

    Args:
        model: a `.keras` file.
        out: the folder to write to: the SavedModel as its next version folder, the others as of
            `path_of`, with names and colours of the classes beside each.
        options: what to write, and within which bounds.
        dataset: what every form is measured on, and calibrates "tflite-int8" with its split
            train; None measures nothing.
        say: takes the lines about what was found and written.

    Returns:
        `model`, the path; `graph`, as in `compare`; with a data set also `dataset`, its name,
        `split`, and `formats`, the rows of `form_report.report`.

    Raises:
        UserError: as in `ExportOptions.check`, `Deployable.load` and `check_classes_stay`; TFLite
            without a size, for a model of any; a size beyond the model's; a split without labels;
            no int8 model keeps within the budget; something cannot be converted, read or written.
    """
    import tensorflow as tf

    from gcn_keras.deployment.form_report import markdown, report

    options.check(has_dataset=dataset is not None)
    check_on_tensorflow("exported forms are made by")
    deployable = Deployable.load(model, dataset, options.precision)
    if options.precision == "bfloat16":
        note_emulation()
    size = _size_of_files(deployable.network, options)
    formats = tuple(dict.fromkeys(options.formats))
    check_classes_stay(out, deployable.legend.class_names, model, formats)
    split = dataset.validation_split(options.split) if dataset else ""
    if dataset and split in dataset.unlabelled_splits:
        raise UsageError(
            f"{dataset.name!r} has no labels for split {split!r} to measure by: name another "
            f"{argument('split')}"
        )
    options = dataclasses.replace(options, formats=formats, size=size, split=split)
    figures: dict = {"model": str(model), "graph": compare(deployable, size)}
    say(graph_table(figures["graph"]))
    try:
        contents = {
            kind: _content(deployable, kind, options, dataset, say)
            for kind in formats
            if kind != "savedmodel"
        }
        files = _write(deployable, out, options, contents, say)
        if dataset:
            rows = report([model, *files], dataset, split)
            figures |= {"dataset": dataset.name, "split": split, "formats": rows}
            say(printable(f"\n{dataset.name}, split {split}\n\n{markdown(rows)}"))
    except tf.errors.OpError as error:
        if dataset is None:
            raise UserError(f"{model} cannot be exported: {error.message}") from error
        raise UserError(f"{dataset.name!r} cannot be read: {error.message}") from error
    return figures


def _size_of_files(network, options) -> tuple[int, int]:
    _, *fixed, _ = network.input_shape
    if (size := options.size) is not None:
        most = padded_size(size, fixed)
        if any(side > limit for side, limit in zip(size, most, strict=True)):
            raise UsageError(
                f"{argument('size')} {size[0]} {size[1]} is beyond what the model takes, images of "
                f"at most {most[0]}x{most[1]}"
            )
        return size
    if None in fixed and any(kind.startswith("tflite") for kind in options.formats):
        raise UsageError(
            "TFLite files take images of one size, and this model takes any: name it by "
            f"{argument('size')} H W"
        )
    return tried_size(network)


def _content(deployable, kind, options, dataset, say) -> bytes:
    """Of a form that is a file, its legend inside."""
    from gcn_keras.deployment import onnx_file, tflite, tflite_file

    if kind == "onnx":
        return onnx_file.onnx_content(deployable)
    if kind == "tflite-int8":
        content = _int8(deployable, options, dataset, say)
    else:
        content = tflite.convert(deployable.folded, kind, options.size)
    return tflite_file.with_legend(content, deployable.legend)


def _int8(deployable, options, dataset, say) -> bytes:
    from gcn_keras.deployment import int8_budget, tflite
    from gcn_keras.evaluation.measure import check_scored, evaluate_model
    from gcn_keras.inference.keras_model import segment

    folded, size = deployable.folded, options.size
    images = int8_budget.representative_images(dataset, size)
    if options.budget is None:
        return tflite.convert(folded, "tflite-int8", size, representative=images)

    def mean_iou(segment: Callable) -> float:
        matrix = evaluate_model(segment, dataset, options.split)
        check_scored(matrix, dataset, options.split)
        return matrix.mean_iou

    reference = mean_iou(lambda images: segment(deployable.network, images))
    fitted = int8_budget.fit_budget(
        folded, size, images, mean_iou, reference, options.budget, say=say
    )
    return fitted.content


def _write(deployable, out, options, contents, say) -> list[Path]:
    """Writes what was asked for, the contents of files being there; tells what lies where."""
    from gcn_keras.deployment import saved_model
    from gcn_keras.deployment.form_report import mib_of

    written = []
    with removing_empty(out):
        make_folder(out)
        for kind in options.formats:
            if kind == "savedmodel":
                path = saved_model.export_saved_model(
                    deployable, out, options.size, options.most_pixels
                )
            else:
                path = path_of(kind, out)
                with replacing(path) as temporary:
                    temporary.write_bytes(contents[kind])
                write_beside(deployable.legend, file_beside(path))
            written.append(path)
            say(f"{kind}: {path}, {mib_of(path):.2f} MiB")
    return written

"""The folder that a model's forms lie in: their names, and classes that keep their meaning."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from gcn_keras.deployment.options import Format
from gcn_keras.inference.legend import Legend, check_same_names, file_beside
from gcn_keras.inference.segmenters import open_segmenter, versions_of
from pipelines.base.errors import UserError, argument
from pipelines.base.progress import note

# What lies in the folder beside the versions, after its name.
ENDINGS: dict[Format, str] = {
    "tflite": ".tflite",
    "tflite-fp16": "-fp16.tflite",
    "tflite-int8": "-int8.tflite",
    "onnx": ".onnx",
}


def path_of(kind: Format, out: Path) -> Path:
    """Where a form that is a file lies; its legend lies beside it, see `file_beside`."""
    return out / f"{out.resolve().name}{ENDINGS[kind]}"


def check_classes_stay(
    out: Path,
    class_names: Sequence[str],
    source: object,
    formats: Sequence[Format] = ("savedmodel",),
    folder: str = "out",
) -> None:
    """Refuses an export that gives another meaning to the labels of an earlier one.

    Servers switch to the next version, and apps to the new file, without notice. A
    file that stays, ONNX beside TFLite, shares its legend with the one that is written. A version
    inside of another is never served.

    Args:
        out, formats: as in `export_model`.
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
    for kind in formats:
        if kind in ENDINGS and (beside := file_beside(path_of(kind, out))).is_file():
            try:
                Legend.read(beside)
            except UserError as error:
                raise UserError(
                    f"{error}; it would be written over: move it, or give another "
                    f"{argument(folder)}"
                ) from error
    for path, stays in _earlier_exports(out, formats):
        try:
            earlier, count = _legend_of_earlier(path), len(class_names)
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


def _earlier_exports(out, formats) -> Iterator[tuple[Path, bool]]:
    """Models whose next version or whose legend is written, and whether they stay."""
    for version in versions_of(out)[-1:] if "savedmodel" in formats else []:
        yield version, False
    written = {file_beside(path_of(kind, out)) for kind in formats if kind in ENDINGS}
    for kind in ENDINGS:
        path = path_of(kind, out)
        if file_beside(path) in written and path.is_file():
            yield path, kind not in formats


def _legend_of_earlier(path: Path) -> Legend | None:
    """The one beside a model counts; the one inside where that is gone. None of a damaged model."""
    if (beside := file_beside(path)).is_file():
        return Legend.read(beside)
    try:
        return open_segmenter(path).legend
    except UserError:
        return None


def write_beside(legend: Legend, path: Path) -> None:
    """Writes the legend beside a file; colours that lie there for the same classes stay."""
    if path.is_file():
        given, used = Legend.read(path), len(legend.class_names)
        if given.class_names == legend.class_names:
            if not np.array_equal(given.palette[:used], legend.palette[:used]):
                note(
                    f"note: {path} keeps its colours; the model's are others: to have those, "
                    "delete it and export again"
                )
            return
    legend.write(path)

"""What a model's labels mean: the names and the colours of its classes, as JSON.

They travel inside the model, and in a file beside it, which may give other colours.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipelines.base import labels
from pipelines.base.damage import DAMAGE
from pipelines.base.errors import UserError
from pipelines.base.files import read_regular, replacing
from pipelines.base.plurals import count_of

if TYPE_CHECKING:
    import keras

    from pipelines.datasets import PreparedDataset


# The file beside a model, and its name in archives.
FILE = "labels.json"


@dataclass(frozen=True, eq=False)  # an array has no truth value
class Legend:
    """Names and colours of the classes.

    Attributes:
        class_names: one a class, from index 0.
        palette: uint8 `[256, 3]` RGB, one row a label; row 255 is void.
    """

    class_names: tuple[str, ...]
    palette: np.ndarray

    @classmethod
    def unnamed(cls, num_classes: int) -> Legend:
        """ "class 0", "class 1", … in the colours of VOC."""
        names = tuple(f"class {index}" for index in range(num_classes))
        return cls(names, labels.palette())

    @classmethod
    def from_names(cls, class_names: Sequence[str], palette: Any = None) -> Legend:
        """The legend of names and colours that somebody gives.

        Args:
            class_names: one a class.
            palette: RGB, integers in 0…255, a row for each class at least; None for the colours
                of VOC.

        Raises:
            ValueError: one of them is something else.
        """
        labels.check_class_names(class_names)
        count = len(class_names)
        labels.check_num_classes(count)
        colours = labels.palette()
        if palette is not None:
            wanted = f"palette must be integers, [r, g, b] for each of {count_of(count, 'class')}"
            try:
                rows = np.asarray(palette)
            except ValueError as error:  # rows of different lengths
                raise ValueError(f"{wanted}, received {palette!r}") from error
            is_rgb = rows.ndim == 2 and rows.shape[1] == 3 and rows.dtype.kind in "iu"
            if not is_rgb or len(rows) < count:
                raise ValueError(f"{wanted}, received {rows.dtype} {rows.shape}")
            if rows.min() < 0 or rows.max() > 255:
                raise ValueError(f"palette must be 0…255, received {rows.min()}…{rows.max()}")
            colours[:count] = rows[:count]
        return cls(tuple(class_names), colours)

    @classmethod
    def of(cls, dataset: PreparedDataset) -> Legend:
        """The legend of a data set."""
        return cls(tuple(dataset.class_names), dataset.palette)

    @classmethod
    def read(cls, path: str | Path) -> Legend:
        """Reads the JSON file that `write` makes.

        Raises:
            UserError: it cannot be read, or holds something else.
        """
        return cls.parse(read_regular(Path(path)), path)

    @classmethod
    def parse(cls, content: str | bytes, source: object) -> Legend:
        """Reads what `json` gives.

        Raises:
            UserError: naming `source`, where it is something else.
        """
        try:
            found = json.loads(content)
            names, rows = found["class_names"], found["palette"]
            if len(rows) != len(names):
                raise ValueError("one name and one [r, g, b] a class are expected")
            return cls.from_names(names, rows)
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise UserError(f"{source} is no file of class names and colours: {error}") from error

    @property
    def json(self) -> str:
        """`{"class_names": […], "palette": [[r, g, b], …]}`."""
        used = self.palette[: len(self.class_names)].tolist()
        return json.dumps({"class_names": list(self.class_names), "palette": used}, indent=2) + "\n"

    @property
    def is_named(self) -> bool:
        """Whether the names are more than those of `unnamed`."""
        return self.class_names != Legend.unnamed(len(self.class_names)).class_names

    def write(self, path: str | Path) -> None:
        """Writes `json` into a file.

        Raises:
            UserError: it cannot be written.
        """
        with replacing(path) as temporary:
            temporary.write_text(self.json)

    def write_into(self, path: Path) -> None:
        """Adds `json` to a `.keras` file, which Keras reads as before."""
        with zipfile.ZipFile(path, "a") as archive:
            archive.writestr(FILE, self.json)


def legend_of_model(model: keras.Model) -> Legend | None:
    """The legend of a Keras model, from its `class_names` and `palette`, as `load_model` sets them.

    None where it has no names.

    Raises:
        ValueError: as in `Legend.from_names`.
    """
    names = getattr(model, "class_names", None)
    return None if names is None else Legend.from_names(names, getattr(model, "palette", None))


def legend_of_keras(path: Path, num_classes: int | None = None) -> Legend | None:
    """The legend of a `.keras` file; arguments, result and errors as in `legend_of`."""
    content = None
    if zipfile.is_zipfile(path):
        try:
            with zipfile.ZipFile(path) as archive:
                content = archive.read(FILE) if FILE in archive.namelist() else None
        except DAMAGE as error:
            raise UserError(f"{FILE} in {path} cannot be read: {error}") from error
    return legend_of(path, num_classes, content)


def file_beside(model: Path) -> Path:
    """Where the legend of a model lies, if it has one: in a SavedModel's assets, beside a file."""
    if model.is_dir():
        return model / "assets" / FILE
    return model.with_name(FILE) if model.suffix == ".keras" else model.with_suffix(".json")


def legend_of(model: Path, num_classes: int | None, content: str | bytes | None) -> Legend | None:
    """The legend of a model, which the file beside it may give; None if it has none.

    Args:
        model: its path.
        num_classes: how many classes it knows; None if that is not known.
        content: `Legend.json` from inside of the model; None if there is none.

    Raises:
        UserError: one of them is damaged, or another model's.
    """
    source: object = f"{FILE} in {model}"
    legend = inside = None if content is None else Legend.parse(content, source)
    if (beside := file_beside(model)).is_file():
        legend, source = Legend.read(beside), beside
    if legend is None:
        return None
    if num_classes not in (None, len(legend.class_names)):
        raise UserError(
            f"{source} names {count_of(len(legend.class_names), 'class')} and {model} knows "
            f"{num_classes}: they do not belong together"
        )
    if inside:
        check_same_names(model, inside.class_names, source, legend.class_names)
    return legend


def check_same_names(
    model: object, names: Sequence[str], other: object, others: Sequence[str]
) -> None:
    """Refuses class names that differ from a model's, if only in their order.

    Args:
        model: what to call it in the message.
        names: the model's.
        other: what to call what it meets.
        others: the names of that.

    Raises:
        UserError: it shows both lists.
    """
    if tuple(names) != tuple(others):
        is_order = sorted(names) == sorted(others)
        relation = "the same in another order" if is_order else "others"
        raise UserError(
            f"{model} knows the classes {', '.join(names)}, and {other} has {relation}: "
            f"{', '.join(others)}; they do not belong together"
        )

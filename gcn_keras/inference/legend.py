"""What a model's labels mean: the names and the colours of its classes, as a JSON file."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pipelines.base import labels
from pipelines.base.errors import UserError
from pipelines.base.files import write_json

if TYPE_CHECKING:
    from pipelines.datasets import PreparedDataset


@dataclass(frozen=True)
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
        return cls(names, labels.palette(num_classes))

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
        try:
            content = json.loads(Path(path).read_text())
            names, rows = content["class_names"], np.array(content["palette"])
            if rows.shape != (len(names), 3) or not all(isinstance(name, str) for name in names):
                raise ValueError("one name and one [r, g, b] a class are expected")
            if rows.min() < 0 or rows.max() > 255:
                raise ValueError("colours are 0…255")
            colours = labels.palette(len(names))
        except OSError as error:
            raise UserError(f"{path} cannot be read: {error.strerror}") from error
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(f"{path} is no file of class names and colours: {error}") from error
        colours[: len(names)] = rows
        return cls(tuple(names), colours)

    def write(self, path: str | Path) -> None:
        """Writes `{"class_names": […], "palette": [[r, g, b], …]}`.

        Raises:
            UserError: it cannot be written.
        """
        used = self.palette[: len(self.class_names)].tolist()
        content = {"class_names": list(self.class_names), "palette": used}
        write_json(path, content)


def legend_beside(file: Path, model: Path, num_classes: int | None) -> Legend | None:
    """The legend beside a model, or None; a UserError if it is damaged, or another model's."""
    if not file.is_file():
        return None
    legend = Legend.read(file)
    if num_classes is not None and len(legend.class_names) != num_classes:
        raise UserError(
            f"{file} names {len(legend.class_names)} classes and {model} knows {num_classes}: "
            "they do not belong together"
        )
    return legend

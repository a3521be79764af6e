"""How the features of a foreign TFDS set are to be read; imports nothing heavy."""

from dataclasses import dataclass
from pathlib import Path

from pipelines.base.errors import ArgumentError
from pipelines.base.labels import IGNORE
from pipelines.base.numeric import check_integer


@dataclass(frozen=True)
class TfdsOptions:
    """Options of `python -m pipelines.prepare tfds:NAME`.

    Attributes:
        image_feature: the feature that holds the image; None where only one can.
        label_feature: the feature that holds the mask; None where only one can.
        first_label: the mask's value of the first class; lower values become void (255).
        class_names: file with the classes' names, one a line; None counts the classes.
    """

    image_feature: str | None = None
    label_feature: str | None = None
    first_label: int = 0
    class_names: str | Path | None = None

    def check(self) -> None:
        """Raises ArgumentError for invalid values."""
        check_integer("first_label", self.first_label, 0, IGNORE - 1)
        file = self.class_names
        if file is not None and not (isinstance(file, str | Path) and Path(file).is_file()):
            raise ArgumentError("class_names", f"must be a file, and there is no {file}")

"""How the features of a foreign TFDS set are to be read; imports nothing heavy."""

from dataclasses import dataclass
from pathlib import Path

from pipelines.base.errors import ArgumentError


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
    class_names: Path | None = None

    def check(self) -> None:
        """Raises ArgumentError for invalid values."""
        if not 0 <= self.first_label < 255:
            raise ArgumentError("first_label", f"must be in 0…254, got {self.first_label}")
        if self.class_names is not None and not self.class_names.is_file():
            raise ArgumentError(
                "class_names", f"must be a file, and there is no {self.class_names}"
            )

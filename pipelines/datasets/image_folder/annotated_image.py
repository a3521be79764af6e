"""An image as an annotation file of any form describes it, and its label map."""

import base64
import functools
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.base.damage import DAMAGE, reason_of
from pipelines.base.errors import UserError
from pipelines.base.files import read_regular
from pipelines.base.labels import IGNORE
from pipelines.building import folders, regions
from pipelines.datasets.image_folder.classes import Classes

# What annotators call pixels without a class, and pixels that are to be left out, in any case.
BACKGROUND, IGNORED = ("background", "_background_"), ("void", "ignore", "__ignore__")


@dataclass(frozen=True, eq=False)
class AnnotatedImage:
    """An image as an annotation file describes it.

    Attributes:
        file: the annotation file.
        image: the image's path, as the file has it.
        size: height and width, as the file has them; None where it does not say.
        shapes: name of the class and outline, in the file's order.
        many: whether the file describes many images.
        is_embedded: whether the file holds the image, too.
        rasterise: turns an outline, height and width into bool `[H, W]`.
    """

    file: Path
    image: str
    size: tuple[int, int] | None
    shapes: tuple[tuple[str, Any], ...]
    many: bool
    rasterise: Callable[[Any, int, int], np.ndarray]
    is_embedded: bool = False

    def embedded_image(self) -> bytes:
        """The image's own file, out of the annotation file.

        Raises:
            UserError: it is damaged.
        """
        try:
            return base64.b64decode(read_json(self.file)["imageData"], validate=True)
        except (*DAMAGE, UserError) as error:
            raise UserError(f"{self.file} holds a damaged image, its imageData") from error

    def paint(
        self, size: tuple[int, int], classes: Classes, order: regions.PaintOrder
    ) -> np.ndarray:
        """The label map of an image of a size: uint8 `[H, W]`.

        The classes have all that regions are of, see `annotations.check_regions`. Pixels without
        a region are of the class called background, or void if there is none.

        Raises:
            UserError: the image has another size than the file says, or a region is damaged.
        """
        if self.size is not None and self.size != size:
            turned = ": were its regions drawn before the image was turned upright?"
            raise UserError(
                f"{self.image} is {size[1]}x{size[0]} pixels, but {self.file} says "
                f"{self.size[1]}x{self.size[0]}{turned if self.size == size[::-1] else ''}"
            )
        background = background_of(classes.names)
        label_of = dict.fromkeys(BACKGROUND, background) | dict.fromkeys(IGNORED, IGNORE)
        label_of |= {class_key(name): label for label, name in enumerate(classes.names)}
        painted = []
        for number, (name, shape) in enumerate(self.shapes, 1):
            inside = functools.partial(self._inside, number, shape, size)
            painted.append(regions.Region(label_of[class_key(name)], inside))
        return regions.paint(painted, size, background, order)

    def _inside(self, number: int, shape: Any, size: tuple[int, int]) -> np.ndarray:
        """The pixels of a region, bool `[H, W]`; its number, from 1, is for the message."""
        try:
            return self.rasterise(shape, *size)
        except DAMAGE as error:
            raise UserError(
                f"{self.file} has a damaged region, number {number} of {self.image} "
                f"({reason_in_words(error)})"
            ) from error


@dataclass(frozen=True, eq=False)
class Damaged:
    """What an annotation file says of an image and cannot be used; or a whole file of labelme's.

    Attributes:
        file: the annotation file.
        fault: what is wrong.
        many: whether the file describes many images.
        image: the image's path, as the file has it; None where that is not known.
    """

    file: Path
    fault: UserError
    many: bool
    image: str | None = None


def background_of(names: Sequence[str]) -> int:
    """The label of pixels without a region: that of the class called background, or void."""
    keys = [class_key(name) for name in names]
    return next((keys.index(name) for name in BACKGROUND if name in keys), IGNORE)


def class_key(name: str) -> str:
    """A class's name; that of background and void in small letters."""
    small = name.casefold()
    return small if small in (*BACKGROUND, *IGNORED) else name


# === What readers of a form have in common ===


def read_json(path: Path) -> dict:
    """The object in a JSON file; an empty one where it holds something else.

    Raises:
        UserError: it cannot be read, or is no JSON.
    """
    try:
        content = json.loads(read_regular(path))
    except (ValueError, RecursionError) as error:  # JSON's and Unicode's errors are ValueErrors
        raise UserError(f"{path} is truncated or damaged ({error})") from error
    return content if isinstance(content, dict) else {}


def reason_in_words(error: Exception) -> str:
    """What is wrong with a part of a file, in words; Python's own tell users nothing."""
    if isinstance(error, KeyError):
        return f"no {error}"
    if isinstance(error, (ValueError, MemoryError)):
        return reason_of(error)
    return "a value of another kind is needed"


def class_name(value: Any) -> str:
    """A class's name, in the form NFC and without blanks around it, which nobody sees."""
    return "" if value is None else folders.composed(str(value)).strip()


def image_path(value: Any) -> str:
    """An image's path, as a file has it, with slashes."""
    if not isinstance(value, str):
        raise ValueError(f"{value!r} is no image's path")
    return value.replace("\\", "/")


def image_size(height: Any, width: Any) -> tuple[int, int] | None:
    """Height and width as a file has them; None where it does not say."""
    if not (height and width):
        return None
    try:
        return int(height), int(width)
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"height {height!r} and width {width!r}") from error

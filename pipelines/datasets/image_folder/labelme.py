"""labelme's annotation files: one for each image."""

from pathlib import Path

from pipelines.base.errors import UserError
from pipelines.building import regions
from pipelines.datasets.image_folder.annotated_image import (
    AnnotatedImage,
    class_name,
    image_path,
    image_size,
)


def read_labelme(path: Path, content: dict) -> AnnotatedImage:
    """The image of a file.

    Args:
        path: the file.
        content: what it holds.

    Raises:
        UserError: a shape has no label.
        KeyError, TypeError, ValueError, …: the file is damaged, see `DAMAGE`.
    """
    names = [class_name(shape.get("label")) for shape in content["shapes"]]
    if not all(name.strip() for name in names):
        number = [bool(name.strip()) for name in names].index(False) + 1
        raise UserError(f"{path}: shape {number} has no label: give it one")
    return AnnotatedImage(
        path,
        image_path(content["imagePath"]),
        image_size(content.get("imageHeight"), content.get("imageWidth")),
        tuple(zip(names, content["shapes"], strict=True)),
        False,
        regions.labelme_region,
        bool(content.get("imageData")),
    )

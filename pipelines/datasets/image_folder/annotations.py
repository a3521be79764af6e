"""Annotation files in place of masks: those below a folder, and the classes that they name."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from pipelines.base.damage import DAMAGE
from pipelines.base.errors import UserError
from pipelines.building import folders
from pipelines.building.examples import all_faults
from pipelines.datasets.image_folder.annotated_image import (
    BACKGROUND,
    IGNORED,
    AnnotatedImage,
    Damaged,
    class_key,
    read_json,
    reason_in_words,
)
from pipelines.datasets.image_folder.classes import Classes, check_names, plain
from pipelines.datasets.image_folder.coco import read_coco
from pipelines.datasets.image_folder.labelme import read_labelme


def find_annotations(source: Path) -> tuple[list[AnnotatedImage | Damaged], tuple[str, ...]]:
    """Reads every annotation file below a folder; other JSON files are left alone.

    Returns:
        The images, and the names of the classes: of COCO the categories in the order of their
        ids, of labelme those that occur, sorted.

    Raises:
        UserError: a file of COCO is damaged as a whole, or no file can be read, or files of both
            forms are there, or none has a region.
    """
    coco: list[AnnotatedImage | Damaged] = []
    labelme: list[AnnotatedImage] = []
    damaged: list[Damaged] = []
    whole: list[UserError] = []
    categories: dict[tuple[str, int], int] = {}
    for path in folders.find_files(source, (".json",))[0]:
        if not path.is_file():
            continue
        try:
            content = read_json(path)
        except UserError as fault:
            damaged.append(Damaged(path, fault, many=False))
            continue
        if {"images", "annotations", "categories"} <= content.keys():
            try:
                coco += read_coco(path, content, categories)
            except (*DAMAGE, UserError) as error:
                whole.append(_fault_of(path, error))
        elif {"shapes", "imagePath"} <= content.keys():
            try:
                labelme.append(read_labelme(path, content))
            except (*DAMAGE, UserError) as error:
                damaged.append(Damaged(path, _fault_of(path, error), many=False))
    if coco and labelme:
        raise UserError(
            f"{source} has annotation files of COCO ({coco[0].file}) and of labelme "
            f"({labelme[0].file}): keep one of the two"
        )
    # Beside files of COCO, what cannot be read may be one of them, with many images.
    if whole or (damaged and not labelme):
        raise all_faults([*whole, *(each.fault for each in damaged)])
    images = [*coco, *labelme, *damaged]
    if images and all(isinstance(image, AnnotatedImage) and not image.shapes for image in images):
        raise UserError(
            f"no annotation file below {source} has a region, such as {images[0].file}: annotate "
            "the images"
        )
    occurring = {name for image in labelme for name, _ in image.shapes}
    named = [name for name, _ in sorted(categories, key=categories.__getitem__)]
    return images, (*named, *sorted(occurring))


def _fault_of(path: Path, error: Exception) -> UserError:
    if isinstance(error, UserError):
        return error
    return UserError(f"{path} is a damaged annotation file ({reason_in_words(error)})")


def classes_of(images: Sequence[AnnotatedImage | Damaged], names: Iterable[str]) -> Classes:
    """Background and the classes that annotation files name.

    Args:
        images: of these files, to name where something is wrong.
        names: of the classes.

    Raises:
        UserError: they name none, one twice or in upper and in lower case, one without a name, or
            too many.
    """
    known = [name for name in names if class_key(name) not in (*BACKGROUND, *IGNORED)]
    if not known:
        raise UserError("the annotation files name no class")
    check_names(images[0].file, [BACKGROUND[0], *known])
    spellings: dict[str, str] = {}
    for name in known:
        other = spellings.setdefault(name.casefold(), name)
        if other != name:
            raise UserError(
                f"{_file_with(other, images)} has the class {other!r} and "
                f"{_file_with(name, images)} {name!r}: spell them alike, or, if they are two, name "
                "both in classes.txt"
            )
    return plain((BACKGROUND[0], *known))


def check_regions(
    path: Path, classes: Classes, images: Iterable[AnnotatedImage | Damaged]
) -> None:
    """Refuses regions of classes that a file does not name.

    Args:
        path: the file.
        classes: those that it names.
        images: as the annotation files have them.

    Raises:
        UserError: of all such classes, each with a file that has it.
    """
    named = {*BACKGROUND, *IGNORED, *map(class_key, classes.names)}
    where: dict[str, Path] = {}
    for image in images:
        for name, _ in image.shapes if isinstance(image, AnnotatedImage) else ():
            if class_key(name) not in named:
                where.setdefault(name, image.file)
    if where:
        missing = ", ".join(f"{name!r} (in {file})" for name, file in where.items())
        raise UserError(
            f"{path} does not name {missing}: add what is to be a class, and call other regions "
            f"{IGNORED[0]}, to leave their pixels out"
        )


def _file_with(name: str, images: Sequence[AnnotatedImage | Damaged]) -> Path:
    """The first annotation file with a region of a class; any file where there is none."""
    with_name = (
        image.file
        for image in images
        if isinstance(image, AnnotatedImage) and any(name == own for own, _ in image.shapes)
    )
    return next(with_name, images[0].file)

"""Annotation files in place of masks: those below a folder, and the classes that they name."""

import dataclasses
import shlex
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from pipelines.base.damage import DAMAGE
from pipelines.base.errors import UserError, argument
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


def find_annotations(
    source: Path, new_names: Mapping[str, str]
) -> tuple[list[AnnotatedImage | Damaged], tuple[str, ...]]:
    """Reads every annotation file below a folder; other JSON files are left alone.

    Args:
        source: the folder.
        new_names: of classes that are to be called otherwise than the files call them.

    Returns:
        The images, and the names of the classes: of COCO the categories in the order of their
        ids, of labelme those that occur, sorted.

    Raises:
        UserError: a file of COCO is damaged as a whole, or no file can be read, or files of both
            forms are there, or none has a region, or no class has a name that is to be changed.
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
    _check_new_names(new_names, [*named, *sorted(occurring)])
    names = _renamed_categories(named, new_names)
    names += sorted({new_names.get(name, name) for name in occurring})
    return [_renamed(image, new_names) for image in images], tuple(names)


def _check_new_names(new_names: Mapping[str, str], names: Sequence[str]) -> None:
    """Raises UserError if one of the names that are to be changed is not there."""
    missing = [old for old in new_names if old not in names]
    if names and missing:
        raise UserError(
            f"{argument('rename')} {missing[0]}: the annotation files name no such class, but "
            f"{', '.join(names)}"
        )


def _renamed_categories(names: Sequence[str], new_names: Mapping[str, str]) -> list[str]:
    """COCO's names, changed; one that several have now stands where it is first."""
    changed = [new_names.get(name, name) for name in names]
    shared = {*new_names.values()}
    return [new for i, new in enumerate(changed) if new not in shared or new not in changed[:i]]


def _renamed(
    image: AnnotatedImage | Damaged, new_names: Mapping[str, str]
) -> AnnotatedImage | Damaged:
    if isinstance(image, Damaged):
        return image
    shapes = tuple((new_names.get(name, name), shape) for name, shape in image.shapes)
    return dataclasses.replace(image, shapes=shapes)


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
                f"{_file_with(name, images)} {name!r}: spell them alike, as by "
                f"{_renaming(name, other)}, or, if they are two, name both in classes.txt"
            )
    return plain((BACKGROUND[0], *known))


def check_regions(path: Path, classes: Classes, images: Iterable[AnnotatedImage | Damaged]) -> None:
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
            f"{path} does not name {missing}: add what is to be a class, and give others the name "
            f"of one, or of void, as by {_renaming(next(iter(where)), IGNORED[0])}"
        )


def _renaming(old: str, new: str) -> str:
    """The option that calls a class otherwise, as it is typed."""
    return f"{argument('rename')} {shlex.quote(f'{old}={new}')}"


def _file_with(name: str, images: Sequence[AnnotatedImage | Damaged]) -> Path:
    """The first annotation file with a region of a class; any file where there is none."""
    with_name = (
        image.file
        for image in images
        if isinstance(image, AnnotatedImage) and any(name == own for own, _ in image.shapes)
    )
    return next(with_name, images[0].file)

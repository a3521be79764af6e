"""The split of annotated images, as folders and files are called."""

import re
from pathlib import Path

from pipelines.building import folders
from pipelines.datasets.image_folder.annotated_image import AnnotatedImage, Damaged


def split_of(image: AnnotatedImage | Damaged, folder: Path) -> str:
    """The split of an annotation file, by its folders' names or, of COCO, its own; a name that
    has two of them is that of none."""
    split = split_of_folders(image.file, folder)
    if split != "all" or not image.many:
        return split
    named = _splits_named(re.findall("[a-z]+", image.file.stem.lower()))
    return named[0] if len(named) == 1 else "all"


def split_of_folders(file: Path, folder: Path) -> str:
    """The split that is named by a file's folders below a folder."""
    named = _splits_named([part.lower() for part in file.relative_to(folder).parts[:-1]])
    return named[0] if named else "all"


def _splits_named(words: list[str]) -> list[str]:
    return [split for split, names in folders.SPLITS.items() if any(w in names for w in words)]

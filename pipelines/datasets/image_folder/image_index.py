"""The image files below a folder, as annotation files name them."""

import os
from pathlib import Path

from pipelines.base.errors import UserError
from pipelines.building.folders import composed, near_hint
from pipelines.datasets.image_folder.annotated_image import Damaged
from pipelines.datasets.image_folder.annotated_splits import split_of, split_of_folders


class ImageIndex:
    """Finds the files that annotation files name, wherever below the folder they lie.

    Names are compared in the form NFC: file systems and programs write other ones.
    """

    def __init__(self, folder: Path, files: list[Path]):
        self.folder = folder
        self.by_path: dict[str, Path] = {}
        self.by_name: dict[str, list[Path]] = {}
        self.by_stem: dict[str, Path] = {}
        self.in_any_case: dict[str, Path] = {}
        for file in files:
            self.by_path.setdefault(composed(file.as_posix()), file)
            self.by_name.setdefault(composed(file.name), []).append(file)
            self.by_stem.setdefault(composed(file.with_suffix("").as_posix()), file)
            self.in_any_case.setdefault(composed(file.stem).casefold(), file)

    def find(self, annotations: Path, image: str, split: str) -> Path:
        """The file of an image.

        Args:
            annotations: the annotation file that names it.
            image: its path there.
            split: that of the annotation file; images of another one do not count.

        Raises:
            UserError: there is none, or several.
        """
        name = Path(composed(image))
        beside = Path(os.path.normpath(annotations.parent / name))
        if found := self.by_path.get(composed(beside.as_posix())):
            return found
        same = self.by_name.get(name.name, [])
        ending = [
            file for file in same if composed(file.as_posix()).endswith(f"/{name.as_posix()}")
        ]
        nearer: list[Path] = []
        for place in annotations.parents:  # the nearest folder that holds both
            nearer = nearer or [file for file in ending or same if place in file.parents]
        candidates = [
            file
            for file in nearer
            if split == "all" or split_of_folders(file, self.folder) in ("all", split)
        ]
        if len(candidates) == 1:
            return candidates[0]
        if candidates:
            raise UserError(
                f"{annotations} names {image}, and there are {candidates[0]} and {candidates[1]}"
            )
        near = None if same else self.in_any_case.get(name.stem.casefold())
        raise UserError(
            f"there is no {image} below {self.folder}, which {annotations} names{near_hint(near)}"
        )

    def find_damaged(self, image: Damaged) -> Path | None:
        """The file of an image whose annotations are damaged; None where it is not known.

        A file of labelme's is called as its image is, as a rule.
        """
        if image.image is None and image.many:
            return None
        if image.image is None:
            return self.by_stem.get(composed(image.file.with_suffix("").as_posix()))
        try:
            return self.find(image.file, image.image, split_of(image, self.folder))
        except UserError:
            return None

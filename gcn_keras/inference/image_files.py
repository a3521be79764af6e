"""The images that files and folders stand for, and what is called as a result of one."""

import os
import re
from collections.abc import Iterable
from pathlib import Path

from pipelines.base.errors import UsageError
from pipelines.base.files import is_hidden
from pipelines.base.progress import note_passed_over

ENDINGS = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm")
# What the results of an image are called, after its name; those of a video; and what the drawing of
# a receptive field is.
IMAGE_RESULTS, VIDEO_RESULTS = ("_labels.png", "_overlay.jpg"), ("_labels", "_overlay.mp4")
FIELD_ENDING = "_receptive_field.png"


def find_images(paths: Iterable[str | Path], out: Path | None = None) -> list[Path]:
    """The images that some files and folders stand for; what is passed over is named.

    Files are taken whatever their ending. Folders are searched with everything below them for the
    endings in `ENDINGS`, but for hidden files and folders (whose name begins with a dot), linked
    folders, pipes and devices.

    Args:
        paths: files and folders.
        out: folder of results, which are no images to segment: what lies in it, and elsewhere in
            folders STEM_labels.png with STEM_overlay.jpg. Of a folder that is `out` itself, these
            and what `receptive_field` has drawn.

    Returns:
        Each path once, in the order of `paths`; of a folder, sorted.

    Raises:
        UsageError: a path does not exist, a folder cannot be read, or there is no image.
    """
    found: dict[Path, None] = {}  # for its order: files named twice come once
    passed_over: list[Path] = []
    for path in map(Path, paths):
        if out and _is_within(path.parent, out) and is_result(path):
            passed_over.append(path)
        elif os.path.isdir(path):
            images, others = _images_below(path, out)
            if not images and not any(map(is_result, others)):
                note_passed_over(others)
                endings = " ".join(ENDINGS)
                raise UsageError(f"the folder {path} has no image: none that ends in {endings}")
            found.update(dict.fromkeys(images))
            passed_over += others
        elif not os.path.lexists(path):
            raise UsageError(f"{path} does not exist")
        else:
            found[path] = None
    note_passed_over(sorted(passed_over, key=is_result))  # of many results, others come first
    if passed_over and not found:
        raise UsageError("there is no image but results of an earlier run")
    return list(found)


def _images_below(folder: Path, out: Path | None) -> tuple[list[Path], list[Path]]:
    """The images in a folder, and what is passed over; both sorted."""

    def refuse(error: OSError):
        raise UsageError(f"the folder {error.filename} cannot be read: {error.strerror}")

    images: list[Path] = []
    passed_over: list[Path] = []
    for parent, folders, files in os.walk(folder, onerror=refuse):
        folders[:] = [name for name in folders if not is_hidden(name)]
        for path in [Path(parent, name) for name in folders]:
            if path.is_symlink() or is_result(path) or (out and _is_same(path, out)):
                folders.remove(path.name)
                passed_over.append(path)
        for path in [Path(parent, name) for name in files if not is_hidden(name)]:
            is_drawn = out and path.name.endswith(FIELD_ENDING) and _is_same(path.parent, out)
            is_image = path.name.lower().endswith(ENDINGS) and not (is_result(path) or is_drawn)
            # A broken link is an image that is missing; a pipe or a device is none.
            is_file = path.is_file() or not path.exists()
            (images if is_image and is_file else passed_over).append(path)
    return sorted(images), sorted(passed_over)


def _is_within(path: Path, out: Path) -> bool:
    return Path(os.path.realpath(path)).is_relative_to(os.path.realpath(out))


def _is_same(path: Path, out: Path) -> bool:
    return os.path.realpath(path) == os.path.realpath(out)


def is_result(path: Path) -> bool:
    """Whether `predict` has written a file or a folder: of its results there are always two."""
    name = re.sub(r"_(labels|overlay)(\.png|\.jpg|\.mp4)?$", "", path.name)
    return any(
        path.name.removeprefix(name) in pair
        and all(os.path.exists(path.with_name(name + ending)) for ending in pair)
        for pair in (IMAGE_RESULTS, VIDEO_RESULTS)
    )

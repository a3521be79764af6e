"""Segments files: images and videos in, label maps and overlays out."""

import itertools
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from gcn_keras.inference.batches import same_sized
from gcn_keras.inference.image_files import IMAGE_RESULTS, VIDEO_RESULTS, is_result
from gcn_keras.inference.images import load_image
from gcn_keras.inference.memory import naming_large_image
from gcn_keras.inference.overlays import OVERLAY_MARK, jpeg, overlay, save_label_map
from gcn_keras.inference.segmenters import Segment
from gcn_keras.inference.threads import done_behind, read_ahead
from gcn_keras.inference.video import is_label_map, segment_video
from pipelines.base.errors import UsageError, UserError, argument, as_options, printable
from pipelines.base.files import LONGEST_NAME, make_folder, replacing, shortened
from pipelines.base.plurals import count_of
from pipelines.base.progress import note

_UNREAD = np.empty((0, 0, 3), np.uint8)


class _Read(NamedTuple):
    """An image, what its results are called, and what is wrong if it cannot be read."""

    path: Path
    name: str
    image: np.ndarray
    fault: UserError | None = None


def predict_files(
    segment: Segment,
    images: Sequence[Path],
    out: Path,
    palette: np.ndarray,
    opacity: float,
    folders: Sequence[Path] = (),
) -> int:
    """Writes a label map and an overlay for each image; a bad one is named and left out.

    Neighbours of one size go through the model together, see `same_sized`. While they do, the next
    are read and the last are written: no more than four batches, or four large images, are in
    memory. What is said comes in the order of the images. A progress bar runs on standard error.

    Args:
        segment: the model; an image that it refuses with a `UserError` is a bad one.
        images: files to read, of any sizes.
        out: folder to write to; NAME_labels.png and NAME_overlay.jpg, in folders as the images'.
        palette, opacity: as in `gcn_keras.inference.overlays.overlay`.
        folders: as in `result_names`.

    Returns:
        How many images failed.

    Raises:
        UserError: the folder cannot be written.
    """
    failed = 0

    def write(batch: list[_Read], results: list[np.ndarray | UserError]) -> None:
        nonlocal failed
        for (path, name, image, _), result in zip(batch, results, strict=True):
            bar.update()
            try:
                if isinstance(result, UserError):
                    raise result
                with as_options(), naming_large_image(path):
                    drawn = jpeg(overlay(image, result, palette, opacity))
            except UserError as error:
                _note(error, path)
                failed += 1
                continue
            label_file, overlay_file = (out / f"{name}{ending}" for ending in IMAGE_RESULTS)
            if label_file.parent != out:
                make_folder(label_file.parent)
            # First the overlay: a label map without one is nothing that a run has left.
            with replacing(overlay_file) as temporary:
                temporary.write_bytes(drawn)
            save_label_map(result, label_file, palette)
            tqdm.write(printable(f"{path} -> {label_file}, {overlay_file.name}"))

    read = map(_read, images, result_names(images, IMAGE_RESULTS[1], folders=folders))
    bar = tqdm(total=len(images), desc="segment", unit=" images", mininterval=0.5)
    with bar, read_ahead(same_sized(read, _size)) as batches, done_behind() as behind:
        for batch in batches:
            behind(write, batch, _segmented(segment, batch))
    return failed


def check_files_stay(
    images: Sequence[Path],
    videos: Sequence[Path],
    out: Path,
    frame_labels: bool = False,
    folders: Sequence[Path] = (),
) -> None:
    """Refuses to write a result over what is to be read, or over what no run has made.

    Args:
        images, videos: what is to be read.
        out: folder to write to.
        frame_labels: as in `predict_videos`.
        folders: as in `result_names`.

    Raises:
        UsageError: an image or a video is called as a result of another one; a label map lies
            there without its overlay, which a run would have written first, or the overlay of an
            image that no run has written.
    """
    inputs = {os.path.realpath(path): path for path in (*images, *videos)}
    of_images = result_names(images, IMAGE_RESULTS[1], folders=folders)
    of_videos = result_names(videos, VIDEO_RESULTS[1])
    maps, overlays = ([out / f"{name}{end}" for name in of_images] for end in IMAGE_RESULTS)
    lost = [path for path in maps if path.is_file() and not is_result(path)]
    lost += [path for path in overlays if path.is_file() and not _is_overlay(path)]
    overlays += [out / f"{name}{VIDEO_RESULTS[1]}" for name in of_videos]
    written = [os.path.realpath(path) for path in (*maps, *overlays)]
    if frame_labels:  # of however many frames
        folders_of_maps = [out / f"{name}{VIDEO_RESULTS[0]}" for name in of_videos]
        of_frames = set(map(os.path.realpath, folders_of_maps))
        written += [path for path in inputs if os.path.dirname(path) in of_frames]
        for folder in folders_of_maps:
            if folder.is_dir() and not is_result(folder):
                lost += sorted(path for path in folder.iterdir() if is_label_map(path))
    for path in [inputs[path] for path in written if path in inputs] + lost:
        raise UsageError(
            f"{path} would be written over by a result of that name: give another {argument('out')}"
        )


def _is_overlay(path: Path) -> bool:
    """Whether a run has written an overlay, which a killed one leaves without a label map."""
    if is_result(path):
        return True
    with open(path, "rb") as file:
        return OVERLAY_MARK in file.read(1024)


def _read(path: Path, name: str) -> _Read:
    try:
        with as_options(), naming_large_image(path):
            return _Read(path, name, load_image(path))
    except UserError as error:
        return _Read(path, name, _UNREAD, error)


def _size(read: _Read) -> tuple[int, int] | None:
    return None if read.fault else read.image.shape[:2]


def _segmented(segment: Segment, batch: list[_Read]) -> list[np.ndarray | UserError]:
    """The label map of each image of one size, or why it has none.

    A batch that is refused is tried again image by image, so that none fails for another.
    """
    if batch[0].fault:
        return [batch[0].fault]
    try:
        with as_options(), naming_large_image(batch[0].path):
            images = [each.image for each in batch]
            return list(segment(np.stack(images) if len(images) > 1 else images[0][None]))
    except UserError as error:
        if len(batch) == 1:
            return [error]
    return [result for each in batch for result in _segmented(segment, [each])]


def predict_videos(
    segment: Segment,
    videos: Sequence[Path],
    out: Path,
    palette: np.ndarray,
    opacity: float,
    frame_labels: bool = False,
) -> int:
    """Writes an overlay for each video; a bad one is named, and the others go on.

    Args:
        segment, palette, opacity: as in `predict_files`.
        videos: files to read.
        out: folder to write to: STEM_overlay.mp4, and with `frame_labels` a folder STEM_labels.
        frame_labels: whether to write each frame's label map, too.

    Returns:
        How many videos failed.
    """
    failed = 0
    for path, name in zip(videos, result_names(videos, VIDEO_RESULTS[1]), strict=True):
        target = out / f"{name}{VIDEO_RESULTS[1]}"
        label_folder = out / f"{name}{VIDEO_RESULTS[0]}" if frame_labels else None
        try:
            with as_options(), naming_large_image(path):
                frames = segment_video(segment, path, target, palette, opacity, label_folder)
        except UserError as error:
            _note(error, path)
            failed += 1
            continue
        tqdm.write(printable(f"{path} -> {target}, {count_of(frames, 'frame')}"))
    return failed


def result_names(
    files: Iterable[Path],
    ending: str,
    reserved: Iterable[str] = (),
    folders: Sequence[Path] = (),
) -> list[str]:
    """What results are called before their ending: the file's stem, after the folders that it lies
    in below the one that was named, and numbered where that is taken.

    Args:
        files: whose results they are; one that comes twice has several.
        ending: the longest; a stem is shortened so that the whole can be a file's name.
        reserved: names that are taken.
        folders: those that were named, of which the files are.
    """
    taken: set[str] = set(reserved)
    numbers: dict[Path, Iterator[int]] = {}
    names: list[str] = []
    for path in files:
        below, number = _folders_below(path, folders), ""
        counting = numbers.setdefault(below / path.stem, itertools.count(2))
        while True:
            stem = shortened(path.stem, LONGEST_NAME - len(number + ending)) + number
            if (name := (below / stem).as_posix()) not in taken:
                break
            number = f"-{next(counting)}"
        taken.add(name)
        names.append(name)
    return names


def _folders_below(path: Path, folders: Iterable[Path]) -> Path:
    """The folders that a file lies in below the first of some that holds it; none in others."""
    for folder in folders:
        if path.parent.is_relative_to(folder):
            below = path.parent.relative_to(folder)
            if ".." not in below.parts:  # else its results would lie elsewhere
                return below
    return Path()


def _note(error: UserError, path: Path) -> None:
    """The error, and the file that it is about: a model's or a server's does not name it."""
    note(f"error: {error}" if str(path) in str(error) else f"error: {path}: {error}")

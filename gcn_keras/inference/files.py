"""Segments files: images and videos in, label maps and overlays out."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from tqdm import tqdm

from gcn_keras.inference.images import load_image, overlay, save_png
from gcn_keras.inference.memory import naming_large_image
from gcn_keras.inference.segmenters import Segment
from gcn_keras.inference.video import segment_video
from pipelines.base.errors import UserError, as_options, printable
from pipelines.base.files import LONGEST_NAME, shortened
from pipelines.base.progress import note


def predict_files(
    segment: Segment, images: Sequence[Path], out: Path, palette: np.ndarray, opacity: float
) -> int:
    """Writes an index PNG and an overlay for each image; a bad one is named and left out.

    One image is in memory at a time. A progress bar runs on standard error.

    Args:
        segment: the model; an image that it refuses with a `UserError` is a bad one.
        images: files to read, of any sizes.
        out: folder to write to; STEM_labels.png and STEM_overlay.png.
        palette, opacity: as of `gcn_keras.inference.images.overlay`.

    Returns:
        How many images failed.

    Raises:
        UserError: the folder cannot be written.
    """
    failed = 0
    named = list(zip(images, result_names(images, "_overlay.png"), strict=True))
    for path, name in tqdm(named, desc="segment", unit=" images", mininterval=0.5):
        try:
            with as_options(), naming_large_image(path):
                image = load_image(path)
                result = segment(image[None])[0]
                image = overlay(image, result, palette, opacity)
        except UserError as error:
            _note(error, path)
            failed += 1
            continue
        save_png(result, out / f"{name}_labels.png", palette)
        save_png(image, out / f"{name}_overlay.png")
        tqdm.write(printable(f"{path} -> {out / name}_labels.png, {name}_overlay.png"))
    return failed


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
        segment, palette, opacity: as of `predict_files`.
        videos: files to read.
        out: folder to write to: STEM_overlay.mp4, and with `frame_labels` a folder STEM_labels.
        frame_labels: whether to write each frame's label map, too.

    Returns:
        How many videos failed.
    """
    failed = 0
    for path, name in zip(videos, result_names(videos, "_overlay.mp4"), strict=True):
        target = out / f"{name}_overlay.mp4"
        label_folder = out / f"{name}_labels" if frame_labels else None
        try:
            with as_options(), naming_large_image(path):
                frames = segment_video(segment, path, target, palette, opacity, label_folder)
        except UserError as error:
            _note(error, path)
            failed += 1
            continue
        tqdm.write(printable(f"{path} -> {target}, {frames} frames"))
    return failed


def result_names(files: Iterable[Path], ending: str, reserved: Iterable[str] = ()) -> list[str]:
    """What results are called before their ending: the file's stem, numbered where that is taken.

    Args:
        files: whose results they are; one that comes twice has several.
        ending: the longest; a stem is shortened so that the whole can be a file's name.
        reserved: names that are taken.
    """
    taken, names = set(reserved), []
    for path in files:
        number = ""
        while (name := shortened(path.stem, LONGEST_NAME - len(number + ending)) + number) in taken:
            number = f"-{int(number[1:] or 1) + 1}"
        taken.add(name)
        names.append(name)
    return names


def _note(error: UserError, path: Path) -> None:
    """The error, and the file that it is about: a model's or a server's does not name it."""
    note(f"error: {error}" if str(path) in str(error) else f"error: {path}: {error}")

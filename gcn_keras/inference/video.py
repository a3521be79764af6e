"""Segments videos frame by frame, with OpenCV (extras group `video`)."""

import contextlib
import itertools
import math
import os
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np
from tqdm import tqdm

from gcn_keras.inference.batches import BATCH_PIXELS
from gcn_keras.inference.image_files import ENDINGS
from gcn_keras.inference.overlays import overlay, save_label_map
from gcn_keras.inference.segmenters import Segment
from pipelines.base import extras
from pipelines.base.errors import ArgumentError, UsageError, UserError, argument, printable
from pipelines.base.files import check_utf8, make_folder, replacing, temporary_beside

if TYPE_CHECKING:
    import cv2

# Frames that go through the model together, of at most BATCH_PIXELS unless a single one has more.
BATCH_FRAMES = 8
# What a file is taken by that is named where an image should be.
VIDEO_ENDINGS = (".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm")
# Of a file that does not carry its rate.
DEFAULT_FPS = 25.0
# Some containers estimate their number of frames: a whole file may lack this share of it.
COUNT_TOLERANCE = 0.01


def require_opencv() -> ModuleType:
    """The module `cv2`, its own messages silenced; a UserError if OpenCV is not installed."""
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    os.environ.setdefault("OPENCV_LOG_LEVEL", "OFF")
    return extras.require("videos need", "cv2")


def check_video(video: str | Path) -> None:
    """Refuses a path that can be no video, before anything slow is imported.

    Raises:
        ArgumentError: nothing lies there, or a folder, or a file with the ending of a still image.
    """
    path = Path(video)
    if os.path.isdir(path):
        raise ArgumentError("video", f"{path} is a folder: name each video by an option of its own")
    if not os.path.exists(path):
        raise ArgumentError("video", f"{path} does not exist")
    if not os.path.isfile(path):  # opening a pipe would wait for its other end
        raise ArgumentError("video", f"{path} is a pipe, a socket or a device, not a video")
    if path.suffix.lower() in ENDINGS and path.suffix.lower() != ".gif":
        raise ArgumentError("video", f"{path} is an image: name it without {argument('video')}")


def check_no_videos(images: Iterable[str | Path]) -> None:
    """Refuses images of which one is a video by its name, before anything slow is imported.

    Raises:
        UsageError: one is.
    """
    for path in images:
        if str(path).lower().endswith(VIDEO_ENDINGS):
            raise UsageError(f"{path} is a video: name it by {argument('video')}")


def segment_video(
    segment: Segment,
    path: str | Path,
    target: str | Path,
    palette: np.ndarray,
    opacity: float,
    label_folder: str | Path | None = None,
) -> int:
    """Writes a video with the colours of the label maps over its frames.

    The frames stream: a few of them are in memory at a time, however long the video is. The result
    is an MP4 (MPEG-4 part 2) of the same rate and size, but for an odd side's last row or column,
    and without sound; it appears under its name when it is whole. A progress bar runs on standard
    error.

    Args:
        segment: gets up to `BATCH_FRAMES` frames at a time.
        path: the video, in any format that OpenCV's FFmpeg reads.
        target: the .mp4 file to write.
        palette: uint8 `[256, 3]`.
        opacity: of the colours over the frames, 0…1.
        label_folder: folder for each frame's label map, 000000.png, 000001.png, …; made if
            absent. They appear there when the video is done. None writes none.

    Returns:
        The number of frames.

    Raises:
        UserError: no video, one without a frame, or one that ends early (what could be read is
            written); OpenCV is missing; the model fails; the result cannot be written.
    """
    cv2 = require_opencv()
    capture = cv2.VideoCapture(_absolute(path), cv2.CAP_FFMPEG)
    try:
        if not capture.isOpened():
            raise UserError(f"{path} is no video that can be read: damaged, or of another format")
        announced = _announced_frames(cv2, capture)
        fps = capture.get(cv2.CAP_PROP_FPS)
        frames = read_frames(capture, path)
        bar = tqdm(frames, desc=printable(Path(path).name), total=announced, unit=" frames")
        with bar, _replacing_maps(label_folder) as maps:
            overlays = _overlays(segment, bar, palette, opacity, maps)
            done = write_video(overlays, target, fps if 0 < fps < math.inf else DEFAULT_FPS)
    finally:
        capture.release()
    if done == 0:
        raise UserError(f"{path} has no frame that can be read")
    if announced and announced - done > max(1, COUNT_TOLERANCE * announced):
        raise UserError(
            f"{path} is truncated or damaged: {done} of its {announced} frames could be read, and "
            f"{target} holds those"
        )
    return done


def label_map_name(number: int) -> str:
    """What the label map of a frame is called."""
    return f"{number:06}.png"


def is_label_map(path: Path) -> bool:
    """Whether a file is called as the label map of a frame is."""
    return path.stem.isdecimal() and path.name == label_map_name(int(path.stem))


@contextlib.contextmanager
def _replacing_maps(folder: str | Path | None) -> Iterator[Path | None]:
    """Gives a folder for a video's label maps; they go to `folder` when the block has ended well,
    and those of a longer video, made there before, go. None gives None."""
    if folder is None:
        yield None
        return
    target = Path(folder)
    temporary = temporary_beside(target)
    make_folder(temporary)
    try:
        yield temporary
        count = len(os.listdir(temporary))
        if count == 0:  # no video: what is there stays
            return
        make_folder(target)
        for name in map(label_map_name, range(count)):
            os.replace(temporary / name, target / name)
        for number in itertools.count(count):
            try:
                (target / label_map_name(number)).unlink()
            except FileNotFoundError:
                break
    except OSError as error:
        raise UserError(f"{target} cannot be written: {error.strerror or error}") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _absolute(path: str | Path) -> str:
    # FFmpeg takes "12:" at the beginning of a path for a protocol.
    absolute = os.path.abspath(path)
    check_utf8(absolute)
    return absolute


def _announced_frames(cv2, capture) -> int | None:
    """The number of frames that a container announces; None where there is none (0, -1, NaN)."""
    count = capture.get(cv2.CAP_PROP_FRAME_COUNT)
    return int(count) if 0 < count < 2**31 else None


def read_frames(capture: "cv2.VideoCapture", path: str | Path) -> Iterator[np.ndarray]:
    """Reads an open `cv2.VideoCapture` to its end.

    Yields:
        Frames, uint8 `[H, W, 3]` RGB, upright, all of one size.

    Raises:
        UserError: the size changes on the way.
    """
    first = None
    while (frame := capture.read()[1]) is not None:
        first = first or frame.shape
        if frame.shape != first:
            raise UserError(
                f"{path} changes its size from {first[1]}×{first[0]} to "
                f"{frame.shape[1]}×{frame.shape[0]} on the way: cut it there"
            )
        yield np.ascontiguousarray(frame[:, :, ::-1])


def in_batches(frames: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """Stacks frames, uint8 `[H, W, 3]`, to `[B, H, W, 3]`: as many as may be in memory."""
    batch: list[np.ndarray] = []
    for frame in frames:
        batch.append(frame)
        pixels = frame.shape[0] * frame.shape[1]
        if len(batch) == BATCH_FRAMES or (len(batch) + 1) * pixels > BATCH_PIXELS:
            yield np.stack(batch)
            batch = []
    if batch:
        yield np.stack(batch)


def _overlays(segment, frames, palette, opacity, maps) -> Iterator[np.ndarray]:
    """The overlay of each frame; its label map is written on the way where that is wanted."""
    number = 0
    for batch in in_batches(frames):
        for frame, labels in zip(batch, segment(batch), strict=True):
            if maps is not None:
                save_label_map(labels, maps / label_map_name(number), palette)
            yield overlay(frame, labels, palette, opacity)
            number += 1


def write_video(frames: Iterable[np.ndarray], target: str | Path, fps: float) -> int:
    """Writes an MP4, as `segment_video` does, of frames, uint8 `[H, W, 3]` RGB of one size.

    Returns:
        The number of frames; with none, no file is written.
    """
    cv2 = require_opencv()
    frames = iter(frames)
    first = next(frames, None)
    if first is None:
        return 0
    height, width = first.shape[:2]
    with replacing(target) as temporary:
        # OpenCV reports no failure but in isOpened: what can be known is asked before and after.
        temporary.touch()
        writer = cv2.VideoWriter(
            _absolute(temporary),
            cv2.CAP_FFMPEG,
            cv2.VideoWriter_fourcc(*"mp4v"),
            fps,
            (width, height),
        )
        try:
            if not writer.isOpened():
                raise UserError(
                    f"{target} cannot be written: OpenCV takes no video of {width}×{height} at "
                    f"{fps:g} frames a second"
                )
            done = 0
            for frame in itertools.chain([first], frames):
                writer.write(np.ascontiguousarray(frame[:, :, ::-1]))
                done += 1
        finally:
            writer.release()
        written = cv2.VideoCapture(_absolute(temporary), cv2.CAP_FFMPEG)
        found = _announced_frames(cv2, written) or 0
        written.release()
        if found != done:
            raise UserError(
                f"{target} cannot be written: {found} of {done} frames arrived; is the disk full?"
            )
    return done

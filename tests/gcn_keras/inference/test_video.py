"""Videos: what goes in comes out, frame by frame, and damage is named."""

import os
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from gcn_keras.inference import video
from pipelines.base.errors import UsageError, UserError
from pipelines.base.labels import palette

cv2 = pytest.importorskip("cv2")

HEIGHT, WIDTH = 48, 64
COLOURS = palette()


def frame(number: int) -> np.ndarray:
    """A gray image with a white square that moves by four pixels a frame."""
    pixels = np.full((HEIGHT, WIDTH, 3), 60, np.uint8)
    pixels[8:24, 4 * number : 4 * number + 16] = 255
    return pixels


def write_clip(path, count: int, codec: str, fps: float = 10.0):
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*codec), fps, (WIDTH, HEIGHT))
    assert writer.isOpened()
    for number in range(count):
        writer.write(frame(number)[:, :, ::-1])
    writer.release()
    return path


def read_clip(path) -> list[np.ndarray]:
    return list(video.read_frames(cv2.VideoCapture(str(path)), path))


def labelled(label: int):
    """A model that gives every pixel one label."""
    return lambda frames: np.full(frames.shape[:3], label, np.uint8)


def bright(frames: np.ndarray) -> np.ndarray:
    """Stands for a model: class 1 is what is bright."""
    assert frames.dtype == np.uint8 and len(frames) <= video.BATCH_FRAMES
    return (frames.mean(axis=-1) > 128).astype(np.uint8)


@pytest.mark.parametrize(("name", "codec"), [("clip.avi", "MJPG"), ("clip.mp4", "mp4v")])
def test_each_frame_gets_its_own_overlay(tmp_path, name, codec):
    clip = write_clip(tmp_path / name, 11, codec, fps=12.0)
    target = tmp_path / "overlay.mp4"
    labels = tmp_path / "labels"
    assert video.segment_video(bright, clip, target, COLOURS, 1.0, labels) == 11
    result = cv2.VideoCapture(str(target))
    assert result.get(cv2.CAP_PROP_FPS) == pytest.approx(12.0)
    frames = read_clip(target)
    assert len(frames) == 11 and frames[0].shape == (HEIGHT, WIDTH, 3)
    for number, shown in enumerate(frames):
        left = 4 * number
        # Inside of the square, away from what the codec blurs: the colour of class 1, dark red.
        inside = shown[12:20, left + 4 : left + 12].reshape(-1, 3).mean(axis=0)
        assert np.abs(inside - COLOURS[1]).max() < 25, number
        assert shown[36:44].mean() < 25  # class 0 is black
    from PIL import Image

    assert sorted(path.name for path in labels.iterdir())[-1] == "000010.png"
    third = np.asarray(Image.open(labels / "000002.png"))
    assert third[16, 16] == 1 and third[16, 40] == 0


def test_batches_are_bounded_in_frames_and_in_pixels(monkeypatch):
    frames = [np.full((2, 5, 3), number, np.uint8) for number in range(11)]
    assert [len(batch) for batch in video.in_batches(frames)] == [8, 3]
    monkeypatch.setattr(video, "BATCH_PIXELS", 25)
    batches = list(video.in_batches(frames))
    assert [len(batch) for batch in batches] == [2, 2, 2, 2, 2, 1]
    assert [int(image[0, 0, 0]) for batch in batches for image in batch] == list(range(11))
    monkeypatch.setattr(video, "BATCH_PIXELS", 3)  # a single frame has more
    assert [len(batch) for batch in video.in_batches(frames)] == [1] * 11


def test_what_is_no_video_is_named_and_writes_nothing(tmp_path):
    text = tmp_path / "notes.mp4"
    text.write_text("this is no video\n")
    target = tmp_path / "overlay.mp4"
    with pytest.raises(UserError, match=r"notes\.mp4 is no video that can be read"):
        video.segment_video(bright, text, target, COLOURS, 0.5)
    assert not target.exists()


def test_a_truncated_video_keeps_what_could_be_read(tmp_path):
    clip = write_clip(tmp_path / "clip.avi", 40, "MJPG")
    content = clip.read_bytes()
    clip.write_bytes(content[: len(content) // 2])
    target = tmp_path / "overlay.mp4"
    with pytest.raises(UserError, match=r"clip\.avi is truncated or damaged: \d+ of its 40"):
        video.segment_video(bright, clip, target, COLOURS, 0.5)
    assert 0 < len(read_clip(target)) < 40


def test_frames_that_change_their_size():
    shown = [frame(0), frame(1), frame(2)[:, :32], None]
    capture = SimpleNamespace(read=lambda: (True, shown.pop(0)))
    frames = video.read_frames(capture, "clip.mp4")
    for number in range(2):
        assert np.array_equal(next(frames), frame(number))
    with pytest.raises(UserError) as caught:
        next(frames)
    assert str(caught.value) == (
        "clip.mp4 changes its size from 64×48 to 32×48 on the way: cut it there"
    )


def test_a_video_that_opencv_does_not_take(tmp_path):
    """MPEG-4 part 2 has 13 bits for a side."""
    target = tmp_path / "a.mp4"
    with pytest.raises(UserError) as caught:
        video.write_video([np.zeros((16, 2**14, 3), np.uint8)], target, 12.5)
    assert str(caught.value) == (
        f"{target} cannot be written: OpenCV takes no video of 16384×16 at 12.5 frames a second"
    )
    assert not list(tmp_path.iterdir())


def test_a_model_that_fails_leaves_no_half_video(tmp_path):
    def failing(frames):
        raise UserError("the server is down")

    clip = write_clip(tmp_path / "clip.avi", 3, "MJPG")
    with pytest.raises(UserError, match="the server is down"):
        video.segment_video(failing, clip, tmp_path / "overlay.mp4", COLOURS, 0.5)
    assert [path.name for path in tmp_path.iterdir()] == ["clip.avi"]


def test_paths_that_can_be_no_video_are_refused(tmp_path):
    (tmp_path / "photo.jpg").write_bytes(b"")
    for path, message in (
        (tmp_path, "is a folder"),
        (tmp_path / "absent.mp4", "does not exist"),
        (tmp_path / "photo.jpg", "is an image"),
    ):
        with pytest.raises(UsageError, match=message):
            video.check_video(path)
    (tmp_path / "moving.GIF").touch()
    video.check_video(tmp_path / "moving.GIF")
    video.check_no_videos(["a.jpg", "b.gif", "mp4"])
    with pytest.raises(UsageError, match="^b.MP4 is a video: name it by video$"):
        video.check_no_videos(["a.jpg", tmp_path.parent / "c.png", "b.MP4"])


def test_a_name_that_looks_like_an_address(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_clip(tmp_path / "clip.mp4", 3, "mp4v").rename("T12:30.mp4")
    assert video.segment_video(bright, "T12:30.mp4", "T12:out.mp4", COLOURS, 1.0) == 3
    assert len(read_clip(tmp_path / "T12:out.mp4")) == 3


@pytest.mark.parametrize("names", [(b"gr\xfcn.mp4", b"out.mp4"), (b"clip.mp4", b"gr\xfcn.mp4")])
def test_a_name_that_is_no_utf8(tmp_path, names):
    """On which OpenCV ends the process."""
    path, target = (tmp_path / os.fsdecode(name) for name in names)
    write_clip(tmp_path / "a.mp4", 3, "mp4v").rename(path)
    with pytest.raises(UserError, match="has bytes that are no UTF-8 in its name: rename it$"):
        video.segment_video(bright, path, target, COLOURS, 1.0)
    assert [each.name for each in tmp_path.iterdir()] == [path.name]


def test_label_maps_of_a_longer_video_do_not_stay(tmp_path):
    labels = tmp_path / "labels"
    for count in (5, 3):
        clip = write_clip(tmp_path / "clip.mp4", count, "mp4v")
        video.segment_video(bright, clip, tmp_path / "overlay.mp4", COLOURS, 1.0, labels)
        others = ["2024.png", "20240101.png", "7.png", "notes.txt"]
        for name in others:
            (labels / name).touch()
        names = [f"{number:06}.png" for number in range(count)]
        assert sorted(path.name for path in labels.iterdir()) == [*names, *others]


def test_a_video_without_a_frame_leaves_the_label_maps(tmp_path, monkeypatch):
    clip = write_clip(tmp_path / "clip.avi", 3, "MJPG")
    labels, target = tmp_path / "labels", tmp_path / "overlay.mp4"
    video.segment_video(bright, clip, target, COLOURS, 0.5, labels)
    before = sorted(path.name for path in labels.iterdir())
    monkeypatch.setattr(video, "read_frames", lambda capture, path: iter(()))
    with pytest.raises(UserError, match="has no frame that can be read"):
        video.segment_video(bright, clip, target, COLOURS, 0.5, labels)
    assert sorted(path.name for path in labels.iterdir()) == before and len(before) == 3


def test_label_maps_of_an_unfinished_run_replace_none(tmp_path):
    """Label 1 once; then the model ends, after one batch, with label 2."""
    clip = write_clip(tmp_path / "clip.avi", video.BATCH_FRAMES + 2, "MJPG")
    labels, target = tmp_path / "labels", tmp_path / "overlay.mp4"
    first = labelled(1)
    video.segment_video(first, clip, target, COLOURS, 0.5, labels)
    second = labelled(2)

    def ending(frames):
        if len(frames) < video.BATCH_FRAMES:
            raise UserError("the server is down")
        return second(frames)

    with pytest.raises(UserError, match="the server is down"):
        video.segment_video(ending, clip, target, COLOURS, 0.5, labels)
    maps = sorted(labels.iterdir())
    assert len(maps) == video.BATCH_FRAMES + 2
    assert all((np.asarray(Image.open(path)) == 1).all() for path in maps)
    assert {path.name for path in tmp_path.iterdir()} == {"clip.avi", "labels", "overlay.mp4"}

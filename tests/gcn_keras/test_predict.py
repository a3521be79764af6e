"""`predict` without a trained model: files that fail, invalid options, videos."""

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import forks
import numpy as np
import pytest
from miniatures import noise
from PIL import Image
from places import REPOSITORY

from gcn_keras import gcn
from gcn_keras.inference.files import (
    check_files_stay,
    predict_files,
    predict_videos,
    result_names,
)
from gcn_keras.inference.image_files import find_images
from gcn_keras.inference.legend import Legend
from gcn_keras.inference.overlays import jpeg
from pipelines.base.encoding import encode_jpeg
from pipelines.base.errors import UsageError, UserError, in_options
from pipelines.base.labels import CAMVID_CLASSES, palette, voc_colour_map

PALETTE = voc_colour_map()


def bright(images: np.ndarray) -> np.ndarray:
    """Stands for a model: class 1 is what is bright; an image three pixels high is refused."""
    if images.shape[1] == 3:
        raise UserError("the server is down")
    return (images.mean(axis=-1) > 128).astype(np.uint8)


def save(path, height: int, value: int):
    Image.fromarray(np.full((height, 6, 3), value, np.uint8)).save(path)
    return path


def test_a_image_that_the_model_refuses_is_left_out(tmp_path, capsys):
    images = [save(tmp_path / f"{h}.png", h, v) for h, v in ((4, 10), (3, 0), (5, 250))]
    assert predict_files(bright, images, tmp_path, PALETTE, 0.5) == 1
    assert f"error: {images[1]}: the server is down" in capsys.readouterr().err
    assert not (tmp_path / "3_labels.png").exists()
    for name, shape, label in (("4", (4, 6), 0), ("5", (5, 6), 1)):
        labels = np.asarray(Image.open(tmp_path / f"{name}_labels.png"))
        assert labels.shape == shape and (labels == label).all()
    # Half of 250, and half of class 1's (128, 0, 0); a JPEG rounds.
    drawn = np.asarray(Image.open(tmp_path / "5_overlay.jpg"))
    np.testing.assert_allclose(drawn, np.broadcast_to((189, 125, 125), (5, 6, 3)), atol=2)


def test_an_image_too_long_for_an_overlay_is_left_out(tmp_path, capsys):
    images = [save(tmp_path / f"{h}.png", h, 250) for h in (65_501, 5)]
    assert predict_files(bright, images, tmp_path, PALETTE, 0.5) == 1
    sentence = (
        f"error: {images[0]}: an overlay is a JPEG, of at most 65,500 pixels a side, and this one "
        "is 6x65501: cut the image into parts\n"
    )
    assert sentence in capsys.readouterr().err
    assert {path.name for path in tmp_path.glob("*_*")} == {"5_labels.png", "5_overlay.jpg"}


def test_an_image_too_large_for_the_memory_is_left_out(tmp_path, capsys):
    def segment(images):
        if images.shape[1] == 3:
            raise MemoryError
        return bright(images)

    images = [save(tmp_path / f"{height}.png", height, 0) for height in (3, 4)]
    assert predict_files(segment, images, tmp_path, PALETTE, 0.5) == 1
    sentence = "is too large for the memory: take tiles, --tile 512 512, or smaller ones"
    assert f"error: {images[0]} {sentence}\n" in capsys.readouterr().err
    assert (tmp_path / "4_labels.png").exists()


@pytest.mark.parametrize("letter", ["a", "é", "像"])
def test_the_longest_names(tmp_path, letter):
    """Two that differ in their last letter alone; results and temporary files have names, too."""
    start = letter * (249 // len(letter.encode()))
    images = [save(tmp_path / f"{start}{end}.png", 4, 0) for end in "xy"]
    out = tmp_path / "out"
    out.mkdir()
    assert predict_files(bright, images, out, PALETTE, 0.5) == 0
    names = sorted(os.listdir(out))
    assert len(names) == 4 and all(name.startswith(letter * 70) for name in names)
    assert [name[name.rindex("_") :] for name in names] == ["_labels.png", "_overlay.jpg"] * 2


def test_names_of_results():
    files = [Path(name) for name in ("a.png", "b/a.jpg", "a-2.png", "mean.png", "c/a.png")]
    names = result_names(files, "_overlay.jpg", ["mean"])
    assert names == ["a", "a-2", "a-2-2", "mean-2", "a-3"]
    assert result_names([Path("é" * 130)] * 2, "_x.png") == ["é" * 124, "é" * 123 + "-2"]


def test_results_lie_in_folders_as_their_images_do():
    names = ("photos/a.png", "photos/s/a.png", "photos/s/a.jpg", "b/s/a.png", "c/d.png")
    files = [Path(name) for name in (*names, "photos/s/../../x.png")]
    folders = [Path("photos"), Path("b"), Path("c/d.png")]
    names = result_names(files, "_overlay.jpg", folders=folders)
    assert names == ["a", "s/a", "s/a-2", "s/a-3", "d", "x"]
    assert result_names([Path("s/a.png")], "_overlay.jpg", folders=[Path()]) == ["s/a"]


def test_a_tree_of_images(tmp_path):
    photos, out = tmp_path / "photos", tmp_path / "out"
    (photos / "north").mkdir(parents=True)
    out.mkdir()
    images = [save(photos / "a.png", 4, 0), save(photos / "north" / "a.png", 4, 250)]
    for _ in range(2):  # the second time results are there
        assert find_images([photos, *out.rglob("*_labels.png")], out) == images
        check_files_stay(images, [], out, folders=[photos])
        assert predict_files(bright, images, out, PALETTE, 0.5, folders=[photos]) == 0
    for name, label in (("a", 0), ("north/a", 1)):
        assert (np.array(Image.open(out / f"{name}_labels.png")) == label).all()
        assert (out / f"{name}_overlay.jpg").is_file()
    written = save(photos / "north" / "a_labels.png", 4, 0)
    with pytest.raises(UsageError, match=r"north/a_labels\.png would be written over by a result"):
        check_files_stay([*images, written], [], photos, folders=[photos])


def test_names_with_control_characters(tmp_path, capsys):
    """A name may clear the screen, or be no UTF-8."""
    escape = save(tmp_path / "a\x1b[2J\x9b\rb.png", 4, 0)
    bad = tmp_path / "c\x1b]0;title\x07\udcff.png"
    bad.write_bytes(b"no image")
    assert predict_files(bright, [escape, bad], tmp_path, PALETTE, 0.5) == 1
    printed = capsys.readouterr()
    assert "a\\x1b[2J\\x9b\\rb.png -> " in printed.out
    assert "c\\x1b]0;title\\x07\\udcff.png is not an image" in printed.err
    assert not {"\x1b", "\x9b", "\x07"} & set(printed.out + printed.err)


@pytest.mark.parametrize(("count", "words"), [(3, "3 frames"), (1, "1 frame")])
def test_a_video_that_fails_is_left_out(tmp_path, capsys, count, words):
    cv2 = pytest.importorskip("cv2")
    good, bad = tmp_path / "good.avi", tmp_path / "bad.avi"
    writer = cv2.VideoWriter(str(good), cv2.VideoWriter_fourcc(*"MJPG"), 5.0, (32, 16))
    for _ in range(count):
        writer.write(np.full((16, 32, 3), 250, np.uint8))
    writer.release()
    bad.write_bytes(b"RIFF and nothing more")
    out = tmp_path / "out"
    out.mkdir()
    assert predict_videos(bright, [bad, good], out, PALETTE, 0.5, frame_labels=True) == 1
    printed = capsys.readouterr()
    assert f"error: {bad} is no video" in printed.err
    assert printed.out == f"{good} -> {out}/good_overlay.mp4, {words}\n"
    assert {path.name for path in out.iterdir()} == {"good_overlay.mp4", "good_labels"}
    assert len(list((out / "good_labels").iterdir())) == count


def test_a_video_that_is_named_twice_is_segmented_once(tmp_path, monkeypatch):
    """By whatever path; they come as they are named first."""
    command = importlib.import_module("gcn_keras.predict")
    segmented = []

    def segment_videos(segment, videos, *others):
        segmented.extend(videos)
        return 0

    monkeypatch.setattr(command, "require_opencv", lambda: None)
    monkeypatch.setattr(command, "predict_videos", segment_videos)
    stand_in = SimpleNamespace(segment=bright, legend=None)
    monkeypatch.setattr(command, "open_segmenter", lambda address: stand_in)
    monkeypatch.chdir(tmp_path)
    for name in ("model.keras", "b.mp4", "a.mp4"):
        Path(name).touch()
    videos = tuple(map(Path, ("b.mp4", "a.mp4", tmp_path / "b.mp4", "b.mp4")))
    assert command.predict("model.keras", (), video=videos) == 0
    assert segmented == [Path("b.mp4"), Path("a.mp4")]


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        ([], 2, "name at least one image or folder of images, or --video FILE"),
        (["a.jpg", "--opacity", "1.5"], 2, "--opacity must be in 0…1, got 1.5"),
        (["a.jpg", "--frame-labels"], 2, "--frame-labels is about videos"),
        (["--video", "none.mp4"], 2, "--video none.mp4 does not exist"),
        (["--video", "/dev/null"], 2, "--video /dev/null is a pipe, a socket or a device"),
        (["x" * 300], 2, "x does not exist"),
        (
            ["a.jpg", "--palette", "image_folder/mine"],
            2,
            "--palette knows the colours of camvid, cityscapes19, coco_voc, voc2012_sbd, got "
            "'image_folder/mine': leave it out to take those that the model carries",
        ),
    ],
)
def test_bad_options(tmp_path, arguments, status, message):
    model = tmp_path / "model.keras"
    model.write_bytes(b"not looked into")
    done = predict(model, *arguments)
    assert done.returncode == status
    assert message in done.stderr and "Traceback" not in done.stderr


def test_a_video_without_its_option(tmp_path):
    (tmp_path / "model.keras").write_bytes(b"not looked into")
    (tmp_path / "ride.MOV").touch()
    done = predict(tmp_path / "model.keras", tmp_path / "ride.MOV")
    assert done.returncode == 2
    assert done.stderr == f"error: {tmp_path}/ride.MOV is a video: name it by --video\n"


def test_a_path_that_is_no_model(tmp_path):
    done = predict(REPOSITORY / "LICENSE", "a.jpg")
    assert done.returncode == 1
    assert done.stderr.startswith(f"error: there is no model at {REPOSITORY}/LICENSE: expected a ")


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("damaged.keras", "{} cannot be loaded as a Keras model: "),
        ("a.tflite", "{} needs ai-edge-litert, which is not installed: "),
        ("a.onnx", "{} needs onnxruntime, which is not installed: "),
        ("grpc://localhost:1/a", "{} needs tensorflow-serving-api, which is not installed: "),
    ],
)
def test_a_refused_model_leaves_no_folder(tmp_path, monkeypatch, name, error):
    for module in ("ai_edge_litert", "onnxruntime", "tensorflow_serving"):
        monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.chdir(tmp_path)
    if "://" not in name:
        Path(name).write_bytes(b"no model")
    image = save(tmp_path / "photo.png", 5, 90)
    with pytest.raises(UserError) as caught:
        importlib.import_module("gcn_keras.predict").predict(name, (image,))
    assert str(caught.value).startswith(error.format(name))
    assert not (tmp_path / "predictions").exists()


@pytest.mark.parametrize(("height", "status", "made"), [(3, 1, False), (5, 0, True)])
def test_a_run_without_a_result_leaves_no_folder(tmp_path, monkeypatch, height, status, made):
    command = importlib.import_module("gcn_keras.predict")
    stand_in = SimpleNamespace(segment=bright, legend=None)
    monkeypatch.setattr(command, "open_segmenter", lambda address: stand_in)
    (tmp_path / "model.keras").touch()
    image = save(tmp_path / "photo.png", height, 90)
    out = tmp_path / "new" / "out"
    assert command.predict(str(tmp_path / "model.keras"), (image,), out=out) == status
    assert out.parent.exists() == made


def test_a_palette_of_other_classes_leaves_no_folder(tmp_path, monkeypatch):
    command = importlib.import_module("gcn_keras.predict")
    legend = Legend(("ground", "sky"), palette())
    stand_in = SimpleNamespace(segment=bright, legend=legend)
    monkeypatch.setattr(command, "open_segmenter", lambda address: stand_in)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model.keras").touch()
    image = save(tmp_path / "photo.png", 5, 90)
    with pytest.raises(UserError, match="and --palette camvid has others: sky, building"):
        command.predict("model.keras", (image,), palette="camvid")
    assert not (tmp_path / "predictions").exists()


def test_a_folder_that_cannot_be_made_is_named_before_the_model_is_opened(tmp_path, monkeypatch):
    command = importlib.import_module("gcn_keras.predict")
    monkeypatch.setattr(command, "open_segmenter", lambda address: pytest.fail("opened"))
    (tmp_path / "model.keras").touch()
    image = save(tmp_path / "photo.png", 5, 90)
    with pytest.raises(UserError) as caught:
        command.predict(str(tmp_path / "model.keras"), (image,), out=image / "out")
    assert str(caught.value) == f"cannot write to {image}/out: {image}: Not a directory"


def test_twice_into_a_folder_inside_the_images_own(tmp_path, monkeypatch, capsys):
    """Each result is of an image, however the folder of results is called."""
    model, images = tmp_path / "model.keras", tmp_path / "images"
    model.touch()
    images.mkdir()
    save(images / "photo.png", 5, 90)
    (tmp_path / "link").symlink_to(images)
    command = importlib.import_module("gcn_keras.predict")
    stand_in = SimpleNamespace(segment=bright, legend=None)
    monkeypatch.setattr(command, "open_segmenter", lambda address: stand_in)
    monkeypatch.chdir(tmp_path)
    for out in ("images/out", "images/out", "link/out", images / "out", "images/../images/other"):
        assert command.predict(str(model), (images,), out=Path(out)) == 0
        assert sorted(os.listdir(out)) == ["photo_labels.png", "photo_overlay.jpg"]
    # Of another folder, whose own results are known by their names.
    assert f"2 files passed over: {images}/out/photo_labels.png, " in capsys.readouterr().err


def test_nothing_that_is_to_be_read_is_written_over(tmp_path):
    """A mask that is called as a result is, and a video that is called as another's overlay."""
    model = tmp_path / "model.keras"
    model.touch()
    save(tmp_path / "photo.png", 5, 90)
    mask = save(tmp_path / "photo_labels.png", 5, 90)
    before = mask.read_bytes()
    command = importlib.import_module("gcn_keras.predict")
    with pytest.raises(UsageError) as caught:
        command.predict(str(model), (tmp_path,), out=tmp_path)
    assert in_options(caught.value.template) == (
        f"{mask} would be written over by a result of that name: give another --out"
    )
    assert mask.read_bytes() == before
    videos = [tmp_path / name for name in ("clip.mp4", "clip_overlay.mp4")]
    with pytest.raises(UsageError, match="/clip_overlay.mp4 would be written over"):
        check_files_stay((), videos, tmp_path)
    check_files_stay((), videos, tmp_path / "out")
    photo = tmp_path / "clip_labels" / "000002.png"
    check_files_stay([photo], [Path("clip.mp4")], tmp_path)
    with pytest.raises(UsageError, match="/clip_labels/000002.png would be written over"):
        check_files_stay([photo], [Path("clip.mp4")], tmp_path, frame_labels=True)


def test_a_label_map_that_no_run_has_made_stays(tmp_path):
    """A run leaves no label map without its overlay, wherever it ends."""
    photo, out = save(tmp_path / "photo.png", 5, 90), tmp_path / "out"
    drawn = save(tmp_path / "photo_labels.png", 5, 90)
    (tmp_path / "model.keras").touch()
    command = importlib.import_module("gcn_keras.predict")
    with pytest.raises(UsageError) as caught:
        command.predict(str(tmp_path / "model.keras"), (photo,), out=tmp_path)
    assert in_options(caught.value.template) == (
        f"{drawn} would be written over by a result of that name: give another --out"
    )
    check_files_stay([photo], [], out)
    (tmp_path / "photo_overlay.jpg").touch()
    check_files_stay([photo], [], tmp_path)


def test_an_overlay_that_no_run_has_made_stays(tmp_path):
    photo = save(tmp_path / "photo.png", 5, 90)
    drawn = tmp_path / "photo_overlay.jpg"
    drawn.write_bytes(encode_jpeg(noise(5, 90)))
    with pytest.raises(UsageError, match="/photo_overlay.jpg would be written over by a result"):
        check_files_stay([photo], [], tmp_path)
    drawn.write_bytes(jpeg(noise(5, 90)))  # as a run that was killed leaves it
    check_files_stay([photo], [], tmp_path)


def test_frames_that_no_run_has_made_stay(tmp_path):
    clip, folder = tmp_path / "clip.mp4", tmp_path / "out" / "clip_labels"
    clip.touch()
    folder.mkdir(parents=True)
    for name in ("notes.txt", "7.png", "2024.png"):  # of which none is a frame's
        (folder / name).touch()
    check_files_stay([], [clip], folder.parent, frame_labels=True)
    for name in ("000007.png", "000003.png"):
        (folder / name).touch()
    check_files_stay([], [clip], folder.parent)
    (tmp_path / "model.keras").touch()
    command = importlib.import_module("gcn_keras.predict")
    with pytest.raises(UsageError) as caught:
        command.predict(
            str(tmp_path / "model.keras"), (), (clip,), folder.parent, frame_labels=True
        )
    assert in_options(caught.value.template) == (
        f"{folder}/000003.png would be written over by a result of that name: give another --out"
    )
    (folder.parent / "clip_overlay.mp4").touch()
    check_files_stay([], [clip], folder.parent, frame_labels=True)


def test_a_run_that_ends_between_two_files_leaves_the_overlay(tmp_path, monkeypatch):
    def full(*given):
        raise UserError("the disk is full")

    monkeypatch.setattr("gcn_keras.inference.files.save_label_map", full)
    image, out = save(tmp_path / "photo.png", 5, 90), tmp_path / "out"
    out.mkdir()
    with pytest.raises(UserError, match="the disk is full"):
        predict_files(bright, [image], out, PALETTE, 0.5)
    assert os.listdir(out) == ["photo_overlay.jpg"]
    check_files_stay([image], [], out)


@pytest.mark.slow
def test_colours_come_from_the_legend_beside_the_model(tmp_path):
    model = tmp_path / "model.keras"
    gcn(num_classes=2, backbone="small", kernel_size=3).save(model)
    legend = {"class_names": ["ground", "sky"], "palette": [[1, 2, 3], [4, 5, 6]]}
    (tmp_path / "labels.json").write_text(json.dumps(legend))
    image = save(tmp_path / "photo.png", 40, 90)
    done = predict(model, image, "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    with Image.open(tmp_path / "out" / "photo_labels.png") as labels:
        assert labels.size == (6, 40) and labels.getpalette()[:6] == [1, 2, 3, 4, 5, 6]


@pytest.mark.slow
@pytest.mark.parametrize(
    "name, status, message",
    [
        ("voc2012_sbd", 1, "and --palette voc2012_sbd has others: background, aeroplane, bicycle"),
        ("camvid", 0, ""),
    ],
)
def test_a_palette_of_other_classes(tmp_path, name, status, message):
    model = tmp_path / "model.keras"
    gcn(num_classes=11, backbone="small", kernel_size=3).save(model)
    Legend(CAMVID_CLASSES, palette()).write_into(model)
    done = predict(model, save(tmp_path / "photo.png", 40, 90), "--out", tmp_path / "out",
                   "--palette", name)  # fmt: skip
    assert done.returncode == status, done.stderr
    assert message in done.stderr and "Traceback" not in done.stderr
    if status:
        assert f"{model} knows the classes sky, building, pole" in done.stderr


@pytest.mark.slow
def test_with_standard_error_closed(tmp_path):
    """Where LiteRT's notes are held back on their way to it, too."""
    pytest.importorskip("ai_edge_litert")
    model = REPOSITORY / "saved_models" / "shapes" / "shapes.tflite"
    command = [sys.executable, "-m", "gcn_keras.predict", model, save(tmp_path / "a.png", 64, 90)]
    done = subprocess.run(
        ["sh", "-c", 'exec "$@" 2>&-', "sh", *command, "--out", tmp_path / "out"],
        cwd=REPOSITORY, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    labels, drawn = tmp_path / "out" / "a_labels.png", tmp_path / "out" / "a_overlay.jpg"
    assert (done.returncode, done.stdout) == (0, f"{tmp_path}/a.png -> {labels}, {drawn.name}\n")
    assert Image.open(labels).size == Image.open(drawn).size == (6, 64)


def predict(*arguments):
    return forks.run("gcn_keras.predict", *arguments)

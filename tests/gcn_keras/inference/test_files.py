"""Files go through a model: what is read and written meanwhile, in which order, what fails."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gcn_keras import overlay
from gcn_keras.inference import batches, files
from gcn_keras.inference.files import predict_files
from gcn_keras.inference.overlays import jpeg
from pipelines.base.errors import UserError
from pipelines.base.labels import voc_colour_map

PALETTE = voc_colour_map()


def bright(images: np.ndarray) -> np.ndarray:
    """Stands for a model: class 1 is what is bright."""
    return (images.mean(axis=-1) > 128).astype(np.uint8)


def save(path: Path, height: int, value: int) -> Path:
    Image.fromarray(np.full((height, 6, 3), value, np.uint8)).save(path)
    return path


def read(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path))


def test_what_is_written_is_what_the_model_says_of_each_image(tmp_path, capsys):
    """In batches where neighbours are of one size; a bad one among them ends a batch."""
    sizes = [(4, 6)] * 3 + [(5, 6)] * 2 + [(4, 6)]
    images = []
    for number, (height, width) in enumerate(sizes):
        pixels = np.random.default_rng(number).integers(0, 256, (height, width, 3))
        images.append(tmp_path / f"{number}.png")
        Image.fromarray(pixels.astype(np.uint8)).save(images[-1])
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"no image")
    images.insert(1, bad)
    shapes = []

    def segment(images):
        shapes.append(images.shape[:3])
        return bright(images)

    assert predict_files(segment, images, tmp_path, PALETTE, 0.3) == 1
    assert shapes == [(1, 4, 6), (2, 4, 6), (2, 5, 6), (1, 4, 6)]
    good = [path for path in images if path != bad]
    for path in good:
        pixels = read(path)
        labels = bright(pixels[None])[0]
        np.testing.assert_array_equal(read(tmp_path / f"{path.stem}_labels.png"), labels)
        drawn = (tmp_path / f"{path.stem}_overlay.jpg").read_bytes()
        assert drawn == jpeg(overlay(pixels, labels, PALETTE, 0.3))
    printed = capsys.readouterr()
    assert [line.split(" -> ")[0] for line in printed.out.splitlines()] == list(map(str, good))
    assert f"error: {bad} is not an image in a format that can be read\n" in printed.err


def test_equal_names_are_numbered():
    paths = [Path(f"scene{i}/rgb.png") for i in range(1000)] + [
        Path("b/rgb-3.png"),
        Path("rgb.png"),
    ]
    names = files.result_names(paths, "-label.png", ["rgb-2"])
    assert names[:3] == ["rgb", "rgb-3", "rgb-4"] and names[999] == "rgb-1001"
    assert names[1000:] == ["rgb-3-2", "rgb-1002"]


def test_one_image_is_read_ahead_and_one_is_written(tmp_path, monkeypatch):
    monkeypatch.setattr(batches, "BATCH_PIXELS", 1)
    images = [save(tmp_path / f"{number}.png", 4, number) for number in range(9)]
    loaded, seen, written = [], [], []
    monkeypatch.setattr(
        files, "load_image", lambda path: loaded.append(path) or np.asarray(Image.open(path))
    )
    monkeypatch.setattr(files, "save_label_map", lambda labels, path, _: written.append(path))

    def segment(batch):
        seen.append(len(batch))
        assert len(seen) <= len(loaded) <= len(seen) + 1
        assert len(seen) - 2 <= len(written) <= len(seen) - 1
        return bright(batch)

    assert predict_files(segment, images, tmp_path, PALETTE, 0.5) == 0
    assert seen == [1] * 9 and loaded == images and len(written) == 9


def test_none_fails_for_another_of_its_batch(tmp_path, capsys):
    images = [save(tmp_path / f"{value}.png", 4, value) for value in (10, 66, 250)]

    def segment(batch):
        if (batch == 66).any():
            raise MemoryError if len(batch) > 1 else UserError("66 is an unlucky number")
        return bright(batch)

    assert predict_files(segment, images, tmp_path, PALETTE, 0.5) == 1
    printed = capsys.readouterr()
    assert [line.split(" -> ")[0] for line in printed.out.splitlines()] == [
        str(images[0]), str(images[2]),
    ]  # fmt: skip
    assert f"error: {images[1]}: 66 is an unlucky number\n" in printed.err
    assert "too large" not in printed.err
    assert not (tmp_path / "66_labels.png").exists()


def test_a_folder_that_cannot_be_written_ends_it(tmp_path):
    images = [save(tmp_path / f"{height}.png", height, 0) for height in (4, 5, 6, 7)]
    with pytest.raises(UserError) as caught:
        predict_files(bright, images, tmp_path / "none", PALETTE, 0.5)
    target = tmp_path / "none" / "4_overlay.jpg"
    assert str(caught.value) == f"{target} cannot be written: No such file or directory"


def test_ctrl_c_leaves_whole_files(tmp_path):
    images = [save(tmp_path / f"{height}.png", height, 0) for height in (4, 5, 6, 7)]

    def segment(batch):
        if batch.shape[1] == 6:
            raise KeyboardInterrupt
        return bright(batch)

    with pytest.raises(KeyboardInterrupt):
        predict_files(segment, images, tmp_path, PALETTE, 0.5)
    results = {path.name for path in tmp_path.iterdir()} - {path.name for path in images}
    assert results == {
        f"{height}_{kind}" for height in (4, 5) for kind in ("labels.png", "overlay.jpg")
    }

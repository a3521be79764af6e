"""Images of other formats, and turned ones, as they are recorded."""

import io
import struct

import numpy as np
import pytest
from own_scenes import SIDE, labelme_file, records
from PIL import Image

from pipelines.base.errors import UserError
from pipelines.datasets.image_folder.options import FolderOptions
from pipelines.datasets.image_folder.sources import open_source


@pytest.mark.parametrize(("form", "ending"), [("WEBP", "webp"), ("TIFF", "tif"), ("BMP", "bmp")])
def test_other_images_become_png(copy, form, ending):
    path = copy / "images" / "s0.jpg"
    pixels = np.array(Image.open(path))
    options = {"lossless": True} if form == "WEBP" else {}
    Image.fromarray(pixels).save(path.with_suffix(f".{ending}"), form, **options)
    path.unlink()
    examples = {**(found := records(copy))["train"], **found["val"]}
    recorded = Image.open(io.BytesIO(examples["s0"]["image"]))
    assert recorded.format == "PNG" and (np.array(recorded) == pixels).all()


def test_an_image_of_fractions_is_refused(copy):
    path = copy / "images" / "s0.tif"
    Image.fromarray(np.zeros((SIDE, SIDE), np.float32)).save(path)
    (copy / "images" / "s0.jpg").unlink()
    with pytest.raises(UserError) as caught:
        records(copy)
    assert str(caught.value) == f"{path} holds floating-point values; 8 bits a channel are needed"


def turned(folder):
    """What is counted in all examples of a folder."""
    source = open_source(folder, FolderOptions())
    for item in (item for items in source.splits.values() for item in items):
        source.make_example(item)
    return source.counts


@pytest.mark.parametrize("orientation", range(2, 9))
def test_exif_orientation_is_applied_once(tmp_path, orientation):
    pixels = np.arange(6, dtype=np.uint8).reshape(2, 3) * 40
    upright = {
        2: pixels[:, ::-1], 3: pixels[::-1, ::-1], 4: pixels[::-1], 5: pixels.T,
        6: pixels.T[:, ::-1], 7: pixels.T[::-1, ::-1], 8: pixels.T[::-1],
    }[orientation]  # fmt: skip
    exif = Image.Exif()
    exif[0x0112] = orientation
    for name in "ab":
        Image.fromarray(pixels).save(tmp_path / f"{name}.tif", exif=exif)
        Image.fromarray(np.zeros(upright.shape, np.uint8)).save(tmp_path / f"{name}.png")
    (tmp_path / "classes.txt").write_text("a\nb")
    ((_, example),) = records(tmp_path)["val"].items()
    recorded = Image.open(io.BytesIO(example["image"]))
    assert (np.array(recorded)[..., 0] == upright).all()
    assert recorded.getexif().get(0x0112) is None
    assert turned(tmp_path) == {"turned": 2}
    for name in "ab":
        labelme_file(tmp_path / f"{name}.json", f"{name}.tif")
        (tmp_path / f"{name}.png").unlink()
    (tmp_path / "classes.txt").write_text("background\ncar")
    assert turned(tmp_path) == {"turned": 2}


def test_a_rotated_jpeg_stays_jpeg(tmp_path):
    rows, columns = np.mgrid[:32, :48]
    pixels = np.stack([rows * 7, columns * 5, rows + columns], axis=-1).astype(np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6
    for name in "ab":
        Image.fromarray(pixels).save(tmp_path / f"{name}.jpg", quality=95, subsampling=0, exif=exif)
        Image.fromarray(np.zeros((48, 32), np.uint8)).save(tmp_path / f"{name}.png")
    (tmp_path / "classes.txt").write_text("a\nb")
    ((_, example),) = records(tmp_path)["val"].items()
    recorded = Image.open(io.BytesIO(example["image"]))
    difference = np.abs(np.array(recorded).astype(int) - np.rot90(pixels, -1).astype(int))
    assert recorded.format == "JPEG" and difference.max() <= 8


@pytest.mark.parametrize("orientation", range(2, 9))
def test_masks_are_turned_as_their_images_are(tmp_path, orientation):
    pixels = np.arange(16, dtype=np.uint8).reshape(4, 4)
    exif = Image.Exif()
    exif[0x0112] = orientation
    for name in "ab":
        Image.fromarray(pixels).save(tmp_path / f"{name}.tif", exif=exif)
        Image.fromarray(pixels).save(tmp_path / f"{name}.png", exif=exif)
    (tmp_path / "classes.txt").write_text("\n".join(f"c{number}" for number in range(16)))
    ((_, example),) = records(tmp_path)["val"].items()
    image, label = (np.array(Image.open(io.BytesIO(example[key]))) for key in ("image", "label"))
    np.testing.assert_array_equal(label, image[..., 0])
    assert not np.array_equal(label, pixels)


def test_a_turned_image_with_an_odd_tag(tmp_path):
    """A width that is text: Pillow would write it anew, and cannot."""
    turned, odd = (
        struct.pack("<HHIHH", 0x0112, 3, 1, 3, 0),
        struct.pack("<HHI4s", 0x100, 2, 3, b"ab"),
    )
    exif = b"Exif\0\0II*\0" + struct.pack("<IH", 8, 2) + turned + odd + bytes(4)
    for name in "ab":
        Image.new("RGB", (8, 8)).save(tmp_path / f"{name}.jpg", exif=exif)
        Image.fromarray(np.zeros((8, 8), np.uint8)).save(tmp_path / f"{name}.png")
    (tmp_path / "classes.txt").write_text("a\nb")
    assert len(records(tmp_path)["val"]) == 1

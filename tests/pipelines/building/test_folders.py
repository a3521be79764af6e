"""Every bad input ends in one sentence that names the file and the value."""

import contextlib
import io
import re

import numpy as np
import pytest
from miniatures import encoded, noise, png_of_16_bits, save, write_pairs
from PIL import Image

from pipelines import datasets
from pipelines.base.errors import UserError
from pipelines.building import folders, image_label

CLASSES = ("sky", "road", "car")


def refuses(message, call, *arguments):
    with pytest.raises(UserError) as caught:
        call(*arguments)
    assert str(caught.value) == message


def test_flat_folder_is_split_by_hash(tmp_path):
    # The two lowest SHA-256 of "0" … "19": 1958… and 2c62….
    write_pairs(tmp_path, [str(number) for number in range(20)], [0] * 20)
    splits = folders.find_splits(tmp_path, allow_flat=True)
    assert list(splits) == ["train", "val"]
    held_out = {pair.image.stem for pair in splits["val"]}
    assert held_out == {"9", "8"}
    trained = {pair.image.stem for pair in splits["train"]}
    assert len(trained) == 18 and not trained & held_out


def test_at_least_one_pair_is_held_out(source):
    splits = folders.find_splits(source, allow_flat=True)
    assert [len(found) for found in splits.values()] == [3, 1]


def test_one_pair_cannot_be_split(tmp_path):
    write_pairs(tmp_path, ["a"], [0])
    message = f"{tmp_path}/images/a.jpg is the only image: at least 2 are needed, one for val"
    refuses(message, folders.find_splits, tmp_path, True)


def test_split_folders_are_taken_as_they_are(split_source):
    splits = folders.find_splits(split_source, allow_flat=True)
    assert {name: len(found) for name, found in splits.items()} == {"train": 6, "val": 2}
    write_pairs(split_source / "test", "i", [0])
    assert list(folders.find_splits(split_source)) == ["train", "val", "test"]


def test_folders(source, split_source, tmp_path):
    refuses(f"there is no folder {tmp_path}/none", folders.find_splits, tmp_path / "none")
    refuses(f"there is no folder {source}/train/images", folders.find_splits, source)
    (tmp_path / "bare").mkdir()
    message = f"{tmp_path}/bare has neither images/ and labels/ nor train/ and val/"
    refuses(message, folders.find_splits, tmp_path / "bare", True)
    (split_source / "images").mkdir()
    message = f"{split_source} has both images/ and train/: keep one of the two layouts"
    refuses(message, folders.find_splits, split_source, True)
    (split_source / "images").rmdir()
    (split_source / "val").rename(split_source / "valid")
    refuses(f"there is no folder {split_source}/val/images", folders.find_splits, split_source)
    (tmp_path / "bare" / "images").mkdir()
    refuses(f"{tmp_path}/bare/images is empty", folders.find_pairs, tmp_path / "bare")


def test_files_without_partner(source):
    (source / "labels" / "b.png").unlink()
    message = f"{source}/images/b.jpg has no label: {source}/labels/b.png is missing"
    refuses(message, folders.find_pairs, source)
    (source / "labels" / "a.png").unlink()
    message = (
        f"{source}/images/a.jpg has no label: {source}/labels/a.png is missing (and 1 more like it)"
    )
    refuses(message, folders.find_pairs, source)
    (source / "images" / "a.jpg").unlink()
    (source / "images" / "b.jpg").unlink()
    (source / "images" / "c.jpg").unlink()
    message = f"{source}/labels/c.png has no image: {source}/images/c.jpg or .png is missing"
    refuses(message, folders.find_pairs, source)


def test_files_that_do_not_belong(source):
    (source / "images" / ".DS_Store").write_text("")
    assert len(folders.find_pairs(source)) == 4
    save(source / "images" / "a.png", noise(6, 8))
    message = f"{source}/images/a.jpg and {source}/images/a.png have the same name"
    refuses(message, folders.find_pairs, source)
    (source / "images" / "a.png").rename(source / "images" / "a.bmp")
    message = f"{source}/images/a.bmp is not one of .jpg, .jpeg, .png"
    refuses(message, folders.find_pairs, source)


@pytest.mark.parametrize(
    "text, message",
    [
        ("", "{} is empty: it names the classes, one a line, label 0 first"),
        ("sky\n", "{} has the one class 'sky': name the background, too"),
        ("sky\n\ncar\n", "{} line 2 is blank, a line between two names"),
        ("sky\ncar\nsky\n", "{} has the class 'sky' 2 times"),
        ("\n".join(map(str, range(256))), "{} has 256 classes; 8-bit masks can hold 255"),
    ],
)
def test_class_names(tmp_path, text, message):
    path = tmp_path / "classes.txt"
    refuses(
        f"there is no {path}: it names the classes, one a line, label 0 first",
        folders.read_class_names,
        path,
    )
    path.write_text(text)
    refuses(message.format(path), folders.read_class_names, path)
    path.write_text("\ufeffsky\n car \n\n", encoding="utf-8")
    assert folders.read_class_names(path) == ("sky", "car")
    path.write_bytes(b"\xff\xfe")
    refuses(f"{path} is not UTF-8 text: invalid start byte", folders.read_class_names, path)


def test_label_of_another_size(source):
    save(source / "labels" / "a.png", np.zeros((6, 7), np.uint8))
    message = f"{source}/labels/a.png is 7x6 pixels, but its image {source}/images/a.jpg is 8x6"
    refuses(message, image_label.make_example, folders.find_pairs(source)[0], CLASSES)


@pytest.mark.parametrize(
    "values, shown",
    [
        ([3], "value 3"),
        ([7, 255, 254, 1], "values 7, 254"),
        (range(3, 20), "values 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, …"),
    ],
)
def test_label_values_that_are_no_class(values, shown):
    data = encoded(np.array([list(values)], np.uint8), "PNG")
    message = (
        f"l.png has the label {shown}, but the classes are 0 sky, 1 road, 2 car, and 255 is void"
    )
    refuses(message, image_label.read_label, "l.png", data, CLASSES)


def _sixteen_bit() -> bytes:
    return encoded(np.zeros((2, 2), np.uint16), "PNG")


def _one_bit() -> bytes:
    buffer = io.BytesIO()
    Image.new("1", (2, 2)).save(buffer, "PNG")
    return buffer.getvalue()


INDEX_MASK = "an index mask has one channel whose values are the classes"


def _transparent() -> bytes:
    buffer = io.BytesIO()
    Image.new("RGBA", (4, 4)).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.mark.parametrize(
    "data, reason",
    [
        (b"", "is empty"),
        (encoded(noise(2, 2), "JPEG"), "is not a PNG file"),
        (encoded(noise(2, 2), "PNG"), f"is a RGB image; {INDEX_MASK}"),
        (encoded(np.zeros((2, 2, 4), np.uint8), "PNG"), f"is a RGBA image; {INDEX_MASK}"),
        (_sixteen_bit(), "has 16 bits a channel; an index mask has 8"),
        (_one_bit(), "has 1-bit gray values; save the indices as 8-bit PNG"),
        (
            encoded(noise(64, 64)[..., 0] % 3, "PNG")[:300],
            "cannot be decoded: it is truncated or damaged",
        ),
        (b"\x89PNG\r\n\x1a\n", "cannot be decoded: it is truncated or damaged"),
    ],
)
def test_labels_that_are_no_index_masks(data, reason):
    refuses(f"l.png {reason}", image_label.read_label, "l.png", data, CLASSES)


@pytest.mark.parametrize("position", [0.3, 0.5, 0.7])
def test_a_flipped_bit_in_a_label_is_noticed(position):
    data = bytearray(encoded(noise(64, 64)[..., 0] % 3, "PNG"))
    data[int(position * len(data))] ^= 4
    message = "l.png cannot be decoded: it is truncated or damaged"
    refuses(message, image_label.read_label, "l.png", bytes(data), CLASSES)


def test_no_flipped_bit_changes_a_label():
    """Of a small mask, Pillow decodes one in twenty to something else, without a word."""
    sound = noise(6, 8)[..., 0] % 3
    data = encoded(sound, "PNG")
    for bit in range(8 * len(data)):
        changed = bytearray(data)
        changed[bit // 8] ^= 1 << bit % 8
        with contextlib.suppress(UserError):
            label = image_label.read_label("l.png", bytes(changed), CLASSES)
            assert np.array_equal(label, sound), bit


def test_of_a_palette_png_the_indices_count():
    mask = Image.fromarray(np.array([[0, 1], [2, 255]], np.uint8), mode="P")
    mask.putpalette(noise(256, 1).tobytes())
    buffer = io.BytesIO()
    mask.save(buffer, "PNG")
    label = image_label.read_label("l.png", buffer.getvalue(), CLASSES)
    assert label.dtype == np.uint8 and label.tolist() == [[0, 1], [2, 255]]


def test_a_void_value_of_the_source_becomes_255():
    data = encoded(np.array([[0, 3], [255, 2]], np.uint8), "PNG")
    assert image_label.read_label("l.png", data, CLASSES, void=3).tolist() == [[0, 255], [255, 2]]


def _rotated() -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    return encoded(noise(4, 4), "JPEG", exif=exif)


def _cmyk() -> bytes:
    buffer = io.BytesIO()
    Image.new("CMYK", (4, 4)).save(buffer, "JPEG")
    return buffer.getvalue()


@pytest.mark.parametrize(
    "data, reason",
    [
        (b"", "is empty"),
        (b"GIF89a", "is neither a JPEG nor a PNG file"),
        (encoded(noise(64, 64), "JPEG")[:2000], "cannot be decoded: it is truncated or damaged"),
        (encoded(noise(64, 64), "PNG")[:2000], "cannot be decoded: it is truncated or damaged"),
        (b"\xff\xd8\xff", "cannot be decoded: it is truncated or damaged"),
        (_sixteen_bit(), "has 16 bits a channel; 8 are needed"),
        (png_of_16_bits(2, 3), "has 16 bits a channel; 8 are needed"),
        (png_of_16_bits(6, 4), "has 16 bits a channel; 8 are needed"),
        (_cmyk(), "is a CMYK image; RGB or grayscale is needed"),
        (_transparent(), "has transparent pixels; RGB or grayscale is needed"),
        (
            _rotated(),
            "has the EXIF orientation 6: store its pixels upright, as its label is, and drop the "
            "tag",
        ),
    ],
)
def test_images_that_cannot_be_used(data, reason):
    refuses(f"i.jpg {reason}", image_label.check_image, "i.jpg", data)


@pytest.mark.parametrize("format", ["JPEG", "PNG"])
def test_good_images_give_their_size(format):
    assert image_label.check_image("i", encoded(noise(5, 9), format)) == (5, 9)
    assert image_label.check_image("i", encoded(noise(5, 9)[..., 0], format)) == (5, 9)


@pytest.mark.parametrize("name", ["camvid", "image_folder"])
def test_a_fault_ends_preparation_and_leaves_nothing(name, split_source, data_dir):
    save(split_source / "val" / "labels" / "h.png", np.full((6, 8), 77, np.uint8))
    path = re.escape(f"{split_source}/val/labels/h.png")
    with pytest.raises(
        UserError, match=f"{path} has the label value 77, but the classes are 0 sky"
    ):
        datasets.prepare(name, split_source, data_dir)
    assert not datasets.is_prepared(name, data_dir)
    assert [path for path in data_dir.rglob("*") if path.is_file()] == []

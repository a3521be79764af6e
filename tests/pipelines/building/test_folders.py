"""Every bad input ends in one sentence that names the file and the value."""

import contextlib
import errno
import functools
import io
import os
import re
import socket
import struct
import zlib

import numpy as np
import pytest
from miniatures import encoded, noise, png_of_16_bits, save, write_pairs
from PIL import Image

from pipelines import datasets
from pipelines.base.errors import UserError
from pipelines.base.files import replacing
from pipelines.building import image_label, opening, pairs

CLASSES = ("sky", "road", "car")


def refuses(message, call, *arguments):
    with pytest.raises(UserError) as caught:
        call(*arguments)
    assert str(caught.value) == message


def found(source) -> list:
    return pairs.find_pairs(source / "images", source / "labels")[0]


def faults(source) -> list[str]:
    return [str(item) for item in found(source) if isinstance(item, UserError)]


def test_a_folder_that_may_not_be_read(source, monkeypatch):
    """Its images would be missing without a word."""
    save(source / "images" / "more" / "c.jpg", noise(4, 6))
    of_system = os.scandir

    def refuse(path):
        if str(path).endswith("more"):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return of_system(path)

    monkeypatch.setattr(os, "scandir", refuse)
    message = f"the folder {source}/images/more cannot be read: Permission denied"
    refuses(message, found, source)


def test_files_without_partner(source):
    (source / "labels" / "b.png").unlink()
    b = f"{source}/images/b.jpg has no label: {source}/labels/b.png is missing"
    assert faults(source) == [b]
    (source / "labels" / "a.png").unlink()
    (source / "images" / "c.jpg").unlink()
    assert faults(source) == [
        f"{source}/images/a.jpg has no label: {source}/labels/a.png is missing",
        b,
        f"{source}/labels/c.png has no image: {source}/images/c.jpg or .png is missing",
    ]


def test_files_that_do_not_belong(source):
    for name in (".DS_Store", "Thumbs.db", "desktop.ini", "._a.jpg", "Desktop.ini"):
        (source / "images" / name).write_text("")
        (source / "labels" / name).write_text("")
    assert len(found(source)) == 4
    save(source / "images" / "a.png", noise(6, 8))
    assert faults(source) == [f"{source}/images/a.jpg and {source}/images/a.png have the same name"]
    assert [pair.image_id for pair in found(source) if not isinstance(pair, UserError)] == [*"bcd"]
    (source / "images" / "a.png").rename(source / "images" / "a.heic")
    assert faults(source) == []
    assert pairs.find_pairs(source / "images", source / "labels")[1] == [
        source / "images" / "a.heic"
    ]


@pytest.mark.parametrize("near", ["b.xcf", "B.png", "b_mask.png", "b.jpg.png", "b.PNG.bak", "b"])
def test_a_label_that_lies_there_under_another_name(source, near):
    (source / "labels" / "b.png").rename(source / "labels" / near)
    assert faults(source) == [
        f"{source}/images/b.jpg has no label: {source}/labels/b.png is missing, but {near} is there"
    ]


def test_an_image_that_lies_there_under_another_name(source):
    (source / "images" / "b.jpg").rename(source / "images" / "b.heic")
    assert faults(source) == [
        f"{source}/labels/b.png has no image: {source}/images/b.jpg or .png is missing, but b.heic "
        "is there"
    ]


def test_what_belongs_to_another_image_is_not_near(source):
    for part in ("images/b.jpg", "labels/b.png"):
        path = source / part
        path.rename(path.with_stem("a_b"))
    (source / "labels" / "a.png").unlink()
    assert faults(source) == [
        f"{source}/images/a.jpg has no label: {source}/labels/a.png is missing"
    ]


def test_names_are_compared_as_characters(source):
    """macOS writes é as two characters, e and an accent."""
    one, two = "caf\u00e9", "cafe\u0301"
    (source / "images" / "a.jpg").rename(source / "images" / f"{two}.jpg")
    (source / "labels" / "a.png").rename(source / "labels" / f"{one}.png")
    assert (source / f"images/{two}.jpg", source / f"labels/{one}.png", one) in found(source)
    write_pairs(source, [one], [0])  # a second image, and the label's place is taken
    assert faults(source) == [
        f"{source}/images/{two}.jpg and {source}/images/{one}.jpg have the same name"
    ]


def test_what_is_no_file_is_not_opened(source, data_dir, monkeypatch):
    """A FIFO would be waited for without end."""
    (source / "images" / "a.jpg").unlink()
    os.mkfifo(source / "images" / "a.jpg")
    (source / "images" / "b.jpg").unlink()
    (source / "images" / "b.jpg").symlink_to("/dev/zero")
    (source / "labels" / "c.png").unlink()
    (source / "labels" / "c.png").mkdir()
    with socket.socket(socket.AF_UNIX) as server:
        (source / "labels" / "d.png").unlink()
        monkeypatch.chdir(source / "labels")  # a socket's path has 107 bytes at most
        server.bind("d.png")
        with pytest.raises(UserError) as caught:
            datasets.prepare("image_folder", source, data_dir)
    (source / "classes.txt").unlink()
    os.mkfifo(source / "classes.txt")
    with pytest.raises(UserError, match="classes.txt is a FIFO, and a file is expected$"):
        datasets.prepare("image_folder", source, data_dir)
    assert sorted(str(caught.value).splitlines()[1:]) == [
        f"  {source}/images/a.jpg is a FIFO, and a file is expected",
        f"  {source}/images/b.jpg is a device, and a file is expected",
        f"  {source}/labels/c.png is a folder, and a file is expected",
        f"  {source}/labels/d.png is a socket, and a file is expected",
    ]


def test_names_of_255_bytes(source, data_dir):
    for folder, ending in (("images", ".jpg"), ("labels", ".png")):
        (source / folder / f"a{ending}").rename(source / folder / f"{'n' * 251}{ending}")
    assert datasets.prepare("image_folder", source, data_dir).splits == {"train": 3, "val": 1}
    path = source / f"{'n' * 250}.json"
    with replacing(path) as temporary:
        temporary.write_text("{}")
    assert path.read_text() == "{}"


def test_faults_are_skipped_where_that_is_asked_for(source, data_dir):
    (source / "labels" / "b.png").unlink()
    (source / "images" / "e.heic").write_text("")
    prepared = datasets.prepare("image_folder", source, data_dir, skip_errors=True)
    assert prepared.splits == {"train": 2, "val": 1}
    assert prepared.skipped == {"default train": 1}


def test_all_faults_of_all_splits_at_once(split_source, data_dir):
    (split_source / "train" / "labels" / "b.png").unlink()
    save(split_source / "train" / "labels" / "c.png", np.full((6, 8), 77, np.uint8))
    (split_source / "val" / "images" / "h.jpg").write_bytes(b"")
    with pytest.raises(UserError) as caught:
        datasets.prepare("image_folder", split_source, data_dir)
    lines = str(caught.value).splitlines()
    assert lines[0] == "3 faults were found:"
    for line, start in zip(
        lines[1:],
        ("train/labels/c.png has the label value 77", "train/images/b.jpg has no label",
         "val/images/h.jpg is empty"),
        strict=True,
    ):  # fmt: skip
        assert line.startswith(f"  {split_source}/{start}")


def test_label_of_another_size(source):
    save(source / "labels" / "a.png", np.zeros((6, 7), np.uint8))
    message = f"{source}/labels/a.png is 7x6 pixels, but its image {source}/images/a.jpg is 8x6"
    read = functools.partial(image_label.read_label, class_names=CLASSES)
    refuses(message, image_label.make_example, found(source)[0], read)


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


def _png(mode, pixels, **options) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels, mode).save(buffer, "PNG", **options)
    return buffer.getvalue()


def test_an_opaque_image_may_have_alpha():
    """Alpha of 255 throughout, or a transparent colour that does not occur."""
    colours = noise(5, 9) | 1
    gray, opaque = colours[..., :1], np.full((5, 9, 1), 255, np.uint8)
    indices = np.arange(45, dtype=np.uint8).reshape(5, 9)
    for data, pixels in (
        (_png("RGBA", np.dstack([colours, opaque])), colours),
        (_png("LA", np.dstack([gray, opaque])), np.repeat(gray, 3, axis=2)),
        (_png("RGB", colours, transparency=(2, 2, 2)), colours),
        (_png("L", gray[..., 0], transparency=2), np.repeat(gray, 3, axis=2)),
    ):
        assert np.array_equal(image_label.read_image("i", data), pixels)
    opaque[2, 3] = 254
    with pytest.raises(UserError, match="^i has transparent pixels; RGB or grayscale is needed$"):
        image_label.read_image("i", _png("RGBA", np.dstack([colours, opaque])))
    for transparent in (0, 1):  # index 44 occurs
        palette = Image.fromarray(indices, "P")
        palette.putpalette(noise(256, 1).tobytes())
        buffer = io.BytesIO()
        palette.save(buffer, "PNG", transparency=bytes([255] * 44 + [255 - transparent]))
        if transparent:
            with pytest.raises(UserError, match="has transparent pixels"):
                image_label.read_image("i", buffer.getvalue())
        else:
            assert image_label.check_image("i", buffer.getvalue()) == (5, 9)


@pytest.mark.slow
@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_an_image_of_more_than_179_million_pixels(source, data_dir, suffix):
    """Pillow takes it for an attack."""
    pixels = np.zeros((12000, 15000), np.uint8)
    pixels[:, 7000:] = 2
    save(source / "images" / f"e.{suffix}", pixels)
    save(source / "labels" / "e.png", pixels)
    prepared = datasets.prepare("image_folder", source, data_dir)
    assert prepared.splits == {"train": 4, "val": 1}
    counts = np.sum([counts for counts in prepared.label_pixels.values()], axis=0)
    assert counts.tolist() == [84_000_048, 48, 96_000_048, 48]


@pytest.mark.parametrize("size", [(23171, 23170), (1_000_001, 1), (1, 1_000_001)])
def test_an_image_that_nothing_can_decode(size):
    """Its header alone says so; its pixels are never asked for."""
    data = encoded(noise(1, 1)[..., 0], "PNG") + bytes(100_000)
    header = b"IHDR" + struct.pack(">II", *size) + data[24:29]
    data = data[:12] + header + struct.pack(">I", zlib.crc32(header)) + data[33:]
    message = (
        f"i is {size[0]}x{size[1]} pixels; at most 536,870,911 can be decoded, and 1,000,000 along "
        "a side"
    )
    refuses(message, image_label.check_image, "i", data)
    refuses(message, image_label.read_label, "i", data, CLASSES)
    if size[0] > 2000:  # more than so few bytes can hold: not its size is wrong, but its header
        message = "i cannot be decoded: it is truncated or damaged"
        refuses(message, image_label.check_image, "i", data[:60])
        refuses(message, image_label.read_label, "i", data[:60], CLASSES)


@pytest.mark.parametrize(
    "data",
    [
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 2 2\n",  # a program
        b"qoif" + struct.pack(">II", 3, 3) + bytes([3, 0]),
    ],
)
def test_what_few_write_is_not_opened(data):
    message = "m.png is no image of a kind that can be read: save it as PNG"
    refuses(message, opening.open_image, "m.png", data)


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

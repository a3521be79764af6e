"""Image files of every kind become bytes that the stream decodes, or a sentence."""

import io

import numpy as np
import pytest
from miniatures import damaged_tiffs, encoded, noise, png_of_16_bits, tiff
from PIL import Image

from pipelines.base.errors import UserError
from pipelines.building.conversion import recorded_image
from pipelines.building.image_label import read_image

DAMAGED = "i.tif cannot be decoded: it is truncated or damaged"


def refusal(data: bytes, name: str = "i.tif") -> str:
    with pytest.raises(UserError) as caught:
        recorded_image(name, data)
    return str(caught.value)


def test_a_tiff_file_whose_next_page_lies_beyond_its_end():
    whole = tiff(noise(4, 6))
    assert recorded_image("i.tif", whole)[1] == (4, 6)
    next_page = whole.rindex(bytes(4), 0, len(whole) - 6)  # before the three depths at its end
    assert refusal(whole[:next_page] + b"\0\0\1\0" + whole[next_page + 4 :]) == DAMAGED


def test_damage_in_a_tiff_files_directory_is_refused_in_a_sentence():
    refused = 0
    for data in damaged_tiffs(tiff(noise(4, 6))):
        try:
            recorded_image("i.tif", data)
        except UserError:
            refused += 1
    assert refused > 100


def test_more_memory_than_there_is(monkeypatch):
    def refuse(image):
        raise MemoryError

    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", refuse)
    assert refusal(tiff(noise(4, 6))) == (
        "i.tif needs more memory than there is: it is damaged, or to be scaled down"
    )


SIXTEEN_BITS = np.full((4, 6, 4), 4095, np.uint16)  # of which the upper 8 are a black image
EIGHT_BITS = np.dstack([noise(4, 6, 1), noise(4, 6, 2)])
PLANES = {284: [2], 273: [8, 56, 104], 279: [48, 48, 48]}  # a channel after another
DEEP = "i.tif has 16 bits a channel; 8 are needed"
BANDS = "i.tif has {} beside its colours; RGB or grayscale is needed"


@pytest.mark.parametrize(
    "samples, tags, message",
    [
        (SIXTEEN_BITS[..., :3], {}, DEEP),
        (SIXTEEN_BITS[..., :3], PLANES, DEEP),
        (SIXTEEN_BITS, {338: [2]}, DEEP),  # alpha
        (SIXTEEN_BITS[..., :1], {262: [1]}, DEEP),
        (
            SIXTEEN_BITS[..., :1].astype(np.uint32),
            {262: [1]},
            "i.tif has 32 bits a channel; 8 are needed",
        ),
        (EIGHT_BITS[..., :4], {338: [0]}, BANDS.format("1 channel")),
        (EIGHT_BITS[..., :5], {338: [0, 0]}, BANDS.format("2 channels")),
        (EIGHT_BITS[..., :5], {338: [2, 0]}, BANDS.format("1 channel")),
        (EIGHT_BITS[..., :4], {262: [5]}, "i.tif is a CMYK image; RGB or grayscale is needed"),
        (EIGHT_BITS[..., :3], {262: [8]}, "i.tif is a LAB image; RGB or grayscale is needed"),
    ],
)
def test_a_tiff_file_that_would_lose_bits_or_bands(samples, tags, message):
    assert refusal(tiff(samples, tags)) == message


def test_a_tiff_file_with_opaque_alpha_loses_nothing():
    opaque = np.dstack([noise(4, 6), np.full((4, 6), 255, np.uint8)])
    for alpha in (1, 2):  # multiplied into the colours, or not
        data, size = recorded_image("i.tif", tiff(opaque, {338: [alpha]}))
        assert size == (4, 6) and (np.array(Image.open(io.BytesIO(data))) == noise(4, 6)).all()


def test_a_png_file_of_16_bits_is_refused_turned_or_not():
    exif = Image.Exif()
    exif[0x0112] = 3
    gray = SIXTEEN_BITS[..., 0]
    for data in (png_of_16_bits(2, 3), encoded(gray, "PNG"), encoded(gray, "PNG", exif=exif)):
        assert refusal(data, "i.png") == "i.png has 16 bits a channel; 8 are needed"


@pytest.mark.parametrize("form", ["JPEG", "PNG"])
@pytest.mark.parametrize("orientation", [0, 1, 9, 100])
def test_an_orientation_that_exif_does_not_have_turns_nothing(form, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(noise(4, 6), form, exif=exif)
    assert recorded_image("i", data) == (data, (4, 6))
    assert read_image("i", data).shape == (4, 6, 3)


OTHER_TIFF = (
    "i.tif is a TIFF file that is damaged, or of a form that cannot be read: save it as PNG"
)


@pytest.mark.parametrize(
    "samples, tags",
    [
        (EIGHT_BITS[..., :3], {262: [1], 338: [0, 0]}),  # three gray channels
        (np.zeros((4, 6, 7), np.uint8), {338: [0] * 4}),
        (np.zeros((4, 6, 1)), {262: [1], 339: [3]}),  # float64
        (np.zeros((4, 6, 1), np.int64), {262: [1], 339: [2]}),
    ],
)
def test_a_tiff_file_of_another_form_is_not_called_damaged(samples, tags):
    assert refusal(tiff(samples, tags)) == OTHER_TIFF


@pytest.mark.parametrize("form", ["PNG", "WEBP", "TIFF"])
def test_an_image_of_several_frames(form):
    second = Image.fromarray(noise(4, 6, seed=1))
    data = encoded(noise(4, 6), form, save_all=True, append_images=[second])
    expected = "i has 2 frames; an image of one is needed"
    assert refusal(data, "i") == expected
    if form == "PNG":
        with pytest.raises(UserError, match=f"^{expected}$"):
            read_image("i", data)
    assert recorded_image("i", encoded(noise(4, 6), form, save_all=True))[1] == (4, 6)


@pytest.mark.parametrize("form", ["GIF", "PPM", "TGA"])
def test_an_image_of_another_kind(form):
    assert refusal(encoded(noise(4, 6), form), "i.png") == (
        f"i.png is a {form} file; JPEG, PNG, WebP, TIFF or BMP is needed"
    )


@pytest.mark.parametrize("start", [b"\0\0\0\x18ftypheic", b"\x93NUMPY", b"<html>", b"\0\0\0\0"])
def test_what_is_no_known_image_is_not_called_damaged(start):
    assert refusal(start + bytes(100), "i.jpg") == (
        "i.jpg is no image of a kind that can be read: save it as PNG"
    )


@pytest.mark.parametrize("form", ["WEBP", "BMP", "TIFF", "JPEG", "PNG"])
def test_a_truncated_image_is_called_damaged(form):
    whole = encoded(noise(40, 60), form)
    for length in (20, len(whole) // 2):
        expected = OTHER_TIFF if form == "TIFF" and length == 20 else DAMAGED
        assert refusal(whole[:length]) == expected


@pytest.mark.parametrize(
    "form, mode, options",
    [
        ("WEBP", "RGB", {"lossless": True}),
        ("TIFF", "1", {"compression": "group4"}),
        ("TIFF", "1", {"compression": "tiff_lzw"}),
        ("TIFF", "L", {"compression": "tiff_adobe_deflate"}),
        ("PNG", "1", {}),
    ],
)
def test_an_image_of_one_colour_may_take_few_bytes(form, mode, options):
    """That of WebP 128, in which zlib packs no more than 1,056,768 pixels."""
    file = io.BytesIO()
    Image.new(mode, (2048, 2048)).save(file, form, **options)
    assert recorded_image("i", file.getvalue())[1] == (2048, 2048)


def test_a_tiff_file_of_more_pixels_than_its_bytes_can_hold():
    for compression in (1, 8, 32773):  # none, deflate, packbits
        tags = {256: [20000], 257: [20000], 259: [compression]}
        assert refusal(tiff(noise(4, 6), tags)) == DAMAGED

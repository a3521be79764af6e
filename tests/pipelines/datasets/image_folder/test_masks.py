"""Masks of every form, against labels written by hand."""

import io
from collections import Counter

import numpy as np
import pytest
from miniatures import damaged_tiffs, tiff
from PIL import Image

from pipelines.base.errors import UserError, in_options
from pipelines.datasets.image_folder.classes import Classes, plain
from pipelines.datasets.image_folder.masks import MaskReader
from pipelines.datasets.image_folder.options import FolderOptions

RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)
COLOURED = Classes(("red", "green"), ((0xFF0000, 0xFF0001), (0x00FF00,)))
PLAIN = plain(("a", "b", "c"))
INVERTED = Classes(("road", "background"), ((0xFFFFFF,), (0x000000,)))
BLACKS = [(0, 0, 0)] * 256


def encoded(pixels, form="PNG", **options):
    image = (
        pixels if isinstance(pixels, Image.Image) else Image.fromarray(np.array(pixels, np.uint8))
    )
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def with_palette(indices, *colours):
    image = Image.fromarray(np.array(indices, np.uint8)).convert("P")
    image.putpalette([part for colour in colours for part in colour])
    return image


def palette_png(indices, *colours):
    return encoded(with_palette(indices, *colours))


def shades(indices, *grays):
    return with_palette(indices, *((gray,) * 3 for gray in grays))


def read(classes, data, **options):
    counts = Counter()
    labels = MaskReader.of(classes, FolderOptions(**options)).read("m.png", data, counts)
    return labels, counts["nearest"]


@pytest.mark.parametrize(
    ("classes", "options", "data", "expected"),
    [
        (PLAIN, {}, encoded([[0, 1, 2, 255]]), [0, 1, 2, 255]),
        (PLAIN, {}, encoded([[[1] * 3, [2] * 3, [255] * 3]]), [1, 2, 255]),
        (PLAIN, {}, encoded([[[1, 1, 1, 255], [2, 2, 2, 255]]]), [1, 2]),
        (PLAIN, {}, palette_png([[0, 2, 1]], RED, GREEN, BLUE), [0, 2, 1]),
        (PLAIN, {}, encoded([[0, 1, 2]], "BMP"), [0, 1, 2]),
        (PLAIN, {}, encoded([[0, 1, 2]], "TIFF"), [0, 1, 2]),
        (PLAIN, {}, encoded([[0, 1, 2]], "GIF"), [0, 1, 2]),
        # Written without the grays that it does not use: its indices are 0, 1 and 2.
        (PLAIN, {}, encoded([[0, 2, 255]], "GIF"), [0, 2, 255]),
        (PLAIN, {}, encoded([[2, 2]], "GIF"), [2, 2]),
        (PLAIN, {"map": ("7=0", "80=2")}, encoded([[80, 7]], "GIF"), [2, 0]),
        # Shades for people: what they are is no class.
        (PLAIN, {}, encoded(shades([[0, 2, 1]], 0, 85, 170), "GIF"), [0, 2, 1]),
        (PLAIN, {}, encoded(shades([[0, 2, 1]], 0, 85, 170)), [0, 2, 1]),
        (PLAIN, {}, encoded(shades([[0, 1]], 0, 255)), [0, 1]),
        (PLAIN, {}, encoded(Image.fromarray(np.array([[0, 2, 255]], np.uint16))), [0, 2, 255]),
        (PLAIN, {}, encoded(Image.fromarray(np.array([[0, 2]], np.int32)), "TIFF"), [0, 2]),
        (PLAIN, {}, encoded(Image.fromarray(np.array([[0, 2]], np.float32)), "TIFF"), [0, 2]),
        (plain(("no", "yes")), {"binary": True}, encoded([[0, 1]]), [0, 1]),
        (
            plain(("no", "yes")),
            {"binary": True},
            encoded(Image.fromarray(np.array([[0, 65535]], np.uint16))),
            [0, 1],
        ),
        (PLAIN, {"first_label": 1}, encoded([[0, 1, 2, 3, 255]]), [255, 0, 1, 2, 255]),
        (PLAIN, {"first_label": 252}, encoded([[251, 252, 254, 255]]), [255, 0, 2, 255]),
        (PLAIN, {"void": ("2", "9")}, encoded([[0, 1, 2, 9]]), [0, 1, 255, 255]),
        (PLAIN, {"map": ("7=0", "8=1", "9=1")}, encoded([[7, 8, 9, 255]]), [0, 1, 1, 255]),
        (PLAIN, {"map": ("255=2", "0=0")}, encoded([[0, 255]]), [0, 2]),
        (PLAIN, {"map": ("7=0",), "void": ("0",)}, encoded([[7, 0]]), [0, 255]),
        (COLOURED, {}, encoded([[RED, GREEN, (255, 0, 1)]]), [0, 1, 0]),
        (COLOURED, {}, palette_png([[0, 1, 1]], GREEN, RED), [1, 0, 0]),
        (COLOURED, {}, encoded([[0, 1, 255]]), [0, 1, 255]),  # gray: indices
        (COLOURED, {"void": ("#0000ff",)}, encoded([[RED, BLUE]]), [0, 255]),
        (plain(("no", "yes")), {"binary": True}, encoded([[0, 255]]), [0, 1]),
        (plain(("no", "yes")), {"binary": True}, encoded([[[0] * 3, [255] * 3]]), [0, 1]),
        (
            plain(("no", "yes")),
            {"binary": True},
            encoded(Image.fromarray(np.array([[0, 255]], np.uint8)).convert("1")),
            [0, 1],
        ),
        (INVERTED, {"binary": True}, encoded([[0, 255]]), [1, 0]),
        (INVERTED, {"binary": True}, encoded([[0, 1]]), [1, 0]),
        (INVERTED, {}, encoded([[[0] * 3, [255] * 3]]), [1, 0]),
        # A palette of nothing but black tells nothing.
        (plain(("no", "yes")), {"binary": True}, palette_png([[0, 1]], *BLACKS), [0, 1]),
        (Classes(("a", "b"), ((0,), (0xFF0000,))), {}, palette_png([[0, 1]], *BLACKS), [0, 1]),
        (INVERTED, {}, palette_png([[0, 0]], *BLACKS), [1, 1]),
        # Where all is black, few bits are no other value.
        (COLOURED, {}, encoded(Image.new("1", (2, 1))), [0, 0]),
        (PLAIN, {}, encoded(Image.new("1", (2, 1))), [0, 0]),
        (
            plain(("no", "yes")),
            {"binary": True, "void": ("128,128,128",)},
            encoded([[0, 128, 255]]),
            [0, 255, 1],
        ),
    ],
)
def test_forms(classes, options, data, expected):
    labels, decided = read(classes, data, **options)
    assert (labels.tolist(), labels.dtype, decided) == ([expected], np.uint8, 0)


def test_next_to_soft_edges_1_is_nearly_black():
    labels, decided = read(
        plain(("no", "yes")), encoded([[0, 1, 200, 255]]), binary=True, nearest_colour=True
    )
    assert (labels.tolist(), decided) == ([[0, 0, 1, 1]], 2)


def test_nearest_colour():
    # (200, 30, 30) is nearer to red; (100, 101, 0) to green; both are counted.
    data = encoded([[RED, (200, 30, 30), (100, 101, 0), GREEN]])
    labels, decided = read(COLOURED, data, nearest_colour=True)
    assert (labels.tolist(), decided) == ([[0, 0, 1, 1]], 2)
    labels, decided = read(
        plain(("no", "yes")), encoded([[0, 100, 200]]), binary=True, nearest_colour=True
    )
    assert (labels.tolist(), decided) == ([[0, 0, 1]], 2)


def test_jpeg_masks_by_the_nearest_colour():
    pixels = np.zeros((16, 32, 3), np.uint8)
    pixels[:, :16], pixels[:, 16:] = RED, GREEN
    data = encoded(pixels, "JPEG", quality=60)
    labels, decided = read(COLOURED, data, nearest_colour=True)
    assert (labels == [[0] * 16 + [1] * 16] * 16).all() and decided > 0


@pytest.mark.parametrize(
    ("form", "options"), [("JPEG", {"quality": 60}), ("TIFF", {"compression": "jpeg"})]
)
def test_gray_jpeg_masks_hold_colours(form, options):
    """Not labels: compression changes 0 and 2 next to others, and 100 may be a class's colour."""
    data = encoded(np.full((8, 16), [0] * 8 + [2] * 8), form, **options)
    classes = Classes(("green", "black"), ((0x00FF00,), (0x000000,)))
    labels, decided = read(classes, data, nearest_colour=True)
    assert (labels == 1).all() and decided > 0  # as 2 is nearly black
    classes = Classes(("white", "dark", "red"), ((0xFFFFFF,), (0x646464,), (0xFF0000,)))
    data = encoded(np.full((8, 16), [255] * 8 + [100] * 8), form, **options)
    labels, _ = read(classes, data, nearest_colour=True)
    assert (labels == [[0] * 8 + [1] * 8] * 8).all()
    with pytest.raises(UserError, match=r"^m\.png is compressed as JPEG, which changes values: "):
        read(PLAIN, data)


@pytest.mark.parametrize(
    ("classes", "options", "data", "message"),
    [
        (
            PLAIN,
            {},
            encoded([[0, 3, 7, 0]]),
            "m.png has the label values 3, 7, but the classes are 0 a, 1 b, 2 c, and 255 is void: "
            "--map, --first-label and --void say what other values stand for",
        ),
        (
            PLAIN,
            {},
            encoded([[RED, GREEN]]),
            "m.png is an image with 2 colours: name the classes' colours in classes.txt, as in "
            '"road 128 64 128"',
        ),
        (
            COLOURED,
            {},
            encoded([[RED, RED], [BLUE, (9, 9, 9)]]),
            "m.png has the colour #0000ff and 1 more that no class has (the first at x = 0, y = 1; "
            "50.0 % of its pixels): give it to a class in classes.txt, or to --void '#0000ff', or "
            "use --nearest-colour for masks with soft edges or from JPEG files",
        ),
        (
            COLOURED,
            {},
            encoded([[RED]], "JPEG"),
            "m.png is compressed as JPEG, which changes values: save the masks as PNG, or use "
            "--nearest-colour",
        ),
        (
            PLAIN,
            {},
            encoded([[1]], "JPEG"),
            "m.png is compressed as JPEG, which changes values: save the masks as PNG, or "
            "give classes colours and use --nearest-colour",
        ),
        (
            plain(("no", "yes")),
            {"binary": True},
            encoded([[0, 1, 255]]),
            "m.png has the values 1 and 255, which --binary takes for the same: if 255 is void, "
            "leave it out and name the classes in classes.txt",
        ),
        (
            plain(("no", "yes")),
            {"binary": True},
            palette_png([[0, 1]], (0, 0, 0), RED),
            "m.png has the colour #ff0000 that no class has (the first at x = 1, y = 0; 50.0 % of "
            "its pixels): leave --binary out if it is a class's",
        ),
        (
            plain(("no", "yes")),
            {"binary": True},
            encoded([[0, 99, 255, 255]]),
            "m.png has the colour #636363 that no class has (the first at x = 1, y = 0; 25.0 % of "
            "its pixels): leave --binary out if it is a class's, or give it to --void '#636363' "
            "if it is none's, or use --nearest-colour for masks with soft edges or from JPEG files",
        ),
        (
            COLOURED,
            {"binary": True},
            b"",
            "--binary is for black and white, and classes.txt gives the classes other colours: "
            "leave --binary out, or these colours",
        ),
        (
            INVERTED,
            {},
            encoded([[0, 255]]),
            "m.png is gray, and its values 0, 255 are colours of classes, too: give --binary if it "
            "shows colours; if it holds labels, give these classes colours that are not gray",
        ),
        (
            PLAIN,
            {},
            encoded(
                Image.new("L", (2, 1)),
                "GIF",
                save_all=True,
                append_images=[Image.new("L", (2, 1), 9)],
            ),
            "m.png has 2 frames; a mask of one is needed",
        ),
        (
            COLOURED,
            {},
            encoded([[[255, 0, 0, 0]]]),
            "m.png has transparent pixels; RGB or grayscale is needed",
        ),
        (
            PLAIN,
            {},
            encoded(Image.fromarray(np.array([[0, 255]], np.uint8)).convert("1")),
            "m.png has gray values of less than 8 bits: use --binary if it is black and white, or "
            "save the indices with 8",
        ),
        (
            PLAIN,
            {},
            encoded(Image.fromarray(np.array([[0, 1000]], np.uint16))),
            "m.png has values from 0 to 1000, and those of masks are in 0…255: give its classes "
            "smaller ones",
        ),
        (
            PLAIN,
            {},
            encoded(Image.fromarray(np.array([[0, 0.5]], np.float32)), "TIFF"),
            "m.png has values that are no whole numbers",
        ),
        (
            PLAIN,
            {},
            encoded(shades([[0, 2, 1]], 1, 2, 0)),
            "m.png shows index 0 in gray 1, and either may be the class: give the classes their "
            "colours in classes.txt, or save those numbers in gray that are meant",
        ),
        (PLAIN, {}, encoded([[0, 1]])[:-20], "m.png cannot be decoded: it is truncated or damaged"),
        (PLAIN, {}, b"", "m.png is empty"),
        (PLAIN, {}, b"GIF", "m.png cannot be decoded: it is truncated or damaged"),
        (
            PLAIN,
            {"map": ("7=3",)},
            b"",
            "--map 7=3 names no class: the classes are 0 a, 1 b, 2 c",
        ),
        (
            plain(tuple(map(str, range(255)))),
            {"first_label": 1},
            b"",
            "--first-label 1 and 255 classes need values up to 255, and 255 is void: give a "
            "smaller one, or name fewer classes",
        ),
        (
            PLAIN,
            {"first_label": 253},
            b"",
            "--first-label 253 and 3 classes need values up to 255, and 255 is void: give a "
            "smaller one, or name fewer classes",
        ),
        (
            PLAIN,
            {"binary": True},
            b"",
            "black and white masks have 2 classes, but classes.txt names 3: 0 a, 1 b, 2 c",
        ),
        (
            PLAIN,
            {"nearest_colour": True},
            b"",
            "--nearest-colour needs colours: classes.txt names none, and --binary is not given",
        ),
        (
            PLAIN,
            {"void": ("#ffffff",)},
            b"",
            "--void #ffffff needs colours: classes.txt names none, and --binary is not given",
        ),
        (
            COLOURED,
            {"void": ("#0000ff", "0,255,0")},
            b"",
            "--void #00ff00 is the colour of the class 'green': leave it out, or give the class "
            "another one",
        ),
        (
            plain(("no", "{map}")),
            {"binary": True, "void": ("#ffffff",)},
            b"",
            "--void #ffffff is the colour of the class '{map}': leave it out, or give the class "
            "another one",
        ),
    ],
)
def test_refused(classes, options, data, message):
    with pytest.raises(UserError) as caught:
        read(classes, data, **options)
    assert in_options(caught.value.template) == message


GRAY, RGB, DEEP = encoded([[0, 1]]), encoded([[RED]]), encoded(Image.new("I;16", (1, 1)))
IN_PALETTE, OF_JPEG = palette_png([[0]], RED), encoded([[9]], "JPEG")


@pytest.mark.parametrize(
    ("classes", "options", "masks", "message"),
    [
        (PLAIN, {"void": ("2",), "first_label": 1}, [GRAY, IN_PALETTE, RGB], None),
        (COLOURED, {"void": ("2", "#ffffff")}, [RGB, b"damaged", GRAY], None),
        (COLOURED, {"nearest_colour": True}, [GRAY, OF_JPEG], None),
        (COLOURED, {"map": ("0=1",)}, [RGB, DEEP], None),
        (COLOURED, {"map": ("0=1",)}, [b"damaged"], None),
        (
            COLOURED,
            {"first_label": 1},
            [b"damaged", RGB, IN_PALETTE],
            "--first-label is for masks that hold values, and all hold colours, such as {}/1: "
            "leave it out",
        ),
        (
            COLOURED,
            {"void": ("2", "#ffffff"), "map": ("0=1",), "nearest_colour": True},
            [OF_JPEG],
            "--void 2 and --map are for masks that hold values, and all hold colours, such as "
            "{}/0: leave them out",
        ),
        (
            COLOURED,
            {"void": ("#ffffff",)},
            [GRAY, DEEP],
            "--void #ffffff is for masks that hold colours, and all hold values, such as {}/0: "
            "leave it out",
        ),
    ],
)
def test_options_that_no_mask_takes(tmp_path, classes, options, masks, message):
    folder = tmp_path / "{map}"  # which is no name of an option here
    folder.mkdir()
    options = FolderOptions(**options)
    paths = [folder / str(number) for number in range(len(masks))]
    for path, data in zip(paths, masks, strict=True):
        path.write_bytes(data)
    reader = MaskReader.of(classes, options)
    if message is None:
        reader.check_options(paths, options)
        return
    with pytest.raises(UserError) as caught:
        reader.check_options(paths, options)
    assert in_options(caught.value.template) == message.format(folder)


def test_gray_values_that_are_colours_of_classes():
    """Black and white may be labels or colours, and these differ; or they may not."""
    classes = Classes(("car", "road", "sky"), ((0xFF0000,), (0xFFFFFF,), (0x000000,)))
    with pytest.raises(UserError) as caught:
        read(classes, encoded([[0, 255]]))
    assert str(caught.value) == (
        "m.png is gray, and its values 0, 255 are colours of classes, too: save it as RGB if it "
        "shows colours; if it holds labels, give these classes colours that are not gray"
    )
    assert read(classes, encoded([[0, 1, 255]]))[0].tolist() == [[0, 1, 255]]  # 1 is no colour
    black = Classes(("background", "road"), ((0x000000,), (0xFF0000,)))
    assert read(black, encoded([[0, 0]]))[0].tolist() == [[0, 0]]


def test_frames_are_counted_before_a_mask_is_turned():
    exif = Image.Exif()
    exif[0x0112] = 3
    pages = [Image.fromarray(np.zeros((2, 3), np.uint8)) for _ in range(2)]
    data = encoded(pages[0], "TIFF", save_all=True, append_images=pages[1:], exif=exif)
    with pytest.raises(UserError, match=r"^m\.png has 2 frames; a mask of one is needed$"):
        read(PLAIN, data)


def test_damage_in_a_tiff_files_directory_is_refused_in_a_sentence():
    refused = 0
    whole = tiff(np.array([[[0], [1], [2]]], np.uint8), {262: [1]})
    assert read(PLAIN, whole)[0].tolist() == [[0, 1, 2]]
    for data in damaged_tiffs(whole):
        try:
            read(PLAIN, data)
        except UserError:
            refused += 1
    assert refused > 100


def test_colours_of_16_bits_in_tiff_are_refused():
    """By their upper 8 bits 0x0080 would be black, another class."""
    classes = Classes(("black", "red"), ((0x000000,), (0x800000,)))
    pixels = np.array([[[0, 0, 0], [0x80, 0, 0]]], np.uint16)
    for data in (tiff(pixels), tiff(pixels, {284: [2], 273: [8, 12, 16], 279: [4, 4, 4]})):
        with pytest.raises(UserError, match=r"^m\.png has 16 bits a channel; 8 are needed$"):
            read(classes, data)


@pytest.mark.parametrize("bits, packed", [(4, 0x0F), (2, 0b00_11_00_00), (1, 0b01_00_00_00)])
def test_gray_values_of_less_than_8_bits_in_tiff(bits, packed):
    """A row of 0 and the largest value; in 4 bits of 0 and 1, which scaling makes 17."""
    tags = {256: [2], 258: [bits], 262: [1]}
    data = tiff(np.array([[[packed]]], np.uint8), tags)
    labels, _ = read(plain(("no", "yes")), data, binary=True)
    assert labels.tolist() == [[0, 1]]
    many = plain(tuple("abcdefghijklmnopqrs"))  # 17 is a class
    for content in (data, tiff(np.array([[[0x55]]], np.uint8), tags)):
        with pytest.raises(UserError, match=r"^m\.png has gray values of less than 8 bits: use "):
            read(many, content)


def test_more_bands_than_colours_have():
    pixels = np.zeros((2, 3, 4), np.uint8)
    with pytest.raises(UserError, match=r"^m\.png has 1 channel beside its colours; RGB or gray"):
        read(PLAIN, tiff(pixels, {338: [0]}))

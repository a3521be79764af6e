"""What is said of masks whose classes nobody has named."""

import numpy as np
import pytest
from PIL import Image

from pipelines.base.errors import in_options
from pipelines.datasets.image_folder.survey import describe_masks, palette_faults, show_colours

RED, GREEN, BLUE, BLACK = (255, 0, 0), (0, 255, 0), (0, 0, 255), (0, 0, 0)
RAMP = [(index,) * 3 for index in range(256)]
NAMES = "name the classes in classes.txt"
TWO = "name the two classes in classes.txt, and give"


@pytest.mark.parametrize(
    ("pixels", "text"),
    [
        ([[0, 1]], f"the values 0, 1: give --binary, or {NAMES}"),
        ([[0, 255]], "the values 0, 255: give --binary"),
        ([[4, 9]], f"the values 4, 9: {TWO} --map 4=0 9=1"),
        ([[0, 1, 2]], f"the values 0, 1, 2: {NAMES}, one a line, label 0 first"),
        (
            [[1, 2, 3]],
            f"the values 1, 2, 3: {NAMES}, one a line, label 0 first, and give --first-label=1",
        ),
        ([[[7] * 3, [8] * 3, [9] * 3]], f"the values 7, 8, 9: {NAMES}, one a line, label 0 first"),
        (
            [[RED, RED, RED, BLUE]],
            f"2 colours, #ff0000 (75.0 %), #0000ff (25.0 %): {NAMES} with their colours, as in "
            '"road 128 64 128" or "road #804080"; colours without class go to --void',
        ),
        (
            np.arange(900, dtype=np.uint32).view(np.uint8).reshape(1, 900, 4)[..., :3],
            f"900 colours: if they are soft edges or of JPEG files, {NAMES} with their colours, as "
            'in "road 128 64 128", and give --nearest-colour',
        ),
    ],
)
def test_what_masks_hold(tmp_path, pixels, text):
    paths = [tmp_path / "labels" / f"{number}.png" for number in range(2)]
    paths[0].parent.mkdir()
    for path in paths:
        Image.fromarray(np.array(pixels, np.uint8)).save(path)
    assert in_options(describe_masks(paths, tmp_path)) == f"labels/ holds 2 masks with {text}"
    assert show_colours(paths) is ("colours" in text)


def test_masks_of_one_bit_are_told_as_they_are_read(tmp_path):
    Image.fromarray(np.array([[False, True]])).save(tmp_path / "a.png")
    said = in_options(describe_masks([tmp_path / "a.png"], tmp_path))
    assert said.endswith("holds 1 mask with the values 0, 255: give --binary")


@pytest.mark.parametrize(
    ("pixels", "text"),
    [
        (np.array([[0, 65535]], np.uint16), "0, 65535: give --binary"),
        (
            np.array([[0, 300]], np.uint16),
            "0, 300, and those of masks are in 0…255: give their classes such values",
        ),
        (
            np.array([[-1, 1, 2]], np.int32),
            "-1, 1, 2, and those of masks are in 0…255: give their classes such values",
        ),
        (np.array([[4, 255]], np.uint16), f"4, 255: {TWO} --map 4=0 255=1"),
    ],
)
def test_values_of_more_than_8_bits(tmp_path, pixels, text):
    """What is advised is taken."""
    path = tmp_path / "a.tif"
    Image.fromarray(pixels).save(path)
    assert in_options(describe_masks([path], tmp_path)) == (
        f"{tmp_path.name}/ holds 1 mask with the values {text}"
    )


def test_gray_jpeg_masks_hold_colours(tmp_path):
    path = tmp_path / "a.jpg"
    Image.new("L", (8, 8), 128).save(path)
    assert in_options(describe_masks([path], tmp_path)) == (
        f"{tmp_path.name}/ holds 1 mask with 1 colour: if they are soft edges or of JPEG files, "
        f'{NAMES} with their colours, as in "road 128 64 128", and give --nearest-colour'
    )
    assert show_colours([path])


def test_damaged_masks_are_passed_over(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(b"damaged")
    assert describe_masks([path], tmp_path) == f"{tmp_path.name}/ holds no mask that can be read"
    assert not show_colours([path])


def palette_masks(folder, ending, *masks):
    """Files of one row of indices with a palette each."""
    paths = [folder / f"{number}.{ending}" for number in range(len(masks))]
    for path, (indices, colours) in zip(paths, masks, strict=True):
        image = Image.frombytes("P", (len(indices), 1), bytes(indices))
        image.putpalette([part for colour in colours for part in colour])
        image.save(path)
    return paths


@pytest.mark.parametrize("ending", ["png", "tif", "bmp"])
@pytest.mark.parametrize(
    ("masks", "message"),
    [
        (
            [
                ([0, 1], [RED, GREEN, BLUE]),
                ([1, 2], [GREEN, GREEN, BLACK]),
                ([0, 2], [RED, BLACK, BLACK]),
            ],
            None,  # what is not used does not count
        ),
        ([([0, 1], [RED, GREEN, GREEN]), ([0, 2], [RED, GREEN, GREEN])], None),  # one for two
        (
            [([1], [BLACK, BLUE]), ([0, 1], [RED, BLUE]), ([0, 1], [RED, GREEN])],
            "{0} and {2} show index 1 in different colours, #0000ff and #00ff00",
        ),
        (
            [([0, 1], [RED, GREEN, BLUE]), ([0, 2], [RED, BLUE, GREEN])],
            "{0} and {1} show #00ff00 by different indices, 1 and 2",
        ),
        (
            [([0, 2], [RED, BLACK, GREEN]), ([0, 1], [RED, GREEN])],
            "{0} and {1} show #00ff00 by different indices, 2 and 1",
        ),
        (
            [([0, 0], [RED]), ([0, 1], [BLACK, RED])],
            "{0} and {1} show index 0 in different colours, #ff0000 and #000000",
        ),
        ([([0, 1], [RED, GREEN]), ([0, 1], RAMP)], None),
        ([([0, 1], [RED, GREEN]), ([0, 1], [BLACK] * 256)], None),
        ([([0, 255], [RED] * 255 + [GREEN]), ([0, 255], [RED] * 255 + [BLUE])], None),  # void
    ],
)
def test_palettes_that_differ(tmp_path, ending, masks, message):
    paths = palette_masks(tmp_path, ending, *masks)
    if message is None:
        assert palette_faults(paths) == {}
        return
    assert palette_faults(paths) == {
        paths[-1]: message.format(*paths)
        + ": give the classes their colours in classes.txt, or save the masks in gray if their "
        "indices are the classes"
    }


def test_a_palette_that_is_refused_is_no_measure_for_others(tmp_path):
    masks = [([0], [RED]), ([0, 1], [BLUE, BLACK]), ([1], [BLACK, GREEN]), ([1], [BLACK, RED])]
    paths = palette_masks(tmp_path, "png", *masks)
    assert list(palette_faults(paths)) == [paths[1], paths[3]]


def test_palettes_of_damaged_and_gray_masks_are_passed_over(tmp_path):
    paths = palette_masks(tmp_path, "png", ([0, 1], [RED, GREEN]), ([0, 1], [GREEN, RED]))
    paths[0].write_bytes(paths[0].read_bytes()[:-25])
    Image.new("L", (2, 1)).save(tmp_path / "gray.png")
    assert palette_faults([*paths, tmp_path / "gray.png", tmp_path / "missing.png"]) == {}

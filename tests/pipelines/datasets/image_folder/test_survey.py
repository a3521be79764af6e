"""What is said of masks whose classes nobody has named."""

import numpy as np
import pytest
from PIL import Image

from pipelines.base.errors import in_options
from pipelines.datasets.image_folder.survey import describe_masks, shows_colours

RED, BLUE = (255, 0, 0), (0, 0, 255)
NAMES = "name the classes in classes.txt"


@pytest.mark.parametrize(
    ("pixels", "text"),
    [
        ([[0, 1]], f"the values 0, 1: give --binary, or {NAMES}"),
        ([[0, 255]], f"the values 0, 255: give --binary, or {NAMES}"),
        ([[4, 9]], "the values 4, 9: name the two classes in classes.txt, and give --map 4=0 9=1"),
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
    assert shows_colours(paths[0]) is ("colours" in text)


def test_damaged_masks_are_passed_over(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(b"damaged")
    assert describe_masks([path], tmp_path) == f"{tmp_path.name}/ holds no mask that can be read"
    assert not shows_colours(path)

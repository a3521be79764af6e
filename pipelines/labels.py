"""Class names, palettes and the one value that is no class."""

import numpy as np

# Void: pixels that carry no label. They give no loss and count in no metric.
IGNORE = 255

CAMVID_CLASSES = (
    "sky", "building", "pole", "road", "pavement", "tree",
    "sign", "fence", "car", "pedestrian", "bicyclist",
)  # fmt: skip

CAMVID_PALETTE = (
    (128, 128, 128), (128, 0, 0), (192, 192, 128), (128, 64, 128), (60, 40, 222), (128, 128, 0),
    (192, 128, 128), (64, 64, 128), (64, 0, 128), (64, 64, 0), (0, 128, 192),
)  # fmt: skip


def voc_colour_map() -> np.ndarray:
    """The PASCAL VOC colour map.

    Bits 0, 1, 2 of an index are the highest bits of red, green and blue, bits 3, 4, 5 the next
    lower ones, and so on. Row 255 comes out as (224, 224, 192), the pale colour that VOC draws
    void in.

    Returns:
        uint8 `[256, 3]`, all rows distinct.
    """
    index = np.arange(256)
    colours = np.zeros((256, 3), np.int64)
    for bit in range(8):
        colours[:, bit % 3] |= ((index >> bit) & 1) << (7 - bit // 3)
    return colours.astype(np.uint8)


def palette(num_classes: int, name: str | None = None) -> np.ndarray:
    """Colours for label maps.

    Args:
        num_classes: 1…255, how many rows are in use.
        name: name of a data set with colours of its own ("camvid"); any other name, or None,
            gets the VOC colour map.

    Returns:
        uint8 `[256, 3]` RGB: one row a label, row 255 for void.

    Raises:
        ValueError: `num_classes` is out of range.
    """
    if not 1 <= num_classes <= IGNORE:
        raise ValueError(f"num_classes must be 1…{IGNORE}, got {num_classes}")
    colours = voc_colour_map()
    if name == "camvid":
        colours[: len(CAMVID_PALETTE)] = CAMVID_PALETTE
    return colours


def describe_classes(class_names: tuple[str, ...], limit: int = 20) -> str:
    """The classes as text for a message: "0 sky, 1 building, …", at most `limit` of them."""
    text = ", ".join(f"{index} {name}" for index, name in enumerate(class_names[:limit]))
    hidden = len(class_names) - limit
    return f"{text} and {hidden} more" if hidden > 0 else text

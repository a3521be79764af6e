"""Class names, palettes, class weights, and the one value that is no class."""

from collections.abc import Sequence

import numpy as np

from pipelines.base.numeric import is_integer

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

VOC_CLASSES = (
    "background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus",
    "car", "cat", "chair", "cow", "diningtable", "dog", "horse",
    "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)  # fmt: skip

CITYSCAPES_PALETTE = (
    (128, 64, 128), (244, 35, 232), (70, 70, 70), (102, 102, 156), (190, 153, 153),
    (153, 153, 153), (250, 170, 30), (220, 220, 0), (107, 142, 35), (152, 251, 152),
    (70, 130, 180), (220, 20, 60), (255, 0, 0), (0, 0, 142), (0, 0, 70), (0, 60, 100),
    (0, 80, 100), (0, 0, 230), (119, 11, 32),
)  # fmt: skip

# What the values of Cityscapes' *_labelIds.png stand for, value 0 first.
CITYSCAPES_LABELS = (
    "unlabeled", "ego vehicle", "rectification border", "out of roi", "static", "dynamic",
    "ground", "road", "sidewalk", "parking", "rail track", "building", "wall", "fence",
    "guard rail", "bridge", "tunnel", "pole", "polegroup", "traffic light", "traffic sign",
    "vegetation", "terrain", "sky", "person", "rider", "car", "truck", "bus", "caravan",
    "trailer", "train", "motorcycle", "bicycle",
)  # fmt: skip

# The label id of each class, as the test server wants predictions; all other ids are void.
CITYSCAPES_LABEL_IDS = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)
CITYSCAPES_CLASSES = tuple(CITYSCAPES_LABELS[label_id] for label_id in CITYSCAPES_LABEL_IDS)

# The classes of data sets that have them by definition.
CLASSES = {
    "camvid": CAMVID_CLASSES,
    "cityscapes19": CITYSCAPES_CLASSES,
    "coco_voc": VOC_CLASSES,
    "voc2012_sbd": VOC_CLASSES,
}


def check_num_classes(num_classes: int) -> int:
    """`num_classes`, as an int, where label maps of 8 bits can hold so many; else a ValueError."""
    if not is_integer(num_classes) or not 1 <= num_classes <= IGNORE:
        raise ValueError(
            f"num_classes must be an integer in 1…{IGNORE} (label {IGNORE} is void), "
            f"received {num_classes!r}"
        )
    return int(num_classes)


def check_class_names(class_names: Sequence[str]) -> None:
    """Refuses names by which classes cannot be told apart.

    Raises:
        ValueError: no texts; one is blank, or there twice.
    """
    is_list = isinstance(class_names, Sequence) and not isinstance(class_names, str)
    if not is_list or not class_names or not all(isinstance(x, str) for x in class_names):
        raise ValueError(
            f"class_names must be a list or a tuple of strings, one a class, received "
            f"{class_names!r}"
        )
    if not all(name.strip() for name in class_names):
        raise ValueError(f"class_names must not be blank, received {list(class_names)}")
    if twice := [name for name in class_names if class_names.count(name) > 1]:
        raise ValueError(
            f"class_names must differ, received {twice[0]!r} {class_names.count(twice[0])} times"
        )


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


def distinct_colours() -> np.ndarray:
    """Colours for classes that have none of their own: no two look alike, none is near black.

    The first one is gray, as class 0 is the background more often than not. Each further row is the
    colour, of a grid in RGB, that is farthest in CIELAB from black, white, void's colour and the
    rows before it: the first rows differ most, and the colours of a data set stay the same when
    classes are added to it.

    Returns:
        uint8 `[256, 3]`, all rows distinct; row 255, of void, as in `voc_colour_map`.
    """
    levels = np.linspace(0, 255, 9).round()
    grid = np.stack(np.meshgrid(levels, levels, levels, indexing="ij"), axis=-1).reshape(-1, 3)
    lightness = _cielab(grid)[:, 0]
    grid = grid[(lightness > 25) & (lightness < 92)]
    places, colours = _cielab(grid), voc_colour_map()
    colours[0] = 128
    taken = [[0, 0, 0], [255, 255, 255], colours[IGNORE], colours[0]]
    distance = np.linalg.norm(places[:, None] - _cielab(np.array(taken, float)), axis=-1).min(1)
    for row in range(1, IGNORE):
        farthest = distance.argmax()
        colours[row] = grid[farthest]
        distance = np.minimum(distance, np.linalg.norm(places - places[farthest], axis=-1))
    return colours


def _cielab(rgb: np.ndarray) -> np.ndarray:
    """CIELAB (D65) of sRGB colours, float `[N, 3]` in 0…255: there distances are what eyes see."""
    linear = np.where(rgb > 10.31, ((rgb / 255 + 0.055) / 1.055) ** 2.4, rgb / 255 / 12.92)
    to_xyz = [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
    shares = linear @ np.transpose(to_xyz) / [0.9505, 1.0, 1.089]
    x, y, z = np.where(shares > 0.008856, np.cbrt(shares), 7.787 * shares + 16 / 116).T
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1)


def palette(name: str | None = None) -> np.ndarray:
    """Colours for label maps.

    Args:
        name: name of a data set with colours of its own ("camvid", "cityscapes19"); any other
            name, or None, gets the VOC colour map.

    Returns:
        uint8 `[256, 3]` RGB: one row a label, row 255 for void.
    """
    colours = voc_colour_map()
    if name == "camvid":
        colours[: len(CAMVID_PALETTE)] = CAMVID_PALETTE
    if name == "cityscapes19":
        colours[: len(CITYSCAPES_PALETTE)] = CITYSCAPES_PALETTE
    return colours


def label_fault(
    split: str,
    pixels: np.ndarray,
    class_names: Sequence[str],
    first_label: int = 0,
    index_masks: bool = True,
) -> str | None:
    """What is wrong with the labels of a whole split, as far as their values tell.

    Args:
        split: its name.
        pixels: int `[256]`, the pixels of each value in all labels of the split.
        class_names: one a label, from 0.
        first_label: the value that class 0 had in the masks, where that is known.
        index_masks: whether masks of 0 and 255 could have been taken for the classes' own values.

    Returns:
        A sentence, or None: every pixel is void, or of index masks none but class 0 and void occur,
        which are masks of 0 and 255 as a rule.
    """
    classes = pixels[: len(class_names)]
    if not classes.any():
        return f"{split}: every pixel is void ({IGNORE})"
    if classes[0] == classes.sum() and pixels[IGNORE] and index_masks:
        if first_label:
            return (
                f"{split}: the masks hold no value but {first_label} from {first_label} on; lower "
                "ones became void"
            )
        return (
            f"{split}: all labels hold only 0 and {IGNORE}: masks of 0 and {IGNORE} were taken for "
            f"index masks, in which {IGNORE} is void and {class_names[1]!r} is 1"
        )
    return None


def one_class_fault(split: str, pixels: np.ndarray, class_names: Sequence[str]) -> str | None:
    """As `label_fault`, of a split to train on that shows one class alone: nothing is learnt of it,
    and masks were read in a wrong way as a rule."""
    seen = [name for name, count in zip(class_names, pixels, strict=False) if count]
    if len(seen) != 1 or not split.startswith("train"):
        return None
    return f"{split}: every pixel is {seen[0]!r}{f' or void ({IGNORE})' if pixels[IGNORE] else ''}"


def median_frequency_weights(pixel_counts: np.ndarray) -> np.ndarray:
    """Class weights median(f) / f, f a class's share of all valid pixels.

    The idea is of Eigen & Fergus 2015, who take the share within the images that show the class;
    that of all images is our choice, and weighs classes that few images show for more.

    Args:
        pixel_counts: int array `[C]` of pixels in the training split.

    Returns:
        float array `[C]`; 0 for classes without a pixel.
    """
    shares = pixel_counts / pixel_counts.sum()
    seen = shares > 0
    weights = np.zeros(len(shares))
    weights[seen] = np.median(shares[seen]) / shares[seen]
    return weights


def describe_classes(class_names: tuple[str, ...], limit: int = 20) -> str:
    """The classes as text for a message: "0 sky, 1 building, …", at most `limit` of them."""
    text = ", ".join(f"{index} {name}" for index, name in enumerate(class_names[:limit]))
    hidden = len(class_names) - limit
    return f"{text} and {hidden} more" if hidden > 0 else text

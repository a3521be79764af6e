"""Annotated regions to label maps: COCO's polygons and run lengths, labelme's shapes."""

import base64
import io
import math
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
from PIL import Image, ImageDraw

from pipelines.base import extras
from pipelines.base.damage import DAMAGE

# Which of two regions covers the other, see `paint`.
PaintOrder = Literal["file", "largest-first", "classes"]
# What labelme draws lines and points with, in pixels.
_LINE_WIDTH, _POINT_RADIUS = 10, 5


class Region(NamedTuple):
    """A part of an image that has a class.

    Attributes:
        label: its class, or 255.
        inside: makes bool `[H, W]`, when it is painted: of hundreds of regions in a large image
            memory cannot hold all.
    """

    label: int
    inside: Callable[[], np.ndarray]


def paint(
    regions: Sequence[Region], size: tuple[int, int], background: int, order: PaintOrder = "file"
) -> np.ndarray:
    """Paints regions, one over the other.

    Args:
        regions: in the order of their file.
        size: height and width of the label map.
        background: the label where there is no region.
        order: "file", a later region covers an earlier one; "largest-first", a smaller one a
            larger one; "classes", one of a later class one of an earlier class.

    Returns:
        uint8 `[H, W]`.
    """
    label = np.full(size, background, np.uint8)
    if order == "largest-first":
        regions = sorted(regions, key=lambda region: -int(region.inside().sum()))
    elif order == "classes":
        regions = sorted(regions, key=lambda region: region.label)
    for region in regions:
        label[region.inside()] = region.label
    return label


def coco_region(segmentation: list | dict, height: int, width: int) -> np.ndarray:
    """Rasterises a segmentation of COCO: polygons, or run lengths in either form.

    pycocotools' C code takes whatever it is given, so what it gets is checked here.

    Returns:
        bool `[height, width]`.

    Raises:
        ValueError, TypeError, KeyError, OverflowError: the segmentation is damaged.
        UserError: there are polygons, and pycocotools is not installed.
    """
    if isinstance(segmentation, dict):
        return _inside_of_runs(segmentation, height, width)
    polygons = [_polygon(points, height, width) for points in segmentation]
    # Fewer than three points enclose nothing, and pycocotools takes two of them for a box.
    polygons = [points for points in polygons if len(points) >= 6]
    if not polygons:
        return np.zeros((height, width), bool)
    coco_mask = extras.require("COCO's polygons need", "pycocotools.mask")
    runs = coco_mask.merge(coco_mask.frPyObjects(polygons, height, width))
    return coco_mask.decode(runs).astype(bool)


def _inside_of_runs(segmentation: dict, height: int, width: int) -> np.ndarray:
    counts = segmentation["counts"]
    counts = _array(_run_lengths(counts) if isinstance(counts, str) else counts, None)
    if list(segmentation["size"]) != [height, width]:
        raise ValueError(f"size {segmentation['size']}, not {[height, width]}")
    if counts.ndim != 1 or counts.dtype.kind != "i" or counts.min() < 0:
        raise ValueError("counts are no list of run lengths")
    if (pixels := sum(counts.tolist())) != height * width:  # of any size, unlike a sum of int64
        raise ValueError(f"counts make {pixels} pixels, not {height * width}")
    # Runs go down the columns, the first one outside.
    inside = np.repeat(np.arange(len(counts)) % 2 == 1, counts)
    return inside.reshape(width, height).T


def _run_lengths(text: str) -> list[int]:
    """Takes COCO's compressed run lengths apart.

    Characters are 48 and six bits: five of a number, lowest first, and whether more follow; the
    highest bit of its last character is its sign. From the fourth on a number is what its run is
    longer than the one before the last.
    """
    counts: list[int] = []
    number = shift = 0
    for character in text:
        bits = ord(character) - 48
        if not 0 <= bits < 64 or shift > 60:
            raise ValueError("counts are no compressed run lengths")
        number |= (bits & 31) << shift
        shift += 5
        if not bits & 32:
            if bits & 16:
                number -= 1 << shift
            counts.append(number + counts[-2] if len(counts) > 2 else number)
            number = shift = 0
    if shift:
        raise ValueError("counts are no list of run lengths")
    return counts


def _polygon(points: list, height: int, width: int) -> list[float]:
    numbers = _array(points)
    if numbers.ndim != 1 or len(numbers) % 2:
        raise ValueError("a polygon is no list of x, y, x, y, …")
    _check_near(numbers.reshape(-1, 2), "polygon", height, width)
    return numbers.tolist()


def _check_near(points: np.ndarray, what: str, height: int, width: int) -> None:
    """Far outside of an image, rasterising would take memory without bounds."""
    shares = points / (width, height)
    if not ((shares >= -1) & (shares <= 2)).all():
        raise ValueError(f"a {what} leaves the {width}x{height} image")


def _array(values: Any, dtype: type | None = np.float64) -> np.ndarray:
    """Numbers as a file has them; NumPy's words on what are none tell users nothing."""
    try:
        return np.asarray(values, dtype)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{str(values)[:80]} are no numbers") from error


def labelme_region(shape: dict[str, Any], height: int, width: int) -> np.ndarray:
    """Rasterises a shape of labelme as labelme does.

    Args:
        shape: `{"shape_type": "polygon", "points": [[x, y], …]}`; also "rectangle",
            "oriented_rectangle", "circle" (centre and a point of the rim), "line", "linestrip"
            (10 pixels wide), "point" (a disc of radius 5) and "mask" (a PNG in base64).
        height: of the image.
        width: of the image.

    Returns:
        bool `[height, width]`.

    Raises:
        ValueError, TypeError, KeyError, OverflowError: the shape is damaged or of another type.
    """
    kind = shape.get("shape_type") or "polygon"
    if kind not in _POINTS:
        raise ValueError(f"no shape_type {kind!r}; there are {', '.join(_POINTS)}")
    points = _array(shape["points"])
    least, most = _POINTS[kind]
    if points.ndim != 2 or points.shape[1] != 2 or not least <= len(points) <= most:
        raise ValueError(f"a {kind} with the points {shape['points']}")
    _check_near(points, kind, height, width)
    if kind == "mask":
        return _pasted(shape["mask"], points, height, width)
    canvas = Image.new("L", (width, height))
    draw = ImageDraw.Draw(canvas)
    corners = [(float(x), float(y)) for x, y in points]
    if kind == "circle":
        _disc(draw, corners[0], math.dist(*corners))
    elif kind == "point":
        _disc(draw, corners[0], _POINT_RADIUS)
    elif kind == "rectangle":
        draw.rectangle((*points.min(axis=0), *points.max(axis=0)), outline=1, fill=1)
    elif kind in ("line", "linestrip"):
        draw.line(corners, fill=1, width=_LINE_WIDTH)
    else:
        draw.polygon(corners, outline=1, fill=1)
    return np.array(canvas, bool)


# The fewest and the most points of each type of shape.
_POINTS = {
    "polygon": (3, math.inf),
    "rectangle": (2, 2),
    "oriented_rectangle": (4, 4),
    "circle": (2, 2),
    "line": (2, 2),
    "linestrip": (2, math.inf),
    "point": (1, 1),
    "mask": (2, 2),
}


def _disc(draw: ImageDraw.ImageDraw, centre: tuple[float, float], radius: float) -> None:
    x, y = centre
    draw.ellipse((x - radius, y - radius, x + radius, y + radius), outline=1, fill=1)


def _pasted(text: str, corners: np.ndarray, height: int, width: int) -> np.ndarray:
    """A small PNG with its place: the corners' pixels both belong to it."""
    (left, top), (right, bottom) = corners.astype(int).tolist()
    try:
        file = io.BytesIO(base64.b64decode(text, validate=True))
        with Image.open(file, formats=["PNG"]) as image:
            part = np.array(image.convert("L")) > 0
    except (*DAMAGE, Image.DecompressionBombError) as error:
        raise ValueError("its mask is no PNG in base64") from error
    inside = np.zeros((height, width), bool)
    target = inside[top : bottom + 1, left : right + 1]
    # Where a slice begins below 0, it counts from the other end.
    if min(left, top) < 0 or target.shape != part.shape:
        raise ValueError(
            f"a mask of {part.shape[1]}x{part.shape[0]} pixels from {left}, {top} to {right}, "
            f"{bottom} of a {width}x{height} image"
        )
    target[part] = True
    return inside

"""Scenes in which the class of an object is its outline, and nothing else.

The paper's Figure 3 turned into data: colour and texture of an object are drawn from the same
distribution whatever its class, so a pixel deep inside a large object can only be classified by
a model whose valid receptive field reaches the outline.
"""

import numpy as np

from pipelines.base.labels import IGNORE

CLASS_NAMES = ("background", "disc", "square", "triangle", "star", "cross", "ring")

# Sizes as fractions of the image's side. The diameter is that of the circle around the object;
# its density grows linearly with it, because the question is about large objects.
DIAMETERS = (0.1, 0.95)
OBJECT_COUNTS, OBJECT_COUNT_SHARES = (1, 2, 3), (0.6, 0.3, 0.1)
# An object of which less than this share stays visible could not be told by its outline. Each cover
# is compared with it alone: of three objects, two together may leave less of the one below.
MIN_VISIBLE = 0.7
# Two touching regions differ at least this much in colour (Euclidean, RGB 0…255), so that the
# outline can be seen; textures and noise stay well below it.
MIN_CONTRAST = 90.0
# Pixels nearer to an outline than this are void: a human annotator would hesitate there.
VOID_HALF_WIDTH = 1.0


def render_scene(rng: np.random.Generator, size: int = 128) -> tuple[np.ndarray, np.ndarray]:
    """Draws one scene.

    Args:
        rng: the only source of randomness; equal generators give equal scenes.
        size: side of the square image in pixels.

    Returns:
        The image, uint8 `[size, size, 3]` RGB, and the labels, uint8 `[size, size]`: an index
        into `CLASS_NAMES`, or 255 (void) on the outlines.
    """
    y, x = np.mgrid[0:size, 0:size] + 0.5
    objects = _place_objects(rng, x, y, size)
    colours = _contrasting_colours(rng, len(objects) + 1)

    image = _texture(rng, x, y, colours[0], size)
    labels = np.zeros((size, size), np.uint8)
    for colour, (label, distance) in zip(colours[1:], objects, strict=True):
        cover = np.clip(0.5 - distance, 0.0, 1.0)[..., None]  # one pixel of anti-aliasing
        image = cover * _texture(rng, x, y, colour, size) + (1.0 - cover) * image
        labels[distance < 0] = label
        labels[np.abs(distance) < VOID_HALF_WIDTH] = IGNORE

    image += rng.normal(0.0, rng.uniform(1.0, 6.0), image.shape)
    return np.clip(np.rint(image), 0, 255).astype(np.uint8), labels


def _place_objects(rng, x, y, size) -> list[tuple[int, np.ndarray]]:
    """Classes and signed distances (pixels, negative inside), from back to front."""
    wanted = rng.choice(OBJECT_COUNTS, p=OBJECT_COUNT_SHARES)
    objects: list[tuple[int, np.ndarray]] = []
    while len(objects) < wanted:
        label = int(rng.integers(1, len(CLASS_NAMES)))
        smallest, largest = DIAMETERS
        radius = 0.5 * size * (smallest + (largest - smallest) * np.sqrt(rng.uniform()))
        # The centre lies where at least most of the object stays inside the image.
        margin = min(0.8 * radius, 0.5 * size)
        centre = rng.uniform(margin, size - margin, 2)
        distance = _signed_distance(CLASS_NAMES[label], rng, x, y, centre, radius)
        if all(
            (below < 0)[distance > 0].sum() >= MIN_VISIBLE * (below < 0).sum()
            for _, below in objects
        ):
            objects.append((label, distance))
        else:
            # Whether another object fits may depend on the first ones: start afresh.
            objects = []
    return objects


def _signed_distance(name, rng, x, y, centre, radius) -> np.ndarray:
    """Signed distance in pixels to an outline of random orientation, negative inside."""
    u, v = x - centre[0], y - centre[1]
    if name == "disc":
        return np.hypot(u, v) - radius
    if name == "ring":
        half_band = radius * rng.uniform(0.18, 0.26)
        return np.abs(np.hypot(u, v) - (radius - half_band)) - half_band
    return _polygon_distance(_OUTLINES[name], rng.uniform(0.0, 2 * np.pi), radius, u, v)


def _regular(corners: int, inner: float = 1.0) -> np.ndarray:
    """Corners on the unit circle; with `inner` < 1 every second one lies nearer to the centre."""
    angle = 2 * np.pi * np.arange(corners) / corners
    reach = np.where(np.arange(corners) % 2 == 0, 1.0, inner)
    return np.stack([reach * np.cos(angle), reach * np.sin(angle)], axis=1)


def _cross(arm: float = 0.34) -> np.ndarray:
    """A plus sign whose arms end on the unit circle; `arm` is half an arm's width."""
    tip = np.sqrt(1.0 - arm**2)
    quarter = np.array([[tip, -arm], [tip, arm], [arm, arm]])
    turn = np.array([[0.0, -1.0], [1.0, 0.0]])
    return np.concatenate([quarter @ np.linalg.matrix_power(turn.T, i) for i in range(4)])


_OUTLINES = {
    "square": _regular(4),
    "triangle": _regular(3),
    "star": _regular(10, inner=0.42),
    "cross": _cross(),
}


def _polygon_distance(corners, angle, radius, u, v) -> np.ndarray:
    rotation = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    corners = radius * corners @ rotation
    nearest = np.full(u.shape, np.inf)
    inside = np.zeros(u.shape, bool)
    for (x0, y0), (x1, y1) in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        dx, dy = x1 - x0, y1 - y0
        along = np.clip(((u - x0) * dx + (v - y0) * dy) / (dx * dx + dy * dy), 0.0, 1.0)
        nearest = np.minimum(nearest, np.hypot(u - x0 - along * dx, v - y0 - along * dy))
        # Even-odd rule: count the edges that a ray to the right crosses.
        if dy != 0.0:
            crosses = (v < y0) != (v < y1)
            inside ^= crosses & (u < x0 + (v - y0) * dx / dy)
    return np.where(inside, -nearest, nearest)


def _contrasting_colours(rng, count) -> np.ndarray:
    """`count` RGB colours of which any two are at least MIN_CONTRAST apart."""
    while True:
        colours = rng.uniform(30.0, 225.0, (count, 3))
        gaps = np.linalg.norm(colours[:, None] - colours[None], axis=2)
        if gaps[~np.eye(count, dtype=bool)].min(initial=np.inf) >= MIN_CONTRAST:
            return colours


def _texture(rng, x, y, colour, size) -> np.ndarray:
    """A colour field `[size, size, 3]`: stripes, checks, blotches or a gradient around `colour`."""
    angle, phase = rng.uniform(0.0, 2 * np.pi, 2)
    period = rng.uniform(0.04, 0.25) * size
    along = (x * np.cos(angle) + y * np.sin(angle)) / period
    across = (y * np.cos(angle) - x * np.sin(angle)) / period
    kind = rng.integers(4)
    if kind == 0:
        pattern = np.sin(2 * np.pi * along + phase)
    elif kind == 1:
        pattern = np.sign(np.sin(2 * np.pi * along + phase) * np.sin(2 * np.pi * across))
    elif kind == 2:
        pattern = np.sin(2 * np.pi * along + phase + 2.0 * np.sin(np.pi * across + phase))
    else:
        pattern = (x * np.cos(angle) + y * np.sin(angle)) / size
    amplitude = rng.uniform(0.0, 15.0, 3) * rng.choice([-1.0, 1.0], 3)
    return colour + pattern[..., None] * amplitude

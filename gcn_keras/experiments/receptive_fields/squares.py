"""The size of a field: the squares around its point that hold shares of it; and means of fields."""

from collections.abc import Mapping, Sequence

import numpy as np

SHARES = (0.5, 0.95)


def square_side(field: np.ndarray, at: tuple[int, int], share: float) -> int:
    """The smallest square around a point that holds a share of a map.

    The square may reach over the border, where there is nothing to hold: the side of a field that
    fills the image depends on where the point lies.

    Args:
        field: `[H, W]`, at least 0.
        at: the centre, (y, x).
        share: of the sum of the map, above 0 and at most 1.

    Returns:
        Its side in pixels, an odd number.

    Raises:
        ValueError: the share is invalid, or the map is 0 everywhere.
    """
    if not 0 < share <= 1:
        raise ValueError(f"share must be above 0 and at most 1, got {share}")
    y, x = np.indices(field.shape)
    distance = np.maximum(abs(y - at[0]), abs(x - at[1]))
    held = np.cumsum(np.bincount(distance.ravel(), weights=field.ravel()))
    if not held[-1] > 0:
        raise ValueError("the map is 0 everywhere: no square holds a share of it")
    # A sum in another order may miss the share by its rounding.
    radius = int(np.argmax(held >= share * held[-1] * (1 - 1e-12)))
    return 2 * radius + 1


def recentred_mean(
    fields: Sequence[np.ndarray], points: Sequence[tuple[int, int]]
) -> tuple[np.ndarray, tuple[int, int]]:
    """The mean of maps that are laid over each other by their points.

    A pixel is averaged over the maps that have it: images may differ in size, points in place.

    Args:
        fields: `[H, W]` each.
        points: (y, x) of each.

    Returns:
        The mean, float32, as large as all of them together, 0 where there is none; its point.
    """
    above, left = np.max(points, axis=0)
    sizes = [field.shape for field in fields]
    below, right = np.max(np.subtract(sizes, points), axis=0)
    total, count = np.zeros((2, above + below, left + right))
    for field, (y, x) in zip(fields, points, strict=True):
        window = np.s_[above - y :, left - x :]
        height, width = field.shape
        total[window][:height, :width] += field
        count[window][:height, :width] += 1
    return (total / np.maximum(count, 1)).astype(np.float32), (int(above), int(left))


def sides_of(fields: Mapping[str, np.ndarray], at: tuple[int, int]) -> dict[str, dict[str, int]]:
    """`{"effective": {"50": side, "95": side}, "valid": …}`, in pixels."""
    return {
        name: {f"{share:.0%}"[:-1]: square_side(field, at, share) for share in SHARES}
        for name, field in fields.items()
    }


def table(rows: Sequence[tuple[str, dict[str, dict[str, int]]]]) -> str:
    """The sides as text: for each title two lines, from `sides_of`."""
    shares = "".join(f"{share:>8.0%}" for share in SHARES)
    lines = [f"side in pixels of the square that holds{shares}"]
    for title, sides in rows:
        lines.append(title)
        for name, of_share in sides.items():
            numbers = "".join(f"{side:>8}" for side in of_share.values())
            lines.append(f"  {name + ' receptive field':<37}{numbers}")
    return "\n".join(lines)

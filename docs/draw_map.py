"""Draws docs/architecture.svg: the wings, their modules, and the imports between them.

    python docs/draw_map.py

Boxes and arrows come from the source, as `architecture.py` reads it; only where a box stands is
said here. An arrow that follows from others (A → C where A → B → C) is left out.
"""

from dataclasses import dataclass
from pathlib import Path

import architecture

FILE = Path(__file__).with_name("architecture.svg")

WIDTH = 1120
MARGIN = 20  # around a package's frame
ROW_GAP = 56  # between rows, where the arrows run
CHARACTER, LINE = 7.25, 18  # of the modules' font
PADDING, TITLE, COLUMN_GAP = 14, 32, 16  # inside a box
TEXT = "Helvetica, Arial, 'DejaVu Sans', sans-serif"
CODE = "Menlo, Consolas, 'DejaVu Sans Mono', monospace"


@dataclass(frozen=True)
class Place:
    """Where a wing's box stands: its centre from 0 (left) to 1 (right), its row, its columns.

    A box of several rows stands in their middle.
    """

    center: float
    rows: tuple[int, ...]
    columns: int = 1


PLACES = {
    "gcn_keras": Place(0.5, (0,), 6),
    "gcn_keras.deployment": Place(0.19, (1, 2), 2),
    "gcn_keras.experiments": Place(0.72, (1,), 3),
    "gcn_keras.training": Place(0.72, (2,), 4),
    "gcn_keras.evaluation": Place(0.16, (3,)),
    "gcn_keras.web": Place(0.43, (2,)),
    "gcn_keras.recipes": Place(0.67, (3,)),
    "gcn_keras.inference": Place(0.43, (4,), 2),
    "gcn_keras.models": Place(0.745, (4,), 2),
    "gcn_keras.plots": Place(0.925, (4,)),
    "pipelines": Place(0.1, (5, 6)),
    "pipelines.stream": Place(0.29, (5,)),
    "pipelines.examination": Place(0.29, (6,)),
    "pipelines.datasets": Place(0.51, (5, 6)),
    "pipelines.building": Place(0.7, (5, 6)),
    "pipelines.base": Place(0.89, (5, 6)),
}
# Line and title of the boxes, and of the arrows that start there, by package.
COLORS = {
    "gcn_keras": ("#1d4ed8", "#eff4ff"),
    "pipelines": ("#0f766e", "#edfaf7"),
}


@dataclass(frozen=True)
class Box:
    """A wing's box in pixels, with the names that it lists, column by column."""

    wing: str
    x: float
    y: float
    width: float
    height: float
    columns: list[list[str]]

    @property
    def package(self) -> str:
        return self.wing.partition(".")[0]


def lay_out(source: architecture.Source) -> dict[str, Box]:
    """The box of each wing; rows go from the top down.

    Raises:
        KeyError: there is a wing that has no place in `PLACES`.
    """
    columns = {wing: _columns(listed(source, wing), PLACES[wing].columns) for wing in source.wings}
    heights = {
        wing: TITLE + LINE * max(map(len, names), default=0) + PADDING
        for wing, names in columns.items()
    }
    tops: list[float] = []  # of the rows, and of the one that would follow
    y = 2.0 * MARGIN + 50
    for row in range(1 + max(place.rows[-1] for place in PLACES.values())):
        inside = [wing for wing in source.wings if row in PLACES[wing].rows]
        if "pipelines" in inside and row == PLACES["pipelines"].rows[0]:
            y += 3 * MARGIN  # from one frame to the next
        tops.append(y)
        y += ROW_GAP + max(heights[wing] / len(PLACES[wing].rows) for wing in inside)
    tops.append(y)
    boxes = {}
    for wing, names in columns.items():
        place = PLACES[wing]
        width = sum(max(map(len, column)) * CHARACTER + COLUMN_GAP for column in names)
        width = max(width - COLUMN_GAP, 10.5 * len(title(wing))) + 2 * PADDING
        top = tops[place.rows[0]]
        if len(place.rows) > 1:
            top = (top + tops[place.rows[-1] + 1] - ROW_GAP - heights[wing]) / 2
        boxes[wing] = Box(wing, place.center * WIDTH - width / 2, top, width, heights[wing], names)
    return boxes


def _columns(names: list[str], count: int) -> list[list[str]]:
    rows = max(1, -(-len(names) // count))
    return [names[start : start + rows] for start in range(0, len(names), rows)]


def listed(source: architecture.Source, wing: str) -> list[str]:
    """What a box lists: the wing's modules; folders in it end in a slash."""
    depth = wing.count(".") + 1
    below = [name.split(".")[depth:] for name in source.wings[wing] if name != wing]
    folders = {parts[0] for parts in below if len(parts) > 1}
    names = {parts[0] for parts in below}
    return sorted(f"{name}/" if name in folders else name for name in names)


def title(wing: str) -> str:
    return f"{wing.rpartition('.')[2]}/" if "." in wing else "commands"


def arrows(source: architecture.Source) -> list[tuple[str, str]]:
    """The imports between wings, without those that follow from others."""
    graph: dict[str, set[str]] = {}
    for start, end in source.arrows:
        graph.setdefault(start, set()).add(end)
    return sorted(
        (start, end)
        for start, ends in graph.items()
        for end in ends
        if not any(end in architecture.reached(graph, other) for other in ends - {end})
    )


def draw(source: architecture.Source) -> str:
    """The map as SVG."""
    boxes = lay_out(source)
    height = max(box.y + box.height for box in boxes.values()) + 2 * MARGIN
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:.0f}" '
        f'width="{WIDTH}" height="{height:.0f}" font-family="{TEXT}">',
        f'<rect width="{WIDTH}" height="{height:.0f}" fill="#ffffff"/>',
        "<defs>",
        *(_arrow_head(package, color) for package, (color, _) in COLORS.items()),
        "</defs>",
        *(_frame(package, boxes) for package in COLORS),
        *_arrows(source, boxes),
        *(part for box in boxes.values() for part in _box(box)),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _arrow_head(package: str, color: str) -> str:
    return (
        f'<marker id="{package}" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="8" '
        f'markerHeight="8" orient="auto"><path d="M0 1 L10 5 L0 9 z" fill="{color}"/></marker>'
    )


def _frame(package: str, boxes: dict[str, Box]) -> str:
    inside = [box for box in boxes.values() if box.package == package]
    top = min(box.y for box in inside) - 62
    bottom = max(box.y + box.height for box in inside) + MARGIN
    color, fill = COLORS[package]
    what = {
        "gcn_keras": "batches → models, numbers, artefacts",
        "pipelines": "data sets → batches",
    }[package]
    return (
        f'<rect x="{MARGIN}" y="{top:.1f}" width="{WIDTH - 2 * MARGIN}" '
        f'height="{bottom - top:.1f}" rx="14" fill="{fill}"/>'
        f'<text x="{MARGIN + 18}" y="{top + 32:.1f}" font-size="20" font-weight="bold" '
        f'fill="{color}">{package}/<tspan dx="12" font-size="14" font-weight="normal">{what}'
        "</tspan></text>"
    )


def _arrows(source: architecture.Source, boxes: dict[str, Box]) -> list[str]:
    pairs = arrows(source)
    drawn = []
    for start, end in pairs:
        one, other = boxes[start], boxes[end]
        down = _is_above(one, other)
        x1, y1 = _port(one, down, [boxes[to] for of, to in pairs if of == start], other, True)
        x2, y2 = _port(other, down, [boxes[of] for of, to in pairs if to == end], one, False)
        bend = min(abs(y2 - y1 if down else x2 - x1) * 0.5, 110)
        dx, dy = (0, bend) if down else (bend, 0)
        drawn.append(
            f'<path d="M{x1:.1f} {y1:.1f} C{x1 + dx:.1f} {y1 + dy:.1f} {x2 - dx:.1f} '
            f'{y2 - dy:.1f} {x2:.1f} {y2:.1f}" fill="none" stroke="{COLORS[one.package][0]}" '
            f'stroke-width="1.6" stroke-opacity="0.8" marker-end="url(#{one.package})"/>'
        )
    return drawn


def _is_above(box: Box, other: Box) -> bool:
    return PLACES[box.wing].rows[-1] < PLACES[other.wing].rows[0]


def _port(
    box: Box, down: bool, partners: list[Box], partner: Box, leaves: bool
) -> tuple[float, float]:
    """Where an arrow meets a box: those on one edge are spread in the order of their other ends.

    Args:
        down: whether it runs from a box to one below, rather than to one on its right.
        partners: the boxes at the other ends of all arrows that leave (or enter) this box.
        partner: the one at the other end of this arrow.
    """
    edge = [
        each
        for each in partners
        if down == (_is_above(box, each) if leaves else _is_above(each, box))
    ]
    order = sorted(edge, key=lambda each: each.x + each.width / 2 if down else each.y)
    share = (order.index(partner) + 1) / (len(order) + 1)
    if down:
        return box.x + box.width * share, box.y + box.height if leaves else box.y
    return box.x + box.width if leaves else box.x, box.y + box.height * share


def _box(box: Box) -> list[str]:
    color = COLORS[box.package][0]
    parts = [
        f'<rect x="{box.x:.1f}" y="{box.y:.1f}" width="{box.width:.1f}" '
        f'height="{box.height:.1f}" rx="8" fill="#ffffff" stroke="{color}" stroke-width="1.4"/>',
        f'<text x="{box.x + PADDING:.1f}" y="{box.y + 22:.1f}" font-size="15" '
        f'font-weight="bold" fill="{color}">{title(box.wing)}</text>',
    ]
    x = box.x + PADDING
    for column in box.columns:
        for number, name in enumerate(column):
            y = box.y + TITLE + LINE * (number + 0.75)
            parts.append(
                f'<text x="{x:.1f}" y="{y:.1f}" font-size="12" fill="#334155" '
                f'font-family="{CODE}">{name}</text>'
            )
        x += max(map(len, column)) * CHARACTER + COLUMN_GAP
    return parts


if __name__ == "__main__":
    FILE.write_text(draw(architecture.Source(architecture.REPOSITORY)), "utf-8")
    print(f"written: {FILE}")

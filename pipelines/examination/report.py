"""An examination as text and as an HTML page."""

import base64
import html

import numpy as np

from pipelines.base.labels import median_frequency_weights
from pipelines.base.plurals import count_of
from pipelines.examination.findings import KINDS, Examination

WRITTEN_BY = "python -m pipelines.doctor"
# In each file, by which doctor knows those that it may replace: in a PNG, and in a page.
MARKS = {
    "--sheet": f"Software\0{WRITTEN_BY}".encode(),
    "--html": f'<meta name="generator" content="{WRITTEN_BY}">'.encode(),
}

_COMMON_SIZES = 5  # shown for each split


def text_report(result: Examination, show: int) -> str:
    """The result of an examination as text.

    Args:
        result: of `examine`.
        show: findings of a kind that are listed.
    """
    count = sum(split.records for split in result.splits.values())
    parts = [
        f"{result.name}: {count_of(len(result.class_names), 'class')}, "
        f"{count_of(count, 'example')} in {count_of(len(result.splits), 'split')}",
        _text_table(split_table(result)),
        "\n  ".join(["Sizes, the most frequent:", *_size_lines(result)]),
        "Classes, share of the pixels that are not void:\n" + _text_table(class_table(result)),
    ]
    if result.notes:
        parts.append("\n  ".join(["Worth knowing:", *result.notes]))
    for heading, texts in _by_kind(result, show).items():
        parts.append("\n  ".join([f"WRONG: {heading}", *texts]))
    parts.append(verdict(result))
    return "\n\n".join(parts)


def verdict(result: Examination) -> str:
    """One sentence: whether something is wrong."""
    count = len(result.findings)
    if not count:
        return "Nothing is wrong."
    return f"{count_of(count, 'thing')} {'is' if count == 1 else 'are'} wrong."


def split_table(result: Examination) -> list[list[str]]:
    """Rows of text, the first of them headings: examples, sizes and void of each split."""
    rows = [["split", "examples", "width", "height", "void", "labels"]]
    for split in result.splits.values():
        heights, widths = split.sides()
        labels = "none, as intended" if split.unlabelled else f"{split.labels:,}"
        found = f"{split.records:,}"
        if split.records != split.expected:
            found += f" of {split.expected:,}"
        void = f"{100 * split.void_share():.1f} %"
        rows.append([split.name, found, _range(widths), _range(heights), void, labels])
    return rows


def class_table(result: Examination) -> list[list[str]]:
    """Rows of text, the first of them headings: each class's share and images, and its weight."""
    source = result.weights_split()
    number = len(result.class_names)
    columns = [["", *map(str, range(number))], ["class", *result.class_names]]
    columns += [[name, *_shares(s.pixels[:number])] for name, s in result.splits.items()]
    if source:
        split = result.splits[source]
        weights = median_frequency_weights(split.pixels[:number])
        columns.append([f"images ({source})", *(f"{n:,}" for n in split.images_with[:number])])
        columns.append([f"weight ({source})", *(f"{weight:.3f}" for weight in weights)])
    return list(map(list, zip(*columns, strict=True)))


def _shares(pixels: np.ndarray) -> list[str]:
    if not pixels.any():
        return ["-"] * len(pixels)
    shares = 100 * pixels / pixels.sum()
    return [f"{share:.2f} %" if share else "never" for share in shares]


def _range(values: list[float]) -> str:
    """Smallest / median / largest, or the one value that all have."""
    if values and values[0] == values[2]:
        values = values[:1]
    return " / ".join(f"{value:g}" for value in values) or "-"


def _size_lines(result) -> list[str]:
    lines = []
    for split in result.splits.values():
        common = split.sizes.most_common(_COMMON_SIZES)
        text = ", ".join(f"{width}x{height}: {count:,}" for (height, width), count in common)
        others = len(split.sizes) - len(common)
        more = f", {count_of(others, 'other size')}" if others else ""
        lines.append(f"{split.name}  {text or 'no image'}{more}")
    return lines


def _by_kind(result, show) -> dict[str, list[str]]:
    """The first findings of each kind, and how many are not listed, under the kind's heading."""
    by_kind = {}
    for kind in KINDS:
        texts = [finding.text for finding in result.findings if finding.kind == kind]
        more = [f"and {len(texts) - show:,} more"] if len(texts) > show else []
        if texts:
            by_kind[f"{kind} ({len(texts):,})"] = texts[:show] + more
    return by_kind


def _text_table(rows: list[list[str]]) -> str:
    """Columns that line up; those headed split or class to the left."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    left = {i for i, heading in enumerate(rows[0]) if heading in ("split", "class")}
    lines = []
    for row in rows:
        cells = [
            cell.ljust(width) if i in left else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  " + "  ".join(cells).rstrip())
    return "\n".join(lines)


def html_report(result: Examination, png: bytes, show: int) -> str:
    """The result of an examination and its contact sheet as one page that needs no other file.

    Args:
        result: of `examine`.
        png: the bytes of the contact sheet.
        show: findings of a kind that are listed.
    """
    title = html.escape(f"{result.name}: examination")
    state = "wrong" if result.findings else "right"
    parts = [f'<h1>{title}</h1>\n<p class="{state}">{verdict(result)}</p>']
    for heading, texts in _by_kind(result, show).items():
        parts.append(f'<h2 class="wrong">{heading.capitalize()}</h2>{_html_list(texts)}')
    if result.notes:
        parts.append("<h2>Worth knowing</h2>" + _html_list(result.notes))
    parts.append("<h2>Splits</h2>" + _html_table(split_table(result)))
    parts.append("<h2>Sizes, the most frequent</h2>" + _html_list(_size_lines(result)))
    parts.append("<h2>Classes, share of the pixels that are not void</h2>" + _html_classes(result))
    image = base64.b64encode(png).decode()
    parts.append(
        f'<h2>Examples</h2>\n<img alt="photos and their masks" src="data:image/png;base64,{image}">'
    )
    return _PAGE.format(title=title, generator=WRITTEN_BY, body="\n".join(parts))


_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="generator" content="{generator}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
body {{ font: 15px/1.45 system-ui, sans-serif; color: #222; max-width: 1200px; margin: 2em auto;
  padding: 0 1em; }}
h1 {{ font-size: 1.5em; }} h2 {{ font-size: 1.1em; margin-top: 1.8em; }}
table {{ border-collapse: collapse; font-variant-numeric: tabular-nums; }}
th, td {{ padding: .25em .8em; border-bottom: 1px solid #e4e4e4; text-align: right; }}
th {{ font-weight: 600; }} .word {{ text-align: left; }}
.bar {{ width: 220px; text-align: left; }} .bar div {{ height: .8em; border: 1px solid #b0b0b0; }}
.right {{ color: #1b7837; font-weight: 600; }} .wrong {{ color: #b2182b; font-weight: 600; }}
img {{ max-width: 100%; }} .scroll {{ overflow-x: auto; }}
</style>
</head>
<body>
{body}
</body>
</html>
"""


def _html_list(texts: list[str]) -> str:
    items = "\n".join(f"<li>{html.escape(text)}</li>" for text in texts)
    return f"<ul>\n{items}\n</ul>"


def _html_table(rows: list[list[str]], bars: list[str] | None = None) -> str:
    """A table; `bars` are cells of HTML put behind each row."""
    words = {i for i, heading in enumerate(rows[0]) if heading in ("split", "class")}
    lines = []
    for number, row in enumerate(rows):
        tag = "td" if number else "th"
        cells = "".join(
            f"<{tag}{' class=word' if i in words else ''}>{html.escape(cell)}</{tag}>"
            for i, cell in enumerate(row)
        )
        lines.append(f"<tr>{cells}{bars[number] if bars else ''}</tr>")
    return '<div class="scroll"><table>\n' + "\n".join(lines) + "\n</table></div>"


def _html_classes(result) -> str:
    """The class table; a bar in the class's colour shows the share in one of the splits."""
    rows, source = class_table(result), result.weights_split()
    if source is None:
        return _html_table(rows)
    pixels = result.splits[source].pixels[: len(result.class_names)]
    bars = ["<th></th>"] + [
        f'<td class="bar"><div style="width:{100 * count / pixels.max():.1f}%;'
        f'background:rgb({",".join(map(str, colour))})"></div></td>'
        for count, colour in zip(pixels, result.palette.tolist(), strict=False)
    ]
    return _html_table(rows, bars)

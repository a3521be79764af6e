"""Figures whose texts are drawn as they are: names of classes and files, in any script."""

import contextlib
import logging
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO

import matplotlib
from matplotlib import font_manager
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text

from pipelines.base.errors import printable
from pipelines.base.progress import note

_told: set[str] = set()  # letters of which it was said that no font has them


def write_png(figure: Figure, file: str | Path | IO[bytes], software: str | None = None) -> None:
    """Writes a figure as a PNG, its texts literally, see `make_literal`; and what has made it."""
    make_literal(figure)
    with _without_warnings(), matplotlib.rc_context({"text.usetex": False}):
        figure.savefig(file, format="png", metadata=software and {"Software": software})


def widest(texts: Iterable[str], pixels: float) -> float:
    """Width in pixels of the widest of these texts, drawn literally in a size of so many pixels."""
    figure = Figure(dpi=72)  # where a point is a pixel
    drawn = [figure.text(0, 0, text, size=pixels) for text in texts]
    make_literal(figure)
    with _without_warnings():
        return max(text.get_window_extent().width for text in drawn)


def make_literal(figure: Figure) -> None:
    """Lets a figure show its texts as they are, but for the numbers along axes.

    They are no mathematics and no TeX; control characters are escaped; letters that the usual font
    lacks come from others that are installed, and where none has them, that is said once.
    """
    axes = [axis for each in figure.findobj(Axes) for axis in (each.xaxis, each.yaxis)]
    numbers = {label for axis in axes for label in axis.get_ticklabels(which="both")}
    texts = [text for text in figure.findobj(Text) if text not in numbers]
    for text in texts:
        text.set_text(printable(text.get_text()))
        text.set_parse_math(False)
        text.set_usetex(False)
    usual = font_manager.FontProperties()
    letters = {letter for text in texts for letter in text.get_text() if letter != "\n"}
    if lacking := letters - _letters_in(font_manager.findfont(usual), letters):
        families = [*usual.get_family(), *_families_with(lacking)]
        for text in texts:
            text.set_fontfamily(families)


def _families_with(letters: set[str]) -> list[str]:
    """Families of installed fonts that together have these letters, as far as there are any."""
    # Matplotlib's list is older than a font that was installed just now.
    known = [font.fname for font in font_manager.fontManager.ttflist]
    paths = dict.fromkeys([*known, *font_manager.findSystemFonts()])
    found = {path: has for path in paths if (has := _letters_in(path, letters))}
    families, lacking = [], letters
    while found and (best := max(found, key=lambda path: len(found[path] & lacking))):
        if not found[best] & lacking:
            break
        if best not in known:
            font_manager.fontManager.addfont(best)
        families.append(font_manager.FontProperties(fname=best).get_name())
        lacking = lacking - found[best]
    if untold := sorted(lacking - _told):
        _told.update(untold)
        some = " ".join(untold[:20]) + " …" * (len(untold) > 20)
        note(f"warning: no installed font has {some} and figures show boxes instead: install one")
    return families


@contextlib.contextmanager
def _without_warnings() -> Iterator[None]:
    """Keeps Matplotlib from telling of each letter, and of weights, that a font lacks."""
    logger = logging.getLogger("matplotlib.font_manager")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", r"Glyph \d+")
            yield
    finally:
        logger.setLevel(level)


def _letters_in(path: str, letters: set[str]) -> set[str]:
    """Those of the letters that a font can draw."""
    try:
        font = font_manager.get_font(path)
        font.set_size(10, 100)
        has = {letter for letter in letters if font.get_char_index(ord(letter))}
        for letter in has:
            font.load_char(ord(letter))
    except (OSError, RuntimeError):  # a font that is gone, or of bitmaps of other sizes
        return set()
    return set() if "LastResort" in path else has  # whose letters are boxes

"""Texts of figures are drawn as they are, in any script."""

import io
import warnings

import matplotlib
import numpy as np
import pytest
from matplotlib import font_manager
from matplotlib.figure import Figure
from PIL import Image

from pipelines.base import figures
from pipelines.base.figures import make_literal, write_png

# Archaic kana: of the fonts that come with Matplotlib, none has them.
LETTER, OTHER = "\U0001b000", "\U0001b001"
HOSTILE = (
    "$", "$$", r"cost $\x$", r"$\frac{$", r"\$a$", "a_b^c", "_^", "{", r"\\", "%&#~", "$a", "_",
    r"$\mathdefault{a}$", "\x1b[31mred", "\udce9.png", "a\0b", "a\tb", "<b>&amp;</b>",
)  # fmt: skip


def drawn(text: str, **style) -> np.ndarray:
    figure = Figure((4, 1))
    figure.text(0.1, 0.2, text, **style)
    file = io.BytesIO()
    write_png(figure, file)
    return np.asarray(Image.open(file).convert("L"))


@pytest.fixture
def fresh(monkeypatch, tmp_path):
    """Matplotlib's fonts, and one with one letter, a solid square; nothing was reported yet."""
    builder = pytest.importorskip("fontTools.fontBuilder")
    pens = pytest.importorskip("fontTools.pens.ttGlyphPen")
    font = builder.FontBuilder(1000, isTTF=True)
    font.setupGlyphOrder([".notdef", "square"])
    font.setupCharacterMap({ord(LETTER): "square"})
    pen = pens.TTGlyphPen(None)
    for move, point in (
        (pen.moveTo, (0, 0)), (pen.lineTo, (0, 900)), (pen.lineTo, (900, 900)),
        (pen.lineTo, (900, 0)),
    ):  # fmt: skip
        move(point)
    pen.closePath()
    font.setupGlyf({".notdef": pens.TTGlyphPen(None).glyph(), "square": pen.glyph()})
    font.setupHorizontalMetrics({".notdef": (500, 0), "square": (1000, 0)})
    font.setupHorizontalHeader(ascent=900, descent=-100)
    font.setupNameTable({"familyName": "Squares", "styleName": "Regular"})
    font.setupOS2()
    font.setupPost()
    font.save(tmp_path / "squares.ttf")
    monkeypatch.setattr(figures, "_told", set())
    monkeypatch.setattr(font_manager, "findSystemFonts", lambda: [str(tmp_path / "squares.ttf")])
    own = [f for f in font_manager.fontManager.ttflist if "mpl-data" in f.fname]
    monkeypatch.setattr(font_manager.fontManager, "ttflist", own)


@pytest.mark.parametrize("text", HOSTILE)
def test_texts_say_what_their_strings_say(text):
    figure = Figure((4, 3))
    axes = figure.subplots()
    axes.plot([1, 2], [1, 2], label=text)
    axes.set_title(text)
    figure.suptitle(text)
    figure.legend(handles=axes.lines)
    write_png(figure, io.BytesIO())
    expected = {"\x1b[31mred": r"\x1b[31mred", "\udce9.png": r"\udce9.png", "a\0b": r"a\x00b"}
    expected["a\tb"] = r"a\tb"
    assert axes.get_title() == expected.get(text, text)
    assert figure.legends[0].get_texts()[0].get_text() == expected.get(text, text)


def test_dollars_are_drawn():
    assert np.array_equal(drawn("$a$"), drawn("$a$", parse_math=False))
    assert not np.array_equal(drawn("$a$"), drawn("a"))


def test_tex_that_a_user_has_set_is_not_run(monkeypatch):
    monkeypatch.setenv("PATH", "")
    with matplotlib.rc_context({"text.usetex": True}):
        assert np.array_equal(drawn("a_b"), drawn("a_b", usetex=False))


def test_numbers_along_axes_keep_their_powers():
    figure = Figure()
    axes = figure.subplots()
    axes.plot([1, 2], [1e-5, 1e-1])
    axes.set_yscale("log")
    make_literal(figure)
    figure.draw_without_rendering()
    labels = axes.get_yticklabels()
    assert any("10^{-3}" in label.get_text() for label in labels)
    assert all(label.get_parse_math() for label in labels)


def test_a_letter_is_taken_from_another_font(fresh, capsys):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pixels = drawn(LETTER, size=50)
        mixed = drawn(f"a{LETTER}", size=50)
    ink = np.argwhere(pixels < 128)
    square = pixels[ink[:, 0].min() : ink[:, 0].max(), ink[:, 1].min() : ink[:, 1].max()]
    assert min(square.shape) > 50 and (square < 128).all()
    assert (mixed < 128).sum() > (pixels < 128).sum()  # the letter beside it as before
    assert capsys.readouterr().err == ""


def test_a_letter_that_no_font_has_is_told_of_once(fresh, capsys):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        drawn(f"a{OTHER}{LETTER}{OTHER}")
        drawn(f"b{OTHER}")
    assert capsys.readouterr().err == (
        f"warning: no installed font has {OTHER} and figures show boxes instead: install one\n"
    )


def test_fonts_that_cannot_be_read_are_passed_over(fresh, monkeypatch, tmp_path, capsys):
    (tmp_path / "broken.ttf").write_bytes(b"no font")
    paths = [str(tmp_path / "gone.ttf"), str(tmp_path / "broken.ttf")]
    monkeypatch.setattr(font_manager, "findSystemFonts", lambda: paths)
    drawn(LETTER)
    assert "no installed font" in capsys.readouterr().err

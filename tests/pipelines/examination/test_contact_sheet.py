"""The doctor's page of examples, whatever classes and files are called."""

import io

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from pipelines.base.labels import palette
from pipelines.examination.contact_sheet import contact_sheet
from pipelines.examination.findings import Sample


def test_names_are_no_mathematics(monkeypatch):
    figures = []
    monkeypatch.setattr(Figure, "__init__", _noting(Figure.__init__, figures))
    names = [r"cost $\x$", r"$\frac{$", "_background", "a_^{", "\udce9"]
    label = np.arange(25, dtype=np.uint8).reshape(5, 5) % 5
    sample = Sample("train", r"$\z$", np.zeros((5, 5, 3), np.uint8), label)
    png = contact_sheet([sample], names, palette(), r"$\y$")
    assert Image.open(io.BytesIO(png)).format == "PNG"
    (figure,) = figures
    shown = [text.get_text() for text in figure.legends[0].get_texts()]
    numbered = [f"{i} {name}" for i, name in enumerate([*names[:4], r"\udce9"])]
    assert shown == [*numbered, "void (255)"]
    assert figure.get_suptitle() == r"$\y$"
    assert figure.axes[0].get_title(loc="left") == r"train: $\z$"


@pytest.mark.slow
def test_a_photo_that_stands_upright_makes_its_own_row_higher(monkeypatch):
    figures = []
    monkeypatch.setattr(Figure, "__init__", _noting(Figure.__init__, figures))
    sizes = [(60, 80), (60, 80), (60, 80), (160, 80), *[(40, 80)] * 6]  # rows of 4, 4 and 2
    samples = [
        Sample("train", f"{i}", np.zeros((*size, 3), np.uint8), np.zeros(size, np.uint8))
        for i, size in enumerate(sizes)
    ]
    contact_sheet(samples, ["road"], palette(), "mine")
    (figure,) = figures
    # A photo is 1.75 inches wide. 160 / 80 shrinks to 4 / 3, and 40 / 80 stays.
    rows = [1.75 * 4 / 3, 1.75 / 2, 1.75 / 2]
    assert figure.get_size_inches()[1] == pytest.approx(sum(rows) + 3 * 0.35 + 0.25 + 0.9)
    ratios = figure.axes[0].get_gridspec().get_height_ratios()
    assert ratios == pytest.approx(rows)


def _noting(init, figures):
    def noted(self, *arguments, **options):
        figures.append(self)
        init(self, *arguments, **options)

    return noted

"""The doctor's page of examples, whatever classes and files are called."""

import io

import numpy as np
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
    png = contact_sheet([sample], names, palette(5), r"$\y$")
    assert Image.open(io.BytesIO(png)).format == "PNG"
    (figure,) = figures
    shown = [text.get_text() for text in figure.legends[0].get_texts()]
    numbered = [f"{i} {name}" for i, name in enumerate([*names[:4], r"\udce9"])]
    assert shown == [*numbered, "void (255)"]
    assert figure.get_suptitle() == r"$\y$"
    assert figure.axes[0].get_title(loc="left") == r"train: $\z$"


def _noting(init, figures):
    def noted(self, *arguments, **options):
        figures.append(self)
        init(self, *arguments, **options)

    return noted

"""Packages that may be missing, and the sentence that names their extra."""

import importlib
import sys
import tomllib
from importlib.metadata import packages_distributions

import pytest
from places import REPOSITORY

from pipelines.base import extras
from pipelines.base.errors import UserError

CRF = 'a dense CRF needs pydensecrf2, which is not installed: pip install "gcn_keras[crf]"'


@pytest.fixture(scope="module")
def distributions():
    """The names of the distributions that have a module."""
    return packages_distributions()


@pytest.mark.parametrize("module", extras.PACKAGES)
def test_the_extra_that_is_named_installs_the_package(module, distributions):
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    listed = " ".join(project["optional-dependencies"][extras.PACKAGES[module][1]])
    assert any(name in listed for name in distributions[module])
    assert not any(name in project["dependencies"] for name in distributions[module])


def test_a_missing_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "pydensecrf", None)
    assert extras.missing("a dense CRF needs", "pydensecrf") == CRF
    for refuse in (extras.check, extras.require):
        with pytest.raises(UserError) as caught:
            refuse("a dense CRF needs", "pydensecrf")
        assert str(caught.value) == CRF
    with pytest.raises(UserError) as caught:
        extras.require("a dense CRF needs", "pydensecrf.densecrf")
    assert str(caught.value) == CRF


def test_several_missing_packages(monkeypatch):
    """One command installs them; an extra is named once, and so is a package asked for twice."""
    for module in ("tf2onnx", "onnxruntime", "cv2"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(UserError) as caught:
        extras.check("these need", "tf2onnx", "cv2", "pycocotools", "onnxruntime", "cv2")
    assert str(caught.value) == (
        "these need tf2onnx and OpenCV and onnxruntime, which are not installed: "
        'pip install "gcn_keras[onnx,video]"'
    )


def test_a_package_that_is_there():
    assert extras.missing("a region needs", "pycocotools") is None
    extras.check("a region needs", "pycocotools", "pycocotools")
    mask = extras.require("a region needs", "pycocotools.mask")
    assert mask is sys.modules["pycocotools.mask"]


def test_a_package_that_cannot_be_imported(monkeypatch):
    """As OpenCV without a library of the system."""

    def refuse(name):
        raise ImportError("libGL.so.1: cannot open shared object file")

    monkeypatch.setattr(importlib, "import_module", refuse)
    with pytest.raises(UserError) as caught:
        extras.require("videos need", "cv2")
    assert str(caught.value) == (
        "videos need OpenCV, which cannot be imported: libGL.so.1: cannot open shared object file"
    )

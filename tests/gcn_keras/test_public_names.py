"""The public names: there, seen by editors, and free until they are used."""

import ast
import re
import subprocess
import sys
from importlib.metadata import version

import pytest
from places import REPOSITORY

import gcn_keras

HEAVY = {"keras", "tensorflow", "numpy", "scipy", "PIL", "matplotlib", "tyro"}


def seen_by_type_checkers() -> dict[str, tuple[str, str]]:
    """Names that are imported under TYPE_CHECKING: module, and what they are called there."""
    tree = ast.parse((REPOSITORY / "gcn_keras" / "__init__.py").read_text())
    (block,) = (node for node in tree.body if isinstance(node, ast.If))
    assert isinstance(block.test, ast.Name) and block.test.id == "TYPE_CHECKING"
    seen = {
        alias.asname: (node.module, alias.name)
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
        if alias.asname  # only "X as X" is public to a type checker
    }
    (other,) = (node for node in block.body if isinstance(node, ast.Assign))
    return seen | {other.targets[0].id: ("pipelines.datasets", other.value.attr)}


def test_all_lists_agree():
    lazy = {
        name: tuple(re.split("[.:](?=[^.:]+$)", home.removesuffix(":")))
        for name, home in gcn_keras._HOMES.items()
    }
    assert seen_by_type_checkers() == lazy
    assert gcn_keras.__all__ == sorted(lazy) == dir(gcn_keras)


@pytest.mark.parametrize("name", gcn_keras.__all__)
def test_every_name_is_there(name):
    assert getattr(gcn_keras, name) is not None


def test_the_version():
    assert gcn_keras.__version__ == version("gcn_keras")


def test_another_name_is_no_attribute():
    with pytest.raises(AttributeError, match="^module 'gcn_keras' has no attribute 'fcn'$"):
        gcn_keras.fcn  # noqa: B018


def test_the_import_takes_nothing_heavy_along():
    program = "import sys, gcn_keras; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    assert not HEAVY & set(done.stdout.split())

"""The order of the imports: it holds, each of its rules fails on a counter-example, and what is
written about it is true.
"""

import ast
import re
import textwrap
from collections.abc import Mapping
from pathlib import Path

import architecture
import draw_map
import pytest

REPOSITORY = Path(__file__).parents[1]

# Files that keep every rule.
GOOD = {
    "gcn_keras/fit.py": """
        def main() -> int:
            from gcn_keras.training import run
            raise ValueError("--epochs must be at least 1")
        """,
    "gcn_keras/training/run.py": """
        import tensorflow as tf
        from gcn_keras.recipes import recipe
        """,
    "gcn_keras/recipes/recipe.py": "",
    "gcn_keras/models/gcn.py": """
        import keras
        from pipelines.base.labels import IGNORE

        def gcn(num_classes: int, *sizes: int, name: str = "gcn", **options: int) -> None:
            import tensorflow

            def helper(x):
                return x
            raise ValueError("num_classes must be at least 2 -- or more")

        def _private(x):
            pass
        """,
    "gcn_keras/plots/style.py": """
        class Style:
            def __init__(self, width):
                self.width = width

            @overload
            def shown(self, width: int) -> str: ...
            @overload
            def shown(self, width: list[int]) -> list[str]: ...
            def shown(self, width):
                return width

            @staticmethod
            def narrow(width: int) -> int:
                return width

            def wide(self) -> int:
                return self.width

        class _Style:
            def wide(self, factor):
                return factor
        """,
    "pipelines/prepare.py": "from pipelines.datasets import load",
    "pipelines/base/labels.py": "IGNORE = 255",
}
# Faults: the files that are changed, and the beginnings of what is found then.
FAULTS: dict[str, tuple[dict[str, str | None], list[str]]] = {
    "a command below": (
        {"gcn_keras/training/run.py": "from gcn_keras import fit"},
        [
            "gcn_keras/training/run.py:1: a module of a wing imports the command gcn_keras.fit",
            "gcn_keras/fit.py:1: these import each other in a circle: gcn_keras.fit, gcn_keras.t",
            "gcn_keras/__init__.py:1: these import each other in a circle: gcn_keras, gcn_",
        ],
    ),
    "a command of the other package": (
        {"gcn_keras/training/run.py": "import pipelines.prepare"},
        ["gcn_keras/training/run.py:1: a module of a wing imports the command pipelines.prepare"],
    ),
    "a command inside a function": (
        {"gcn_keras/plots/style.py": "def draw() -> None:\n  if 1:\n    import gcn_keras.summary"},
        ["gcn_keras/plots/style.py:3: a module of a wing imports the command gcn_keras.summary"],
    ),
    "a command by its name": (
        {"gcn_keras/plots/style.py": "import importlib\nimportlib.import_module('gcn_keras.crf')"},
        ["gcn_keras/plots/style.py:2: a module of a wing imports the command gcn_keras.crf"],
    ),
    "the public names below": (
        {"gcn_keras/plots/style.py": "import gcn_keras"},
        ["gcn_keras/plots/style.py:1: gcn_keras.plots imports gcn_keras, against the order"],
    ),
    "the other package": (
        {"pipelines/prepare.py": "def main() -> None:\n  from gcn_keras.models.gcn import gcn"},
        ["pipelines/prepare.py:2: pipelines imports gcn_keras.models.gcn, against the order"],
    ),
    "back up": (
        {"gcn_keras/models/gcn.py": "from ..recipes import recipe"},
        ["gcn_keras/models/gcn.py:1: gcn_keras.models imports gcn_keras.recipes.recipe, against"],
    ),
    "back up inside pipelines": (
        {"pipelines/building/pairs.py": "def pair() -> None:\n  from pipelines.datasets import x"},
        ["pipelines/building/pairs.py:2: pipelines.building imports pipelines.datasets, against"],
    ),
    "back up for types": (
        {
            "gcn_keras/models/gcn.py": "from typing import TYPE_CHECKING\n"
            "if TYPE_CHECKING:\n  from gcn_keras.recipes.recipe import Recipe"
        },
        ["gcn_keras/models/gcn.py:3: gcn_keras.models imports gcn_keras.recipes.recipe, against"],
    ),
    "a circle": (
        {
            "gcn_keras/plots/style.py": "from gcn_keras.plots import curves",
            "gcn_keras/plots/curves.py": "def draw() -> None:\n  import gcn_keras.plots.style",
        },
        ["gcn_keras/plots/curves.py:1: these import each other in a circle: gcn_keras.plots.curv"],
    ),
    "a circle of wings in one line": (
        {
            "gcn_keras/plots/samples.py": "from gcn_keras.inference import images",
            "gcn_keras/inference/video.py": "from gcn_keras.plots import style",
            "gcn_keras/inference/images.py": "",
        },
        ["gcn_keras/inference/__init__.py:1: these import each other in a circle: gcn_keras.infer"],
    ),
    "TensorFlow in a model": (
        {"gcn_keras/models/gcn.py": "try:\n  from tensorflow import nn\nexcept ImportError:\n  1"},
        ["gcn_keras/models/gcn.py:2: imports tensorflow at module level"],
    ),
    "TensorFlow by way of another module": (
        {
            "gcn_keras/models/gcn.py": "from pipelines.base import labels",
            "pipelines/base/labels.py": "IGNORE = 255\nimport tensorflow.io",
        },
        [
            "gcn_keras/models/gcn.py:1: imports tensorflow.io at module level, by way of "
            "pipelines/base/labels.py:2"
        ],
    ),
    "Keras in a command": (
        {"gcn_keras/fit.py": "import keras"},
        ["gcn_keras/fit.py:1: imports keras at module level"],
    ),
    "a module outside the wings": (
        {"gcn_keras/helpers.py": ""},
        ["gcn_keras/helpers.py:1: is no command"],
    ),
    "a module outside pipelines' wings": (
        {"pipelines/fit.py": ""},
        ["pipelines/fit.py:1: is no command"],
    ),
    "an unknown wing": (
        {"gcn_keras/extras/__init__.py": '"""Extras."""', "gcn_keras/extras/more.py": ""},
        ["gcn_keras/extras:1: has no line in ORDER"],
    ),
    "a function without annotations": (
        {"pipelines/base/labels.py": "def read(path, *rest, deep=False, **more):\n  pass"},
        ["pipelines/base/labels.py:1: read lacks annotations: path, deep, rest, more, return"],
    ),
    "a method without annotations": (
        {"gcn_keras/plots/style.py": "class A:\n  @property\n  def width(self):\n    return 1"},
        ["gcn_keras/plots/style.py:3: width lacks annotations: return"],
    ),
    "an overload without annotations": (
        {
            "gcn_keras/plots/style.py": "@typing.overload\ndef f(a: int): ...\n@typing.overload\n"
            "def f(a: str) -> str: ...\ndef f(a):\n  return a\ndef g(a):\n  return a"
        },
        [
            "gcn_keras/plots/style.py:2: f lacks annotations: return",
            "gcn_keras/plots/style.py:7: g lacks annotations: a, return",
        ],
    ),
    "a static method without annotations": (
        {"gcn_keras/plots/style.py": "class A:\n  @staticmethod\n  def one(a) -> int:\n    pass"},
        ["gcn_keras/plots/style.py:3: one lacks annotations: a"],
    ),
    "a flag in an exception": (
        {
            "gcn_keras/models/gcn.py": "def gcn(k: int) -> None:\n"
            "  if k < 2:\n    raise ValueError(\n      f'needs {k} of --kernel-size')"
        },
        ["gcn_keras/models/gcn.py:4: an exception names a flag"],
    ),
    "a flag in an exception beside the parser's": (
        {
            "gcn_keras/recipes/command_line.py": "raise ValueError('--recipe needs a name')",
            "gcn_keras/recipes/checks.py": "raise ValueError('--seed must be at least 0')",
            "gcn_keras/inference/command_line.py": "raise ValueError('--flip is missing')",
        },
        [
            "gcn_keras/inference/command_line.py:1: an exception names a flag",
            "gcn_keras/recipes/checks.py:1: an exception names a flag",
        ],
    ),
    "a flag in an error that is raised elsewhere": (
        {"pipelines/base/labels.py": "def error() -> Exception:\n  return OSError('--from DIR')"},
        ["pipelines/base/labels.py:2: an exception names a flag"],
    ),
    "a name in braces in an exception": (
        {
            "gcn_keras/recipes/checks.py": "raise ValueError('needs {seed}')",
            "pipelines/base/labels.py": "def error(a: int) -> Exception:\n"
            "  return OSError(f'{a} is no {{label_folder}}')",
            "pipelines/base/files.py": "raise OSError('lacks {train,val}.txt, {} and {0}')",
        },
        [
            "gcn_keras/recipes/checks.py:1: an exception has a name in braces, not of `argument`",
            "pipelines/base/labels.py:2: an exception has a name in braces, not of `argument`",
        ],
    ),
    "a wing without a docstring": (
        {"gcn_keras/plots/__init__.py": "WIDTH = 8"},
        ["gcn_keras/plots/__init__.py:1: the wing lacks its docstring"],
    ),
    "a wing without a face": (
        {"gcn_keras/plots/__init__.py": None},
        ["gcn_keras/plots/__init__.py:1: the wing lacks its docstring"],
    ),
}


def make(root: Path, changed: Mapping[str, str | None]) -> Path:
    """A tree with every wing and command, the files of `GOOD`, and what is changed in them."""
    for package, commands in architecture.COMMANDS.items():
        for command in commands:
            write(root / package / f"{command}.py", "")
    for wing in architecture.LINES:
        write(root / wing.replace(".", "/") / "__init__.py", f'"""What lives in {wing}."""')
    for path, text in {**GOOD, **changed}.items():
        if text is None:
            (root / path).unlink()
        else:
            write(root / path, text)
    return root


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(textwrap.dedent(text).lstrip())


@pytest.mark.slow
def test_the_order_holds() -> None:
    assert architecture.findings(REPOSITORY) == []


def test_no_rule_fails_on_files_that_keep_it(tmp_path) -> None:
    assert architecture.findings(make(tmp_path, {})) == []


@pytest.mark.parametrize("fault", FAULTS)
def test_each_rule_fails_on_its_counter_example(tmp_path, fault) -> None:
    changed, expected = FAULTS[fault]
    found = architecture.findings(make(tmp_path, changed))
    assert len(found) == len(expected), found
    assert [line[: len(start)] for line, start in zip(found, expected, strict=True)] == expected


def test_an_import_for_types_closes_no_circle(tmp_path) -> None:
    changed = {
        "gcn_keras/plots/style.py": "from gcn_keras.plots import curves",
        "gcn_keras/plots/curves.py": "from typing import TYPE_CHECKING\n"
        "if TYPE_CHECKING:\n  from gcn_keras.plots import style",
    }
    assert architecture.findings(make(tmp_path, changed)) == []


def test_findings_are_printed_and_end_with_status_1(capsys) -> None:
    assert architecture.report(["a.py:1: is no command"]) == 1
    assert capsys.readouterr().out == "a.py:1: is no command\n"
    assert architecture.report([]) == 0


@pytest.mark.slow
def test_the_map_shows_the_imports_as_they_are() -> None:
    drawn = draw_map.draw(architecture.Source(REPOSITORY))
    assert draw_map.FILE.read_text("utf-8") == drawn, "draw it again: make docs-map"


def test_the_map_has_an_arrow_for_an_import_and_none_for_what_follows(tmp_path) -> None:
    source = architecture.Source(make(tmp_path, {}))
    # gcn_keras → pipelines.base follows from the arrows by way of the models.
    changed = {"gcn_keras/fit.py": "def main() -> int:\n  from pipelines.base import labels"}
    assert draw_map.arrows(source) == [
        ("gcn_keras", "gcn_keras.training"),
        ("gcn_keras.models", "pipelines.base"),
        ("gcn_keras.training", "gcn_keras.recipes"),
        ("pipelines", "pipelines.datasets"),
    ]
    source = architecture.Source(make(tmp_path, changed))
    assert ("gcn_keras", "pipelines.base") in draw_map.arrows(source)


def test_the_map_lists_each_module_and_refuses_a_wing_without_a_place(tmp_path) -> None:
    extras = {"gcn_keras/plots/nested/__init__.py": "", "gcn_keras/plots/nested/inner.py": ""}
    source = architecture.Source(make(tmp_path, extras))
    assert draw_map.listed(source, "gcn_keras.plots") == ["nested/", "style"]
    assert draw_map.listed(source, "pipelines") == ["doctor", "prepare", "service"]
    write(tmp_path / "gcn_keras/extras/more.py", "")
    with pytest.raises(KeyError, match="gcn_keras.extras"):
        draw_map.draw(architecture.Source(tmp_path))


def named(text: str) -> list[tuple[str, str]]:
    """The paths in backquotes or behind a link in a text, each with what is named in the file:
    ("a/b.py", "f") for `a/b.py:f`, ("a/b.py", "") without.
    """
    found = re.findall(r"`([\w.-]+(?:/[\w.<>-]*)+)(?::([\w.]+))?`", text)
    return found + [(path, "") for path in re.findall(r"\]\(([^)#]+)\)", text)]


def defined(path: Path) -> set[str]:
    """What a module defines at its top level, and in its classes as "Class.name"."""
    names: set[str] = set()
    for node in ast.parse(path.read_text("utf-8")).body:
        names |= names_of(node)
        if isinstance(node, ast.ClassDef):
            names |= {f"{node.name}.{name}" for part in node.body for name in names_of(part)}
    return names


def names_of(node: ast.stmt) -> set[str]:
    """The names that a statement defines."""
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        return {node.name}
    targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
    return {target.id for target in targets if isinstance(target, ast.Name)}


def test_what_the_guide_names_exists() -> None:
    guide = REPOSITORY / "docs/architecture.md"
    pairs = named(guide.read_text("utf-8"))
    assert len(pairs) > 40
    missing = [
        f"{path}:{name}".rstrip(":")
        for path, name in pairs
        if not any((folder / path).exists() for folder in (REPOSITORY, guide.parent))
        or (name and name not in defined(REPOSITORY / path))
    ]
    assert missing == []


def test_a_name_of_the_guide_is_looked_for_in_its_file(tmp_path) -> None:
    text = "see `a/b.py:f`, `a/b.py`, `a/` and [the map](map.svg), but not `a.b` or `f`"
    assert named(text) == [("a/b.py", "f"), ("a/b.py", ""), ("a/", ""), ("map.svg", "")]
    write(
        tmp_path / "b.py",
        "A = 1\nB: int = 2\ndef f(): pass\nclass C:\n  x: int = 1\n  def g(self): 1",
    )
    assert defined(tmp_path / "b.py") == {"A", "B", "f", "C", "C.x", "C.g"}

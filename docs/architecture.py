"""What may import what, read from the source: `make lint` runs this file, and fails on a finding.

    python docs/architecture.py

`docs/draw_map.py` draws what is read here. Imports inside functions count like any other; those
for type checkers alone (`if TYPE_CHECKING`) must follow the order, too, but close no circle.
"""

import ast
import re
import sys
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

REPOSITORY = Path(__file__).parents[1]
PACKAGES = ("gcn_keras", "pipelines")
# What stands directly in a package: its face and its commands.
COMMANDS = {
    "gcn_keras": (
        "__main__", "fit", "evaluate", "predict", "export", "ablate", "reproduce", "demo",
        "summary", "receptive_field", "crf",
    ),
    "pipelines": ("prepare", "doctor", "service"),
}  # fmt: skip
# An import goes to a line further down, or stays in its line. A package's own name stands for
# what lies directly in it.
ORDER = (
    ("gcn_keras",),
    ("gcn_keras.deployment", "gcn_keras.experiments"),
    ("gcn_keras.training",),
    ("gcn_keras.evaluation", "gcn_keras.recipes", "gcn_keras.web"),
    ("gcn_keras.inference", "gcn_keras.models", "gcn_keras.plots"),
    ("pipelines",),
    ("pipelines.examination",),
    ("pipelines.stream",),
    ("pipelines.datasets",),
    ("pipelines.building",),
    ("pipelines.base",),
)
LINES = {wing: line for line, wings in enumerate(ORDER) for wing in wings}
# What is not imported along with the modules of a wing: functions import it when it is needed.
# Commands refuse a wrong option before they wait for TensorFlow.
_SLOW = ("tensorflow", "keras", "tensorflow_datasets")
DEFERRED = {
    "gcn_keras": _SLOW,
    "gcn_keras.recipes": _SLOW,
    "gcn_keras.models": ("tensorflow",),
    "pipelines": _SLOW,
}
# Names of arguments that do not fit where an exception is read, in a command or a program.
MISNAMED = {
    "names a flag": re.compile(r"--[a-z]"),
    "has a name in braces, not of `argument`": re.compile(r"\{[a-z][a-z0-9_.]*\}"),
}
# What parses the command line of `fit` speaks of what stands in it.
COMMAND_LINE = "gcn_keras.recipes.command_line"


@dataclass(frozen=True)
class Import:
    """One import of a module or of a name in it.

    Attributes:
        target: dotted name of the imported module, of this project or of another.
        line: number of its line.
        at_once: whether it is executed when the importing module is imported.
        for_types: whether it stands under `if TYPE_CHECKING`.
    """

    target: str
    line: int
    at_once: bool
    for_types: bool


@dataclass(frozen=True)
class Module:
    """One file: dotted name, path from the root, syntax tree, whether it is an `__init__.py`."""

    name: str
    path: Path
    tree: ast.Module
    is_package: bool


class Source:
    """The modules of the packages under a root, and what they import."""

    def __init__(self, root: Path):
        self.modules: dict[str, Module] = {}
        for package in PACKAGES:
            for file in sorted((root / package).rglob("*.py")):
                path = file.relative_to(root)
                parts = path.with_suffix("").parts
                is_package = parts[-1] == "__init__"
                name = ".".join(parts[:-1] if is_package else parts)
                tree = ast.parse(file.read_text("utf-8"), str(path))
                self.modules[name] = Module(name, path, tree, is_package)

    @cached_property
    def imports(self) -> dict[str, list[Import]]:
        """Imports by the name of the module in which they stand."""
        return {
            name: list(self._imports(module, module.tree, at_once=True, for_types=False))
            for name, module in self.modules.items()
        }

    def wing(self, name: str) -> str:
        """The folder directly in a package that holds a module, or the package for all else."""
        package, _, rest = name.partition(".")
        first = f"{package}.{rest.partition('.')[0]}"
        return first if first in self._folders else package

    @cached_property
    def _folders(self) -> set[str]:
        faces = {name for name, module in self.modules.items() if module.is_package}
        return faces | {name.rpartition(".")[0] for name in self.modules}

    @cached_property
    def wings(self) -> dict[str, list[str]]:
        """Names of the modules in each wing, without the wing's own `__init__`."""
        wings: dict[str, list[str]] = {}
        for name in self.modules:
            inside = wings.setdefault(self.wing(name), [])
            if name != self.wing(name):
                inside.append(name)
        return wings

    @cached_property
    def arrows(self) -> dict[tuple[str, str], list[tuple[str, str]]]:
        """The imports between wings: (wing, imported wing) → pairs of modules."""
        arrows: dict[tuple[str, str], list[tuple[str, str]]] = {}
        for name, imports in self.imports.items():
            for target in sorted({each.target for each in imports} & self.modules.keys()):
                ends = self.wing(name), self.wing(target)
                if ends[0] != ends[1]:
                    arrows.setdefault(ends, []).append((name, target))
        return arrows

    def _imports(
        self, module: Module, node: ast.AST, at_once: bool, for_types: bool
    ) -> Iterator[Import]:
        child: ast.AST
        for child in ast.iter_child_nodes(node):
            line = getattr(child, "lineno", 0)
            for target in self._targets(module, child):
                yield Import(target, line, at_once, for_types)
            if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
                yield from self._imports(module, ast.Module(child.body, []), False, True)
                child = ast.Module(child.orelse, [])
            later = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            yield from self._imports(module, child, at_once and not later, for_types)

    def _targets(self, module: Module, node: ast.AST) -> Iterator[str]:
        """What a single statement or expression imports."""
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            origin = node.module or ""
            if node.level:  # from . import x
                parts = module.name.split(".")
                parts = parts[: len(parts) - node.level + module.is_package]
                origin = ".".join([*parts, origin] if origin else parts)
            for alias in node.names:
                full = f"{origin}.{alias.name}"
                yield full if full in self.modules else origin
        elif isinstance(node, ast.Call) and node.args:
            called = ast.unparse(node.func).rpartition(".")[2]
            name = node.args[0]
            if called in ("import_module", "__import__") and isinstance(name, ast.Constant):
                yield str(name.value)


def findings(root: Path) -> list[str]:
    """Everything that breaks a rule, as "path:line: what"; empty where all is well."""
    source = Source(root)
    rules = (places, directions, circles, deferred, annotations, argument_names, docstrings)
    return [finding for rule in rules for finding in rule(source)]


def places(source: Source) -> Iterator[str]:
    """Directly in a package lie `__init__` and its commands; each wing has a line in ORDER."""
    for module in source.modules.values():
        package, _, rest = module.name.partition(".")
        if not module.is_package and "." not in rest and rest not in COMMANDS[package]:
            yield f"{module.path}:1: is no command; it belongs into a wing"
    for wing in source.wings.keys() - LINES.keys():
        yield f"{wing.replace('.', '/')}:1: has no line in ORDER"


def directions(source: Source) -> Iterator[str]:
    """No import goes back up, and no module of a wing imports a command."""
    for name, imports in source.imports.items():
        path, wing = source.modules[name].path, source.wing(name)
        for each in imports:
            if each.target not in source.modules:
                continue
            other = source.wing(each.target)
            if wing not in PACKAGES and other in PACKAGES and each.target not in PACKAGES:
                yield f"{path}:{each.line}: a module of a wing imports the command {each.target}"
            elif LINES.get(other, 0) < LINES.get(wing, 0):
                yield f"{path}:{each.line}: {wing} imports {each.target}, against the order"


def circles(source: Source) -> Iterator[str]:
    """No modules import each other, and no wings do."""
    between_modules = {
        name: {each.target for each in imports if not each.for_types} & source.modules.keys()
        for name, imports in source.imports.items()
    }
    between_wings: dict[str, set[str]] = {wing: set() for wing in source.wings}
    for start, end in source.arrows:
        between_wings[start].add(end)
    for graph in (between_modules, between_wings):
        for circle in _components(graph):
            path = source.modules[circle[0]].path
            yield f"{path}:1: these import each other in a circle: {', '.join(circle)}"


def _components(graph: dict[str, set[str]]) -> list[tuple[str, ...]]:
    """The groups of nodes that reach each other."""
    after = {node: reached(graph, node) for node in graph}
    groups = {
        tuple(sorted(other for other in after[node] if node in after.get(other, ())))
        for node in graph
        if node in after[node]
    }
    return sorted(groups)


def reached(graph: dict[str, set[str]], start: str) -> set[str]:
    """The nodes to which arrows lead from a node, over any number of steps."""
    found: set[str] = set()
    waiting = [start]
    while waiting:
        new = graph.get(waiting.pop(), set()) - found
        found |= new
        waiting += new
    return found


def deferred(source: Source) -> Iterator[str]:
    """What is slow to import is not imported at module level, not even by what is imported."""
    graph = {
        name: {each.target for each in imports if each.at_once}
        for name, imports in source.imports.items()
    }
    for name, module in source.modules.items():
        slow = DEFERRED.get(source.wing(name), ())
        for target in sorted({name} | reached(graph, name) & source.modules.keys()):
            for each in source.imports[target]:
                if each.at_once and each.target.partition(".")[0] in slow:
                    other = source.modules[target].path
                    through = "" if target == name else f", by way of {other}:{each.line}"
                    line = each.line if target == name else 1
                    yield f"{module.path}:{line}: imports {each.target} at module level{through}"


def annotations(source: Source) -> Iterator[str]:
    """Every public function and method is annotated: each parameter and what it returns.

    Of an overloaded function the overloads are what is public.
    """
    for module in source.modules.values():
        overloaded: set[str] = set()
        for function, in_class in _public_functions(module.tree, in_class=False):
            if any(ast.unparse(each).endswith("overload") for each in function.decorator_list):
                overloaded.add(function.name)
            elif function.name in overloaded:
                overloaded.remove(function.name)
                continue
            static = any(ast.unparse(each) == "staticmethod" for each in function.decorator_list)
            given = function.args
            positional = [*given.posonlyargs, *given.args][in_class and not static :]
            variable = [each for each in (given.vararg, given.kwarg) if each]
            missing = [
                each.arg
                for each in (*positional, *given.kwonlyargs, *variable)
                if each.annotation is None
            ]
            if function.returns is None:
                missing.append("return")
            if missing:
                place = f"{module.path}:{function.lineno}"
                yield f"{place}: {function.name} lacks annotations: {', '.join(missing)}"


def _public_functions(
    node: ast.AST, in_class: bool
) -> Iterator[tuple[ast.FunctionDef | ast.AsyncFunctionDef, bool]]:
    for child in ast.iter_child_nodes(node):
        public = not (getattr(child, "name", None) or "").startswith("_")
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            if public:
                yield child, in_class
        elif isinstance(child, ast.ClassDef):
            if public:
                yield from _public_functions(child, in_class=True)
        elif isinstance(child, ast.stmt):
            yield from _public_functions(child, in_class)


def argument_names(source: Source) -> Iterator[str]:
    """No exception of a wing speaks of a command's flag, or marks an argument by braces alone."""
    for name, module in source.modules.items():
        if source.wing(name) in PACKAGES or name == COMMAND_LINE:
            continue
        found = {
            (text.lineno, what)
            for node in ast.walk(module.tree)
            if isinstance(node, ast.Raise) or _makes_an_error(node)
            for text in ast.walk(node)
            if isinstance(text, ast.Constant)
            for what, pattern in MISNAMED.items()
            if pattern.search(str(text.value))
        }
        yield from (f"{module.path}:{line}: an exception {what}" for line, what in sorted(found))


def _makes_an_error(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and ast.unparse(node.func).endswith("Error")


def docstrings(source: Source) -> Iterator[str]:
    """Each wing says in its `__init__.py` what lives there."""
    for wing in source.wings:
        module = source.modules.get(wing)
        if module is None or not ast.get_docstring(module.tree):
            yield f"{wing.replace('.', '/')}/__init__.py:1: the wing lacks its docstring"


def report(found: Collection[str]) -> int:
    """Prints the findings and returns the exit status."""
    print("\n".join(found) or "The imports follow the order.")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(report(findings(REPOSITORY)))

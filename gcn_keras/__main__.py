"""The commands, a line each: `python -m gcn_keras`."""

import ast
import platform
import sys
from pathlib import Path

from pipelines.base.environment import installed_version
from pipelines.base.errors import UsageError, run_command

COMMANDS = (
    "fit", "evaluate", "predict", "export", "summary", "demo", "ablate", "reproduce",
    "receptive_field", "crf",
)  # fmt: skip


def main() -> None:
    """Entry point of the command."""
    given, help_, version = sys.argv[1:], ("-h", "--help"), ("-V", "--version")
    if words := [word for word in given if word not in help_ + version]:
        raise UsageError(
            f"a command is python -m gcn_keras.NAME with one of {', '.join(COMMANDS)}, "
            f"got {words[0]!r}"
        )
    if any(word in version for word in given):
        print(versions())
        return
    print("Commands: python -m gcn_keras.NAME, whose options --help lists; versions: --version\n")
    for name in COMMANDS:
        print(f"  {name:16} {summary(name)}")


def versions() -> str:
    """What a report of a fault begins with: this package's version and those below it."""
    packages = {"gcn_keras": "gcn_keras", "Keras": "keras", "TensorFlow": "tensorflow"}
    found = [f"{name} {installed_version(package)}" for name, package in packages.items()]
    return ", ".join([*found, f"Python {platform.python_version()}"])


def summary(name: str) -> str:
    """What a command does, from the first line of its module, which is not imported."""
    source = Path(__file__).with_name(f"{name}.py").read_text("utf-8")
    docstring = ast.get_docstring(ast.parse(source)) or ""
    return docstring.partition("\n")[0].partition(": `")[0].removesuffix(".")


if __name__ == "__main__":
    run_command(main)

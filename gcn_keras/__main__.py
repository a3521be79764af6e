"""The commands, a line each: `python -m gcn_keras`."""

import ast
import sys
from pathlib import Path

from pipelines.base.errors import UsageError, run_command

COMMANDS = (
    "fit", "evaluate", "predict", "export", "summary", "demo", "ablate", "reproduce",
    "receptive_field", "crf",
)  # fmt: skip


def main() -> None:
    """Entry point of the command."""
    if words := [word for word in sys.argv[1:] if word not in ("-h", "--help")]:
        raise UsageError(
            f"a command is python -m gcn_keras.NAME with one of {', '.join(COMMANDS)}, "
            f"got {words[0]!r}"
        )
    print("Commands: python -m gcn_keras.NAME, whose options --help lists\n")
    for name in COMMANDS:
        print(f"  {name:16} {summary(name)}")


def summary(name: str) -> str:
    """What a command does, from the first line of its module, which is not imported."""
    source = Path(__file__).with_name(f"{name}.py").read_text()
    docstring = ast.get_docstring(ast.parse(source)) or ""
    return docstring.partition("\n")[0].partition(": `")[0].removesuffix(".")


if __name__ == "__main__":
    run_command(main)

"""What documents show: their commands, and trees of files."""

import functools
import importlib
import re
import shlex

import tyro

from gcn_keras.recipes import command_line


def commands(text: str) -> list[str]:
    """The commands in indented blocks: "python -m pipelines.doctor shapes"."""
    return re.findall(r"^ {4}(python -m .+)$", text.replace("\\\n", " "), re.MULTILINE)


def parsed(command: str) -> dict:
    """The arguments that a command's function would be called with.

    Raises:
        SystemExit: there is no such option.
        UserError: options do not fit together.
    """
    _, _, module, *arguments = shlex.split(command)
    if module == "gcn_keras.fit":
        return {"recipe": command_line.parse(arguments)}
    function = getattr(importlib.import_module(module), module.rpartition(".")[2])

    @functools.wraps(function)
    def caught(*positional, **named):
        return {**dict(zip(function.__annotations__, positional, strict=False)), **named}

    return tyro.cli(caught, args=arguments)

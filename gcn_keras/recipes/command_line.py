"""A command line to a recipe, and back."""

import argparse
import dataclasses
import shlex
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import tyro

from gcn_keras.recipes import checks
from gcn_keras.recipes.catalogue import RECIPES
from gcn_keras.recipes.recipe import NOT_CONFIGURATION, RECIPE_TYPES, Recipe, SegmentationRecipe
from pipelines.base.errors import UsageError, as_options


def parse(
    arguments: list[str] | None = None, base: Recipe | None = None, unchecked: bool = False
) -> Recipe:
    """The recipe that a command line asks for: `--recipe NAME` and options that replace fields.

    Args:
        arguments: without the program's name; None takes those of the process.
        base: what the options replace fields of, instead of the recipe that is named.
        unchecked: whether values are taken, valid or not.

    Returns:
        A checked recipe, unless that is not wanted.

    Raises:
        UsageError: unknown recipe, an option of another task, or an invalid value.
        SystemExit: from tyro, status 2 for an unknown option, 0 after `--help`.
    """
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    default = _named(arguments, base)
    recipe = tyro.cli(
        type(default),
        args=_without_foreign(arguments, default),
        default=default,
        prog="python -m gcn_keras.fit",
        description=f"Train a model. Recipes, the first one by default: {', '.join(RECIPES)}.",
    )
    given = fields_of(arguments)
    if base:  # whose values may mean nothing beside those that are given
        recipe = checks.reset_idle(recipe, given)
    if isinstance(recipe, SegmentationRecipe):
        left = tuple(field for field in recipe.from_data if field not in given)
        recipe = dataclasses.replace(recipe, from_data=left)
    if not unchecked:
        with as_options():
            checks.check(recipe)
    return recipe


def fields_of(arguments: Iterable[str]) -> list[str]:
    """The fields of the options on a command line, in their order."""
    return [field for argument in arguments if (field := _field(argument))]


def _field(argument: str) -> str | None:
    """The field of an option: "crop" of "--crop=96", "flip" of "--no-flip"; None of a value."""
    if not argument.startswith("--"):
        return None
    return _words(argument).removeprefix("no_")


def _words(option: str) -> str:
    # Underscores stand for hyphens in options, too.
    return option[2:].partition("=")[0].replace("-", "_")


def _named(arguments: list[str], base: Recipe | None) -> Recipe:
    """The recipe whose values stand where no option replaces them."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    default = base.name if base else "shapes"
    parser.add_argument("--recipe", nargs="?", const="", default=default)
    name = parser.parse_known_args(arguments)[0].recipe
    if not name:
        raise UsageError(f"--recipe needs a name: one of {', '.join(RECIPES)}")
    if name not in RECIPES:
        raise UsageError(f"there is no recipe {name!r}; there are: {', '.join(RECIPES)}")
    if base and name != base.name:
        raise UsageError(f"--recipe {name} is not that of the run, which is {base.name}")
    return base or RECIPES[name]


def _without_foreign(arguments: list[str], recipe: Recipe) -> list[str]:
    """Refuses options of another task, unless they say what is so anyway: --no-export."""
    names = {field.name for kind in RECIPE_TYPES for field in dataclasses.fields(kind)}
    foreign = names - vars(recipe).keys()
    kept = []
    for words in _by_option(arguments):
        field = _field(words[0])
        if field not in foreign:
            kept += words
            continue
        option, _, value = words[0].partition("=")
        got = value or " ".join(words[1:]) or str(not _words(option).startswith("no_"))
        if got != str(getattr(recipe, field, None)):
            raise UsageError(
                f"--{field.replace('_', '-')} means nothing for --recipe {recipe.name}, which "
                f"trains a model for {recipe.task}: leave it out, got {got}"
            )
    return kept


def configuring(arguments: Iterable[str]) -> list[str]:
    """Options of `fit` without those that no result depends on, such as where its data lie."""
    kept = (each for each in _by_option(arguments) if _field(each[0]) not in NOT_CONFIGURATION)
    return [word for option in kept for word in option]


def _by_option(arguments: Iterable[str]) -> list[list[str]]:
    """Each option with its values; the first ones may be values without an option."""
    groups: list[list[str]] = []
    for argument in arguments:
        if argument.startswith("--") or not groups:
            groups.append([])
        groups[-1].append(argument)
    return groups


def resume_options(folder: Path, recipe: Recipe) -> str:
    """The options by which `fit` goes on with a run as it was begun: those that config.json does
    not keep, where they are not the recipe's own."""
    kept = [
        field for field in NOT_CONFIGURATION if field not in ("out", "resume", "accept_changes")
    ]
    return shlex.join(["--resume", "--out", str(folder), *_options(recipe, kept)])


def command(recipe: Recipe) -> str:
    """The command line that makes a recipe, to be pasted into a shell."""
    fields = [field.name for field in dataclasses.fields(recipe) if field.name != "name"]
    words = ["python", "-m", "gcn_keras.fit", "--recipe", recipe.name, *_options(recipe, fields)]
    return shlex.join(words)


def _options(recipe: Recipe, fields: Iterable[str]) -> Iterator[str]:
    """The options of some fields, where they differ from the named recipe's own."""
    for field in fields:
        value, own = getattr(recipe, field, None), getattr(RECIPES[recipe.name], field, None)
        option = field.replace("_", "-")
        if value == own:
            continue
        if isinstance(value, bool):
            yield f"--{option}" if value else f"--no-{option}"
        else:
            yield from (f"--{option}", *map(str, value if isinstance(value, tuple) else [value]))

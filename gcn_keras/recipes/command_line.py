"""A command line to a recipe."""

import sys

import tyro

from gcn_keras.recipes import checks
from gcn_keras.recipes.catalogue import RECIPES
from gcn_keras.recipes.recipe import Recipe
from pipelines.base.errors import UsageError


def parse(arguments: list[str] | None = None, base: Recipe | None = None) -> Recipe:
    """The recipe that a command line asks for: `--recipe NAME` and options that replace fields.

    Args:
        arguments: without the program's name; None takes those of the process.
        base: what the options replace fields of, instead of the recipe that is named.

    Returns:
        A checked recipe.

    Raises:
        UsageError: unknown recipe, or a value that cannot be meant.
        SystemExit: from tyro, status 2 for an unknown option, 0 after `--help`.
    """
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    name, arguments = _take_recipe(arguments)
    name = name or (base.name if base else "shapes")
    if name not in RECIPES:
        raise UsageError(f"there is no recipe {name!r}; there are: {', '.join(RECIPES)}")
    if base and name != base.name:
        raise UsageError(f"--recipe {name} is not that of the run, which is {base.name}")
    recipe = tyro.cli(
        Recipe,
        args=arguments,
        default=base or RECIPES[name],
        prog="python -m gcn_keras.fit",
        description=(
            f"Train a model. Values shown are those of --recipe {name}; recipes: "
            f"{', '.join(RECIPES)} (--recipe NAME, default shapes)."
        ),
    )
    check(recipe)
    return recipe


def _take_recipe(arguments) -> tuple[str | None, list[str]]:
    """Takes `--recipe NAME` or `--recipe=NAME` out of the arguments."""
    name, rest, i = None, [], 0
    while i < len(arguments):
        option, equals, value = arguments[i].partition("=")
        if option != "--recipe":
            rest.append(arguments[i])
        elif equals:
            name = value
        elif i + 1 == len(arguments):
            raise UsageError(f"--recipe needs a name: one of {', '.join(RECIPES)}")
        else:
            i += 1
            name = arguments[i]
        i += 1
    return name, rest


def check(recipe: Recipe) -> None:
    """Refuses values that cannot be meant.

    Raises:
        UsageError: naming the option, the value and what it can be.
    """
    checks.check(recipe, RECIPES[recipe.name])

"""What a model costs, block by block: `python -m gcn_keras.summary [MODEL] [options]`."""

from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from gcn_keras.inference.keras_model import check_keras_file, load_any_model
from gcn_keras.inference.padding import padded_size
from gcn_keras.inference.segmenters import files_of
from gcn_keras.models import backbones
from gcn_keras.models.block_names import Block
from gcn_keras.recipes.checks import check_block
from pipelines.base.errors import ArgumentError, UserError, argument, as_options, run_command
from pipelines.base.files import check_figures_file, write_json
from pipelines.base.labels import IGNORE


def summary(
    model: Annotated[tyro.conf.Positional[Path | None], tyro.conf.arg(metavar="MODEL")] = None,
    backbone: Literal[backbones.NAMES] | None = None,
    block: Block | None = None,
    kernel_size: tuple[int, ...] | None = None,
    num_classes: Annotated[int | None, tyro.conf.arg(aliases=("--classes",))] = None,
    boundary_refinement: bool | None = None,
    stack_width: int | None = None,
    size: tuple[int, int] = (512, 512),
    json_file: Annotated[Path | None, tyro.conf.arg(name="json", metavar="FILE")] = None,
) -> None:
    """Show the parameters and multiply-adds of a model, block by block.

    Multiply-adds are those of convolutions and dense layers for one image. At the border a
    convolution counts with its whole kernel; a transposed one takes its whole kernel at each
    position of the map that comes in. Parameters include batch norm's moving statistics.

    Args:
        model: A .keras file. Without one, the options describe the network.
        backbone: Network that gives P2…P5; resnet50 if not given.
        block: What makes a score map of a stage; gcn if not given.
        kernel_size: Odd k, or four of them: for P2, P3, P4 and P5; 15 if not given.
        num_classes: Channels of the score maps; 21 if not given.
        boundary_refinement: Whether there are BR blocks; there are if not given.
        stack_width: Channels inside stack; the stage's own if not given.
        size: Height and width of the image in pixels. Sides that are no multiples of 32 are
            padded to them, as predictions do.
        json_file: Write the figures here, too.
    """
    options: dict[str, Any] = dict(backbone=backbone, block=block, kernel_size=kernel_size)
    options |= dict(num_classes=num_classes, stack_width=stack_width)
    options |= dict(boundary_refinement=boundary_refinement)
    given = {name: value for name, value in options.items() if value is not None}
    with as_options():
        _check(model, given, size)
    check_figures_file(json_file, {"model", "multiply_adds"}, *(files_of(model) if model else ()))
    from gcn_keras.models import costs
    from gcn_keras.models.gcn import gcn

    network = gcn(**given) if model is None else load_any_model(model)
    _check_input(model, network.input_shape, size)
    height, width = padded_size(size, network.input_shape[1:3])
    try:
        blocks = costs.blocks(network, height, width)
    except ValueError as error:
        raise UserError(f"{model or network.name} cannot be taken apart: {error}") from error
    padded = f", padded to {height}×{width}" if (height, width) != size else ""
    print(f"{model or network.name} at {size[0]}×{size[1]}{padded}")
    print(costs.table(blocks))
    if json_file:
        content = {
            "model": str(model or network.name),
            "size": [height, width],
            "parameters": network.count_params(),
            "multiply_adds": sum(block.multiply_adds for block in blocks),
            "blocks": [block._asdict() for block in blocks],
        }
        write_json(json_file, content)


def _check(model, given, size) -> None:
    """Refuses invalid options; imports nothing heavy."""
    if min(size) < 1:
        raise ArgumentError("size", f"must be at least 1 1, got {size[0]} {size[1]}")
    if model is not None:
        check_keras_file(model)
        if given:
            raise ArgumentError(
                next(iter(given)),
                f"describes a network to build, but {model} is one: give one of both",
            )
        return
    backbones.check_installed(given.get("backbone", "resnet50"))
    block = given.get("block", "gcn")
    check_block(block, given.get("kernel_size", (15,)))
    if not 2 <= given.get("num_classes", 2) <= IGNORE:
        raise ArgumentError("num_classes", f"must be in 2…{IGNORE}, got {given['num_classes']}")
    for name, blocks in (("stack_width", ("stack",)), ("kernel_size", ("gcn", "conv", "stack"))):
        if name in given and block not in blocks:
            raise ArgumentError(
                name, f"means nothing for {argument('block')} {block}: leave it out"
            )
    if given.get("stack_width", 1) < 1:
        raise ArgumentError("stack_width", f"must be at least 1, got {given['stack_width']}")


def _check_input(model, shape, size) -> None:
    if not isinstance(shape, tuple) or len(shape) != 4 or shape[-1] != 3:
        raise UserError(f"{model} takes no images: its input is {shape}")
    if any(own and side > own for own, side in zip(shape[1:3], size, strict=True)):
        own = [own or side for own, side in zip(shape[1:3], size, strict=True)]
        raise UserError(
            f"{model} is for images of {own[0]}×{own[1]}, not of {size[0]}×{size[1]}: give "
            f"--size {own[0]} {own[1]}"
        )


def main() -> None:
    """Entry point of the command."""
    tyro.cli(summary, prog="python -m gcn_keras.summary")


if __name__ == "__main__":
    run_command(main)

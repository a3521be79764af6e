"""The paper's main results, stage after stage: `python -m gcn_keras.reproduce voc|cityscapes`."""

import sys
from pathlib import Path
from typing import Annotated, Literal

import tyro

from gcn_keras.experiments import paper_tables
from gcn_keras.experiments.runs import OPTIONS_OF_TEXTS, Experiments, join_options, split_options
from gcn_keras.experiments.table import run_table
from gcn_keras.recipes import command_line
from pipelines import datasets
from pipelines.base.errors import UsageError, run_command

# The table that holds the paper's figures, and its rows that lead to the result.
_CHAINS = {
    "voc": ("table7", paper_tables.voc_stages(("gcn-br",))),
    "cityscapes": ("table9", paper_tables.cityscapes_stages()),
}


def reproduce(
    experiment: tyro.conf.Positional[Literal[tuple(_CHAINS)]],
    data_dir: Annotated[Path, tyro.conf.arg(metavar="DIR")] = Path(datasets.DEFAULT_DATA_DIR),
    out: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None,
    seed: int = 0,
    options: str = "",
    evaluation: str = "",
) -> None:
    """Train GCN + BR through the paper's stages, each from the last one's best model, and measure.

    What was done is kept: the same command goes on where it was interrupted. Writes each stage's
    run folder, and TABLE.md, TABLE.png, runs.csv and curves.csv.

    Args:
        experiment: voc is Table 7: COCO + SBD + VOC, then SBD + VOC, then VOC, then multi-scale
            testing and a dense CRF. cityscapes is Table 9: coarse + fine, then fine, then the same.
        data_dir: Where the prepared data sets live.
        out: Folder to write to; runs/reproduce-EXPERIMENT if not given.
        seed: Seed of weights, order and augmentation.
        options: More options of fit for every stage, in one string:
            --options="--backbone resnet50 --epochs 2".
        evaluation: More options of evaluate for every measurement: --evaluation="--limit 100".
    """
    name, rows = _CHAINS[experiment]
    out = out or Path("runs", f"reproduce-{experiment}")
    more = split_options("options", options)
    if "data_dir" in command_line.fields_of(more):
        raise UsageError("--options cannot hold --data-dir, which is given by itself")
    extra = ("--data-dir", str(data_dir), *more)
    measured = split_options("evaluation", evaluation)
    recipe = f"{experiment}-stage1"
    experiments = Experiments(recipe, out, out / "runs.csv", extra, measured)
    base = command_line.parse(["--recipe", recipe, *extra], unchecked=True)
    table = paper_tables.table(name, base)
    run_table(name, table, experiments, rows, (seed,), out)


def main() -> None:
    """Entry point of the command."""
    tyro.cli(reproduce, args=join_options(sys.argv[1:]), prog="python -m gcn_keras.reproduce")


if __name__ == "__main__":
    run_command(main, may_be_empty=OPTIONS_OF_TEXTS)

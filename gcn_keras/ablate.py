"""Re-runs a table of the paper: `python -m gcn_keras.ablate table1 [--seeds N] [options]`.

Each row of a table is a training run with a few options of `gcn_keras.fit`, repeated with several
seeds. Runs are found again, finished or not, so an interrupted table goes on where it stopped,
another seed adds to what is there, and tables share the runs that they have in common. Several
commands may work on a table at the same time, each on rows of its own.

What counts is a run's best model: where a recipe validates more than once, that with the best mean
IoU on the split that is measured on (our choice; the paper does not say).
"""

import dataclasses
import sys
from pathlib import Path
from typing import Annotated, Literal

import tyro

from gcn_keras.evaluation.comparison import TUNING_SEED
from gcn_keras.experiments import paper_tables
from gcn_keras.experiments.learning_rates import LearningRates
from gcn_keras.experiments.runs import OPTIONS_OF_TEXTS, Experiments, join_options, split_options
from gcn_keras.experiments.table import rows_of, run_table
from gcn_keras.models import backbones
from gcn_keras.recipes import command_line
from pipelines.base.errors import UsageError, run_command


def parse_weights(pairs: tuple[str, ...]) -> dict[str, str]:
    """Takes "resnet50=FILE" apart.

    Raises:
        UsageError: there is no such backbone, or no such file.
    """
    weights = {}
    for pair in pairs:
        backbone, equals, path = pair.partition("=")
        if not equals or backbone not in backbones.NAMES:
            raise UsageError(f"--weights takes BACKBONE=FILE, such as resnet50=FILE, got {pair!r}")
        if backbone in weights:
            raise UsageError(f"--weights names {backbone} twice, got {' '.join(pairs)}")
        if path != "imagenet" and not Path(path).is_file():
            raise UsageError(f"--weights {pair}: there is no such file")
        weights[backbone] = path
    return weights


def ablate(
    table: tyro.conf.Positional[Literal[paper_tables.NAMES]],
    recipe: str | None = None,
    rows: tuple[str, ...] | None = None,
    seeds: int = 2,
    runs: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None,
    out: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None,
    weights: tuple[str, ...] = (),
    models: tyro.conf.FlagCreatePairsOff[bool] = False,
    options: str = "",
    evaluation: str = "",
    learning_rates: tuple[float, ...] = (),
    tuning: str = "",
) -> None:
    """Train what a table of the paper needs, and write it beside the paper's own figures.

    Writes TABLE.md, TABLE.png and, where runs were validated more than once, TABLE-curves.png;
    runs.csv, a line for each measurement of a run of any table, and curves.csv, a line for each of
    its validations. Runs in runs.csv are not repeated, and the table shows all of its rows and
    seeds that are there, asked for or not.

    Args:
        table: Table of the paper; table1-br is ours, Table 1 with and without BR.
        recipe: Recipe that every run starts from; voc-ablation for Table 6 and shapes-ablation for
            the others if not given. Tables 7 and 9 have recipes of their own.
        rows: Names of the rows that are run, such as base, gcn3, conv3 or gcn15-br; by default
            all.
        seeds: Runs of each row, with the seeds 0, 1, …
        runs: Folder of the run folders; runs/RECIPE-tables if not given, and of Tables 7 and 9
            runs/table7 and runs/table9.
        out: Folder of the results; that of the runs if not given.
        weights: Initial weights of backbones: resnet50=FILE resnet50_gcn=FILE. Results of another
            file under the same path want another --out: runs.csv knows the path alone.
        models: Also models of runs whose results are known: what is missing is trained.
        options: More options of fit for every run, in one string: --options="--epochs 2". Results
            of other data, --data-dir, want another --out: runs.csv does not know data apart.
        evaluation: More options of evaluate for every measurement: --evaluation="--limit 100".
        learning_rates: Peak learning rates of which each row takes its best, found with a seed that
            the table does not count.
        tuning: More options of fit for the runs that choose a learning rate, such as a shorter
            schedule: --tuning="--epochs 4".
    """
    given, recipe = recipe, recipe or ("voc-ablation" if table == "table6" else "shapes-ablation")
    if not 1 <= seeds <= TUNING_SEED:  # which is the first that no table counts
        raise UsageError(f"--seeds must be in 1…{TUNING_SEED}, got {seeds}")
    extra = split_options("options", options)
    # Its kernels are no row's, and each row is checked below.
    base = command_line.parse(["--recipe", recipe, *extra], unchecked=True)
    chosen = paper_tables.table(table, base)
    kept = rows_of(chosen, rows)
    has_own = any(row.recipe for row in chosen.rows)
    if has_own and given:
        raise UsageError(
            f"--recipe means nothing for {table}, whose rows have recipes of their own: leave it "
            f"out, got {given}"
        )
    runs = runs or Path("runs", table if has_own else f"{recipe}-tables")
    out = out or runs
    experiments = Experiments(
        recipe, runs, out / "runs.csv", extra, split_options("evaluation", evaluation),
        parse_weights(weights), models,
    )  # fmt: skip
    for name, path in experiments.weights.items():
        trained = {backbone for row in kept if (backbone := experiments.backbone(row))}
        if name not in trained:
            raise UsageError(
                f"--weights {name}={path}: no row trains that backbone; they train "
                f"{', '.join(sorted(trained))}"
            )
    if tuning and not learning_rates:
        raise UsageError(f"--tuning is about --learning-rates, which is not given; got {tuning!r}")
    rates = None
    if learning_rates:
        shorter = dataclasses.replace(experiments, tuning=split_options("tuning", tuning))
        rates = LearningRates(learning_rates, shorter)
    run_table(table, chosen, experiments, kept, range(seeds), out, rates)


def main() -> None:
    """Entry point of the command."""
    tyro.cli(ablate, args=join_options(sys.argv[1:]), prog="python -m gcn_keras.ablate")


if __name__ == "__main__":
    run_command(main, may_be_empty=OPTIONS_OF_TEXTS)

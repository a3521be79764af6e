"""Re-runs a table of the paper: `python -m gcn_keras.ablate table1 [--seeds N] [options]`.

Each row of a table is a training run with a few options of `gcn_keras.fit`, repeated with several
seeds. Runs are found again in their folders, finished or not, so an interrupted table goes on where
it stopped, and another seed adds to what is there.
"""

import csv
import shlex
import statistics
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from gcn_keras import recipes
from gcn_keras.images import replacing
from gcn_keras.run_folder import find_run, read_json
from pipelines.errors import UsageError, UserError, run_command


@dataclass(frozen=True)
class Row:
    """A row of a table: its label, the options that make it, the paper's mean IoU in per cent."""

    label: str
    options: tuple[str, ...]
    paper: float


def _gcn(k: int, paper: float) -> Row:
    return Row(f"GCN k = {k}", ("--block", "gcn", "--kernel-size", str(k)), paper)


TABLES = {
    # Table 1: mean IoU on VOC 2012 val, ResNet-152, no BR.
    "table1": (
        Row("base (1×1)", ("--block", "conv1x1"), 69.0),
        _gcn(3, 70.1),
        _gcn(5, 71.1),
        _gcn(7, 72.8),
        _gcn(9, 73.4),
        _gcn(11, 73.7),
        _gcn(13, 74.0),
        _gcn(15, 74.5),
    ),
}


def rows_of(table: str, kernels: tuple[int, ...] | None) -> tuple[Row, ...]:
    """The rows of a table, or those of some kernel sizes; the baseline counts as 1.

    Raises:
        UsageError: a kernel size that the table has not.
    """
    rows = dict(zip((1, 3, 5, 7, 9, 11, 13, 15), TABLES[table], strict=True))
    for k in kernels or ():
        if k not in rows:
            raise UsageError(f"{table} has no row for k = {k}; it has {', '.join(map(str, rows))}")
    return tuple(rows[k] for k in kernels or rows)


def run_row(row: Row, recipe: str, seed: int, out: Path, extra: tuple[str, ...]) -> dict:
    """Trains one row with one seed, unless that is done, and returns its metrics.json.

    Raises:
        UsageError: the folder holds a run with other options.
        UserError: the run failed; its log is named.
    """
    name = "-".join(option.lstrip("-") for option in row.options).replace("block-", "")
    path = out / f"{name}-seed{seed}"
    options = ["--recipe", recipe, *row.options, *extra]
    options += ["--no-export", "--seed", str(seed), "--out", str(path), "--resume"]
    run = find_run(recipes.parse(options))
    if not run.finished:
        log = path.with_suffix(".log")
        try:
            out.mkdir(parents=True, exist_ok=True)
            with open(log, "w") as file:
                command = [sys.executable, "-m", "gcn_keras.fit", *options]
                status = subprocess.run(command, stdout=file, stderr=subprocess.STDOUT).returncode
        except OSError as error:
            raise UserError(f"cannot write {log}: {error.strerror}") from error
        if status:
            raise UserError(f"fit {shlex.join(options)} failed with status {status}: see {log}")
    return read_json(run.metrics)


def markdown(results: list[tuple[Row, list[dict]]]) -> str:
    """A table with our mean ± standard deviation over seeds beside the paper's figure."""
    lines = ["| | mean IoU % | seeds | paper (VOC, ResNet-152) |", "|---|---|---|---|"]
    for row, runs in results:
        scores = [100 * run["mean_iou"] for run in runs]
        spread = f" ± {statistics.stdev(scores):.1f}" if len(scores) > 1 else ""
        each = ", ".join(f"{score:.1f}" for score in scores)
        lines.append(
            f"| {row.label} | {statistics.mean(scores):.1f}{spread} | {each} | {row.paper} |"
        )
    return "\n".join(lines) + "\n"


def ablate(
    table: tyro.conf.Positional[Literal["table1"]],
    recipe: str = "shapes-ablation",
    kernels: tuple[int, ...] | None = None,
    seeds: int = 2,
    out: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None,
    options: str = "",
) -> None:
    """Train what a table of the paper needs, and write it beside the paper's own figures.

    Writes TABLE.md and TABLE.csv into the folder.

    Args:
        table: Table of the paper.
        recipe: Recipe that every run starts from.
        kernels: Only these k; 1 is the baseline.
        seeds: Runs of each row, with the seeds 0, 1, …
        out: Folder of the runs; runs/RECIPE-TABLE if not given.
        options: More options for every run, in one string: --options="--epochs 2".
    """
    if recipe not in recipes.RECIPES:
        raise UsageError(f"there is no recipe {recipe!r}; there are: {', '.join(recipes.RECIPES)}")
    if seeds < 1:
        raise UsageError(f"--seeds must be at least 1, got {seeds}")
    rows = rows_of(table, kernels)
    extra = tuple(shlex.split(options))
    for row in rows:
        recipes.parse(["--recipe", recipe, *row.options, *extra])  # refuse now, not in hours
    out = out or Path("runs", f"{recipe}-{table}")
    scores = {row: [] for row in rows}
    for seed in range(seeds):  # seed by seed: a first picture of the whole table comes early
        for row in rows:
            metrics = run_row(row, recipe, seed, out, extra)
            scores[row].append({"seed": seed, **metrics})
            print(
                f"{row.label}, seed {seed}: mean IoU {100 * metrics['mean_iou']:.1f} %, "
                f"{metrics['wall_seconds']:.0f} s",
                flush=True,
            )
    results = list(scores.items())
    with replacing(out / f"{table}.csv") as temporary, open(temporary, "w", newline="") as file:
        writer = csv.writer(file)
        columns = ("seed", "mean_iou", "pixel_accuracy", "parameters", "wall_seconds")
        writer.writerow(("row", *columns, "paper_mean_iou"))
        for row, runs in results:
            for run in runs:
                writer.writerow((row.label, *(run[key] for key in columns), row.paper / 100))
    with replacing(out / f"{table}.md") as temporary:
        temporary.write_text(markdown(results))
    print(markdown(results), end="")


def main() -> None:
    """Entry point of the command."""
    tyro.cli(ablate, prog="python -m gcn_keras.ablate")


if __name__ == "__main__":
    run_command(main)

"""A table of the paper, run and written."""

import dataclasses
import shlex
import statistics
from collections.abc import Sequence
from pathlib import Path

from gcn_keras.evaluation.comparison import TUNING_SEED
from gcn_keras.experiments.learning_rates import LearningRates
from gcn_keras.experiments.paper_tables import MEASURES, Row, Table
from gcn_keras.experiments.results import Curve, deviation, last_quarter
from gcn_keras.experiments.runs import Experiments
from gcn_keras.recipes import command_line
from pipelines.base.errors import UsageError, argument
from pipelines.base.files import check_folder, replacing


def rows_of(table: Table, names: Sequence[str] | None) -> tuple[Row, ...]:
    """The rows of a table, or those of some names, in the table's order.

    Raises:
        UsageError: the table has no row of a name, or there is no name.
    """
    known = [row.name for row in table.rows]
    if names is not None and not names:
        raise UsageError(
            f"{argument('rows')} needs at least one name; there are: {', '.join(known)}"
        )
    for name in names or ():
        if name not in known:
            raise UsageError(
                f"{argument('rows')}: there is no row {name!r}; there are: {', '.join(known)}"
            )
    return tuple(row for row in table.rows if names is None or row.name in names)


def run_table(
    name: str,
    table: Table,
    experiments: Experiments,
    rows: Sequence[Row],
    seeds: Sequence[int],
    out: Path,
    rates: LearningRates | None = None,
) -> None:
    """Trains and measures what is not there yet of some rows, and prints a line about each run.

    Then prints the Markdown of every row that something is known of, and writes it to OUT/NAME.md,
    beside OUT/NAME.png and, where runs were validated more than once, OUT/NAME-curves.png.

    Args:
        name, table: of the paper.
        experiments: what runs.
        rows, seeds: of them.
        out: folder, made if absent.
        rates: of which each row takes the best; None leaves that to the recipe.

    Raises:
        UsageError: a seed that no table counts; and as in `Experiments.check`.
        UserError, Interrupted: as in `Experiments.result`.
    """
    from gcn_keras.experiments.table_plot import curves_figure, table_figure
    from gcn_keras.plots.style import save_figure

    if TUNING_SEED in seeds:
        raise UsageError(
            f"{argument('seed')}: {TUNING_SEED} is kept for the runs that choose a learning rate, "
            "which no table counts; take another"
        )
    for row in rows:  # refuse now, not in hours
        if rates:
            for candidate in rates.candidates(row):
                rates.experiments.check(candidate)
        experiments.check(row)
    check_folder(out)
    if rates:
        rows = [rates.choose(row) for row in rows]
        tuned = {row: chosen for row in table.rows if (chosen := rates.chosen(row))}
        table = dataclasses.replace(table, rows=tuple(tuned.get(row, row) for row in table.rows))
        shown: Sequence[Row] = tuple(tuned.values())
    else:
        shown = table.rows
    # Seed by seed, so that a first image of the whole table comes early.
    runs = [(seed, row) for seed in seeds for row in rows]
    for number, (seed, row) in enumerate(runs, start=1):
        result, fresh = experiments.result(row, seed)
        seconds = result["training_seconds"]
        trained = f", {seconds:.0f} s of training" if seconds else ""
        print(
            f"[{number}/{len(runs)}] {row.label}, seed {seed}: mean IoU "
            f"{100 * result['mean_iou']:.1f} %{trained}{'' if fresh else ' (was there)'}",
            flush=True,
        )
    results = {row: known for row in shown if (known := experiments.known(row))}
    curves = {row: known for row in results if (known := experiments.curves(row))}
    text = markdown(table, results, curves) + _conditions(experiments)
    with replacing(out / f"{name}.md") as temporary:
        temporary.write_text(text, "utf-8")
    save_figure(table_figure(table, results), out / f"{name}.png")
    if any(len(curve) > 1 for known in curves.values() for curve in known):
        save_figure(curves_figure(table, curves), out / f"{name}-curves.png")
    print(text, end="")


def markdown(
    table: Table, results: dict[Row, list[dict]], curves: dict[Row, list[Curve]] | None = None
) -> str:
    """For each measure our mean ± standard deviation over seeds beside the paper's figure.

    Where learning curves say so, also by how many points the last quarter of the epochs has raised
    the best score: about 0 where training has converged.
    """
    gains = {row: _gains(known) for row, known in (curves or {}).items()}
    heads = [head for name in table.measures for head in (MEASURES[name], "paper")]
    heads += ["last quarter"] if any(gains.values()) else []
    lines = [f"| | {' | '.join(heads)} | seeds |", "|---|" + "---:|" * (len(heads) + 1)]
    for row, runs in results.items():
        cells = [row.label]
        for name in table.measures:
            ours = [run[name] for run in runs if run[name] is not None]
            cells += [formatted(name, ours), _printed(name, row.paper.get(name))]
        if any(gains.values()):
            own = gains.get(row)
            cells.append(f"{100 * statistics.mean(own):+.1f}" if own else "–")
        lines.append(f"| {' | '.join(cells)} | {len(runs)} |")
    return "\n".join([*lines, "", f"Paper: {table.setting}.", ""])


def _conditions(experiments: Experiments) -> str:
    """A line with the options that all rows share: few steps or few images are no result."""
    given = (
        ("fit", command_line.configuring(experiments.options)),
        ("evaluate", experiments.evaluation),
        ("weights of", [f"{name}={file}" for name, file in experiments.weights.items()]),
    )
    parts = [f"{name} {shlex.join(options)}" for name, options in given if options]
    return f"\nHere: {'; '.join(parts)}.\n" if parts else ""


def _gains(curves: Sequence[Curve]) -> list[float]:
    return [gain for curve in curves if (gain := last_quarter(curve)) is not None]


def formatted(measure: str, values: list[float]) -> str:
    """Mean ± standard deviation in per cent of shares; of weights their number."""
    if not values:
        return "–"
    if measure == "p5_weights":
        return f"{values[0]:,.0f}"
    percent = [100 * value for value in values]
    spread = f" ± {deviation(percent):.1f}" if len(percent) > 1 else ""
    return f"{statistics.mean(percent):.1f}{spread}"


def _printed(measure: str, value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value / 1000:.0f}K" if measure == "p5_weights" else f"{value:.1f}"

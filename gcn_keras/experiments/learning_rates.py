"""A learning rate for each row of a table, so that none is judged by what suits another.

Each rate is tried with a seed of its own, which no table counts, and measured on the split that the
table is measured on (our choice: the data sets here have no third one).
"""

import dataclasses
import math

from gcn_keras.evaluation.comparison import TUNING_SEED
from gcn_keras.experiments.paper_tables import Row
from gcn_keras.experiments.runs import Experiments
from pipelines.base.errors import ArgumentError


@dataclasses.dataclass(frozen=True)
class LearningRates:
    """Peak learning rates of which each row takes the best.

    Attributes:
        rates: at least two.
        experiments: of the runs that choose; their schedule may be shorter than the table's.

    Raises:
        ArgumentError: too few rates, or one twice.
    """

    rates: tuple[float, ...]
    experiments: Experiments

    def __post_init__(self):
        if len(set(self.rates)) < max(2, len(self.rates)):
            given = " ".join(map(str, self.rates))
            raise ArgumentError("learning_rates", f"must be two or more, none twice, got {given}")

    def candidates(self, row: Row) -> list[Row]:
        """A row, with each of the rates.

        Raises:
            ArgumentError: the row starts from another one, or trains with a recipe of its own.
        """
        if row.start or row.recipe:
            raise ArgumentError(
                "learning_rates",
                f"cannot be had for row {row.name}: its stage has a learning rate of the paper's",
            )
        return [
            dataclasses.replace(
                row,
                name=f"{row.name}-{rate}",
                label=f"{row.label}, learning rate {rate}",
                options=(*row.options, "--learning-rate", str(rate)),
            )
            for rate in self.rates
        ]

    def choose(self, row: Row) -> Row:
        """The row with its best rate, after all of them were tried; a line has their scores.

        Raises:
            What `Experiments.result` does.
        """
        candidates = self.candidates(row)
        results = [self.experiments.result(each, TUNING_SEED)[0] for each in candidates]
        scores = [result["mean_iou"] for result in results]
        told = ", ".join(
            f"{100 * score:.1f} with {rate}" for rate, score in zip(self.rates, scores, strict=True)
        )
        best = _best(candidates, scores)
        rate = self.rates[candidates.index(best)]
        for end, beyond in ((min(self.rates), "smaller"), (max(self.rates), "larger")):
            if rate == end:
                told += f"; a {beyond} one may be better still"
        print(f"learning rate of {row.label}, by mean IoU %: {told}", flush=True)
        return best

    def chosen(self, row: Row) -> Row | None:
        """The row with its best rate; None as long as one of them was not tried."""
        candidates = self.candidates(row)
        scores = [self.experiments.tuning_score(each) for each in candidates]
        known = [score for score in scores if score is not None]
        return _best(candidates, known) if len(known) == len(scores) else None


def _best(candidates: list[Row], scores: list[float]) -> Row:
    comparable = [-math.inf if math.isnan(score) else score for score in scores]
    return candidates[comparable.index(max(comparable))]

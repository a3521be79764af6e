"""Ways that are measured in turns, so that what disturbs the machine meets all of them."""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

Turn = TypeVar("Turn")


def best_turns(
    ways: Mapping[str, Callable[[], Turn]],
    rounds: int,
    cost: Callable[[Turn], Any] | None = None,
) -> dict[str, Turn]:
    """The turn of each way that was disturbed least.

    Args:
        ways: what measures a turn, by names.
        rounds: turns of each way; in a round each has one.
        cost: of a turn, that with the lowest is taken; None where turns compare by themselves.
    """
    turns: dict[str, list[Turn]] = {way: [] for way in ways}
    for _ in range(rounds):
        for way, run in ways.items():
            turns[way].append(run())
    return {way: min(found, key=cost) for way, found in turns.items()}

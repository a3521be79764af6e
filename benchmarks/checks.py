"""What the benchmarks refuse before they measure for minutes."""

from pathlib import Path

from pipelines.base.errors import ArgumentError
from pipelines.base.files import check_target


def check(json_file: Path | None = None, **numbers: float) -> None:
    """Refuses numbers that are not above 0, and a JSON file that cannot be written.

    Args:
        json_file: What --json was given.
        numbers: By the options' names.

    Raises:
        ArgumentError: Naming an option and its value.
        UserError: There is no such folder, or it cannot be written to.
    """
    for name, number in numbers.items():
        if not number > 0:
            raise ArgumentError(name, f"must be above 0, got {number}")
    check_target(json_file, "--json")

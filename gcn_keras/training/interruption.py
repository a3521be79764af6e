"""Signals that ask a run to stop: noted when they come, acted on where the run can go on from."""

import signal
from typing import Self


class Interruption:
    """Within its block SIGTERM and Ctrl-C are noted; a second Ctrl-C interrupts at once.

    Attributes:
        number: of the signal that came, or None.
    """

    def __init__(self) -> None:
        self.number: int | None = None

    def __enter__(self) -> Self:
        numbers = (signal.SIGTERM, signal.SIGINT)
        self._former = {number: signal.signal(number, self._note) for number in numbers}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._former.items():
            signal.signal(number, handler)

    def _note(self, number: int, _: object) -> None:
        if number == signal.SIGINT and self.number is not None:
            raise KeyboardInterrupt
        self.number = number

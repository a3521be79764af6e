"""What a training step is, on any backend."""

from typing import Any


class Step:
    """A training step of a compiled model; what it does is with `TensorFlowStep`."""

    def __call__(self, images: Any, labels: Any, stop: bool = False) -> Any:
        """Takes one step."""
        raise NotImplementedError

    def push(self) -> None:
        """Copies weights and optimizer state into the model, to be read there."""

    def pull(self) -> None:
        """Copies them back after something else has changed the model."""

"""What a training step is, on any backend."""

from typing import Any


class Step:
    """A training step of a compiled model; what it does is with `TensorFlowStep`."""

    def __call__(self, images: Any, labels: Any, stop: bool = False) -> Any:
        """Takes one step."""
        raise NotImplementedError

    def push(self) -> None:
        """Sets weights and optimizer of the model, for whoever wants to read them."""

    def pull(self) -> None:
        """Takes weights and optimizer of the model, after something else has set them."""

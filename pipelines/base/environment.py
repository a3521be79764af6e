"""What the commands ask of TensorFlow, through variables that it reads when it is imported."""

import os


def prepare_tensorflow() -> None:
    """Sets what the user has not set; must be called before TensorFlow is imported.

    No start-up notes, and the kernels of oneDNN: TensorFlow takes them by itself on some CPUs only,
    and on others convolutions run at half the speed without them. Results agree up to rounding.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")


def environment_of_tensorflow() -> dict[str, str]:
    """Variables for a process of its own: TensorFlow's backend, no cluster."""
    kept = {key: value for key, value in os.environ.items() if key != "TF_CONFIG"}
    return {**kept, "KERAS_BACKEND": "tensorflow"}

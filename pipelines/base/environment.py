"""What processes ask of TensorFlow before it is imported, and which versions are installed."""

import contextlib
import importlib.abc
import importlib.machinery
import os
import re
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType

# By one of these a GPU is reached: NVIDIA's, that of Windows under Linux, AMD's.
GPU_FILES = ("/dev/nvidiactl", "/dev/dxg", "/dev/kfd")
_NOTES = re.compile(rb"^(WARNING: All log messages before absl|I\d{4} |E\d{4} .*cuInit).*\n", re.M)


def prepare_tensorflow() -> None:
    """Sets what the user has not set; must be called before TensorFlow is imported.

    No start-up notes, and the kernels of oneDNN: TensorFlow takes them by itself on some CPUs only,
    and on others convolutions run at half the speed without them. Results agree up to rounding.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
    wants_notes = os.environ["TF_CPP_MIN_LOG_LEVEL"] < "2"
    if not wants_notes and sys.stderr is not None and "tensorflow" not in sys.modules:
        sys.meta_path.insert(0, _QuietTensorFlow())


def environment_of_tensorflow() -> dict[str, str]:
    """Variables for a process of its own: TensorFlow's backend, no cluster."""
    kept = {key: value for key, value in os.environ.items() if key != "TF_CONFIG"}
    return {**kept, "KERAS_BACKEND": "tensorflow"}


def installed_version(package: str) -> str:
    """The version of a package, which is not imported; "not installed" if it is not."""
    from importlib import metadata

    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"


class _QuietTensorFlow(importlib.abc.MetaPathFinder):
    """Imports TensorFlow without the notes that its libraries write before they read a variable."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname != "tensorflow":
            return None
        spec = importlib.machinery.PathFinder.find_spec(fullname, path)
        if spec and spec.loader:
            execute = spec.loader.exec_module

            def execute_quietly(module: ModuleType) -> None:
                with _without_notes():
                    execute(module)
                    if not any(Path(file).exists() for file in GPU_FILES):
                        module.config.list_physical_devices()  # looks for GPUs, and finds none

            spec.loader.exec_module = execute_quietly  # type: ignore[method-assign]
        return spec


@contextlib.contextmanager
def _without_notes() -> Iterator[None]:
    """Holds back what is written to standard error, and writes it at the end, but for notes."""
    with tempfile.TemporaryFile() as written:
        stderr = os.dup(2)
        os.dup2(written.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)
            written.seek(0)
            os.write(2, _NOTES.sub(b"", written.read()))

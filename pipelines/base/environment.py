"""What processes ask of TensorFlow before it is imported, and which versions are installed."""

import contextlib
import importlib.abc
import importlib.machinery
import os
import re
import sys
import tempfile
import threading
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
    Keras is imported where it is needed, and not with TensorFlow: that takes a third of the time.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
    wants_notes = os.environ["TF_CPP_MIN_LOG_LEVEL"] < "2"
    if "tensorflow" not in sys.modules:
        sys.meta_path.insert(0, _TensorFlowAlone(wants_notes or sys.stderr is None))


def environment_of_tensorflow() -> dict[str, str]:
    """Variables for a process of its own: TensorFlow's backend, no cluster."""
    kept = {key: value for key, value in os.environ.items() if key != "TF_CONFIG"}
    return {**kept, "KERAS_BACKEND": "tensorflow"}


def cores() -> int:
    """Number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):  # not on macOS
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def installed_version(package: str) -> str:
    """The version of a package, which is not imported; "not installed" if it is not."""
    from importlib import metadata

    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"


class _TensorFlowAlone(importlib.abc.MetaPathFinder):
    """Imports TensorFlow without Keras, and without notes unless they are wanted.

    Its libraries write these before they read a variable. Keras it imports at its end for what
    Keras 2 registered with it, and goes on if there is none.
    """

    def __init__(self, with_notes: bool):
        self._with_notes = with_notes
        self._importing: int | None = None  # the thread that does

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        # Not Keras itself, whose place TensorFlow looks up for `tensorflow.keras`.
        if fullname == "keras.src" and self._importing == threading.get_ident():
            raise ModuleNotFoundError("imported where it is needed", name=fullname)
        if fullname != "tensorflow":
            return None
        spec = importlib.machinery.PathFinder.find_spec(fullname, path)
        if spec and spec.loader:
            execute = spec.loader.exec_module

            def execute_alone(module: ModuleType) -> None:
                with contextlib.nullcontext() if self._with_notes else _without_notes():
                    self._importing = threading.get_ident()
                    try:
                        execute(module)
                    finally:
                        self._importing = None
                    if not (self._with_notes or any(Path(file).exists() for file in GPU_FILES)):
                        module.config.list_physical_devices()  # looks for GPUs, and finds none

            spec.loader.exec_module = execute_alone  # type: ignore[method-assign]
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

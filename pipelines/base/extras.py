"""The packages of pyproject.toml's extras: imported where they are needed, and named if missing."""

import importlib.util
from types import ModuleType

from pipelines.base.errors import UserError

# Of each module: what its package is called, and the extra that installs it.
PACKAGES = {
    "ai_edge_litert": ("ai-edge-litert", "tflite"),
    "cv2": ("OpenCV", "video"),
    "gradio": ("Gradio", "demo"),
    "jax": ("JAX", "jax"),
    "keras_cv": ("keras-cv", "keras-cv"),
    "onnxruntime": ("onnxruntime", "onnx"),
    "pycocotools": ("pycocotools", "data"),
    "pydensecrf": ("pydensecrf2", "crf"),
    "tensorflow_serving": ("tensorflow-serving-api", "serving"),
    "tf2onnx": ("tf2onnx", "onnx"),
}


def missing(needs: str, *modules: str) -> str | None:
    """Says which packages are not installed, and how to install them; imports nothing.

    Args:
        needs: how the sentence begins: "a dense CRF needs".
        modules: of `PACKAGES`.

    Returns:
        The sentence, or None if all are there.
    """
    absent = [module for module in modules if importlib.util.find_spec(module) is None]
    if not absent:
        return None
    packages = dict.fromkeys(PACKAGES[module][0] for module in absent)
    wanted = dict.fromkeys(PACKAGES[module][1] for module in absent)
    are = "is" if len(packages) == 1 else "are"
    return (
        f"{needs} {' and '.join(packages)}, which {are} not installed: "
        f'pip install "gcn_keras[{",".join(wanted)}]"'
    )


def check(needs: str, *modules: str) -> None:
    """Refuses to go on without packages, before anything slow is imported.

    Args:
        needs: as in `missing`.
        modules: of `PACKAGES`.

    Raises:
        UserError: one is not installed.
    """
    if sentence := missing(needs, *modules):
        raise UserError(sentence)


def require(needs: str, module: str) -> ModuleType:
    """Imports a module of an extra.

    Args:
        needs: as in `missing`.
        module: one of `PACKAGES`, or a module inside it: "pycocotools.mask".

    Raises:
        UserError: its package is not installed, or cannot be imported.
    """
    root = module.partition(".")[0]
    check(needs, root)
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise UserError(
            f"{needs} {PACKAGES[root][0]}, which cannot be imported: {error}"
        ) from error

"""A page to try a model on: `python -m gcn_keras.demo [MODEL]`."""

import socket
from pathlib import Path
from typing import Annotated

import tyro

from gcn_keras.inference.image_files import find_images
from gcn_keras.inference.segmenters import check_exists, open_segmenter
from gcn_keras.web.answers import Answers, examples_beside, load_examples, scenes_of
from gcn_keras.web.server import build_page, require_gradio, serve, upload_folder
from pipelines.base.errors import UsageError, UserError, run_command

DEFAULT_MODEL = "saved_models/shapes"


def demo(
    model: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="MODEL")] = DEFAULT_MODEL,
    port: int = 7860,
    host: str = "127.0.0.1",
    allow_host: Annotated[tuple[str, ...], tyro.conf.arg(metavar="NAME")] = (),
    examples: Annotated[tuple[Path, ...], tyro.conf.arg(metavar="DIR")] = (),
) -> None:
    """Serve a page on which images can be tried on a model. Needs pip install "gcn_keras[demo]".

    Nothing is asked of other hosts, and what is uploaded is deleted when it is read.

    Args:
        model: A .keras file, a SavedModel folder, a .tflite or .onnx file, or a server:
            http://HOST:8501/v1/models/NAME or grpc://HOST:8500/NAME. A SavedModel is code: open
            only one that you trust.
        port: To listen on; 0 takes a free one.
        host: Address to listen on; 0.0.0.0 lets other machines in.
        allow_host: Further names under which the page is asked for, such as this machine's or a
            proxy's. Requests under names other than these and the address are refused.
        examples: Folders or images to choose from; by default those of a folder examples beside the
            model, and for a model of the embedded data set some of its scenes.
    """
    if not host:  # which would be every address of this machine
        raise UsageError("--host must be an address of this machine, got ''")
    if not 0 <= port <= 65535:
        raise UsageError(f"--port must be in 0…65535, got {port}")
    for name in allow_host:
        if "/" in name or name.count(":") == 1 or "]:" in name:
            raise UsageError(f"--allow-host takes a name without a scheme or a port, got {name!r}")
    check_exists(model)
    images = load_examples(find_images(examples or examples_beside(model)))
    with listen(host, port) as listener, upload_folder() as folder:
        require_gradio()
        segmenter = open_segmenter(model)
        answers = Answers(segmenter, images or scenes_of(segmenter.legend))
        page = build_page(answers, model, answers.opening(), folder, (host, *allow_host))
        name = f"[{host}]" if ":" in host else host
        address = f"http://{name}:{listener.getsockname()[1]}"
        serve(page, listener, f"{address} shows {model}; Ctrl-C ends it")


def listen(host: str, port: int) -> socket.socket:
    """A listening socket.

    Raises:
        UserError: the port is in use or not allowed, or the host is none of this machine's.
    """
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family)
    except OSError as error:
        raise UserError(
            f"cannot listen on {host}:{port}: {error.strerror}; choose another address by --host "
            "and --port"
        ) from error


def main() -> None:
    """Entry point of the command."""
    tyro.cli(demo, prog="python -m gcn_keras.demo")


if __name__ == "__main__":
    run_command(main)

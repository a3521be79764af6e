"""The page, put together by Gradio, and its server."""

import contextlib
import os
import shutil
import signal
import socket
import tempfile
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gcn_keras.web.answers import Answers
from gcn_keras.web.parts import examples_html, message_html, to_html
from pipelines.base import extras

if TYPE_CHECKING:
    import fastapi

STYLE = Path(__file__).with_name("style.css")
# The colours of a class lie over the photo as an image of their own: opacity, line and boxes ask
# neither server nor model.
SET_OPACITY = (
    "(percent) => { document.documentElement.style.setProperty('--overlay', percent / 100); }"
)
# Gradio keeps the elements of the answer before, and with them where sliders and boxes stood.
RESET = """
watch('value', () => element.querySelectorAll('input').forEach((input) => {
  input.value = input.defaultValue;
  input.checked = input.defaultChecked;
  input.dispatchEvent(new Event('input'));
}));
"""
SHOW_ALL = """
element.addEventListener('change', ({target}) => {
  const all = element.querySelector('.all');
  const boxes = [...element.querySelectorAll('.present input[type=checkbox]')];
  if (target === all) boxes.forEach((box) => { box.checked = all.checked; });
  else all.checked = boxes.every((box) => box.checked);
});
"""
SEND_EXAMPLE = """
element.addEventListener('click', (event) => {
  const button = event.target.closest('button');
  if (button) trigger('click', {index: Number(button.dataset.index)});
});
"""


def build_page(
    answers: Answers, model: str, first: tuple[str, str], folder: Path, hosts: Collection[str] = ()
) -> "fastapi.FastAPI":
    """The page as an application that `serve` runs.

    Nothing is asked of other hosts: no analytics, no fonts or scripts from elsewhere.

    Args:
        answers: to what is asked on it.
        model: path or address, which is shown.
        first: HTML of the stage and of the legend that it opens with.
        folder: an empty one, for uploads.
        hosts: names under which it answers, beside the address that it listens on.
    """
    import fastapi
    import gradio as gr

    from gcn_keras.web.guard import MAX_UPLOAD, Guard, Uploads

    uploads = Uploads(folder)
    os.environ["GRADIO_TEMP_DIR"] = str(folder)  # Gradio copies what lies elsewhere
    with gr.Blocks(title="gcn_keras", analytics_enabled=False) as page:
        gr.HTML(
            "<h1>What is where in an image</h1>"
            f"<p>Global Convolutional Network, every pixel classified by <code>{to_html(model)}"
            "</code>. The server deletes an image when it is answered, and at its end.</p>",
            elem_id="head",
            apply_default_css=False,
        )
        with gr.Row():
            with gr.Column(scale=3, min_width=260):
                photo = gr.File(label="Photo", file_types=["image"], height=150, elem_id="photo")
                examples = gr.HTML(
                    examples_html(answers.examples),
                    js_on_load=SEND_EXAMPLE,
                    visible=bool(answers.examples),
                    elem_id="examples",
                    apply_default_css=False,
                )
            with gr.Column(scale=7, min_width=380):
                stage = gr.HTML(
                    first[0], js_on_load=RESET, elem_id="stage", apply_default_css=False
                )
            with gr.Column(scale=3, min_width=240):
                opacity = gr.Slider(0, 100, value=50, step=1, label="Opacity, %", elem_id="opacity")
                legend = gr.HTML(
                    first[1], js_on_load=RESET + SHOW_ALL, elem_id="legend", apply_default_css=False
                )

        def take(file: dict[str, Any]) -> tuple[str, str, None]:
            upload = uploads.take(file["path"])
            if upload is None:
                return message_html("This image is answered already."), "", None
            return (*answers.answer_upload(upload.path, upload.name), None)  # the field is emptied

        def choose(event: gr.EventData) -> tuple[str, str]:
            return answers.answer_example(event.index)

        # One image at a time goes through the model, whoever asks.
        one_by_one: dict[str, Any] = {
            "concurrency_id": "model",
            "concurrency_limit": 1,
            "api_visibility": "private",
            "show_progress_on": stage,
        }
        # Without `preprocess` no file is touched on the way here.
        photo.upload(take, photo, [stage, legend, photo], preprocess=False, **one_by_one)
        examples.click(choose, None, [stage, legend], **one_by_one)
        opacity.change(None, opacity, None, js=SET_OPACITY, api_visibility="private")
    theme = gr.themes.Base(
        neutral_hue="slate",
        radius_size="lg",
        # The reader's own: of Gradio's default fonts, some weights lie on other hosts.
        font=("system-ui", "sans-serif"),
        font_mono=("ui-monospace", "monospace"),
    ).set(body_text_color_subdued="*neutral_500")  # 400 is hard to read on white
    app = fastapi.FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    files = {number: len(event.inputs) for number, event in page.fns.items() if event.fn}
    app.add_middleware(Guard, uploads=uploads, files=files, hosts=hosts)
    return gr.mount_gradio_app(
        app,
        page,
        path="/",
        footer_links=[],
        run_history=False,
        enable_monitoring=False,
        show_error=False,
        max_file_size=MAX_UPLOAD,
        ssr_mode=False,
        mcp_server=False,
        pwa=False,
        theme=theme,
        css=STYLE.read_text("utf-8"),
    )


def serve(page: "fastapi.FastAPI", listener: socket.socket, notice: str) -> None:
    """Prints a notice, and serves the page on a listening socket until Ctrl-C or SIGTERM.

    Raises:
        KeyboardInterrupt: after Ctrl-C, when the server has ended.
    """
    import uvicorn

    # An open page keeps a connection open: it is not waited for.
    config = uvicorn.Config(page, log_level="warning", timeout_graceful_shutdown=1, ws="none")

    class Server(uvicorn.Server):
        def handle_exit(self, sig, frame):
            # A second signal would cut the end of the page short, with a traceback.
            if not self.should_exit:
                super().handle_exit(sig, frame)

    server = Server(config)
    received = set()

    def end(number, frame):
        received.add(number)
        server.handle_exit(number, frame)

    # No exception from here on: one that is raised in a finalizer, or while the server starts, is
    # lost. While it runs, it has handlers of its own, and hands on to these what they got.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, end)
    print(notice, flush=True)
    server.run(sockets=[listener])
    if signal.SIGINT in received:
        raise KeyboardInterrupt


@contextlib.contextmanager
def upload_folder() -> Iterator[Path]:
    """A folder for what is uploaded, gone with what is in it at the end.

    SIGTERM, too, removes it, and ends the process with status 0.
    """
    with tempfile.TemporaryDirectory(prefix="gcn_keras-demo-") as folder:

        def end(*_):
            # No exception: one that is raised in a finalizer is lost, and the process goes on.
            shutil.rmtree(folder, ignore_errors=True)
            os._exit(0)

        signal.signal(signal.SIGTERM, end)
        yield Path(folder)


def require_gradio() -> None:
    """Refuses to go on without Gradio.

    Raises:
        UserError: it is not installed.
    """
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    extras.require("the page needs", "gradio")

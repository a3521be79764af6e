"""A page to try a model on: `python -m gcn_keras.demo [MODEL]`."""

import base64
import contextlib
import html
import io
import os
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import numpy as np
import tyro
from PIL import Image

from gcn_keras.inference.images import find_images, load_image
from gcn_keras.inference.legend import Legend
from gcn_keras.inference.segmenters import check_exists, open_segmenter
from pipelines.base.environment import prepare_tensorflow
from pipelines.base.errors import UsageError, UserError, run_command
from pipelines.base.labels import IGNORE
from pipelines.datasets.shapes.scenes import render_scene

DEFAULT_MODEL = "saved_models/shapes"
MAX_UPLOAD = "20mb"
# Larger images are shrunk: a page is no place to wait for twelve megapixels.
MAX_SIDE = 1280
MAX_EXAMPLES = 9
THUMBNAIL_SIDE = 128
# Scenes that together show every class of the embedded set.
EXAMPLE_SEEDS = (15, 10, 14, 31, 28, 37)

HINT = "Drop a photo, or choose an example."

STYLE = """
.gradio-container { max-width: 1240px !important; margin: 0 auto !important; }
#head h1 { font-size: 26px; font-weight: 600; letter-spacing: -0.01em; margin: 0 0 4px; }
#head p { color: var(--body-text-color-subdued); margin: 0 0 8px; }
#head code { font-size: 0.92em; }
.part { font-size: 13px; font-weight: 600; color: var(--body-text-color-subdued); margin: 0 0 8px; }
#examples .grid { display: grid; grid-template-columns: repeat(3, 1fr); gap: 8px; }
#examples button { padding: 0; border: 0; border-radius: 8px; overflow: hidden; cursor: pointer;
  aspect-ratio: 1; background: none; line-height: 0; }
#examples img { width: 100%; height: 100%; object-fit: cover; }
#examples button:hover, #examples button:focus-visible {
  outline: 2px solid var(--color-accent); outline-offset: 2px; }
#stage { background: var(--background-fill-secondary); border-radius: 12px; padding: 20px; }
#stage figure { margin: 0; min-height: 520px; display: flex; flex-direction: column;
  justify-content: center; }
#stage .image { position: relative; margin: auto; border-radius: 6px; overflow: hidden;
  width: min(100%, calc(560px * var(--ratio))); }
#stage .image img { display: block; width: 100%; height: auto; }
#stage .image.small img { image-rendering: pixelated; }
#stage .image .colours { position: absolute; inset: 0; opacity: var(--overlay, 0.5); }
#stage figcaption { text-align: center; margin-top: 14px; font-size: 13px;
  color: var(--body-text-color-subdued); font-variant-numeric: tabular-nums; }
#stage figcaption b { color: var(--body-text-color); font-weight: 600; }
#stage .message { margin: auto; max-width: 44ch; text-align: center; line-height: 1.5;
  overflow-wrap: anywhere; }
#stage .message.hint { color: var(--body-text-color-subdued); }
#stage .message.error { color: var(--body-text-color); border-left: 3px solid #d9480f;
  padding: 2px 0 2px 14px; text-align: left; }
#legend ul { list-style: none; margin: 0; padding: 0; }
#legend li { display: grid; grid-template-columns: 14px 1fr auto; gap: 4px 10px;
  align-items: center; margin: 0 0 12px; }
#legend .swatch { width: 14px; height: 14px; border-radius: 4px;
  box-shadow: inset 0 0 0 1px rgb(128 128 128 / 0.45); }
#legend .share { font-variant-numeric: tabular-nums; color: var(--body-text-color-subdued); }
#legend .bar { grid-column: 2 / 4; height: 4px; border-radius: 2px;
  background: var(--border-color-primary); overflow: hidden; }
#legend .bar i { display: block; height: 100%; background: var(--body-text-color-subdued); }
#legend .absent li { display: inline-grid; grid-template-columns: 10px auto; gap: 6px;
  margin: 0 14px 6px 0; font-size: 13px; color: var(--body-text-color-subdued); }
#legend .absent .swatch { width: 10px; height: 10px; border-radius: 3px; }
"""

# The colours lie over the photo as an image of their own: the slider asks neither server nor
# model, and the server keeps nothing between two images.
SET_OPACITY = (
    "(percent) => { document.documentElement.style.setProperty('--overlay', percent / 100); }"
)
TELL_EXAMPLE = """
element.addEventListener('click', (event) => {
  const button = event.target.closest('button');
  if (button) trigger('click', {index: Number(button.dataset.index)});
});
"""


def shrink(image: np.ndarray, side: int = MAX_SIDE) -> np.ndarray:
    """Scales an image down so that no side exceeds `side`; smaller ones stay as they are.

    Args:
        image: uint8 `[H, W, 3]`.
        side: in pixels.

    Returns:
        uint8 `[h, w, 3]`.
    """
    height, width = image.shape[:2]
    if max(height, width) <= side:
        return image
    scale = side / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return np.asarray(Image.fromarray(image).resize(size, Image.Resampling.LANCZOS))


def class_shares(labels: np.ndarray) -> dict[int, float]:
    """The share of the area of each class that occurs, the largest first.

    Args:
        labels: uint8 `[H, W]`, class indices and 255 for void.

    Returns:
        Shares of all pixels, above 0 and at most 1, by class index; void is left out.
    """
    counts = np.bincount(labels.ravel(), minlength=256)
    present = [int(index) for index in np.argsort(-counts, kind="stable") if counts[index]]
    return {index: counts[index] / labels.size for index in present if index != IGNORE}


def stage_html(image: np.ndarray, labels: np.ndarray, palette: np.ndarray, caption: str) -> str:
    """The photo, the colours of its label map over it, and a caption.

    Args:
        image: uint8 `[H, W, 3]`, RGB.
        labels: uint8 `[H, W]`, class indices and 255 for void, which is transparent.
        palette: uint8 `[256, 3]`.
        caption: HTML.
    """
    height, width = labels.shape
    size = "small" if max(height, width) < 280 else "large"
    return (
        f'<figure><div class="image {size}" style="--ratio: {width / height:.4f}">'
        f'<img class="photo" alt="The image" src="{_photo_uri(image)}">'
        f'<img class="colours" alt="Its classes as colours" src="{_colours_uri(labels, palette)}">'
        f"</div><figcaption>{caption}</figcaption></figure>"
    )


def legend_html(labels: np.ndarray, legend: Legend) -> str:
    """The classes with their colours and shares of the area; those that do not occur at the end.

    Args:
        labels: uint8 `[H, W]`, class indices and 255 for void.
        legend: names and colours.
    """
    shares = class_shares(labels)
    absent = [index for index in range(len(legend.class_names)) if index not in shares]
    rows = "".join(
        f"<li>{_swatch(legend, index)}<span class='name'>{_class_name(legend, index)}</span>"
        f"<span class='share'>{_percent(share)}</span>"
        f"<span class='bar'><i style='width: {100 * share:.2f}%'></i></span></li>"
        for index, share in shares.items()
    )
    rest = "".join(
        f"<li>{_swatch(legend, index)}<span class='name'>{_class_name(legend, index)}</span></li>"
        for index in absent
    )
    heading = "<p class='part'>Not in this image</p>" if absent else ""
    return (
        f"<p class='part'>Share of the area</p><ul class='present'>{rows}</ul>"
        f"{heading}<ul class='absent'>{rest}</ul>"
    )


def message_html(text: str, kind: str) -> str:
    """A sentence in the place of the image; `kind` is "hint" or "error"."""
    role = "alert" if kind == "error" else "note"
    return f'<figure><p class="message {kind}" role="{role}">{_text(text)}</p></figure>'


def _class_name(legend: Legend, index: int) -> str:
    """A name as HTML; a label beyond the legend is told by its number."""
    names = legend.class_names
    return _text(names[index] if index < len(names) else f"class {index}")


def _swatch(legend: Legend, index: int) -> str:
    red, green, blue = legend.palette[index]
    return f"<span class='swatch' style='background: rgb({red}, {green}, {blue})'></span>"


def _percent(share: float) -> str:
    return "&lt; 0.1 %" if share < 0.001 else f"{100 * share:.1f} %"


def _text(text: str) -> str:
    """Text as HTML, in which Gradio's templates find nothing to fill in either."""
    escaped = html.escape(text)
    for character in "${}`":
        escaped = escaped.replace(character, f"&#{ord(character)};")
    return escaped


def _photo_uri(image: np.ndarray) -> str:
    return _png_uri(Image.fromarray(image))


def _colours_uri(labels: np.ndarray, palette: np.ndarray) -> str:
    """The label map in its colours, void transparent."""
    image = Image.fromarray(labels)
    image.putpalette(palette.tobytes())
    return _png_uri(image, transparency=IGNORE)


def _png_uri(image: Image.Image, **options) -> str:
    buffer = io.BytesIO()
    image.save(buffer, "PNG", compress_level=1, **options)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


class Desk:
    """What the page asks: an image goes in, the page's parts come out.

    Args:
        segmenter: a `gcn_keras.inference.segmenters.Segmenter`.
        examples: images, uint8 `[H, W, 3]`.
    """

    def __init__(self, segmenter, examples: list[np.ndarray]):
        self.segmenter = segmenter
        self.examples = examples
        self._known_sizes = set()

    def answer(self, image: np.ndarray) -> tuple[str, str]:
        """Segments an image.

        Args:
            image: uint8 `[H, W, 3]`, RGB.

        Returns:
            HTML of the stage and of the legend.

        Raises:
            UserError: the model or the server fails.
        """
        height, width = image.shape[:2]
        image = shrink(image)
        start = time.perf_counter()
        labels = self.segmenter.segment(image[None])[0]
        milliseconds = 1000 * (time.perf_counter() - start)
        legend = self.segmenter.legend
        if legend is None:
            known = self.segmenter.num_classes or max(class_shares(labels), default=0) + 1
            legend = Legend.unnamed(known)

        caption = f"<b>{milliseconds:,.0f} ms</b> · {image.shape[1]} × {image.shape[0]} pixels"
        if image.shape[:2] != (height, width):
            caption += f", shrunk from {width} × {height}"
        if labels.shape not in self._known_sizes:
            caption += " · first image of this size"
        self._known_sizes.add(labels.shape)
        return stage_html(image, labels, legend.palette, caption), legend_html(labels, legend)

    def answer_upload(self, path: str) -> tuple[str, str, None]:
        """Segments an uploaded file, and deletes it as soon as it is read.

        Returns:
            HTML of the stage, or of a message that says what is wrong with the file; of the
            legend; and None, which empties the field for the next file.
        """
        path = Path(path)
        try:
            try:
                image = load_image(path)
            finally:
                path.unlink(missing_ok=True)
            return (*self.answer(image), None)
        except UserError as error:
            return message_html(str(error).replace(str(path), path.name), "error"), "", None

    def answer_example(self, index) -> tuple[str, str]:
        """Segments an example; `index` comes from the browser, and may be anything."""
        if not isinstance(index, int) or not 0 <= index < len(self.examples):
            return message_html(f"There is no example {index}.", "error"), ""
        try:
            return self.answer(self.examples[index])
        except UserError as error:
            return message_html(str(error), "error"), ""


def build_page(desk: Desk, model: str, first: tuple[str, str]):
    """The page.

    Args:
        desk: answers it.
        model: path or address, to be told.
        first: HTML of the stage and of the legend that it opens with.

    Returns:
        `gradio.Blocks`.
    """
    import gradio as gr

    with gr.Blocks(title="gcn_keras", analytics_enabled=False, delete_cache=(60, 300)) as page:
        gr.HTML(
            "<h1>What is where in an image</h1>"
            f"<p>Global Convolutional Network, every pixel classified by <code>{_text(model)}"
            "</code>. Images stay in this server's memory for the time of one answer.</p>",
            elem_id="head",
            apply_default_css=False,
        )
        with gr.Row():
            with gr.Column(scale=3, min_width=260):
                photo = gr.File(label="Photo", file_count="single", height=150, elem_id="photo")
                examples = gr.HTML(
                    _examples_html(desk.examples),
                    js_on_load=TELL_EXAMPLE,
                    elem_id="examples",
                    apply_default_css=False,
                )
            with gr.Column(scale=7, min_width=380):
                stage = gr.HTML(first[0], elem_id="stage", apply_default_css=False)
            with gr.Column(scale=3, min_width=240):
                opacity = gr.Slider(0, 100, value=50, step=1, label="Opacity, %", elem_id="opacity")
                legend = gr.HTML(first[1], elem_id="legend", apply_default_css=False)

        def choose(event: gr.EventData):
            return desk.answer_example(event.index)

        # One image at a time goes through the model, whoever asks.
        one_by_one = {
            "concurrency_id": "model",
            "concurrency_limit": 1,
            "api_visibility": "private",
            "show_progress_on": stage,
        }
        photo.upload(desk.answer_upload, photo, [stage, legend, photo], **one_by_one)
        examples.click(choose, None, [stage, legend], **one_by_one)
        opacity.change(None, opacity, None, js=SET_OPACITY, api_visibility="private")
    return page


def _examples_html(examples: list[np.ndarray]) -> str:
    buttons = "".join(
        f'<button type="button" data-index="{index}" aria-label="Example {index + 1}">'
        f'<img alt="" src="{_photo_uri(shrink(image, THUMBNAIL_SIDE))}"></button>'
        for index, image in enumerate(examples)
    )
    return f'<p class="part">Examples</p><div class="grid">{buttons}</div>'


def serve(page, listener: socket.socket) -> None:
    """Serves the page until the process is told to end (Ctrl-C, SIGTERM).

    Nothing is asked of other hosts: no analytics, no fonts or scripts from elsewhere.

    Args:
        page: from `build_page`.
        listener: a listening socket.
    """
    import fastapi
    import gradio as gr
    import uvicorn

    theme = gr.themes.Base(
        primary_hue="blue",
        neutral_hue="slate",
        radius_size="lg",
        text_size="md",
        # The reader's own: of Gradio's default fonts, some weights lie on other hosts.
        font=("system-ui", "sans-serif"),
        font_mono=("ui-monospace", "monospace"),
    )
    app = gr.mount_gradio_app(
        fastapi.FastAPI(docs_url=None, redoc_url=None, openapi_url=None),
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
        css=STYLE,
    )
    # An open page keeps a connection open: it is not waited for.
    config = uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=1)
    uvicorn.Server(config).run(sockets=[listener])


@contextlib.contextmanager
def upload_folder() -> Iterator[Path]:
    """A folder for what is uploaded, which Gradio is told of; gone with what is in it at the end.

    SIGTERM, too, ends the block: as an exit with status 0.
    """
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with tempfile.TemporaryDirectory(prefix="gcn_keras-demo-") as folder:
        os.environ["GRADIO_TEMP_DIR"] = folder
        yield Path(folder)


def listen(host: str, port: int) -> socket.socket:
    """A listening socket.

    Raises:
        UserError: the port is in use or not allowed, or the host is none of this machine's.
    """
    try:
        return socket.create_server((host, port))
    except OSError as error:
        raise UserError(
            f"cannot listen on {host}:{port}: {error.strerror}; choose another address by --host "
            "and --port"
        ) from error


def require_gradio() -> None:
    """Refuses to go on without Gradio.

    Raises:
        UserError: it is not installed.
    """
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    try:
        import gradio  # noqa: F401
    except ImportError as error:
        raise UserError(
            "the page needs Gradio, which is not installed: pip install 'gcn_keras[demo]'"
        ) from error


def load_examples(files: list[Path]) -> list[np.ndarray]:
    """The images to choose from: of these files, or scenes of the embedded set where none is.

    Args:
        files: of which the first `MAX_EXAMPLES` are taken.

    Returns:
        uint8 arrays `[H, W, 3]`, no side above `MAX_SIDE`.

    Raises:
        UserError: a file is no image.
    """
    if files:
        return [shrink(load_image(path)) for path in files[:MAX_EXAMPLES]]
    return [render_scene(np.random.default_rng(seed))[0] for seed in EXAMPLE_SEEDS]


def demo(
    model: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="MODEL")] = DEFAULT_MODEL,
    port: int = 7860,
    host: str = "127.0.0.1",
    examples: Annotated[tuple[Path, ...], tyro.conf.arg(metavar="DIR")] = (),
) -> None:
    """Serve a page on which images can be tried on a model. Needs pip install 'gcn_keras[demo]'.

    Nothing is asked of other hosts, and what is uploaded is deleted when it is read.

    Args:
        model: A .keras file, a SavedModel folder, a .tflite file or the address of a server,
            http://HOST:8501/v1/models/NAME or grpc://HOST:8500/NAME.
        port: To listen on; 0 takes a free one.
        host: Address to listen on; 0.0.0.0 lets other machines in.
        examples: Folders or images to choose from; by default scenes of the embedded data set.
    """
    if not 0 <= port <= 65535:
        raise UsageError(f"--port must be in 0…65535, got {port}")
    check_exists(model)
    images = load_examples(find_images(examples))
    with listen(host, port) as listener, upload_folder():
        require_gradio()
        prepare_tensorflow()
        desk = Desk(open_segmenter(model), images)
        desk.answer(images[0])  # a model that cannot answer ends the command, not the page
        page = build_page(desk, model, desk.answer(images[0]))
        address = f"http://{host}:{listener.getsockname()[1]}"
        print(f"{address} shows {model}; Ctrl-C ends it", flush=True)
        serve(page, listener)


def main() -> None:
    """Entry point of the command."""
    tyro.cli(demo, prog="python -m gcn_keras.demo")


if __name__ == "__main__":
    run_command(main)

"""The parts of the page as HTML: what is shown of an image, its legend, messages."""

import base64
import html
import io

import numpy as np
from PIL import Image

from gcn_keras.inference.legend import Legend
from pipelines.base.labels import IGNORE

THUMBNAIL_SIDE = 128


def shrink(image: np.ndarray, side: int) -> np.ndarray:
    """Scales an image, uint8 `[H, W, 3]`, down so that no side exceeds `side` pixels."""
    height, width = image.shape[:2]
    if max(height, width) <= side:
        return image
    scale = side / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return np.asarray(Image.fromarray(image).resize(size, Image.Resampling.LANCZOS))


def class_shares(labels: np.ndarray) -> dict[int, float]:
    """The share of all pixels, above 0 and at most 1, of each class index that occurs in a label
    map, uint8 `[H, W]`; the largest first, void left out."""
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
        f'<img class="photo" alt="The image" src="{_png_uri(image)}">'
        f'<img class="colours" alt="Its classes as colours" src="{_png_uri(labels, palette)}">'
        f"</div><figcaption>{caption}</figcaption></figure>"
    )


def legend_html(labels: np.ndarray, legend: Legend) -> str:
    """The classes with their colours and shares of a label map's area, uint8 `[H, W]`; those that
    do not occur at the end."""
    shares = class_shares(labels)
    present = "".join(_entry(legend, index, share) for index, share in shares.items())
    rest = [index for index in range(len(legend.class_names)) if index not in shares]
    absent = "".join(_entry(legend, index) for index in rest)
    heading = "<p class='part'>Not in this image</p>" if absent else ""
    return (
        f"<p class='part'>Share of the area</p><ul class='present'>{present}</ul>"
        f"{heading}<ul class='absent'>{absent}</ul>"
    )


def message_html(text: str) -> str:
    """What went wrong, in the place of the image."""
    return f'<figure><p class="message error" role="alert">{to_html(text)}</p></figure>'


def examples_html(examples: list[np.ndarray]) -> str:
    """A button for each image, uint8 `[H, W, 3]`."""
    buttons = "".join(
        f'<button type="button" data-index="{index}" aria-label="Example {index + 1}">'
        f'<img alt="" src="{_png_uri(shrink(image, THUMBNAIL_SIDE))}"></button>'
        for index, image in enumerate(examples)
    )
    return f'<p class="part">Examples</p><div class="grid">{buttons}</div>'


def to_html(text: str) -> str:
    """Text as HTML, in which Gradio's templates find nothing to fill in either."""
    escaped = html.escape(text)
    for character in "${}`":
        escaped = escaped.replace(character, f"&#{ord(character)};")
    return escaped


def _entry(legend: Legend, index: int, share: float | None = None) -> str:
    """A class: its colour, its name, or its number beyond the legend, its share of the area."""
    names = legend.class_names
    name = to_html(names[index] if index < len(names) else f"class {index}")
    red, green, blue = legend.palette[index]
    swatch = f"<span class='swatch' style='background: rgb({red}, {green}, {blue})'></span>"
    area = ""
    if share is not None:
        percent = "&lt; 0.1 %" if share < 0.001 else f"{100 * share:.1f} %"
        area = (
            f"<span class='share'>{percent}</span>"
            f"<span class='bar'><i style='width: {100 * share:.2f}%'></i></span>"
        )
    return f"<li>{swatch}<span class='name'>{name}</span>{area}</li>"


def _png_uri(pixels: np.ndarray, palette: np.ndarray | None = None) -> str:
    """A photo; or with a palette a label map in its colours, void transparent."""
    image, options = Image.fromarray(pixels), {}
    if palette is not None:
        image.putpalette(palette.tobytes())
        options = {"transparency": IGNORE}
    buffer = io.BytesIO()
    image.save(buffer, "PNG", compress_level=1, **options)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()

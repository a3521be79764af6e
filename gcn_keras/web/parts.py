"""The parts of the page as HTML: what is shown of an image, its legend, messages."""

import base64
import html
import io

import numpy as np
from PIL import Image

from gcn_keras.inference.legend import Legend
from gcn_keras.inference.overlays import indexed
from pipelines.base.labels import IGNORE

THUMBNAIL_SIDE = 128


def shrink(image: np.ndarray, side: int) -> np.ndarray:
    """Scales an image, uint8 `[H, W, 3]`, down so that no side exceeds `side` pixels."""
    shown = Image.fromarray(image)
    shown.thumbnail((side, side), Image.Resampling.LANCZOS, reducing_gap=None)
    return np.asarray(shown)


def class_shares(labels: np.ndarray) -> dict[int, float]:
    """The share of all pixels, above 0 and at most 1, of each class index that occurs in a label
    map, uint8 `[H, W]`; the largest first, void left out."""
    counts = np.bincount(labels.ravel(), minlength=256)
    present = [int(index) for index in np.argsort(-counts, kind="stable") if counts[index]]
    return {index: counts[index] / labels.size for index in present if index != IGNORE}


def stage_html(
    image: np.ndarray, labels: np.ndarray, palette: np.ndarray, caption: str, name: str
) -> str:
    """The photo, right of a line that can be moved the colours of its classes over it, a caption,
    and the label map to save.

    Each class is an image of its own, `#layer-INDEX`, so that the legend can fade and hide it.

    Args:
        image: uint8 `[H, W, 3]`, RGB.
        labels: uint8 `[H, W]`, class indices and 255 for void, which is transparent.
        palette: uint8 `[256, 3]`.
        caption: HTML.
        name: the label map is saved as `NAME_labels.png`, a PNG of class indices.
    """
    height, width = labels.shape
    size = "small" if max(height, width) < 280 else "large"
    layers = "".join(
        f'<img id="layer-{index}" alt="" style="opacity: var(--class-{index}, 1)" '
        f'src="{_layer_uri(labels == index, palette[index])}">'
        for index in class_shares(labels)
    )
    return (
        f'<figure><div class="image {size}" style="--ratio: {width / height:.4f}">'
        f'<img class="photo" alt="The image" src="{_png_uri(Image.fromarray(image))}">'
        f'<div class="classes" role="img" aria-label="Its classes as colours">{layers}</div>'
        '<input type="range" min="0" max="1" step="any" value="0.5" '
        'aria-label="Line between the image and its classes" '
        "oninput=\"this.parentNode.style.setProperty('--line', this.value)\">"
        f"</div><figcaption>{caption}</figcaption>"
        f'<a class="save" download="{to_html(name)}_labels.png" '
        f'href="{_png_uri(indexed(labels, palette))}">Save the label map (PNG)</a></figure>'
    )


def legend_html(shares: dict[int, float], legend: Legend) -> str:
    """The classes with their colours.

    Those of an image come first, each with its share of the area, a box that shows or hides it on
    the stage, and a slider for its opacity there.

    Args:
        shares: as in `class_shares`; empty before there is an image.
        legend: of the model.
    """
    parts = []
    if shares:
        entries = "".join(_shown(legend, index, share) for index, share in shares.items())
        parts.append(
            "<label class='part'><input type='checkbox' checked class='all'>All classes"
            f"<span class='share'>Share of area</span></label><ul class='present'>{entries}</ul>"
        )
    rest = [index for index in range(len(legend.class_names)) if index not in shares]
    if rest:
        entries = "".join(_absent(legend, index) for index in rest)
        heading = "Not in this image" if shares else "Classes of this model"
        parts.append(f"<p class='part'>{heading}</p><ul class='absent'>{entries}</ul>")
    return "".join(parts)


def message_html(text: str, kind: str = "error") -> str:
    """A sentence in the place of the image: what went wrong, or a `kind` of its own."""
    return f'<figure><p class="message {kind}" role="alert">{to_html(text)}</p></figure>'


def examples_html(examples: list[np.ndarray]) -> str:
    """A button for each image, uint8 `[H, W, 3]`."""
    buttons = "".join(
        f'<button type="button" data-index="{index}" aria-label="Example {index + 1}">'
        f'<img alt="" src="{_png_uri(Image.fromarray(shrink(image, THUMBNAIL_SIDE)))}"></button>'
        for index, image in enumerate(examples)
    )
    return f'<p class="part">Examples</p><div class="grid">{buttons}</div>'


def to_html(text: str) -> str:
    """Text as HTML, in which Gradio's templates find nothing to fill in either."""
    escaped = html.escape(text)
    for character in "${}`":
        escaped = escaped.replace(character, f"&#{ord(character)};")
    return escaped


def _shown(legend: Legend, index: int, share: float) -> str:
    """A class in the image: a box of its colour that hides it, its name, its share of the area,
    and a slider that fades it."""
    percent = "&lt; 0.1 %" if share < 0.001 else f"{100 * share:.1f} %"
    fade = f"document.documentElement.style.setProperty('--class-{index}', this.value)"
    return (
        f"<li style='--colour: {_css_colour(legend, index)}'><label>"
        f"<input type='checkbox' checked id='class-{index}'>{_name(legend, index)}"
        f"<span class='share'>{percent}</span></label>"
        f'<input type="range" min="0" max="1" step="any" value="1" oninput="{fade}" '
        f'title="Opacity of this class" aria-label="Opacity of {_name_of(legend, index)}">'
        f"<style>body:has(#class-{index}:not(:checked)) #layer-{index} {{ display: none }}</style>"
        "</li>"
    )


def _absent(legend: Legend, index: int) -> str:
    """A class that is not in the image: its colour and its name."""
    colour = _css_colour(legend, index)
    return f"<li style='--colour: {colour}'><span class='swatch'></span>{_name(legend, index)}</li>"


def _name(legend: Legend, index: int) -> str:
    return f"<span class='name'>{_name_of(legend, index)}</span>"


def _name_of(legend: Legend, index: int) -> str:
    """A class's name as HTML, or its number beyond the legend."""
    names = legend.class_names
    return to_html(names[index] if index < len(names) else f"class {index}")


def _css_colour(legend: Legend, index: int) -> str:
    return "rgb({}, {}, {})".format(*legend.palette[index])


def _layer_uri(mask: np.ndarray, colour: np.ndarray) -> str:
    """A class, bool `[H, W]`, in its colour, transparent elsewhere: one bit a pixel."""
    image = indexed(mask.astype(np.uint8), np.stack([colour, colour]))
    return _png_uri(image, bits=1, transparency=0)


def _png_uri(image: Image.Image, **options: int) -> str:
    buffer = io.BytesIO()
    image.save(buffer, "PNG", compress_level=1, **options)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()

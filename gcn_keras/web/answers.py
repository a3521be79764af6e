"""What the page asks: an image goes in, the parts of the page come out."""

import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from gcn_keras.inference.images import load_image
from gcn_keras.inference.legend import Legend
from gcn_keras.inference.memory import naming_large_image
from gcn_keras.web.parts import class_shares, legend_html, message_html, shrink, stage_html
from pipelines.base.errors import UserError
from pipelines.base.progress import note
from pipelines.datasets.shapes.scenes import CLASS_NAMES, render_scene

if TYPE_CHECKING:
    from gcn_keras.inference.segmenters import Segmenter

# Larger images are shrunk: a page is no place to wait for twelve megapixels.
MAX_SIDE = 1280
MAX_PIXELS = 50_000_000  # of an upload, before it is shrunk
MAX_EXAMPLES = 9
REQUEST = "This model comes without examples: choose a photo to try it on."
# Scenes that together show every class of the embedded set.
EXAMPLE_SEEDS = (10, 14, 15, 31, 28, 37)


class Answers:
    """What a model answers the page; examples are images, uint8 `[H, W, 3]`."""

    def __init__(self, segmenter: "Segmenter", examples: list[np.ndarray]):
        self.segmenter = segmenter
        self.examples = examples
        self._known_sizes: set[tuple[int, ...]] = set()

    def opening(self) -> tuple[str, str]:
        """What the page opens with: the first example, or where there is none, a request for a
        photo and the names of all classes. HTML of the stage and of the legend.

        Raises:
            UserError: the model or the server fails.
        """
        # Without examples a small one: a model may take none that are larger than its own size.
        image = self.examples[0] if self.examples else np.zeros((32, 32, 3), np.uint8)
        self.answer(image)  # the first takes longer than those that follow
        if self.examples:
            return self.answer(image, "example_1")
        legend = self.segmenter.legend
        return message_html(REQUEST, "request"), legend_html({}, legend) if legend else ""

    def answer(self, image: np.ndarray, name: str = "image") -> tuple[str, str]:
        """Segments an image, uint8 `[H, W, 3]` RGB: HTML of the stage and of the legend.

        Args:
            image: the image.
            name: what its label map is called when it is saved: `NAME_labels.png`.

        Raises:
            UserError: the model or the server fails.
        """
        height, width = image.shape[:2]
        image = shrink(image, MAX_SIDE)
        start = time.perf_counter()
        with naming_large_image(f"the image of {width}×{height}"):
            labels = self.segmenter.segment(image[None])[0]
        milliseconds = 1000 * (time.perf_counter() - start)
        shares, legend = class_shares(labels), self.segmenter.legend
        if legend is None:
            known = self.segmenter.num_classes or max(shares, default=0) + 1
            legend = Legend.unnamed(known)

        caption = f"<b>{milliseconds:,.0f} ms</b> · {image.shape[1]} × {image.shape[0]} pixels"
        if image.shape[:2] != (height, width):
            caption += f", shrunk from {width} × {height}"
        if labels.shape not in self._known_sizes:
            caption += " · first image of this size"
        self._known_sizes.add(labels.shape)
        stage = stage_html(image, labels, legend.palette, caption, name)
        return stage, legend_html(shares, legend)

    def answer_upload(self, path: Path, name: str) -> tuple[str, str]:
        """Segments an uploaded file, and deletes it as soon as it is read.

        Returns:
            HTML of the stage, or of a message that says what is wrong with the file of this name;
            and of the legend.
        """
        try:
            try:
                with naming_large_image(path):
                    image = load_image(path, MAX_PIXELS)
            finally:
                path.unlink(missing_ok=True)
            return self.answer(image, Path(name).stem)
        except UserError as error:
            return message_html(str(error).replace(str(path), name)), ""

    def answer_example(self, index: object) -> tuple[str, str]:
        """Segments an example; `index` comes from the browser, and may be anything."""
        if not isinstance(index, int) or not 0 <= index < len(self.examples):
            return message_html(f"There is no example {index}."), ""
        try:
            return self.answer(self.examples[index], f"example_{index + 1}")
        except UserError as error:
            return message_html(str(error)), ""


def load_examples(files: list[Path]) -> list[np.ndarray]:
    """The first `MAX_EXAMPLES` of some files as uint8 `[H, W, 3]`, no side above `MAX_SIDE`.

    What is no image is named and left out: the page is as good without it.
    """
    images: list[np.ndarray] = []
    for path in files:
        if len(images) == MAX_EXAMPLES:
            break
        try:
            images.append(shrink(load_image(path), MAX_SIDE))
        except UserError as fault:
            note(f"warning: {fault}; the page goes on without it")
    return images


def examples_beside(model: str) -> list[Path]:
    """The folder `examples` in a model's folder, or beside its file; empty if there is none."""
    folders = [folder / "examples" for folder in (Path(model), Path(model).parent)]
    return [folder for folder in folders if folder.is_dir()][:1]


def scenes_of(legend: Legend | None) -> list[np.ndarray]:
    """Scenes, uint8 `[H, W, 3]`, for a model of the embedded data set; none for another."""
    if legend is None or legend.class_names != CLASS_NAMES:
        return []
    return [render_scene(np.random.default_rng(seed))[0] for seed in EXAMPLE_SEEDS]

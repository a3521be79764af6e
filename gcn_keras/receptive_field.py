"""What a model really sees: `python -m gcn_keras.receptive_field MODEL IMAGE… --at Y,X`.

Figure 3 of the paper, drawn over images and measured; `experiments.receptive_fields` says how.
"""

from pathlib import Path
from typing import Annotated

import numpy as np
import tyro

from gcn_keras.experiments.receptive_fields.score import check_point, class_index
from gcn_keras.experiments.receptive_fields.squares import table
from gcn_keras.experiments.receptive_fields.valid import check_noise, patch_and_stride
from gcn_keras.inference.image_files import find_images
from gcn_keras.inference.images import load_image
from gcn_keras.inference.keras_model import check_keras_file, load_model
from gcn_keras.inference.legend import Legend, legend_of_model
from gcn_keras.inference.segmenters import files_of
from pipelines.base.errors import UsageError, run_command
from pipelines.base.files import check_figures_file, check_folder, make_folder, write_json


def receptive_field(
    model: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="MODEL")],
    images: Annotated[tyro.conf.Positional[tuple[Path, ...]], tyro.conf.arg(metavar="IMAGE")],
    at: Annotated[tyro.conf.UseAppendAction[tuple[str, ...]], tyro.conf.arg(metavar="Y,X")] = (),
    class_: Annotated[str | None, tyro.conf.arg(name="class", metavar="NAME|INDEX")] = None,
    out: Annotated[Path, tyro.conf.arg(metavar="DIR")] = Path("receptive_fields"),
    patch: int | None = None,
    stride: int | None = None,
    draws: int = 1,
    batch: int | None = None,
    seed: int = 0,
    json_file: Annotated[Path | None, tyro.conf.arg(name="json", metavar="FILE")] = None,
) -> None:
    """Draw which pixels drive a model's score at a point, and measure how far they reach.

    The effective receptive field is the score's gradient, the valid one its move under a patch of
    noise. Writes DIR/NAME_receptive_field.png for each image, and for several of them their mean,
    laid over each other by the points: DIR/mean_receptive_field.png. Prints the side of the
    smallest square around the point that holds 50 and 95 % of each.

    Args:
        model: A .keras file.
        images: Images, or folders of images.
        at: Point in pixels from the top left; by default the image's centre. Give it once for
            all images, or once for each; or several times for one image.
        class_: Class whose logit is the score; by default the one that is predicted at the point.
            It may be an index, or a name that the model carries, in itself or in labels.json
            beside it.
        out: Folder to write to; made if absent.
        patch: Side of the patch in pixels, odd; by default a twentieth of the image's shorter
            side.
        stride: Pixels from one position of the patch to the next; by default a third of the patch.
        draws: Draws of noise at each position of the patch.
        batch: Occluded images at a time; by default as many as have 2^20 pixels once
            they are padded to multiples of 32.
        seed: Seed of the noise.
        json_file: JSON file for the figures.
    """
    check_noise(draws, seed, batch)
    if not images:
        raise UsageError("name at least one image or folder of images")
    check_keras_file(model)
    points = _points(find_images(images, out), [_parse_point(text) for text in at])
    for path, image, point in points:
        height, width, _ = image.shape
        check_point(point, (height, width), str(path))
        patch_and_stride(height, width, patch, stride)
    from gcn_keras.experiments.receptive_fields.report import drawings, measure_points

    paths = [path for path, _, _ in points]
    taken = (*files_of(model), *paths, *drawings(paths, out))
    check_figures_file(json_file, {"model", "points"}, *taken, made=out)
    check_folder(out)
    network = load_model(model)
    num_classes = network.output.shape[-1]
    legend = legend_of_model(network)
    chosen = None if class_ is None else class_index(class_, legend, num_classes)
    make_folder(out)
    class_names = (legend or Legend.unnamed(num_classes)).class_names
    noise = dict(patch=patch, stride=stride, draws=draws, seed=seed, batch=batch)
    summary, rows = measure_points(network, points, class_names, chosen, out, noise)
    print(table(rows))
    if json_file:
        write_json(json_file, {"model": str(model), **summary})


def _parse_point(text: str) -> tuple[int, int]:
    """(y, x) from "Y,X"."""
    y, comma, x = text.partition(",")
    if not (comma and y.strip().isdecimal() and x.strip().isdecimal()):
        raise UsageError(f"--at takes Y,X in pixels from the top left, such as 64,80, got {text!r}")
    return int(y), int(x)


def _points(
    paths: list[Path], points: list[tuple[int, int]]
) -> list[tuple[Path, np.ndarray, tuple[int, int]]]:
    """Each image's path, its pixels and its point; one image or one point goes with all."""
    if len(paths) > 1 and len(points) > 1 and len(paths) != len(points):
        raise UsageError(
            f"give --at once for all images or once for each: there are {len(paths)} images "
            f"and {len(points)} points"
        )
    images = [load_image(path) for path in paths]
    if len(paths) == 1:
        paths, images = paths * max(1, len(points)), images * max(1, len(points))
    if len(points) == 1:
        points = points * len(paths)
    if not points:
        points = [(image.shape[0] // 2, image.shape[1] // 2) for image in images]
    return list(zip(paths, images, points, strict=True))


def main() -> None:
    """Entry point of the command."""
    tyro.cli(receptive_field, prog="python -m gcn_keras.receptive_field")


if __name__ == "__main__":
    run_command(main)

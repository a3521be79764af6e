"""What a model really looks at: `python -m gcn_keras.receptive_field MODEL IMAGE… --at Y,X`.

Figure 3 of the paper, drawn over images and measured; `receptive_field_maps` says what is drawn.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
import tyro

from gcn_keras.experiments.receptive_fields.maps import (
    SHARES,
    check_occlusion,
    check_point,
    logits_at,
    mean_fields,
    measure,
    patch_and_stride,
    sides_of,
)
from gcn_keras.inference.images import find_images, load_image
from gcn_keras.inference.keras_model import load_model
from gcn_keras.inference.legend import Legend, legend_beside
from pipelines.base.environment import prepare_tensorflow
from pipelines.base.errors import UsageError, UserError, run_command
from pipelines.base.files import check_target, replacing


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
            Names are looked up in labels.json beside the model.
        out: Folder to write to; made if absent.
        patch: Side of the patch in pixels, odd; by default a twentieth of the image's shorter
            side.
        stride: Pixels from one position of the patch to the next; by default a third of the patch.
        draws: Draws of noise at each position.
        batch: Occluded images at a time; by default as many as have 2^20 pixels.
        seed: Of the noise.
        json_file: Write the figures here, too.
    """
    check_occlusion(patch, stride, draws, seed, batch)
    if not images:
        raise UsageError("name at least one image or folder of images")
    if not model.is_file() or model.suffix != ".keras":
        raise UserError(f"there is no model at {model}: expected a .keras file, as `fit` writes")
    check_target(json_file, "--json")
    cases = _cases(find_images(images), [_parse_point(text) for text in at])
    sizes = []
    for path, image, point in cases:
        check_point(point, image.shape[:2], str(path))
        sizes.append(patch_and_stride(*image.shape[:2], patch, stride))
        check_occlusion(*sizes[-1], draws, seed, batch)
    prepare_tensorflow()
    network = load_model(model)
    num_classes = network.output.shape[-1]
    legend = legend_beside(model.with_name("labels.json"), model, num_classes)
    chosen = None if class_ is None else class_index(class_, legend, num_classes)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot make the folder {out}: {error.strerror}") from error
    class_names = (legend or Legend.unnamed(num_classes)).class_names

    from gcn_keras.experiments.receptive_fields.figures import plot_receptive_fields

    results, rows, measured = [], [], []
    names = _result_names([path for path, *_ in cases])
    for name, (path, image, point), (side, step) in zip(names, cases, sizes, strict=True):
        logits = logits_at(network, image, point)
        index = int(np.argmax(logits)) if chosen is None else chosen
        options = {"patch": side, "stride": step, "draws": draws, "seed": seed}
        fields = measure(
            network, image, point, index, path, **options, batch=batch, description=name
        )
        target = out / f"{name}_receptive_field.png"
        caption = f"at {point[0]},{point[1]}: {class_names[index]}, logit {logits[index]:.2f}"
        plot_receptive_fields(image, fields, point, target, path.name, caption)
        measured.append((fields, point))
        rows.append((f"{path.name} {caption}", sides_of(fields, point)))
        score = {"class": class_names[index], "score": float(logits[index])}
        results.append({"image": str(path), "at": list(point), **score, **options, **rows[-1][1]})
    summary = {"model": str(model), "points": results}
    if len(measured) > 1:
        fields, point = mean_fields(measured)
        title = f"mean of {len(measured)} points"
        titled = {f"{name}, {title}": field for name, field in fields.items()}
        plot_receptive_fields(None, titled, point, out / "mean_receptive_field.png")
        rows.append((title, sides_of(fields, point)))
        summary["mean"] = rows[-1][1]
    print(table(rows))
    if json_file:
        with replacing(json_file) as temporary:
            temporary.write_text(json.dumps(summary, indent=2) + "\n")


def table(rows: Sequence[tuple[str, dict[str, dict[str, int]]]]) -> str:
    """The sides as text: for each title two lines, from `sides_of`."""
    shares = "".join(f"{share:>8.0%}" for share in SHARES)
    lines = [f"side in pixels of the square that holds{shares}"]
    for title, sides in rows:
        lines.append(title)
        for name, of_share in sides.items():
            numbers = "".join(f"{side:>8}" for side in of_share.values())
            lines.append(f"  {name + ' receptive field':<37}{numbers}")
    return "\n".join(lines)


def class_index(text: str, legend: Legend | None, num_classes: int) -> int:
    """The class that an option means, by its index or by its name.

    Raises:
        UsageError: there is none, or no legend to look the name up in.
    """
    if text.isdecimal() and int(text) < num_classes:
        return int(text)
    if legend and text in legend.class_names:
        return legend.class_names.index(text)
    known = f"an index in 0…{num_classes - 1}"
    if legend:
        raise UsageError(
            f"--class must be {known} or one of {', '.join(legend.class_names)}, got {text!r}"
        )
    raise UsageError(
        f"--class must be {known}, got {text!r}: there is no labels.json beside the model to look "
        "names up in"
    )


def _parse_point(text: str) -> tuple[int, int]:
    """(y, x) from "Y,X"."""
    y, comma, x = text.partition(",")
    if not (comma and y.strip().isdecimal() and x.strip().isdecimal()):
        raise UsageError(f"--at takes Y,X in pixels from the top left, such as 64,80, got {text!r}")
    return int(y), int(x)


def _cases(paths: list[Path], points: list[tuple[int, int]]) -> list[tuple]:
    """Each image's path, its pixels and its point; one image or one point goes with all.

    Raises:
        UsageError: there are several of both, and not equally many.
        UserError: an image cannot be read.
    """
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


def _result_names(paths: list[Path]) -> list[str]:
    """A name for each case's file: its image's stem, numbered where that is taken."""
    names = []
    for path in paths:
        name, number = path.stem, 2
        while name in (*names, "mean"):  # mean_receptive_field.png is that of all of them
            name, number = f"{path.stem}-{number}", number + 1
        names.append(name)
    return names


def main() -> None:
    """Entry point of the command."""
    tyro.cli(receptive_field, prog="python -m gcn_keras.receptive_field")


if __name__ == "__main__":
    run_command(main)

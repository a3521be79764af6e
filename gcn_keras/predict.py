"""Segments pictures: `python -m gcn_keras.predict MODEL IMAGE_OR_FOLDER… --out DIR`."""

import os
import sys
from pathlib import Path
from typing import Annotated

import tyro

from gcn_keras.images import find_images, load_image, overlay, save_png
from pipelines import datasets, labels
from pipelines.errors import UsageError, UserError, run_command


def predict_files(segment_one, pictures: list[Path], out: Path, palette, opacity: float) -> int:
    """Writes an index PNG and an overlay for each picture; a bad one is named and left out.

    Args:
        segment_one: function from a picture, uint8 `[H, W, 3]`, to labels, uint8 `[H, W]`.
        pictures: files to read.
        out: folder to write to; STEM_labels.png and STEM_overlay.png.
        palette: uint8 `[256, 3]`.
        opacity: of the colours over the picture, 0…1.

    Returns:
        How many pictures failed.

    Raises:
        UserError: if the folder cannot be written.
    """
    failed = 0
    for name, path in _result_names(pictures).items():
        try:
            image = load_image(path)
        except UserError as error:
            print(f"error: {error}", file=sys.stderr)
            failed += 1
            continue
        result = segment_one(image)
        save_png(result, out / f"{name}_labels.png", palette)
        save_png(overlay(image, result, palette, opacity), out / f"{name}_overlay.png")
        print(f"{path} -> {out / name}_labels.png, {name}_overlay.png")
    return failed


def _result_names(pictures) -> dict[str, Path]:
    """A name for each picture's results: its stem, numbered where several share one."""
    names = {}
    for path in pictures:
        name, number = path.stem, 2
        while name in names:
            name, number = f"{path.stem}-{number}", number + 1
        names[name] = path
    return names


def predict(
    model: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="MODEL")],
    images: Annotated[tyro.conf.Positional[tuple[Path, ...]], tyro.conf.arg(metavar="IMAGE")],
    out: Annotated[Path, tyro.conf.arg(metavar="DIR")] = Path("predictions"),
    palette: str | None = None,
    opacity: float = 0.5,
) -> int:
    """Segment pictures of any size: a PNG of class indices and an overlay for each.

    A file that is no picture is named and left out; the exit status is then 1.

    Args:
        model: A .keras file.
        images: Pictures, or folders of pictures.
        out: Folder to write to; made if absent.
        palette: Colours of this data set, such as camvid; by default those of VOC.
        opacity: Of the colours over the picture, 0 to 1.
    """
    if not images:
        raise UsageError("name at least one picture or folder of pictures")
    if not 0 <= opacity <= 1:
        raise UsageError(f"--opacity must be in 0…1, got {opacity}")
    if palette is not None:
        datasets.parse_name(palette)
    if not model.is_file():
        raise UserError(f"there is no model at {model}: expected a .keras file, as `fit` writes")
    pictures = find_images(images)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot make the folder {out}: {error.strerror}") from error

    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    from gcn_keras.evaluate import load_model
    from gcn_keras.inference import segment

    network = load_model(model)
    colours = labels.palette(network.output.shape[-1], palette)
    failed = predict_files(lambda image: segment(network, image), pictures, out, colours, opacity)
    if failed:
        print(f"{failed} of {len(pictures)} pictures failed", file=sys.stderr)
    return 1 if failed else 0


def main() -> int:
    """Entry point of the command."""
    return tyro.cli(predict, prog="python -m gcn_keras.predict")


if __name__ == "__main__":
    run_command(main)

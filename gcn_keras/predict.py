"""Segments images and videos: `python -m gcn_keras.predict MODEL IMAGE_OR_FOLDER… --out DIR`."""

import sys
from pathlib import Path
from typing import Annotated

import tyro
from tqdm import tqdm

from gcn_keras.inference.images import find_images, load_image, overlay, save_png
from gcn_keras.inference.options import ONCE, Procedure, segment_function
from gcn_keras.inference.options import check as check_procedure
from gcn_keras.inference.segmenters import check_exists, open_segmenter
from gcn_keras.inference.video import check_video, require_opencv, segment_video
from pipelines import datasets
from pipelines.base import labels
from pipelines.base.environment import prepare_tensorflow
from pipelines.base.errors import UsageError, UserError, run_command
from pipelines.base.progress import note


def predict_files(segment, found_images: list[Path], out: Path, palette, opacity: float) -> int:
    """Writes an index PNG and an overlay for each image; a bad one is named and left out.

    One image is in memory at a time. A progress bar runs on standard error.

    Args:
        segment: function from images, uint8 `[B, H, W, 3]`, to labels, uint8 `[B, H, W]`. A
            image that it refuses with a `UserError` is a bad one.
        images: files to read, of any sizes.
        out: folder to write to; STEM_labels.png and STEM_overlay.png.
        palette: uint8 `[256, 3]`.
        opacity: of the colours over the image, 0…1.

    Returns:
        How many images failed.

    Raises:
        UserError: if the folder cannot be written.
    """
    failed = 0
    names = _result_names(found_images)
    for name, path in tqdm(names.items(), desc="segment", unit=" images", mininterval=0.5):
        try:
            image = load_image(path)
            result = segment(image[None])[0]
        except UserError as error:
            note(f"error: {_naming(path, error)}")
            failed += 1
            continue
        save_png(result, out / f"{name}_labels.png", palette)
        save_png(overlay(image, result, palette, opacity), out / f"{name}_overlay.png")
        tqdm.write(f"{path} -> {out / name}_labels.png, {name}_overlay.png")
    return failed


def predict_videos(
    segment, videos: list[Path], out: Path, palette, opacity: float, frame_labels: bool = False
) -> int:
    """Writes an overlay for each video; a bad one is named, and the others go on.

    Args:
        segment: as of `predict_files`.
        videos: files to read.
        out: folder to write to: STEM_overlay.mp4, and with `frame_labels` a folder STEM_labels.
        palette: uint8 `[256, 3]`.
        opacity: of the colours over the frames, 0…1.
        frame_labels: whether to write each frame's label map, too.

    Returns:
        How many videos failed.
    """
    failed = 0
    for name, path in _result_names(videos).items():
        target = out / f"{name}_overlay.mp4"
        label_folder = out / f"{name}_labels" if frame_labels else None
        try:
            frames = segment_video(segment, path, target, palette, opacity, label_folder)
        except UserError as error:
            note(f"error: {_naming(path, error)}")
            failed += 1
            continue
        tqdm.write(f"{path} -> {target}, {frames} frames")
    return failed


def _naming(path: Path, error: UserError) -> str:
    """The error's sentence, which names the file: a model's or a server's does not by itself."""
    return str(error) if str(path) in str(error) else f"{path}: {error}"


def _result_names(files) -> dict[str, Path]:
    """A name for each file's results: its stem, numbered where several share one."""
    names = {}
    for path in files:
        name, number = path.stem, 2
        while name in names:
            name, number = f"{path.stem}-{number}", number + 1
        names[name] = path
    return names


def predict(
    model: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="MODEL")],
    images: Annotated[tyro.conf.Positional[tuple[Path, ...]], tyro.conf.arg(metavar="IMAGE")],
    video: Annotated[
        tyro.conf.UseAppendAction[tuple[Path, ...]], tyro.conf.arg(metavar="FILE")
    ] = (),
    out: Annotated[Path, tyro.conf.arg(metavar="DIR")] = Path("predictions"),
    palette: str | None = None,
    opacity: float = 0.5,
    frame_labels: tyro.conf.FlagCreatePairsOff[bool] = False,
    procedure: Annotated[Procedure, tyro.conf.arg(name="")] = ONCE,
) -> int:
    """Segment images of any size: a PNG of class indices and an overlay for each; and videos.

    A file that cannot be read or segmented is named and left out; the exit status is then 1.

    Args:
        model: A .keras file, a SavedModel folder, a .tflite file or the address of a server,
            http://HOST:8501/v1/models/NAME or grpc://HOST:8500/NAME.
        images: Images, or folders of images.
        video: A video, of which DIR/NAME_overlay.mp4 is made; may be given several times. Needs
            OpenCV: pip install 'gcn_keras[video]'.
        out: Folder to write to; made if absent.
        palette: Colours of this data set, such as camvid; by default those that the model
            carries, or VOC's.
        opacity: Of the colours over the image, 0 to 1.
        frame_labels: Of videos, write the class indices of each frame, too: PNGs in a folder
            DIR/NAME_labels.
        procedure: More than one look at each image, and a dense CRF.
    """
    if not images and not video:
        raise UsageError("name at least one image or folder of images, or --video FILE")
    if not 0 <= opacity <= 1:
        raise UsageError(f"--opacity must be in 0…1, got {opacity}")
    if frame_labels and not video:
        raise UsageError("--frame-labels is about videos: name one by --video FILE")
    if palette is not None:
        datasets.parse_name(palette)
    check_exists(model)
    check_procedure(procedure, model)
    found_images = find_images(images)
    for path in video:
        check_video(path)
    if video:
        require_opencv()
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot make the folder {out}: {error.strerror}") from error

    prepare_tensorflow()
    segmenter = open_segmenter(model)
    segment = segment_function(segmenter, procedure, model)
    carried = segmenter.legend.palette if segmenter.legend else labels.voc_colour_map()
    colours = labels.palette(labels.IGNORE, palette) if palette else carried
    failed_images, failed_videos = 0, 0
    if found_images:
        failed_images = predict_files(segment, found_images, out, colours, opacity)
    if video:
        failed_videos = predict_videos(segment, video, out, colours, opacity, frame_labels)
    for failed, files, kind in (
        (failed_images, found_images, "images"),
        (failed_videos, video, "videos"),
    ):
        if failed:
            print(f"{failed} of {len(files)} {kind} failed", file=sys.stderr)
    return 1 if failed_images or failed_videos else 0


def main() -> int:
    """Entry point of the command."""
    return tyro.cli(predict, prog="python -m gcn_keras.predict")


if __name__ == "__main__":
    run_command(main)

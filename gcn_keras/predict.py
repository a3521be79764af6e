"""Segments images and videos: `python -m gcn_keras.predict MODEL IMAGE_OR_FOLDER… --out DIR`."""

import os
import sys
from pathlib import Path
from typing import Annotated

import tyro

from gcn_keras.inference.files import check_files_stay, predict_files, predict_videos
from gcn_keras.inference.image_files import find_images
from gcn_keras.inference.legend import check_same_names
from gcn_keras.inference.options import PLAIN, InferenceOptions, segment_function
from gcn_keras.inference.segmenters import check_exists, open_segmenter
from gcn_keras.inference.video import check_no_videos, check_video, require_opencv
from pipelines.base import labels
from pipelines.base.errors import UsageError, run_command
from pipelines.base.files import check_folder, make_folder, removing_empty


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
    inference: Annotated[InferenceOptions, tyro.conf.arg(name="")] = PLAIN,
) -> int:
    """Segment images of any size: a PNG of class indices and a JPEG of them over each; and videos.

    A file that cannot be read or segmented is named and left out; the exit status is then 1.

    Args:
        model: A .keras file, a SavedModel folder, a .tflite or .onnx file, or a server:
            http://HOST:8501/v1/models/NAME or grpc://HOST:8500/NAME. A SavedModel is code: open
            only one that you trust.
        images: Images, or folders of images; results of earlier runs in them are passed over.
        video: A video, of which DIR/NAME_overlay.mp4 is made; may be given several times. Needs
            OpenCV: pip install "gcn_keras[video]".
        out: Folder of the results, made if absent; with sub-folders as images have them.
        palette: Colours of this data set, such as camvid; by default those that the model
            carries, or VOC's.
        opacity: Opacity of the colours over the image, 0 to 1.
        frame_labels: Also the class indices of each frame of a video: PNGs in a folder
            DIR/NAME_labels.
        inference: Test-time augmentation and a dense CRF.
    """
    if not images and not video:
        raise UsageError("name at least one image or folder of images, or --video FILE")
    if not 0 <= opacity <= 1:
        raise UsageError(f"--opacity must be in 0…1, got {opacity}")
    if frame_labels and not video:
        raise UsageError("--frame-labels is about videos: name one by --video FILE")
    if palette not in (None, *labels.CLASSES):
        raise UsageError(
            f"--palette knows the colours of {', '.join(labels.CLASSES)}, got {palette!r}: leave "
            "it out to take those that the model carries"
        )
    inference.check_for(model)
    check_exists(model)
    found_images = find_images(images, out)
    check_no_videos(found_images)
    once: dict[str, Path] = {}  # files named twice come once, as images do
    for path in video:
        check_video(path)
        once.setdefault(os.path.realpath(path), path)
    video = tuple(once.values())
    check_files_stay(found_images, video, out, frame_labels, folders=images)
    if video:
        require_opencv()
    check_folder(out)

    segmenter = open_segmenter(model)
    segment = segment_function(segmenter, inference, model)
    legend = segmenter.legend
    if palette and legend and legend.is_named:
        classes = labels.CLASSES[palette]
        check_same_names(model, legend.class_names, f"--palette {palette}", classes)
    carried = legend.palette if legend else labels.voc_colour_map()
    colours = labels.palette(palette) if palette else carried
    failed_images, failed_videos = 0, 0
    with removing_empty(out):
        make_folder(out)  # only now: a refused command leaves nothing behind
        if found_images:
            failed_images = predict_files(
                segment, found_images, out, colours, opacity, folders=images
            )
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

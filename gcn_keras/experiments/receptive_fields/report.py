"""The fields of several points: measured, drawn, and their squares in figures."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gcn_keras.experiments.receptive_fields.effective import effective_receptive_field
from gcn_keras.experiments.receptive_fields.figures import receptive_field_figure
from gcn_keras.experiments.receptive_fields.score import scored_class, scores
from gcn_keras.experiments.receptive_fields.squares import recentred_mean, sides_of
from gcn_keras.experiments.receptive_fields.valid import patch_and_stride, valid_receptive_field
from gcn_keras.inference.files import result_names
from gcn_keras.inference.image_files import FIELD_ENDING
from gcn_keras.plots.style import save_figure
from pipelines.base.errors import UserError

if TYPE_CHECKING:
    import keras

_MEAN = "mean"  # the name of the drawing of all points together


def drawings(paths: Sequence[Path], out: Path) -> list[Path]:
    """The files that `measure_points` draws for the points on some images; the last, their mean."""
    names = result_names(paths, FIELD_ENDING, [_MEAN])
    return [out / f"{name}{FIELD_ENDING}" for name in (*names, _MEAN)]


def measure_points(
    model: "keras.Model",
    points: Sequence[tuple[Path, np.ndarray, tuple[int, int]]],
    class_names: Sequence[str],
    class_index: int | None,
    out: Path,
    noise: dict,
) -> tuple[dict, list[tuple[str, dict]]]:
    """Measures the fields of each point, and draws them into OUT/NAME_receptive_field.png.

    Of several points the mean is drawn, too: OUT/mean_receptive_field.png.

    Args:
        model: from a `.keras` file.
        points: the image's file, the image, uint8 `[H, W, 3]`, and the point, (y, x), of each.
        class_names: of the model.
        class_index: as in `score.scored_class`.
        out: an existing folder.
        noise: "patch", "stride", "draws", "seed" and "batch" of `valid_receptive_field`.

    Returns:
        `{"points": […], "mean": {…}}` for a JSON file, and a title with its sides for
        `squares.table`, for each point and the mean.

    Raises:
        UserError: a field is 0 everywhere or not finite; a file cannot be written.
    """
    summaries, rows, measured = [], [], []
    *files, mean_file = drawings([path for path, _, _ in points], out)
    for file, (path, image, at) in zip(files, points, strict=True):
        index = scored_class(model, image, at, class_index)
        score = float(scores(model, image[None], at)[0, index])
        height, width, _ = image.shape
        patch, stride = patch_and_stride(height, width, noise["patch"], noise["stride"])
        options = {**noise, "patch": patch, "stride": stride}
        name = file.name.removesuffix(FIELD_ENDING)
        fields = measure(model, image, at, index, path, **options, description=name)
        del options["batch"]  # changes no result
        caption = f"at {at[0]},{at[1]}: {class_names[index]}, logit {score:.2f}"
        figure = receptive_field_figure(image, fields, at, path.name, caption)
        save_figure(figure, file)
        measured.append(fields)
        rows.append((f"{path.name} {caption}", sides_of(fields, at)))
        scored = {"class": class_names[index], "score": score}
        summaries.append({"image": str(path), "at": [*at], **scored, **options, **rows[-1][1]})
    summary: dict = {"points": summaries}
    if len(points) > 1:
        title = f"mean of {len(points)} points"
        fields = {}
        for name in measured[0]:
            each = [fields_of_one[name] for fields_of_one in measured]
            fields[name], at = recentred_mean(each, [at for _, _, at in points])
        titled = {f"{name}, {title}": field for name, field in fields.items()}
        save_figure(receptive_field_figure(None, titled, at), mean_file)
        rows.append((title, sides_of(fields, at)))
        summary["mean"] = rows[-1][1]
    return summary, rows


def measure(
    model: "keras.Model",
    image: np.ndarray,
    at: tuple[int, int],
    class_index: int,
    path: Path,
    **options: Any,
) -> dict[str, np.ndarray]:
    """The fields "effective" and "valid" of an image.

    Args:
        model, image, at, class_index: as in `score.scored_class`.
        path: the image's file, for messages.
        options: of `valid_receptive_field`.

    Raises:
        UserError: a field is 0 everywhere or not finite, or as in the two functions.
    """
    fields = {
        "effective": effective_receptive_field(model, image, at, class_index),
        "valid": valid_receptive_field(model, image, at, class_index, **options),
    }
    for name, field in fields.items():
        if not 0 < field.sum(dtype=np.float64) < np.inf:
            raise UserError(
                f"the {name} receptive field of {path} at {at[0]},{at[1]} is 0 everywhere or not "
                f"finite: the score of class {class_index} tells nothing there"
            )
    return fields

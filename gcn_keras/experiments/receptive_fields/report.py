"""The fields of several points: measured, drawn, and their squares in figures."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gcn_keras.experiments.receptive_fields.effective import effective_receptive_field
from gcn_keras.experiments.receptive_fields.figures import receptive_field_figure
from gcn_keras.experiments.receptive_fields.score import Case, logits_at
from gcn_keras.experiments.receptive_fields.squares import recentred_mean, sides_of
from gcn_keras.experiments.receptive_fields.valid import valid_receptive_field
from gcn_keras.plots.style import save_figure
from pipelines.base.errors import UserError

if TYPE_CHECKING:
    import keras

FIELDS = ("effective", "valid")


def measure_cases(
    model: "keras.Model",
    cases: Sequence[Case],
    class_names: Sequence[str],
    class_index: int | None,
    out: Path,
    noise: dict,
) -> tuple[dict, list[tuple[str, dict]]]:
    """Measures the fields of each point, and draws them into OUT/NAME_receptive_field.png.

    Of several points the mean is drawn, too: OUT/mean_receptive_field.png.

    Args:
        model: the model.
        cases: the points.
        class_names: of the model.
        class_index: whose logit is the score; None for the class that is predicted at each point.
        out: an existing folder.
        noise: "draws", "seed" and "batch" of `valid_receptive_field`.

    Returns:
        `{"points": […], "mean": {…}}` for a JSON file, and a title with its sides for
        `squares.table`, for each point and the mean.

    Raises:
        UserError: a field is 0 everywhere or not finite; a file cannot be written.
    """
    points, rows, measured = [], [], []
    names = _result_names([case.path for case in cases])
    for name, (path, image, at, patch, stride) in zip(names, cases, strict=True):
        logits = logits_at(model, image, at)
        index = int(np.argmax(logits)) if class_index is None else class_index
        options = {"patch": patch, "stride": stride, **noise}
        fields = measure(model, image, at, index, path, **options, description=name)
        del options["batch"]  # changes no result
        caption = f"at {at[0]},{at[1]}: {class_names[index]}, logit {logits[index]:.2f}"
        figure = receptive_field_figure(image, fields, at, path.name, caption)
        save_figure(figure, out / f"{name}_receptive_field.png")
        measured.append(fields)
        rows.append((f"{path.name} {caption}", sides_of(fields, at)))
        score = {"class": class_names[index], "score": float(logits[index])}
        points.append({"image": str(path), "at": list(at), **score, **options, **rows[-1][1]})
    summary: dict = {"points": points}
    if len(cases) > 1:
        title = f"mean of {len(cases)} points"
        fields = {}
        for name in FIELDS:
            each = [fields_of_one[name] for fields_of_one in measured]
            fields[name], at = recentred_mean(each, [case.at for case in cases])
        titled = {f"{name}, {title}": field for name, field in fields.items()}
        save_figure(receptive_field_figure(None, titled, at), out / "mean_receptive_field.png")
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
    """Both fields of an image, by their names in FIELDS.

    Args:
        model, image, at, class_index: as of `score.check_score`.
        path: the image's file, for messages.
        options: of `valid_receptive_field`.

    Raises:
        UserError: a field is 0 everywhere or not finite, or as of the two functions.
    """
    maps = (
        effective_receptive_field(model, image, at, class_index),
        valid_receptive_field(model, image, at, class_index, **options),
    )
    fields = dict(zip(FIELDS, maps, strict=True))
    for name, field in fields.items():
        if not 0 < field.sum(dtype=np.float64) < np.inf:
            raise UserError(
                f"the {name} receptive field of {path} at {at[0]},{at[1]} is 0 everywhere or not "
                f"finite: the score of class {class_index} tells nothing there"
            )
    return fields


def _result_names(paths: list[Path]) -> list[str]:
    """A name for each case's file: its image's stem, numbered where that is taken."""
    names: list[str] = []
    for path in paths:
        name, number = path.stem, 2
        while name in (*names, "mean"):  # mean_receptive_field.png is that of all of them
            name, number = f"{path.stem}-{number}", number + 1
        names.append(name)
    return names

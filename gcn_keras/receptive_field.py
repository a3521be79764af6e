"""What a model really looks at: `python -m gcn_keras.receptive_field MODEL IMAGE… --at Y,X`.

Figure 3 of the paper, for one pixel's score. That score is the logit of one class at a point of the
picture, by default of the class that the model predicts there. Two maps say which pixels drive it:

- the effective receptive field (Luo et al. 2016): |d score / d pixel|, summed over the channels;
- the valid receptive field (Zhou et al. 2014, and the paper): how much the score moves when a small
  patch of noise covers the pixel.

Their size is the side of the smallest square around the point that holds 50 or 95 % of the map.
Both average over pictures: the maps are laid over each other by their points. Nothing is cut off
below a threshold: where a model is blind the score does not move at all, and what it moves a little
over a wide area belongs to the field.
"""

import itertools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
import tyro
from tqdm import tqdm

from gcn_keras.environment import prepare_tensorflow
from gcn_keras.images import find_images, load_image, replacing
from gcn_keras.inference import load_model, pad_to_stride
from gcn_keras.legends import Legend
from gcn_keras.segmenters import legend_beside
from pipelines.errors import UsageError, UserError, run_command

FIELDS = ("effective", "valid")
SHARES = (0.5, 0.95)
# Occluded pictures go through the model together: at most so many pixels, unless --batch says else.
BATCH_PIXELS = 2**20


def effective_receptive_field(model, image, at, class_index: int | None = None) -> np.ndarray:
    """|d score / d pixel|, summed over the channels (Luo et al. 2016). Needs TensorFlow.

    The gradient is by the raw pixel, 0…255, for the model normalises inside; batch norms use their
    moving statistics.

    Args:
        model: from `gcn_keras.gcn`, or loaded from a `.keras` file.
        image: uint8 `[H, W, 3]`, RGB, of any size.
        at: the point, (y, x) in pixels from the top left.
        class_index: whose logit; None for the class that is predicted at the point.

    Returns:
        float32 `[H, W]`, at least 0, in logits for each step of a pixel's value.

    Raises:
        ValueError: `image` is no picture.
        UserError: the point, the class or the picture's size does not fit; Keras computes with
            something else than TensorFlow.
    """
    import keras

    if keras.backend.backend() != "tensorflow":
        raise UserError(
            f"the effective receptive field takes TensorFlow's gradients, and Keras computes with "
            f"{keras.backend.backend()}: set KERAS_BACKEND=tensorflow"
        )
    import tensorflow as tf

    height, width = _check(model, image, at, class_index)
    if class_index is None:
        class_index = predicted_class(model, image, at)
    pixels = tf.constant(pad_to_stride(image[None]), tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(pixels)
        score = model(pixels, training=False)[0, at[0], at[1], class_index]
    gradient = tape.gradient(score, pixels, unconnected_gradients="zero")
    return np.abs(gradient.numpy()[0, :height, :width]).sum(axis=-1)


def valid_receptive_field(
    model,
    image,
    at,
    class_index: int | None = None,
    *,
    patch: int | None = None,
    stride: int | None = None,
    draws: int = 1,
    seed: int = 0,
    batch: int | None = None,
    description: str | None = None,
) -> np.ndarray:
    """How much the score moves when noise covers a pixel (Zhou et al. 2014; the paper's Figure 3).

    A square patch of uniform noise, 0…255 in each pixel and channel, is slid over the picture. Its
    positions are `stride` apart, count from the point, and reach as far over the border as the
    patch still touches the picture, so that border and middle are covered equally often. The
    move of a position is the mean of |score - score of the whole picture| over `draws` of noise;
    a pixel's is the mean over the positions whose patch covers it. So a model that sees one pixel
    has a field of 2 patch - 1 pixels: the method does not resolve less than a patch.

    Args:
        model, image, at, class_index: as of `effective_receptive_field`.
        patch: side of the patch in pixels, odd; None for a twentieth of the picture's
            shorter side: Zhou et al. took 11 of 227 pixels.
        stride: pixels from one position to the next, at most `patch`; None for a third of it,
            rounded down: Zhou et al. took 3 for 11, which makes about 5,000 positions.
        draws: of noise, at each position.
        seed: of the noise, which does not depend on `batch`.
        batch: pictures at a time; None for as many as have BATCH_PIXELS.
        description: shows a progress bar with this text on standard error; None shows none.

    Returns:
        float32 `[H, W]`, at least 0, in logits.

    Raises:
        ValueError: `image` is no picture.
        UserError: the point, the class or the picture's size does not fit; an option that cannot
            be meant.
    """
    height, width = _check(model, image, at, class_index)
    patch, stride = patch_and_stride(height, width, patch, stride)
    check_occlusion(patch, stride, draws, seed, batch)
    if class_index is None:
        class_index = predicted_class(model, image, at)
    batch = max(1, BATCH_PIXELS // (height * width)) if batch is None else batch

    rows = patch_centres(height, at[0], patch, stride)
    columns = patch_centres(width, at[1], patch, stride)
    rng = np.random.default_rng(seed)
    pictures = np.repeat(image[None], batch, axis=0)
    whole = _scores(model, pictures, at, class_index)[0]
    moves = []
    positions = itertools.product(range(draws), rows, columns)
    bar = tqdm(
        total=draws * len(rows) * len(columns),
        desc=description,
        unit=" patches",
        mininterval=0.5,
        disable=description is None,
    )
    with bar:
        while chunk := list(itertools.islice(positions, batch)):
            pictures[:] = image  # the last batch is filled up with it
            for picture, (_, row, column) in zip(pictures, chunk, strict=False):
                _cover(picture, row, column, rng.integers(0, 256, (patch, patch, 3), np.uint8))
            scores = _scores(model, pictures, at, class_index)[: len(chunk)]
            moves.append(np.abs(scores.astype(np.float64) - whole))
            bar.update(len(chunk))
    moves = np.concatenate(moves).reshape(draws, len(rows), len(columns)).mean(axis=0)
    return spread(moves, rows, columns, patch, (height, width)).astype(np.float32)


def predicted_class(model, image, at) -> int:
    """Index of the class that the model predicts at a point; arguments as of the fields."""
    return int(np.argmax(logits_at(model, image, at)))


def logits_at(model, image, at) -> np.ndarray:
    """Every class's score at a point, float32 `[C]`; arguments as of the fields."""
    _check(model, image, at, None)
    return model.predict_on_batch(pad_to_stride(image[None]))[0, at[0], at[1]]


def square_side(field: np.ndarray, at: tuple[int, int], share: float) -> int:
    """The smallest square around a point that holds a share of a map.

    The square may reach over the border, where there is nothing to hold: the side of a field that
    fills the picture depends on where the point lies.

    Args:
        field: `[H, W]`, at least 0.
        at: the centre, (y, x).
        share: of the sum of the map, above 0 and at most 1.

    Returns:
        Its side in pixels, an odd number.

    Raises:
        ValueError: the share cannot be meant, or the map is 0 everywhere.
    """
    if not 0 < share <= 1:
        raise ValueError(f"share must be above 0 and at most 1, got {share}")
    y, x = np.indices(field.shape)
    distance = np.maximum(abs(y - at[0]), abs(x - at[1]))
    held = np.cumsum(np.bincount(distance.ravel(), weights=field.ravel()))
    if not held[-1] > 0:
        raise ValueError("the map is 0 everywhere: no square holds a share of it")
    # A sum in another order may miss the share by its rounding.
    radius = int(np.argmax(held >= share * held[-1] * (1 - 1e-12)))
    return 2 * radius + 1


def recentred_mean(
    fields: Sequence[np.ndarray], points: Sequence[tuple[int, int]]
) -> tuple[np.ndarray, tuple[int, int]]:
    """The mean of maps that are laid over each other by their points.

    A pixel is averaged over the maps that have it: pictures may differ in size, points in place.

    Args:
        fields: `[H, W]` each.
        points: (y, x) of each.

    Returns:
        The mean, float32, as large as all of them together, 0 where there is none; its point.
    """
    above, left = np.max(points, axis=0)
    sizes = [field.shape for field in fields]
    below, right = np.max(np.subtract(sizes, points), axis=0)
    total, count = np.zeros((2, above + below, left + right))
    for field, (y, x) in zip(fields, points, strict=True):
        window = np.s_[above - y :, left - x :]
        height, width = field.shape
        total[window][:height, :width] += field
        count[window][:height, :width] += 1
    return (total / np.maximum(count, 1)).astype(np.float32), (int(above), int(left))


def patch_and_stride(
    height: int, width: int, patch: int | None = None, stride: int | None = None
) -> tuple[int, int]:
    """Side and stride of the patch on a picture, where None stands for the default.

    Raises:
        UsageError: the patch is larger than the picture.
    """
    shorter = min(height, width)
    if patch is None:
        patch = max(1, 2 * round((shorter / 20 - 1) / 2) + 1)  # the nearest odd number
    if patch > shorter:
        raise UsageError(
            f"the patch must fit into the picture of {height}×{width} pixels, got {patch}"
        )
    return patch, max(1, patch // 3) if stride is None else stride


def patch_centres(length: int, point: int, patch: int, stride: int) -> np.ndarray:
    """Where patches are centred along one side: at the point, and every `stride` pixels from it.

    Args:
        length: of the side in pixels.
        point: coordinate of the point.
        patch, stride: in pixels.

    Returns:
        Every such coordinate whose patch touches the picture, int `[N]`, ascending.
    """
    radius = patch // 2
    first = point - (point + radius) // stride * stride
    return np.arange(first, length + radius, stride)


def spread(
    moves: np.ndarray,
    rows: np.ndarray,
    columns: np.ndarray,
    patch: int,
    size: tuple[int, int],
) -> np.ndarray:
    """Puts what was measured at patches on the pixels: the mean over the patches that cover one.

    Args:
        moves: `[len(rows), len(columns)]`.
        rows, columns: where the patches are centred, at most `patch` pixels apart.
        patch: their side.
        size: height and width of the picture.

    Returns:
        float64 `[H, W]`.
    """
    covers = [
        (abs(np.arange(side)[:, None] - centres) <= patch // 2).astype(np.float64)
        for side, centres in zip(size, (rows, columns), strict=True)
    ]
    covers = [cover / cover.sum(axis=1, keepdims=True) for cover in covers]
    return covers[0] @ moves @ covers[1].T


def check_occlusion(
    patch: int | None, stride: int | None, draws: int, seed: int, batch: int | None
) -> None:
    """Refuses options of the valid receptive field that cannot be meant; None stands for default.

    Raises:
        UsageError: naming the option, the value and what it can be.
    """
    if patch is not None and (patch < 1 or patch % 2 == 0):
        raise UsageError(f"the patch must be odd, so that it has a centre, got {patch}")
    if stride is not None and stride < 1:
        raise UsageError(f"the stride of the patch must be at least 1, got {stride}")
    if patch is not None and stride is not None and stride > patch:
        raise UsageError(
            f"the stride must be at most the patch's side {patch}, so that every pixel is covered, "
            f"got {stride}"
        )
    if draws < 1:
        raise UsageError(f"the draws of noise must be at least 1, got {draws}")
    if seed < 0:
        raise UsageError(f"the seed must be at least 0, got {seed}")
    if batch is not None and batch < 1:
        raise UsageError(f"the batch must be at least 1 picture, got {batch}")


def check_point(at: tuple[int, int], size: tuple[int, int], name: str = "the picture") -> None:
    """Refuses a point outside of a picture.

    Raises:
        UsageError: naming the point and what it can be.
    """
    (y, x), (height, width) = at, size
    if not (0 <= y < height and 0 <= x < width):
        raise UsageError(
            f"the point {y},{x} lies outside of {name}: Y must be in 0…{height - 1} and X in "
            f"0…{width - 1}"
        )


def _check(model, image, at, class_index) -> tuple[int, int]:
    """Checks the arguments that both fields take, and gives the picture's height and width."""
    if image.ndim != 3 or image.shape[-1] != 3 or image.dtype != np.uint8 or 0 in image.shape:
        raise ValueError(
            f"image must be uint8 of shape [H, W, 3], received {image.dtype} of {image.shape}"
        )
    check_point(at, image.shape[:2])
    height, width = image.shape[:2]
    padded = pad_to_stride(image[None]).shape[1:3]
    taken = model.input.shape[1:3]
    if any(want not in (None, side) for want, side in zip(taken, padded, strict=True)):
        raise UserError(
            f"the model takes pictures of {taken[0]}×{taken[1]} pixels only, and this one has "
            f"{height}×{width}"
        )
    num_classes = model.output.shape[-1]
    if class_index is not None and not 0 <= class_index < num_classes:
        raise UsageError(f"the class must be in 0…{num_classes - 1}, got {class_index}")
    return height, width


def _cover(picture: np.ndarray, row: int, column: int, noise: np.ndarray) -> None:
    """Puts noise `[P, P, 3]` centred at a pixel into a picture; what reaches over it is cut off."""
    top, left = row - len(noise) // 2, column - len(noise) // 2
    height, width = picture.shape[:2]
    noise = noise[max(0, -top) : height - top, max(0, -left) : width - left]
    top, left = max(0, top), max(0, left)
    picture[top : top + noise.shape[0], left : left + noise.shape[1]] = noise


def _scores(model, pictures: np.ndarray, at, class_index: int) -> np.ndarray:
    """The score of each picture, float32 `[B]`."""
    return model.predict_on_batch(pad_to_stride(pictures))[:, at[0], at[1], class_index]


def measure(
    model,
    image: np.ndarray,
    at: tuple[int, int],
    class_index: int,
    path: Path,
    **options,
) -> dict[str, np.ndarray]:
    """Both fields of a picture, by their names in FIELDS.

    Args:
        model, image, at, class_index: as of `effective_receptive_field`.
        path: the picture's file, for messages.
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


def sides_of(fields: dict[str, np.ndarray], at: tuple[int, int]) -> dict[str, dict[str, int]]:
    """`{"effective": {"50": side, "95": side}, "valid": …}`, in pixels."""
    return {
        name: {f"{share:.0%}"[:-1]: square_side(field, at, share) for share in SHARES}
        for name, field in fields.items()
    }


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
    noise. Writes DIR/NAME_receptive_field.png for each picture, and for several of them their mean,
    laid over each other by the points: DIR/mean_receptive_field.png. Prints the side of the
    smallest square around the point that holds 50 and 95 % of each.

    Args:
        model: A .keras file.
        images: Pictures, or folders of pictures.
        at: Point in pixels from the top left; by default the picture's centre. Give it once for
            all pictures, or once for each; or several times for one picture.
        class_: Class whose logit is the score; by default the one that is predicted at the point.
            Names are looked up in labels.json beside the model.
        out: Folder to write to; made if absent.
        patch: Side of the patch in pixels, odd; by default a twentieth of the picture's shorter
            side.
        stride: Pixels from one position of the patch to the next; by default a third of the patch.
        draws: Draws of noise at each position.
        batch: Occluded pictures at a time; by default as many as have 2^20 pixels.
        seed: Of the noise.
        json_file: Write the figures here, too.
    """
    check_occlusion(patch, stride, draws, seed, batch)
    if not images:
        raise UsageError("name at least one picture or folder of pictures")
    if not model.is_file() or model.suffix != ".keras":
        raise UserError(f"there is no model at {model}: expected a .keras file, as `fit` writes")
    if json_file and not json_file.parent.is_dir():
        raise UserError(f"--json {json_file}: there is no folder {json_file.parent}")
    cases = _cases(find_images(images), [_parse_point(text) for text in at])
    sizes = []
    for path, image, point in cases:
        check_point(point, image.shape[:2], str(path))
        sizes.append(patch_and_stride(*image.shape[:2], patch, stride))
        check_occlusion(*sizes[-1], draws, seed, batch)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot make the folder {out}: {error.strerror}") from error

    prepare_tensorflow()
    network = load_model(model)
    num_classes = network.output.shape[-1]
    legend = legend_beside(model.with_name("labels.json"), model, num_classes)
    chosen = None if class_ is None else class_index(class_, legend, num_classes)
    class_names = (legend or Legend.unnamed(num_classes)).class_names

    from gcn_keras.receptive_field_figures import plot_receptive_fields

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
        results.append({"picture": str(path), "at": list(point), **score, **options, **rows[-1][1]})
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


def mean_fields(
    measured: Sequence[tuple[dict[str, np.ndarray], tuple[int, int]]],
) -> tuple[dict[str, np.ndarray], tuple[int, int]]:
    """`recentred_mean` of each kind of field, from the fields of each point and the point."""
    points = [point for _, point in measured]
    means = {
        name: recentred_mean([fields[name] for fields, _ in measured], points) for name in FIELDS
    }
    return {name: mean for name, (mean, _) in means.items()}, means[FIELDS[0]][1]


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
    """Each picture's path, its pixels and its point; one picture or one point goes with all.

    Raises:
        UsageError: there are several of both, and not equally many.
        UserError: a picture cannot be read.
    """
    if len(paths) > 1 and len(points) > 1 and len(paths) != len(points):
        raise UsageError(
            f"give --at once for all pictures or once for each: there are {len(paths)} pictures "
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
    """A name for each case's file: its picture's stem, numbered where that is taken."""
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

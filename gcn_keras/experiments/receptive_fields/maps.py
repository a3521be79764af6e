"""Which pixels drive a score: the effective and the valid receptive field (Figure 3 of the paper).

The score is the logit of one class at a point of the image, by default of the class that the
model predicts there. Two maps say which pixels drive it:

- the effective receptive field (Luo et al. 2016): |d score / d pixel|, summed over the channels;
- the valid receptive field (Zhou et al. 2014, and the paper): how much the score moves when a small
  patch of noise covers the pixel.

Their size is the side of the smallest square around the point that holds 50 or 95 % of the map.
Both average over images: the maps are laid over each other by their points. Nothing is cut off
below a threshold: where a model is blind the score does not move at all, and what it moves a little
over a wide area belongs to the field.
"""

import itertools
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from tqdm import tqdm

from gcn_keras.inference.padding import pad_to_stride
from pipelines.base.errors import UsageError, UserError

FIELDS = ("effective", "valid")
SHARES = (0.5, 0.95)
# Occluded images go through the model together: at most so many pixels, unless a batch is given.
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
        ValueError: `image` is no image.
        UserError: the point, the class or the image's size does not fit; Keras computes with
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

    A square patch of uniform noise, 0…255 in each pixel and channel, is slid over the image. Its
    positions are `stride` apart, count from the point, and reach as far over the border as the
    patch still touches the image, so that border and middle are covered equally often. The
    move of a position is the mean of |score - score of the whole image| over `draws` of noise;
    a pixel's is the mean over the positions whose patch covers it. So a model that sees one pixel
    has a field of 2 patch - 1 pixels: the method does not resolve less than a patch.

    Args:
        model, image, at, class_index: as of `effective_receptive_field`.
        patch: side of the patch in pixels, odd; None for a twentieth of the image's
            shorter side: Zhou et al. took 11 of 227 pixels.
        stride: pixels from one position to the next, at most `patch`; None for a third of it,
            rounded down: Zhou et al. took 3 for 11, which makes about 5,000 positions.
        draws: of noise, at each position.
        seed: of the noise, which does not depend on `batch`.
        batch: images at a time; None for as many as have BATCH_PIXELS.
        description: shows a progress bar with this text on standard error; None shows none.

    Returns:
        float32 `[H, W]`, at least 0, in logits.

    Raises:
        ValueError: `image` is no image.
        UserError: the point, the class or the image's size does not fit; an option that cannot
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
    images = np.repeat(image[None], batch, axis=0)
    whole = _scores(model, images, at, class_index)[0]
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
            images[:] = image  # the last batch is filled up with it
            for covered, (_, row, column) in zip(images, chunk, strict=False):
                _cover(covered, row, column, rng.integers(0, 256, (patch, patch, 3), np.uint8))
            scores = _scores(model, images, at, class_index)[: len(chunk)]
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
    fills the image depends on where the point lies.

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

    A pixel is averaged over the maps that have it: images may differ in size, points in place.

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
    """Side and stride of the patch on an image, where None stands for the default.

    Raises:
        UsageError: the patch is larger than the image.
    """
    shorter = min(height, width)
    if patch is None:
        patch = max(1, 2 * round((shorter / 20 - 1) / 2) + 1)  # the nearest odd number
    if patch > shorter:
        raise UsageError(
            f"the patch must fit into the image of {height}×{width} pixels, got {patch}"
        )
    return patch, max(1, patch // 3) if stride is None else stride


def patch_centres(length: int, point: int, patch: int, stride: int) -> np.ndarray:
    """Where patches are centred along one side: at the point, and every `stride` pixels from it.

    Args:
        length: of the side in pixels.
        point: coordinate of the point.
        patch, stride: in pixels.

    Returns:
        Every such coordinate whose patch touches the image, int `[N]`, ascending.
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
        size: height and width of the image.

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
        raise UsageError(f"the batch must be at least 1 image, got {batch}")


def check_point(at: tuple[int, int], size: tuple[int, int], name: str = "the image") -> None:
    """Refuses a point outside of an image.

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
    """Checks the arguments that both fields take, and gives the image's height and width."""
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
            f"the model takes images of {taken[0]}×{taken[1]} pixels only, and this one has "
            f"{height}×{width}"
        )
    num_classes = model.output.shape[-1]
    if class_index is not None and not 0 <= class_index < num_classes:
        raise UsageError(f"the class must be in 0…{num_classes - 1}, got {class_index}")
    return height, width


def _cover(covered: np.ndarray, row: int, column: int, noise: np.ndarray) -> None:
    """Puts noise `[P, P, 3]` centred at a pixel into an image; what reaches over it is cut off."""
    top, left = row - len(noise) // 2, column - len(noise) // 2
    height, width = covered.shape[:2]
    noise = noise[max(0, -top) : height - top, max(0, -left) : width - left]
    top, left = max(0, top), max(0, left)
    covered[top : top + noise.shape[0], left : left + noise.shape[1]] = noise


def _scores(model, images: np.ndarray, at, class_index: int) -> np.ndarray:
    """The score of each image, float32 `[B]`."""
    return model.predict_on_batch(pad_to_stride(images))[:, at[0], at[1], class_index]


def measure(
    model,
    image: np.ndarray,
    at: tuple[int, int],
    class_index: int,
    path: Path,
    **options,
) -> dict[str, np.ndarray]:
    """Both fields of an image, by their names in FIELDS.

    Args:
        model, image, at, class_index: as of `effective_receptive_field`.
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


def sides_of(fields: dict[str, np.ndarray], at: tuple[int, int]) -> dict[str, dict[str, int]]:
    """`{"effective": {"50": side, "95": side}, "valid": …}`, in pixels."""
    return {
        name: {f"{share:.0%}"[:-1]: square_side(field, at, share) for share in SHARES}
        for name, field in fields.items()
    }


def mean_fields(
    measured: Sequence[tuple[dict[str, np.ndarray], tuple[int, int]]],
) -> tuple[dict[str, np.ndarray], tuple[int, int]]:
    """`recentred_mean` of each kind of field, from the fields of each point and the point."""
    points = [point for _, point in measured]
    means = {
        name: recentred_mean([fields[name] for fields, _ in measured], points) for name in FIELDS
    }
    return {name: mean for name, (mean, _) in means.items()}, means[FIELDS[0]][1]

"""A model's graph as it was trained and as it is deployed: the same scores, sizes and times."""

from __future__ import annotations

import time

import numpy as np

from gcn_keras.deployment.deployable import Deployable
from gcn_keras.inference.failures import check_scores, naming_failed_model
from gcn_keras.inference.padding import padded_size
from pipelines.base.errors import UserError

_COMPARED_SECONDS = 3
_TOLERANCE = 0.01  # of the largest score: rounding in a hundred layers is far below it


def compare(deployable: Deployable, size: tuple[int, int]) -> dict:
    """What folding gave, and convolving line by line.

    Args:
        deployable: a model from a file.
        size: of the image whose time is taken.

    Raises:
        UserError: the model fails on the image, gives no scores of its size, or the deployed graph
            gives others.

    Returns:
        `training` and `deployed`, each with `layers`, `operations` of the graph, `parameters`,
        `mib` (of the file; of the graph with its weights) and `ms`, the median time of an image;
        `height` and `width` of that image; `speed_ratio`.
    """
    import tensorflow as tf

    from gcn_keras.deployment.graphs import logits_graph, noise

    height, width = size
    pixels = tf.constant(noise(height, width))
    with naming_failed_model(deployable.file, height, width):
        _check_scores(deployable, height, width)
        functions = logits_graph(deployable.network), deployable.graph
        _check_same(deployable, *(function(pixels).numpy() for function in functions))
        times = _times(functions, pixels)
    models = deployable.network, deployable.folded
    weights = sum(v.dtype.size * v.shape.num_elements() for v in deployable.graph.variables)
    sizes = deployable.file.stat().st_size, weights + functions[1].graph.as_graph_def().ByteSize()
    training, deployed = (
        {
            "layers": len(model.layers),
            "operations": len(function.graph.get_operations()),
            "parameters": model.count_params(),
            "mib": size / 2**20,
            "ms": ms,
        }
        for model, function, size, ms in zip(models, functions, sizes, times, strict=True)
    )
    ratio = training["ms"] / deployed["ms"]
    sides = {"height": height, "width": width}
    return {"training": training, "deployed": deployed, **sides, "speed_ratio": ratio}


def _check_scores(deployable, height, width) -> None:
    """Refuses a model that has not a score for each pixel."""
    import keras

    sides = padded_size((height, width), deployable.network.input_shape[1:3])
    image = keras.KerasTensor((1, *sides, 3))
    given = deployable.network.compute_output_spec(image).shape[1:3]
    check_scores(deployable.file, given, sides)


def _check_same(deployable, expected: np.ndarray, found: np.ndarray) -> None:
    """Refuses a deployed graph whose scores are not the model's, where both are in float32."""
    from gcn_keras.deployment.batch_norm_folding import is_float32

    if not is_float32(deployable.network) or not is_float32(deployable.folded):
        return
    difference, scale = np.abs(found - expected).max(), np.abs(expected).max()
    if not difference <= _TOLERANCE * scale:
        raise UserError(
            f"{deployable.file} cannot be deployed: its graph without batch norms gives scores "
            f"that are up to {difference:.3g} off, where the model's go to {scale:.3g}; a layer of "
            "the model computes with something that is none of its weights"
        )


def _times(functions, images) -> list[float]:
    """Median milliseconds of each; they take turns, so that what disturbs one disturbs all."""
    times: list[list[float]] = [[] for _ in functions]
    for function in functions:
        function(images)  # the first call optimises the graph
    end = time.perf_counter() + _COMPARED_SECONDS
    while len(times[0]) < 5 or time.perf_counter() < end:
        for function, taken in zip(functions, times, strict=True):
            start = time.perf_counter()
            function(images)
            taken.append(1000 * (time.perf_counter() - start))
    return [float(np.median(taken)) for taken in times]


def graph_table(figures: dict) -> str:
    """The figures of `compare` as aligned text."""
    training, deployed = figures["training"], figures["deployed"]
    names = {"mib": "MiB", "ms": f"ms, {figures['height']}x{figures['width']}"}
    forms = {"mib": ".2f", "ms": ".1f"}
    lines = [f"{'':<16}{'training graph':>16}{'deployed graph':>16}"]
    for key, value in training.items():
        form = forms.get(key, ",d")
        lines.append(f"{names.get(key, key):<16}{value:>16{form}}{deployed[key]:>16{form}}")
    return "\n".join(lines) + f"   {figures['speed_ratio']:.2f} x as fast"

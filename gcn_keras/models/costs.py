"""Parameters and multiply-adds of a model: of each layer, and of each block of Figure 2.

A multiply-add is one product and the addition of it. Counted are those of convolutions and dense
layers, for one image; biases, batch norms, activations, poolings and sums are not.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import keras

from gcn_keras.models.layer_names import BACKBONE, FIGURE, GCN, Place, block_of


class Block(NamedTuple):
    """A block of Figure 2 and what it costs.

    Attributes:
        name: as it is shown: "res-4", "GCN P5, k = 15", "BR P5".
        in_backbone: whether it belongs to the backbone.
        output: shape of its output without the batch: `(H, W, C)`.
        parameters: weights and biases, with batch norm's moving statistics.
        multiply_adds: for one image.
    """

    name: str
    in_backbone: bool
    output: tuple[int, ...]
    parameters: int
    multiply_adds: int


def multiply_adds(layer: keras.Layer, input_shape: tuple, output_shape: tuple) -> int:
    """Multiply-adds of a layer for one image.

    Each output position of a convolution takes the whole kernel, also at the border, where a part
    of it lies on padding. For a transposed convolution each *input* position takes the whole
    kernel, also what of it is cut off at the border.

    Args:
        layer: a built Keras layer with maps `[B, H, W, C]`, or a dense one.
        input_shape, output_shape: of its input and output, `(B, H, W, C)`; B does not count.

    Returns:
        The number; 0 for a layer that is neither convolution nor dense.
    """
    if isinstance(layer, (keras.layers.Conv2D, keras.layers.DepthwiseConv2D)):
        # A group's kernel has the channels of the group only, so its size is right for groups, too.
        shape, kernels = output_shape, [layer.kernel]
    elif isinstance(layer, keras.layers.SeparableConv2D):
        shape, kernels = output_shape, [layer.depthwise_kernel, layer.pointwise_kernel]
    elif isinstance(layer, (keras.layers.Conv2DTranspose, keras.layers.Dense)):
        shape, kernels = input_shape, [layer.kernel]
    else:
        return 0
    return math.prod(shape[1:-1]) * sum(math.prod(kernel.shape) for kernel in kernels)


def blocks(model: keras.Model, height: int, width: int) -> list[Block]:
    """What each block of a model costs.

    A layer whose name is none of Figure 2, and that costs something, is a block of its own; so is
    a model that is a layer.

    Args:
        model: a functional model from images, of built-in layers.
        height, width: of the image.

    Returns:
        The blocks in the order of the figure: backbone, score maps of P2…P5, the way up; then
        other layers.

    Raises:
        ValueError: the model takes no images of this size, or a model within it has no known inputs
            and outputs.
    """
    members: dict[Place, list[tuple]] = {place: [] for place in FIGURE}
    with keras.StatelessScope(initialize_variables=False):
        calls = _calls(model, [(1, height, width, 3)])
    for layer, output, cost in calls:
        place = block_of(layer.name)
        if place or cost or layer.count_params():
            place = place._replace(part="") if place else Place(layer.name, "")
            members.setdefault(place, []).append((layer, output[1:], cost))
    return [_block(place, calls) for place, calls in members.items() if calls]


def _calls(model, shapes: list[tuple]) -> list[tuple[keras.Layer, tuple, int]]:
    """Each call of a layer: a copy of it, the shape that comes out, and multiply-adds.

    A layer may be called several times, and plain operations may stand between layers. A model that
    is a layer is one call, of all that is within it. The copies have no values, and nothing is
    computed.
    """
    calls = []

    def call(layer, *args, **kwargs):
        outputs = layer(*args, **kwargs)
        if isinstance(layer, keras.Layer):
            given, output = _shapes((args, kwargs)), _shapes(outputs)[0]
            if isinstance(layer, keras.Model):
                if not getattr(layer, "inputs", None):
                    raise ValueError(f"{layer.name} is a model without known inputs and outputs")
                cost = sum(cost for *_, cost in _calls(layer, given))
            else:
                cost = multiply_adds(layer, given[0], output)
            calls.append((layer, output, cost))
        return outputs

    graph = keras.Model(model.inputs, model.outputs)  # of a keras.Sequential, too
    inputs = [keras.Input(batch_shape=shape) for shape in shapes]
    keras.models.clone_model(graph, input_tensors=inputs, call_function=call)
    return calls


def _shapes(tensors) -> list[tuple]:
    return [tuple(x.shape) for x in keras.tree.flatten(tensors) if hasattr(x, "shape")]


def _block(place: Place, calls: list[tuple]) -> Block:
    layers, outputs, costs = zip(*calls, strict=True)
    if place.block == GCN:
        name = _score_map_name(place.level, layers)
    else:
        name = place.level if place.block in (BACKBONE, "") else f"{place.block} {place.level}"
    parameters = sum(layer.count_params() for layer in set(layers))
    return Block(name, place.block == BACKBONE, outputs[-1], parameters, sum(costs))


def _score_map_name(level: str, layers: tuple) -> str:
    """What makes the score map: "GCN P5, k = 15", "7×7 P5", "7 × 3×3 P5"."""
    convolutions = [layer for layer in layers if isinstance(layer, keras.layers.Conv2D)]
    kernels = [layer.kernel_size for layer in convolutions]
    k = max(kernels[0])
    if any(layer.name.endswith("_left_1") for layer in convolutions):
        return f"GCN {level}, k = {k}"
    stack = f"{len(kernels)} × " if len(kernels) > 1 else ""
    return f"{stack}{k}×{k} {level}"


def table(blocks: Sequence[Block]) -> str:
    """The blocks as aligned text, with sums of backbone, head and both."""
    rows = [("block", "output", "parameters", "multiply-adds")]
    rows += [_row(block.name, "×".join(map(str, block.output)), [block]) for block in blocks]
    backbone = [block for block in blocks if block.in_backbone]
    head = [block for block in blocks if not block.in_backbone]
    if backbone and head:
        rows += [_row("backbone", "", backbone), _row("head", "", head)]
    rows.append(_row("total", "", blocks))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join([name.ljust(widths[0]), *map(str.rjust, cells, widths[1:])])
        for name, *cells in rows
    )


def _row(name, output, blocks) -> tuple[str, str, str, str]:
    parameters = sum(block.parameters for block in blocks)
    millions = sum(block.multiply_adds for block in blocks) / 1e6
    return name, output, f"{parameters:,}", f"{millions:,.1f} M"


def p5_weights(model: keras.Model) -> int:
    """Weights of the block that makes P5's score map, without biases, as Tables 2 and 4 count."""
    places = ((layer, block_of(layer.name)) for layer in model.layers)
    block = (layer for layer, place in places if place and place[:2] == ("P5", GCN))
    return sum(math.prod(w.shape) for layer in block for w in layer.weights if len(w.shape) == 4)

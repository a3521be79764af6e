"""Parameters and multiply-adds of a model: of each layer, and of each block of Figure 2.

A multiply-add is one product and the addition of it. Counted are those of convolutions and dense
layers, for one image; biases, batch norms, activations, poolings and sums are not.
"""

from collections.abc import Sequence
from typing import NamedTuple

import keras
import numpy as np

from gcn_keras.models.layer_names import BACKBONE, FIGURE, GCN, Place, block_of


class Block(NamedTuple):
    """A block of Figure 2 and what it costs.

    Attributes:
        name: as it is shown: "res-4", "GCN P5, k = 15", "BR P5".
        in_backbone: whether it belongs to the backbone, and not to what stands on it.
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
        input_shape: of its input, `(B, H, W, C)`; B does not count.
        output_shape: of its output.

    Returns:
        The number; 0 for a layer that is neither convolution nor dense.
    """
    if isinstance(layer, (keras.layers.Conv2D, keras.layers.DepthwiseConv2D)):
        # A group's kernel has the channels of the group only, so its size is right for groups, too.
        return _positions(output_shape) * _size(layer.kernel)
    if isinstance(layer, keras.layers.SeparableConv2D):
        kernels = _size(layer.depthwise_kernel) + _size(layer.pointwise_kernel)
        return _positions(output_shape) * kernels
    if isinstance(layer, (keras.layers.Conv2DTranspose, keras.layers.Dense)):
        return _positions(input_shape) * _size(layer.kernel)
    return 0


def _positions(shape) -> int:
    return int(np.prod(shape[1:-1], dtype=np.int64))


def _size(weight) -> int:
    return int(np.prod(weight.shape, dtype=np.int64))


def blocks(model: keras.Model, height: int, width: int) -> list[Block]:
    """What each block of a model costs.

    Layers are told apart by their names, which say where in Figure 2 they stand. A layer of
    another name that costs something is a block of its own.

    Args:
        model: a functional model from images, of built-in layers.
        height, width: of the image.

    Returns:
        The blocks in the order of the figure: backbone, score maps of P2…P5, the way up; then
        other layers.

    Raises:
        ValueError: the model takes no images of this size, or holds other models.
    """
    nested = [layer.name for layer in model.layers if isinstance(layer, keras.Model)]
    if nested:
        raise ValueError(f"it is made of whole models ({', '.join(nested)}), not of layers")
    shapes = _shapes(model, height, width)
    members: dict[Place, list[tuple]] = {place: [] for place in FIGURE}
    for layer in model.layers:
        if isinstance(layer, keras.layers.InputLayer):
            continue
        source, output = _first(layer.input), _first(layer.output)
        cost = multiply_adds(layer, shapes[id(source)], shapes[id(output)])
        place = block_of(layer.name)
        if place or cost or layer.count_params():
            place = place._replace(part="") if place else Place(layer.name, "")
            members.setdefault(place, []).append((layer, shapes[id(output)][1:], cost))
    return [_block(place, layers) for place, layers in members.items() if layers]


def _shapes(model, height, width) -> dict[int, tuple]:
    """The shape of every tensor of a model, by its id."""
    tensors = [_first(layer.output) for layer in model.layers]
    image = keras.KerasTensor((1, height, width, 3))
    # No layer computes anything for this.
    outputs = keras.Model(model.input, tensors).compute_output_spec(image)
    return {id(x): tuple(y.shape) for x, y in zip(tensors, outputs, strict=True)}


def _first(tensors):
    return tensors[0] if isinstance(tensors, (list, tuple)) else tensors


def _block(place: Place, members: list[tuple]) -> Block:
    layers, outputs, costs = zip(*members, strict=True)
    if place.block == GCN:
        name = _score_map_name(place.level, layers)
    else:
        name = place.level if place.block in (BACKBONE, "") else f"{place.block} {place.level}"
    parameters = sum(layer.count_params() for layer in layers)
    return Block(name, place.block == BACKBONE, outputs[-1], parameters, sum(costs))


def _score_map_name(level: str, layers: tuple) -> str:
    """What makes the score map: "GCN P5, k = 15", or which of its rivals."""
    kernels = [layer.kernel_size for layer in layers if isinstance(layer, keras.layers.Conv2D)]
    k = max(kernels[0])
    if min(kernels[0]) < k:
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
    return sum(_size(w) for layer in block for w in layer.weights if len(w.shape) == 4)

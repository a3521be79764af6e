"""Any functional Keras model that gives four maps, as a backbone."""

import math
from pathlib import Path

import keras

from gcn_keras.models.backbones import Pyramid, check_image
from gcn_keras.models.weights import every_layer, set_weights

_SIDE = 256  # of an image on which strides are measured


def on_image(
    network: keras.Model, image: keras.KerasTensor, weights: str | Path | None = None
) -> tuple[Pyramid, int]:
    """Copies a model, layer by layer and with its weights, onto an image.

    Args:
        network: a functional model that takes RGB images, 0…255, and gives P2, P3, P4 and P5, by
            these names or in this order. What it needs of preprocessing it does itself.
        image: `[B, H, W, 3]`, an input.
        weights: None; the model has its own.

    Returns:
        The maps, and pixels of the image to a pixel of P2. Layers are named by the first map that
        they lead to: "p3_…".

    Raises:
        ValueError: the model takes or gives something else, or `weights` are given; as of
            `backbones.check_image`.
    """
    if weights is not None:
        raise ValueError(f"a model as backbone has its weights, received weights={weights!r}")
    own_image, maps = _input(network), _maps(network)
    level_of: dict[str, str] = {}
    for level, output in maps.items():
        for layer in keras.Model(own_image, output).layers:
            level_of.setdefault(layer.name, level)

    def renamed(layer):
        for inner in every_layer(layer):
            if isinstance(inner, keras.layers.Lambda):
                raise ValueError(
                    f"backbone {network.name!r} has a Lambda layer, {inner.name!r}, and no file of "
                    "the model could be loaded in Keras' safe mode: build it of plain layers"
                )
        config = layer.get_config()
        if isinstance(layer, keras.Layer):  # and no operation between layers, such as a sum
            config["name"] = f"{level_of[layer.name].lower()}_{layer.name}"
        return type(layer).from_config(config)

    source = keras.Model(own_image, list(maps.values()), name=network.name)
    p2_stride = _p2_stride(source)
    check_image(image, 8 * p2_stride)
    copy = keras.models.clone_model(source, input_tensors=image, clone_function=renamed)
    set_weights(copy, source.get_weights())
    return dict(zip(maps, copy.outputs, strict=True)), p2_stride


def _p2_stride(source: keras.Model) -> int:
    _, height, width, _ = source.input_shape
    size = height or _SIDE, width or _SIDE
    shapes = source.compute_output_shape((1, *size, 3))
    strides = [
        tuple(side / own if own else math.nan for side, own in zip(size, shape[1:-1], strict=False))
        for shape in shapes
    ]
    p2_stride = strides[0][0]
    if p2_stride not in (1, 2, 4) or any(
        stride != (p2_stride * 2**i,) * 2 for i, stride in enumerate(strides)
    ):
        raise ValueError(
            "a backbone's maps have strides of 4, 8, 16 and 32, or of 2 or 1 and its doubles; "
            f"those of {source.name!r} have {', '.join(map(_shown, strides))}"
        )
    return int(p2_stride)


def _shown(stride: tuple[float, ...]) -> str:
    """Of height and width, where they differ."""
    return "x".join(f"{side:g}" for side in dict.fromkeys(stride)) or "none"


def _input(network: keras.Model) -> keras.KerasTensor:
    # A Sequential has no `input` and `output`; those of other classes know none at all.
    if isinstance(network, keras.Sequential) or not getattr(network, "inputs", None):
        raise ValueError(
            f"a model as backbone is a functional one, received {network.name!r}, a "
            f"{type(network).__name__}"
        )
    shapes = [tuple(tensor.shape) for tensor in network.inputs]
    if len(shapes) != 1 or len(shapes[0]) != 4 or shapes[0][-1] != 3:
        raise ValueError(
            f"a model as backbone takes one RGB image, (None, H, W, 3); {network.name!r} takes "
            f"{', '.join(map(str, shapes))}"
        )
    return network.inputs[0]


def _maps(network: keras.Model) -> Pyramid:
    levels = ("P2", "P3", "P4", "P5")
    outputs = network.output
    if isinstance(outputs, dict) and outputs.keys() == set(levels):
        return {level: outputs[level] for level in levels}
    if not isinstance(outputs, list | tuple) or len(outputs) != len(levels):
        names = ", ".join(outputs) if isinstance(outputs, dict) else ""
        what = f"the maps {names}" if names else f"{len(keras.tree.flatten(outputs))} outputs"
        raise ValueError(
            f"a model as backbone gives the maps P2, P3, P4 and P5, by these names or in this "
            f"order; {network.name!r} has {what}"
        )
    return dict(zip(levels, outputs, strict=True))

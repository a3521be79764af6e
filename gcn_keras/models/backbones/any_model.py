"""Any functional Keras model that gives four maps, as a backbone."""

import keras

from gcn_keras.models.backbones import Pyramid
from gcn_keras.models.weights import set_weights

_SIDE = 256  # of an image on which strides are measured


def on_image(
    network: keras.Model, image: keras.KerasTensor, weights: str | None = None
) -> tuple[Pyramid, int]:
    """Copies a model, layer by layer and with its weights, onto an image.

    Args:
        network: takes RGB images, 0…255, and gives P2, P3, P4 and P5, by these names or in this
            order. What it needs of preprocessing it does itself.
        image: `[B, H, W, 3]`, an input.
        weights: None; the model has its own.

    Returns:
        The maps, and pixels of the image to a pixel of P2. Layers are named by the first map that
        they lead to: "p3_…".

    Raises:
        ValueError: the model gives something else, or `weights` are given.
    """
    if weights is not None:
        raise ValueError(f"a model as backbone has its weights, received weights={weights!r}")
    maps = _maps(network)
    level_of: dict[str, str] = {}
    for level, output in maps.items():
        for layer in keras.Model(network.input, output).layers:
            level_of.setdefault(layer.name, level)

    def renamed(layer):
        config = layer.get_config()
        config["name"] = f"{level_of[layer.name].lower()}_{layer.name}"
        return type(layer).from_config(config)

    source = keras.Model(network.input, list(maps.values()), name=network.name)
    copy = keras.models.clone_model(source, input_tensors=image, clone_function=renamed)
    set_weights(copy, source.get_weights())
    return dict(zip(maps, copy.outputs, strict=True)), _p2_stride(source)


def _p2_stride(source: keras.Model) -> int:
    _, height, width, _ = source.input_shape
    size = height or _SIDE, width or _SIDE
    shapes = source.compute_output_shape((1, *size, 3))
    strides = [size[0] / shape[1] for shape in shapes]
    if strides[0] not in (1, 2, 4) or any(
        stride != strides[0] * 2**i for i, stride in enumerate(strides)
    ):
        raise ValueError(
            "a backbone's maps have strides of 4, 8, 16 and 32, or of 2 or 1 and its doubles; "
            f"those of {source.name!r} have "
            f"{', '.join(f'{stride:g}' for stride in strides)}"
        )
    return int(strides[0])


def _maps(network: keras.Model) -> Pyramid:
    levels = ("P2", "P3", "P4", "P5")
    outputs = network.output
    if isinstance(outputs, dict) and outputs.keys() == set(levels):
        return {level: outputs[level] for level in levels}
    if not isinstance(outputs, list | tuple) or len(outputs) != len(levels):
        what = f"{len(keras.tree.flatten(outputs))} outputs"
        raise ValueError(
            f"a model as backbone gives the maps P2, P3, P4 and P5, by these names or in this "
            f"order; {network.name!r} has {what}"
        )
    return dict(zip(levels, outputs, strict=True))

"""Folds batch norms into convolutions: what a model does not need once it has been trained."""

import keras
import numpy as np

from gcn_keras.models.weights import every_layer, set_weights


def fold_batch_norm(model: keras.Model, dtype: str = "float32") -> keras.Model:
    """Copies a model for deployment: batch norms folded, everything in one number type.

    A batch norm that follows a convolution, plain or depthwise, and is all that reads it, is taken
    into the convolution's kernel and bias; the outputs are those of the model at inference, up to
    rounding. Other batch norms stay. Functional models that are layers of this one are copied
    likewise.

    Args:
        model: a functional model. It is left as it is, and shares nothing with the copy.
        dtype: of the copy's weights and of what it computes.

    Returns:
        A functional model, not compiled, in which the layers that are left keep their names.
    """
    # Without what `compile` added; of a Sequential, a functional one.
    model = keras.Model(_structure(model, "input"), _structure(model, "output"), name=model.name)
    pairs = _foldable(model)
    convolutions = set(pairs.values())

    def copy(layer):
        if _is_functional(layer):
            return fold_batch_norm(layer, dtype)
        config = layer.get_config()
        if "dtype" in config:  # models that are layers have none
            config["dtype"] = dtype  # trained in mixed precision or not
        if layer.name in convolutions:
            config["use_bias"] = True
        return type(layer).from_config(config)

    def call(layer, *args, **kwargs):
        if layer.name in pairs:
            return keras.tree.flatten((args, kwargs))[0]
        return layer(*args, **kwargs)

    folded = keras.models.clone_model(model, clone_function=copy, call_function=call)
    own = [layer for layer in model.layers if layer.weights and not _is_functional(layer)]
    values = {layer.name: layer.get_weights() for layer in own}
    for batch_norm, convolution in pairs.items():
        values[convolution] = _fold(model.get_layer(convolution), model.get_layer(batch_norm))
    for layer in folded.layers:
        if layer.name in values:
            set_weights(layer, values[layer.name])
    return folded


def is_float32(model: keras.Model) -> bool:
    """Whether all layers compute in float32, those of models within the model, too."""
    layers = (layer for layer in every_layer(model) if not isinstance(layer, keras.Model))
    return all(layer.compute_dtype == "float32" for layer in layers)


def _is_functional(layer: keras.Layer) -> bool:
    return isinstance(layer, keras.Model) and bool(getattr(layer, "inputs", None))


def _structure(model: keras.Model, side: str):
    if isinstance(model, keras.Sequential):  # whose `input` would be that of its last call
        return getattr(model, f"{side}s")[0]
    return getattr(model, side)


def _foldable(model) -> dict[str, str]:
    """The names of the batch norms to fold, and of each the convolution that takes it in."""
    # A layer may have been called elsewhere, too (keras-cv's have been). The configuration knows
    # the calls of this model alone.
    config = model.get_config()
    calls = {layer["name"]: layer["inbound_nodes"] for layer in config["layers"]}
    read = keras.tree.flatten(config["output_layers"])  # names of layers, and numbers
    for nodes in calls.values():
        read += _sources(nodes)

    layers = {layer.name: layer for layer in model.layers}  # without operations such as x + 1
    pairs = {}
    for layer in model.layers:
        sources = _sources(calls[layer.name])
        if type(layer) is not keras.layers.BatchNormalization or len(sources) != 1:
            continue
        if sources[0] not in layers:
            continue
        source = layers[sources[0]]
        if (
            type(source) in (keras.layers.Conv2D, keras.layers.DepthwiseConv2D)
            and source.activation is keras.activations.linear
            and len(calls[source.name]) == 1
            and read.count(source.name) == 1
            and layer.axis % 4 == (3 if source.data_format == "channels_last" else 1)
            # Called so, it takes the statistics of the batch at inference, too.
            and not any(call["kwargs"].get("training") for call in calls[layer.name])
        ):
            pairs[layer.name] = source.name
    return pairs


def _sources(value) -> list[str]:
    """The layers whose outputs occur in a part of a model's configuration."""
    if isinstance(value, dict):
        if value.get("class_name") == "__keras_tensor__":
            return [value["config"]["keras_history"][0]]
        value = list(value.values())
    if isinstance(value, (list, tuple)):
        return [name for part in value for name in _sources(part)]
    return []


def _fold(convolution, batch_norm) -> list[np.ndarray]:
    """Kernel and bias that do what the convolution and then the batch norm do."""

    def numbers(variable, default):
        if variable is None:
            return default
        return keras.ops.convert_to_numpy(variable).astype(np.float64)

    scale = numbers(batch_norm.gamma, 1.0) / np.sqrt(
        numbers(batch_norm.moving_variance, None) + batch_norm.epsilon
    )
    shift = numbers(batch_norm.beta, 0.0)
    bias = numbers(convolution.bias, 0.0) - numbers(batch_norm.moving_mean, None)
    kernel = numbers(convolution.kernel, None)
    # The last axis of a kernel is that of the output channels, and the last two of a depthwise one:
    # each input channel has as many of its own.
    of_outputs = kernel.shape[2:] if isinstance(convolution, keras.layers.DepthwiseConv2D) else -1
    return [kernel * np.reshape(scale, of_outputs), bias * scale + shift]

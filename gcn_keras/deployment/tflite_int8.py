"""Full integer TFLite models, with chosen layers left in float."""

from __future__ import annotations

import copy
import fnmatch
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from gcn_keras.deployment.tflite_converter import PIXELS, converting, make_converter
from gcn_keras.deployment.tflite_file import operations, packed, read, with_signature
from pipelines.base.errors import UserError

if TYPE_CHECKING:
    import keras


@dataclass(frozen=True)
class Calibrated:
    """A float model with the range of each activation, from which int8 models are made at will.

    Attributes:
        content: a TFLite file that the quantizer understands.
        nodes: of each layer the names of the tensors that it writes. Layers that are fused share
            theirs; one that computes nothing has none.
    """

    content: bytes
    nodes: dict[str, tuple[str, ...]]

    def quantize(self, float_layers: Iterable[str] = ()) -> bytes:
        """The content of an int8 TFLite file.

        Args:
            float_layers: names of layers to leave in float, or patterns such as "br_up2_*".

        Raises:
            UserError: no such layer; the converter fails, or leaves something else in float.
        """
        import tensorflow as tf

        # The function behind tf.lite.experimental.QuantizationDebugger, which has no way to ask
        # for a uint8 input.
        from tensorflow.lite.python.convert import mlir_quantize

        nodes: set[str] = set()
        for pattern in float_layers:
            names = fnmatch.filter(self.nodes, pattern)
            if not names:
                raise UserError(
                    f"no layer of the model is called {pattern!r}: there are, among others, "
                    f"{', '.join(list(self.nodes)[-5:])}"
                )
            nodes.update(*(self.nodes[name] for name in names))
        with converting("tflite-int8"):
            content = mlir_quantize(
                self.content,
                input_data_type=tf.uint8,
                output_data_type=tf.float32,  # the labels are integers already
                denylisted_nodes=sorted(nodes),
            )
        _check_integer(content, some_in_float=bool(nodes))
        return with_signature(_with_float_weights(content, self.content) if nodes else content)


def calibrate(
    model: keras.Model, size: tuple[int, int], representative: Iterable[np.ndarray] | None
) -> Calibrated:
    """Measures the range of each activation; arguments and errors as in `tflite.convert`."""
    import tensorflow as tf

    images = _check_images(representative, size)
    converter = make_converter(model, size, tf.float32, integers=True)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.representative_dataset = lambda: ([p.astype(np.float32)] for p in images)
    # Stops before quantization, as QuantizationDebugger does: calibrating takes longest, and
    # `quantize` may be called with many choices of layers.
    converter._experimental_calibrate_only = True
    with converting("tflite-int8"):
        content = converter.convert()
    content = _prepared(content)
    return Calibrated(content, _nodes_of_layers(content, [layer.name for layer in model.layers]))


def _check_images(representative, size) -> list[np.ndarray]:
    images = [np.asarray(image) for image in representative or ()]
    if not images:
        raise ValueError("int8 needs representative images of the training set, received none")
    for image in images:
        if image.dtype != np.uint8 or image.shape != (1, *size, 3):
            raise ValueError(
                f"representative images must be uint8 {[1, *size, 3]}, "
                f"received {image.dtype} {list(image.shape)}"
            )
    return images


def _prepared(content: bytes) -> bytes:
    """What the quantizer needs to know.

    Pixels reach 0…255, so that their scale is 1 and uint8 pixels are taken as they are. And a
    transposed convolution, which the quantizer knows by the names of its output and its weights
    together, can be left in float only if the two are one.
    """
    model = read(content)
    graph = model.subgraphs[0]
    for index, tensor in enumerate(graph.tensors):
        is_pixels = index in graph.inputs or PIXELS in tensor.name.decode().split("/")
        if is_pixels and tensor.quantization is not None:
            tensor.quantization.min, tensor.quantization.max = [0.0], [255.0]
    for operator, inputs, outputs in _transposed_convolutions(model):
        weights = copy.copy(inputs[1])  # layers may share equal ones
        weights.name = outputs[0].name
        _set_weights(operator, weights, graph)
    return packed(model)


def _with_float_weights(content: bytes, calibrated: bytes) -> bytes:
    """Gives transposed convolutions in float their own weights: the quantizer rounds them still."""
    model, original = read(content), read(calibrated)
    sources = {
        outputs[0].name: inputs[1] for _, inputs, outputs in _transposed_convolutions(original)
    }
    for operator, inputs, outputs in _transposed_convolutions(model):
        if outputs[0].type != inputs[1].type:
            # The quantizer numbers names that occur twice.
            name = max((n for n in sources if outputs[0].name.startswith(n)), key=len)
            weights = copy.copy(sources[name])
            model.buffers.append(original.buffers[weights.buffer])
            weights.buffer = len(model.buffers) - 1
            _set_weights(operator, weights, model.subgraphs[0])
    return packed(model)


def _transposed_convolutions(model) -> list[tuple]:
    """Operator, input tensors and output tensors of each of them."""
    pairs = zip(model.subgraphs[0].operators, operations(model), strict=True)
    return [(operator, *tensors) for operator, (n, *tensors) in pairs if n == "TRANSPOSE_CONV"]


def _set_weights(operator, weights, graph) -> None:
    """Makes a new tensor the weights of a transposed convolution."""
    shape, _, *others = operator.inputs
    operator.inputs = [shape, len(graph.tensors), *others]
    graph.tensors.append(weights)


def _nodes_of_layers(content: bytes, layers: list[str]) -> dict[str, tuple[str, ...]]:
    """Which tensors each layer writes, by the scopes in their names.

    An operation outside all layers, such as the argmax, goes with the layer that feeds it: it can
    stay in float only where that one does.
    """
    nodes: dict[str, dict[str, None]] = {layer: {} for layer in layers}
    writers: dict[bytes, list[str]] = {}
    for _, inputs, outputs in operations(read(content)):
        fed_by = [layer for tensor in inputs for layer in writers.get(tensor.name, ())]
        for tensor in outputs:
            writers[tensor.name] = _layers_in(tensor.name.decode(), nodes) or fed_by
            for layer in writers[tensor.name]:
                nodes[layer][tensor.name.decode()] = None
    return {layer: tuple(names) for layer, names in nodes.items()}


def _layers_in(name: str, layers) -> list[str]:
    """The layers in a tensor's name, such as "gcn/stem_relu_1/Relu;gcn/stem_conv_1/convolution".

    Keras numbers each scope once more; a name that is no layer's without its number is taken as
    it is.
    """
    found = []
    for part in name.split(";"):
        if re.search(r"/Squeeze\d*$", part):
            continue  # a bias; layers with equal ones share it, under the name of one of them
        for scope in part.split("/"):
            bare = re.sub(r"_\d+$", "", scope)
            found += [layer for layer in (bare, scope) if layer in layers][:1]
    return found


def _check_integer(content: bytes, some_in_float: bool) -> None:
    """Refuses a model that would scale its pixels, or that computes in float without being told."""
    from ai_edge_litert.schema_py_generated import TensorType

    model = read(content)
    taken = model.subgraphs[0].tensors[model.subgraphs[0].inputs[0]]
    scale, zero = taken.quantization.scale[0], taken.quantization.zeroPoint[0]
    if (taken.type, scale, zero) != (TensorType.UINT8, 1, 0):
        raise UserError(
            f"tflite-int8 cannot be made: its input has scale {scale} and zero point {zero}, so "
            "pixels would not be taken as they are"
        )
    floats = (TensorType.FLOAT32, TensorType.FLOAT16)
    for name, _, outputs in operations(model):
        if outputs[0].type in floats and not some_in_float:
            raise UserError(
                f"tflite-int8 cannot be made: the converter leaves {name} in float "
                f"({outputs[0].name.decode()})"
            )

"""Converts a model to TFLite: fp32, fp16, or full integer with chosen layers left in float."""

from __future__ import annotations

import contextlib
import copy
import fnmatch
import re
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from gcn_keras.inference.legend import FILE, Legend
from gcn_keras.inference.padding import STRIDE
from gcn_keras.inference.tflite_model import quiet_stderr
from pipelines.base import extras
from pipelines.base.errors import UserError

if TYPE_CHECKING:
    import keras

KINDS = ("tflite", "tflite-fp16", "tflite-int8")
# The name scope of what happens to the pixels before the model sees them.
_PIXELS = "pixels"


def convert(
    model: keras.Model,
    kind: str,
    size: tuple[int, int],
    representative: Iterable[np.ndarray] | None = None,
) -> bytes:
    """Converts a Keras model into the content of a TFLite file.

    The file takes one image, uint8 `[1, H, W, 3]` RGB, and gives its label map, uint8
    `[1, H, W]`; its signature "serving_default" calls them "image" and "labels". A size that is no
    multiple of the network's stride is padded with the rounded mean pixel and cropped inside, as
    `gcn_keras.segment` does.

    Args:
        model: Keras model from images to logits.
        kind: "tflite", float32; "tflite-fp16", weights in float16; "tflite-int8", everything in
            integers, weights with a scale for each channel.
        size: height and width of the images.
        representative: for int8: images of the training set, uint8 `[1, H, W, 3]`, from which
            the ranges of the activations are measured; a hundred are plenty.

    Raises:
        UserError: the model has another fixed size, the converter fails, or ai-edge-litert is not
            installed.
        ValueError: an unknown kind, or representative images of another shape or type.
    """
    if kind not in KINDS:
        raise ValueError(f"unknown kind {kind!r}: choose one of {', '.join(KINDS)}")
    if kind == "tflite-int8":
        return calibrate(model, size, representative).quantize()
    import tensorflow as tf

    converter = _converter(model, size, tf.uint8, integers=False)
    if kind == "tflite-fp16":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.target_spec.supported_types = [tf.float16]
    with _converting(kind):
        return _with_signature(converter.convert())


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
        with _converting("tflite-int8"):
            content = mlir_quantize(
                self.content,
                input_data_type=tf.uint8,
                output_data_type=tf.float32,  # the labels are integers already
                denylisted_nodes=sorted(nodes),
            )
        _check_integer(content, some_in_float=bool(nodes))
        return _with_signature(_with_float_weights(content, self.content) if nodes else content)


def calibrate(
    model: keras.Model, size: tuple[int, int], representative: Iterable[np.ndarray] | None
) -> Calibrated:
    """Measures the range of each activation; arguments and errors as of `convert`."""
    import tensorflow as tf

    images = _check_images(representative, size)
    converter = _converter(model, size, tf.float32, integers=True)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.representative_dataset = lambda: ([p.astype(np.float32)] for p in images)
    # Stops before quantization, as QuantizationDebugger does: calibrating takes longest, and
    # `quantize` may be called with many choices of layers.
    converter._experimental_calibrate_only = True
    with _converting("tflite-int8"):
        content = converter.convert()
    content = _prepared(content)
    return Calibrated(content, _nodes_of_layers(content, [layer.name for layer in model.layers]))


def with_legend(content: bytes, legend: Legend) -> bytes:
    """A TFLite file with the legend as JSON in its metadata, under `legend.FILE`."""
    from ai_edge_litert.schema_py_generated import BufferT, MetadataT

    model, buffer, entry = _read(content), BufferT(), MetadataT()
    buffer.data = np.frombuffer(legend.json.encode(), np.uint8)
    entry.name, entry.buffer = FILE, len(model.buffers)
    model.buffers.append(buffer)
    model.metadata = [*(model.metadata or ()), entry]
    return _packed(model)


def _with_signature(content: bytes) -> bytes:
    """A TFLite file with the signature "serving_default", from "image" to "labels"."""
    from ai_edge_litert.schema_py_generated import SignatureDefT, TensorMapT

    model, signature = _read(content), SignatureDefT()
    graph = model.subgraphs[0]

    def named(name: str, index: int) -> TensorMapT:
        tensor = TensorMapT()
        tensor.name, tensor.tensorIndex = name, index
        return tensor

    signature.signatureKey = "serving_default"
    signature.inputs = [named("image", graph.inputs[0])]
    signature.outputs = [named("labels", graph.outputs[0])]
    model.signatureDefs = [signature]
    return _packed(model)


def _converter(model, size, dtype, integers):
    """A converter for the function from an image of type `dtype` to its label map.

    `integers` tells whether it will be quantized.
    """
    import tensorflow as tf

    from gcn_keras.deployment.batch_norm_folding import fold_batch_norm
    from gcn_keras.deployment.graphs import pad_to_stride
    from gcn_keras.deployment.xnnpack import for_xnnpack

    extras.check("TFLite needs", "ai_edge_litert")
    _check_size(model, size)
    if any(layer.compute_dtype != "float32" for layer in model.layers):
        model = fold_batch_norm(model)  # a copy that computes in float32

    def segment(image):
        with tf.name_scope(_PIXELS):
            image = tf.cast(pad_to_stride(image, (1, *size)), tf.float32)
        logits = model(image, training=False)
        labels = tf.cast(tf.argmax(logits, axis=-1, output_type=tf.int32), tf.uint8)
        if any(side % STRIDE for side in size):
            labels = tf.slice(labels, (0, 0, 0), (1, *size))
        return {"labels": labels}

    taken = tf.TensorSpec((1, *size, 3), dtype, name="image")
    with for_xnnpack(model, integers):
        concrete = tf.function(segment, input_signature=[taken]).get_concrete_function()
    converter = tf.lite.TFLiteConverter.from_concrete_functions([concrete], model)
    # Through a SavedModel the weights would stay variables.
    converter.experimental_lower_to_saved_model = False
    return converter


def _check_size(model, size) -> None:
    height, width = size
    if min(size) < 1:
        raise UserError(f"the size must be at least 1x1, got {height}x{width}")
    taken = model.input.shape[1:3]
    if any(want not in (None, s + -s % STRIDE) for want, s in zip(taken, size, strict=True)):
        raise UserError(
            f"the model takes images of {taken[0]}x{taken[1]} only, so it cannot be converted "
            f"for {height}x{width}"
        )


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


@contextlib.contextmanager
def _converting(kind) -> Iterator[None]:
    """Silences the converter, and says in one sentence why it failed."""
    try:
        with quiet_stderr(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except Exception as error:  # ConverterError, RuntimeError, ValueError: they share no base
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise UserError(f"{kind} cannot be made: the converter says {lines[0]!r}") from error


def _prepared(content: bytes) -> bytes:
    """What the quantizer needs to know.

    Pixels reach 0…255, so that their scale is 1 and uint8 pixels are taken as they are. And a
    transposed convolution, which the quantizer knows by the names of its output and its weights
    together, can be left in float only if the two are one.
    """
    model = _read(content)
    graph = model.subgraphs[0]
    for index, tensor in enumerate(graph.tensors):
        is_pixels = index in graph.inputs or _PIXELS in tensor.name.decode().split("/")
        if is_pixels and tensor.quantization is not None:
            tensor.quantization.min, tensor.quantization.max = [0.0], [255.0]
    for operator, inputs, outputs in _transposed_convolutions(model):
        weights = copy.copy(inputs[1])  # layers may share equal ones
        weights.name = outputs[0].name
        _set_weights(operator, weights, graph)
    return _packed(model)


def _with_float_weights(content: bytes, calibrated: bytes) -> bytes:
    """Gives transposed convolutions in float their own weights: the quantizer rounds them still."""
    model, original = _read(content), _read(calibrated)
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
    return _packed(model)


def _transposed_convolutions(model) -> list[tuple]:
    """Operator, input tensors and output tensors of each of them."""
    pairs = zip(model.subgraphs[0].operators, _operations(model), strict=True)
    return [(operator, *tensors) for operator, (n, *tensors) in pairs if n == "TRANSPOSE_CONV"]


def _set_weights(operator, weights, graph) -> None:
    """Makes a new tensor the weights of a transposed convolution."""
    shape, _, *others = operator.inputs
    operator.inputs = [shape, len(graph.tensors), *others]
    graph.tensors.append(weights)


def _packed(model) -> bytes:
    """The content of a TFLite file from Python objects."""
    import flatbuffers

    builder = flatbuffers.Builder()
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def _nodes_of_layers(content: bytes, layers: list[str]) -> dict[str, tuple[str, ...]]:
    """Which tensors each layer writes, by the scopes in their names.

    An operation outside all layers, such as the argmax, goes with the layer that feeds it: it can
    stay in float only where that one does.
    """
    nodes: dict[str, dict[str, None]] = {layer: {} for layer in layers}
    writers: dict[bytes, list[str]] = {}
    for _, inputs, outputs in _operations(_read(content)):
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

    model = _read(content)
    taken = model.subgraphs[0].tensors[model.subgraphs[0].inputs[0]]
    scale, zero = taken.quantization.scale[0], taken.quantization.zeroPoint[0]
    if (taken.type, scale, zero) != (TensorType.UINT8, 1, 0):
        raise UserError(
            f"tflite-int8 cannot be made: its input has scale {scale} and zero point {zero}, so "
            "pixels would not be taken as they are"
        )
    floats = (TensorType.FLOAT32, TensorType.FLOAT16)
    for name, _, outputs in _operations(model):
        if outputs[0].type in floats and not some_in_float:
            raise UserError(
                f"tflite-int8 cannot be made: the converter leaves {name} in float "
                f"({outputs[0].name.decode()})"
            )


def _operations(model) -> Iterator[tuple[str, list, list]]:
    """Name, input tensors and output tensors of each operation of a parsed TFLite file."""
    from ai_edge_litert.schema_py_generated import BuiltinOperator

    names = {value: name for name, value in vars(BuiltinOperator).items() if name.isupper()}
    graph = model.subgraphs[0]
    for operator in graph.operators:
        code = model.operatorCodes[operator.opcodeIndex]
        # Files name the first 127 operations in the older field.
        name = names[max(code.builtinCode, code.deprecatedBuiltinCode)]
        inputs = [graph.tensors[index] for index in operator.inputs if index >= 0]
        yield name, inputs, [graph.tensors[index] for index in operator.outputs]


def _read(content: bytes):
    """A TFLite file as Python objects."""
    from ai_edge_litert.schema_py_generated import ModelT

    return ModelT.InitFromPackedBuf(content, 0)

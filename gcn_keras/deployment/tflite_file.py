"""The content of a TFLite file: read into Python objects, written from them, and what we add."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from gcn_keras.inference.legend import FILE, Legend

if TYPE_CHECKING:
    from ai_edge_litert.schema_py_generated import ModelT


def read(content: bytes) -> ModelT:
    """A TFLite file as Python objects."""
    from ai_edge_litert.schema_py_generated import ModelT

    return ModelT.InitFromPackedBuf(content, 0)


def packed(model: ModelT) -> bytes:
    """The content of a TFLite file from Python objects."""
    import flatbuffers

    builder = flatbuffers.Builder()
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def operations(model: ModelT) -> Iterator[tuple[str, list, list]]:
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


def with_legend(content: bytes, legend: Legend) -> bytes:
    """A TFLite file with the legend as JSON in its metadata, under `legend.FILE`."""
    from ai_edge_litert.schema_py_generated import BufferT, MetadataT

    model, buffer, entry = read(content), BufferT(), MetadataT()
    buffer.data = np.frombuffer(legend.json.encode(), np.uint8)
    entry.name, entry.buffer = FILE, len(model.buffers)
    model.buffers.append(buffer)
    model.metadata = [*(model.metadata or ()), entry]
    return packed(model)


def with_signature(content: bytes) -> bytes:
    """A TFLite file with the signature "serving_default", from "image" to "labels"."""
    from ai_edge_litert.schema_py_generated import SignatureDefT, TensorMapT

    model, signature = read(content), SignatureDefT()
    graph = model.subgraphs[0]

    def named(name: str, index: int) -> TensorMapT:
        tensor = TensorMapT()
        tensor.name, tensor.tensorIndex = name, index
        return tensor

    signature.signatureKey = "serving_default"
    signature.inputs = [named("image", graph.inputs[0])]
    signature.outputs = [named("labels", graph.outputs[0])]
    model.signatureDefs = [signature]
    return packed(model)

"""ONNX files, by tf2onnx (extras group `onnx`)."""

import logging
from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf

# Of tf.python, but the one way to do it: TensorFlow's own converters import it from there.
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from gcn_keras.deployment.deployable import Deployable
from gcn_keras.deployment.graphs import IMAGES, labels_of, logits_graph, noise
from gcn_keras.deployment.options import check_precision
from gcn_keras.inference.failures import limit_of
from gcn_keras.inference.legend import FILE
from gcn_keras.inference.onnx_model import LIMIT
from pipelines.base import extras
from pipelines.base.damage import reason_of
from pipelines.base.errors import UserError

OPSET = 17
_CHECKED_SIZE = (64, 96)
_TOLERANCE = 0.005  # of the labels: scores that nearly agree are few, a wrong row is more


def onnx_content(deployable: Deployable) -> bytes:
    """An ONNX file: `images`, uint8 `[B, H, W, 3]` of any size, or up to a model's fixed one, to
    `labels`, uint8 `[B, H, W]`; its metadata have the legend as JSON under labels.json, and that
    size under largest_image: ONNX has no assertion of it.

    ONNX Runtime labels an image with it, as the converter does not report everything that it
    cannot convert.

    Raises:
        ArgumentError: the model is to be in bfloat16.
        UserError: it cannot be converted, ONNX Runtime gives other labels than TensorFlow, or
            tf2onnx or ONNX Runtime is not installed.
    """
    check_precision(deployable.precision, ("onnx",))
    tf2onnx = extras.require("onnx needs", "tf2onnx")
    graph = logits_graph(deployable.folded)
    # tf2onnx makes inputs of what a graph has taken from outside and is no variable.
    frozen = convert_variables_to_constants_v2(graph)

    @tf.function(input_signature=[IMAGES])
    def labels(images):
        [logits] = frozen(images)
        return {"labels": labels_of(tf.ensure_shape(logits, graph.outputs[0].shape))}

    # It reports optimizations that it gives up with their tracebacks, and goes on without them.
    logger = logging.getLogger(tf2onnx.__name__)
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        model, _ = tf2onnx.convert.from_function(labels, [IMAGES], opset=OPSET)
    except Exception as error:  # tf2onnx's have no common base
        raise UserError(f"onnx cannot be made: tf2onnx says {reason_of(error)!r}") from error
    finally:
        logger.setLevel(level)
    # tf2onnx calls them unk__1362; equal names tell that labels are as large as their image.
    for value in (*model.graph.input, *model.graph.output):
        for size, name in zip(value.type.tensor_type.shape.dim, "BHW", strict=False):
            if not size.HasField("dim_value"):
                size.dim_param = name
    fixed = deployable.network.input_shape[1:3]
    model.metadata_props.add(key=FILE, value=deployable.legend.json)
    model.metadata_props.add(key=LIMIT, value=limit_of(fixed))
    content = model.SerializeToString()
    _check(content, graph, fixed)
    return content


def _check(content: bytes, graph: Callable, fixed: Sequence[int | None]) -> None:
    onnxruntime = extras.require("onnx needs", "onnxruntime")
    images = noise(*(own or side for own, side in zip(fixed, _CHECKED_SIZE, strict=True)))
    try:
        session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
        [found] = session.run(["labels"], {"images": images})
    except Exception as error:  # nor have ONNX Runtime's
        raise UserError(f"onnx cannot be made: ONNX Runtime says {reason_of(error)!r}") from error
    expected = labels_of(graph(tf.constant(images))).numpy()
    wrong = float(np.mean(found != expected))
    if wrong > _TOLERANCE:
        raise UserError(
            f"onnx cannot be made: ONNX Runtime labels {100 * wrong:.1f} % of an image otherwise "
            "than TensorFlow; a layer of the model is converted wrongly"
        )

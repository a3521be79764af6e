"""Writes a model as TF Serving takes it."""

import errno
import os
import shutil
import tempfile
import uuid
from pathlib import Path

import numpy as np
import tensorflow as tf

from gcn_keras.deployment.deployable import Deployable, tried_size
from gcn_keras.deployment.graphs import IMAGES, labels_of
from gcn_keras.deployment.options import MOST_PIXELS, check_most_pixels
from gcn_keras.inference.padding import STRIDE
from pipelines.base import extras
from pipelines.base.checked import checked
from pipelines.base.damage import reason_of
from pipelines.base.decoding import decode_image
from pipelines.base.errors import UserError
from pipelines.base.files import remove_leftovers, removing_empty, temporary_beside
from pipelines.base.imagenet import MEAN_RGB
from pipelines.base.progress import note

_PNG = b"\x89PNG\r\n\x1a\n"
_IMAGE = tf.TensorSpec(IMAGES.shape[1:], tf.uint8)


def export_saved_model(
    deployable: Deployable,
    directory: str | Path,
    size: tuple[int, int] | None = None,
    most_pixels: int = MOST_PIXELS,
) -> Path:
    """Writes the next version folder of a SavedModel: DIRECTORY/1, DIRECTORY/2, …

        export_saved_model(Deployable(model, legend), "saved_models/shapes")

    Padding to the network's stride and cropping back happen inside. Signatures, for B images of
    any height and width:

    - `serving_default`: `images`, uint8 `[B, H, W, 3]` RGB, to `labels`, uint8 `[B, H, W]`, and
      `scores`, float32 `[B, H, W]`, the softmax score of the label;
    - `logits`: `images` to `logits`, float32 `[B, H, W, C]`;
    - `legend`: `bytes`, string `[B]`, whatever they hold, to `legend_bytes`, string `[B]`: each
      the legend as JSON, so that a client of the server can ask for it;
    - `serve_bytes`: `bytes`, string `[B]`, JPEG or PNG files of one size or of several, to
      `labels_bytes`, string `[B]`: label maps at the images' own sizes, as 8-bit grayscale PNG
      of class indices. (TF Serving writes strings to JSON as base64 if the name ends in _bytes,
      and only then.) Pixels are taken as they are stored: a camera's orientation in EXIF is
      not applied and transparency not shown, unlike with `gcn_keras.load_image`. One damaged
      image fails the request, and so do too many pixels, before anything is decoded.

    assets/labels.json is the legend; assets.extra/tf_serving_warmup_requests are requests with
    which TF Serving warms up before it takes others.

    Args:
        deployable: the model.
        directory: the folder of versions; made if absent.
        size: height and width of the images to warm up with; None for 256, or the model's own.
        most_pixels: of a request to `serve_bytes`: of all its images together, each padded to
            multiples of `STRIDE`, as the network sees them.

    Returns:
        The new version folder. It appears when it is complete, and never in place of another.

    Raises:
        ArgumentError: the server could not be warmed up with so few pixels.
        UserError: it cannot be written.
    """
    size = size or tried_size(deployable.network)
    check_most_pixels(most_pixels, size)
    directory = Path(directory)
    # TF Serving takes numbers for versions and nothing else.
    temporary = temporary_beside(directory / f"version-{uuid.uuid4().hex}")
    with removing_empty(directory):
        try:
            directory.mkdir(parents=True, exist_ok=True)
            remove_leftovers(directory)
            _write(deployable, size, most_pixels, temporary)
            return _rename_to_next_version(temporary, directory)
        except (OSError, tf.errors.OpError) as error:
            raise UserError(f"cannot export to {directory}: {_reason_of(error)}") from error
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def _reason_of(error: OSError | tf.errors.OpError) -> str:
    """Of a full or read-only disk in the system's words, which TensorFlow has amid its own."""
    reasons = (reason for reason in map(os.strerror, errno.errorcode) if reason in str(error))
    return next(reasons, reason_of(error))


def _write(deployable, size, most_pixels, folder) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch, "labels.json")
        deployable.legend.write(file)
        module = tf.Module()
        module.legend = tf.saved_model.Asset(str(file))
        # Kernels as variables, not as constants of the graph: TensorFlow copies a graph a dozen
        # times while it loads and optimises it. All signatures read the same ones.
        module.weights = list(deployable.graph.variables)
        signatures = _signatures(deployable.graph, deployable.legend, most_pixels)
        tf.saved_model.save(module, str(folder), signatures)
    if sentence := extras.missing("they need", "tensorflow_serving"):
        note(f"note: the SavedModel is written without warm-up requests; {sentence}")
        return
    extra = folder / "assets.extra"
    extra.mkdir()
    with tf.io.TFRecordWriter(str(extra / "tf_serving_warmup_requests")) as writer:
        for request in _warm_up_requests(size):
            writer.write(request.SerializeToString())


def _rename_to_next_version(temporary: Path, directory: Path) -> Path:
    """Gives a complete folder the next free number."""
    versions = [int(path.name) for path in directory.iterdir() if path.name.isdecimal()]
    version = max(versions, default=0) + 1
    while True:
        try:
            return temporary.rename(directory / str(version))
        except OSError as error:
            # Another export was faster: a folder that holds something is never replaced.
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
        version += 1


def _signatures(graph, legend, most_pixels) -> dict:
    @tf.function(input_signature=[IMAGES])
    def serving_default(images):
        logits = graph(images)
        return {
            "labels": labels_of(logits),
            "scores": tf.reduce_max(tf.nn.softmax(logits), axis=-1),
        }

    @tf.function(input_signature=[IMAGES])
    def logits(images):
        return {"logits": graph(images)}

    encoded = tf.TensorSpec((None,), tf.string, name="bytes")

    @tf.function(input_signature=[encoded])
    def legend_bytes(bytes):
        return {"legend_bytes": tf.fill(tf.shape(bytes), legend.json)}

    @tf.function(input_signature=[encoded])
    def serve_bytes(bytes):
        sizes = tf.map_fn(_size_of, bytes, fn_output_signature=tf.TensorSpec((2,), tf.int32))
        sizes = _within(sizes, most_pixels)

        def together():
            images = tf.map_fn(decode_image, bytes, fn_output_signature=_IMAGE)
            labels = labels_of(graph(images))[..., None]
            return tf.map_fn(tf.io.encode_png, labels, fn_output_signature=tf.string)

        # Padding the smaller ones to the largest would make a batch, too; but then an image's
        # labels near its borders would depend on the images that happen to come with it.
        def one_by_one():
            def label(encoded):
                labels = labels_of(graph(decode_image(encoded)[None]))
                return tf.io.encode_png(labels[0, :, :, None])

            # Each takes all cores already, and together they would take memory.
            return tf.map_fn(label, bytes, fn_output_signature=tf.string, parallel_iterations=1)

        is_one_size = (tf.size(bytes) > 0) & tf.reduce_all(sizes == sizes[:1])
        return {"labels_bytes": tf.cond(is_one_size, together, one_by_one)}

    return {
        "serving_default": serving_default,
        "logits": logits,
        "serve_bytes": serve_bytes,
        "legend": legend_bytes,
    }


def _size_of(encoded) -> tf.Tensor:
    """Height and width, int32 `[2]`, that a JPEG or PNG file announces."""
    is_png = (tf.strings.substr(encoded, 0, 8) == _PNG) & (tf.strings.length(encoded) >= 24)

    def of_png():
        width_and_height = tf.strings.substr(encoded, 16, 8)
        return tf.io.decode_raw(width_and_height, tf.int32, little_endian=False)[::-1]

    def of_jpeg():
        file = checked(encoded, tf.io.is_jpeg(encoded), "an image is no JPEG or PNG file")
        return tf.io.extract_jpeg_shape(file)[:2]

    return tf.ensure_shape(tf.cond(is_png, of_png, of_jpeg), (2,))


def _within(sizes, most) -> tf.Tensor:
    """`sizes`, int32 `[B, 2]`, once it is known that the images have at most so many pixels."""
    wide = tf.cast(sizes, tf.int64)
    wide = checked(wide, tf.reduce_all(wide > 0), "an image has no valid size")
    largest = tf.reduce_max(tf.reduce_prod(wide, axis=1))
    tail = f"pixels: at most {most} are served"
    # First: the sum of larger ones might overflow.
    wide = checked(wide, largest <= most, "an image has", largest, tail)
    padded = tf.reduce_sum(tf.reduce_prod(-(-wide // STRIDE) * STRIDE, axis=1))
    tail = f"pixels, padded to multiples of {STRIDE}: at most {most} are served"
    return checked(sizes, padded <= most, "the images of a request have", padded, tail)


def _warm_up_requests(size):
    """Messages `PredictionLog`: one image as pixels, one as a file, and files of two sizes."""
    # They take a second to import: not with the module.
    from tensorflow_serving.apis import predict_pb2, prediction_log_pb2

    height, width = size
    gray = np.uint8(round(sum(MEAN_RGB) / 3))
    image = np.full((height, width, 3), gray)
    jpeg = tf.io.encode_jpeg(image).numpy()
    png = tf.io.encode_png(image[: height // 2 + 1]).numpy()
    # `check_most_pixels` counts their pixels, and must change with them.
    for signature, name, value in (
        # A message holds a value once that is the same throughout.
        ("serving_default", "images", tf.make_tensor_proto(gray, shape=(1, *image.shape))),
        ("serve_bytes", "bytes", tf.make_tensor_proto([jpeg])),
        ("serve_bytes", "bytes", tf.make_tensor_proto([jpeg, png])),
    ):
        request = predict_pb2.PredictRequest()
        request.model_spec.signature_name = signature
        request.inputs[name].CopyFrom(value)
        predict_log = prediction_log_pb2.PredictLog(request=request)
        yield prediction_log_pb2.PredictionLog(predict_log=predict_log)

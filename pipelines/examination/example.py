"""What is wrong with one example: its record, its image, its label."""

import hashlib
import io
from collections.abc import Callable

import numpy as np
import tensorflow as tf
from PIL import Image, ImageOps

from pipelines.base.damage import DAMAGE
from pipelines.base.errors import UserError
from pipelines.base.labels import IGNORE, voc_colour_map
from pipelines.building import image_label
from pipelines.datasets import PreparedDataset
from pipelines.examination.damaged_records import Record
from pipelines.examination.findings import IMAGES, LABELS, RECORDS, SIZES, Example, Finding, Sample

SAMPLE_SIDE = 240  # longest side of an image on the contact sheet

_PNG_PALETTE = 3  # colour type


def examiner(dataset: PreparedDataset) -> Callable[[Record, str, bool], Example]:
    """The function that examines one record; it may be called by many threads at once.

    It takes the record, its split and whether a sample is wanted, and raises nothing on damage.
    """
    # Eager parsing holds the interpreter's lock for most of its time, a graph does not.
    parse = tf.function(dataset.parse, input_signature=[tf.TensorSpec([], tf.string)])

    def examine_record(record: Record, split: str, keep_sample: bool) -> Example:
        if record.fault:
            return Example(None, findings=(Finding(RECORDS, f"{record.where()}: {record.fault}"),))
        # Decoders of damaged bytes raise more than they document. It is shown, never lost.
        try:
            parsed = {key: value.numpy() for key, value in parse(record.data).items()}
        except Exception as error:
            text = f"{record.where()}: holds no example of this data set ({_describe(error)})"
            return Example(None, findings=(Finding(RECORDS, text),))
        image_id = parsed["image_id"].decode("utf-8", "replace")
        try:
            return _examine_example(dataset, split, image_id, parsed, keep_sample)
        except Exception as error:
            text = f"{split}: {image_id!r} cannot be examined ({_describe(error)})"
            return Example(image_id, findings=(Finding(IMAGES, text),))

    return examine_record


def _describe(error: Exception) -> str:
    message = error.message if isinstance(error, tf.errors.OpError) else str(error)
    return " ".join(f"{type(error).__name__}: {message}".split())[:200]


def _examine_example(
    dataset: PreparedDataset, split: str, image_id: str, parsed: dict, keep_sample: bool
) -> Example:
    findings = []
    image = label = None
    pixel_digest = b""
    try:
        image = image_label.read_image(f"{split}: the image of {image_id!r}", parsed["image"])
        pixel_digest = _digest(image) + np.array(image.shape, np.int32).tobytes()
    except UserError as error:
        findings.append(Finding(IMAGES, str(error)))
    try:
        label = _read_label(f"{split}: the label of {image_id!r}", parsed["label"], dataset)
    except UserError as error:
        findings.append(Finding(LABELS, str(error)))
    sample = None
    if image is not None and label is not None:
        if image.shape[:2] != label.shape:
            sizes = ("{1}x{0}".format(*array.shape) for array in (label, image))
            text = "{}: the label of {!r} is {} pixels, but its image is {}"
            findings.append(Finding(SIZES, text.format(split, image_id, *sizes)))
        elif keep_sample:
            sample = _sample(split, image_id, image, label)
    return Example(
        image_id,
        size=None if image is None else image.shape[:2],
        pixels=None if label is None else np.bincount(label.ravel(), minlength=256),
        file_digest=_digest(parsed["image"]),
        pixel_digest=pixel_digest,
        findings=tuple(findings),
        sample=sample,
    )


def _digest(data) -> bytes:
    return hashlib.blake2b(data, digest_size=16).digest()


def _read_label(subject: str, data: bytes, dataset: PreparedDataset) -> np.ndarray:
    """A label map, uint8 `[H, W]`; unlike a file to prepare, a record is no palette PNG."""
    try:
        label = image_label.read_label(subject, data, dataset.class_names)
    except UserError as error:
        if _holds_grays_of_colours(data, dataset):
            raise UserError(
                f"{error}; these are the gray values of the classes' colours: a colour mask was "
                "taken for an index mask"
            ) from error
        raise
    if data[25] == _PNG_PALETTE:
        raise UserError(
            f"{subject} is a palette PNG, of which the stream would read the colours as gray "
            "values; store the indices as 8-bit grayscale"
        )
    return label


def _holds_grays_of_colours(data: bytes, dataset: PreparedDataset) -> bool:
    """Whether a grayscale PNG has no other values than its classes' colours turned to gray."""
    try:
        with Image.open(io.BytesIO(data), formats=["PNG"]) as header:
            if header.mode != "L":
                return False
            values = set(np.unique(np.array(header)).tolist())
    except (*DAMAGE, Image.DecompressionBombError):
        return False
    used = [*range(dataset.num_classes), IGNORE]
    tables = (dataset.palette[used], voc_colour_map()[used])
    grays = [set(np.array(Image.fromarray(table[None]).convert("L")).ravel()) for table in tables]
    return bool(values - {0, IGNORE}) and any(values <= gray | {IGNORE} for gray in grays)


def _sample(split: str, image_id: str, image: np.ndarray, label: np.ndarray) -> Sample:
    size = (SAMPLE_SIDE, SAMPLE_SIDE)
    small_image = ImageOps.contain(Image.fromarray(image), size, Image.Resampling.BILINEAR)
    small_label = ImageOps.contain(Image.fromarray(label), size, Image.Resampling.NEAREST)
    return Sample(split, image_id, np.array(small_image), np.array(small_label))

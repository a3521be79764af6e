"""Examines every record of a prepared data set: what the doctor finds out.

Each example is taken apart, its image and its label are decoded in full, and what is wrong is
collected as findings; nothing that is damaged stops the examination.
"""

import hashlib
import io
import os
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from itertools import chain, combinations
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
from PIL import Image

from pipelines.base.errors import UsageError, UserError
from pipelines.base.labels import IGNORE, voc_colour_map
from pipelines.base.progress import progress
from pipelines.building import image_label
from pipelines.datasets import PreparedDataset
from pipelines.examination.damaged_records import Record, read_records

# What findings are about; a report lists them in this order.
RECORDS = "damaged records"
COUNTS = "examples missing or left over"
IMAGES = "images that cannot be used"
LABELS = "labels that cannot be used"
SIZES = "image and label of different size"
LEAKS = "the same image in training and held-out examples"
BALANCE = "splits without a usable label"
KINDS = (RECORDS, COUNTS, IMAGES, LABELS, SIZES, LEAKS, BALANCE)

HELD_OUT = ("val", "validation", "minival", "test")
SAMPLE_SIDE = 240  # longest side of an image on the contact sheet

_AHEAD = 4  # examples in work for each thread
_PNG_PALETTE = 3  # colour type
_VALUES = 256


class Finding(NamedTuple):
    """Something that is wrong: one of `KINDS`, and a sentence that names the example."""

    kind: str
    text: str


class Sample(NamedTuple):
    """An example for the contact sheet, scaled down: uint8 `[h, w, 3]` and uint8 `[h, w]`."""

    split: str
    image_id: str
    image: np.ndarray
    label: np.ndarray


class Example(NamedTuple):
    """What one record came to.

    Attributes:
        image_id: None where the record could not be read.
        size: height and width of the image; None where it could not be decoded.
        pixels: int64 `[256]`, pixels of each label value; None where the label cannot be used.
        file_digest: of the image file.
        pixel_digest: of the decoded image; empty where it could not be decoded.
        findings: what is wrong with it.
        sample: for the contact sheet, where one was asked for and could be made.
    """

    image_id: str | None
    size: tuple[int, int] | None = None
    pixels: np.ndarray | None = None
    file_digest: bytes = b""
    pixel_digest: bytes = b""
    findings: tuple[Finding, ...] = ()
    sample: Sample | None = None


@dataclass
class SplitReport:
    """The sums over a split.

    Attributes:
        name: of the split.
        expected: examples that dataset_info.json tells of.
        unlabelled: whether its labels are void by definition.
        records: records found, damaged ones included.
        records_in: the same of each file, by its path.
        sizes: examples of each (height, width).
        pixels: int64 `[256]`, pixels of each label value.
        images_with: int64 `[256]`, labels in which a value occurs.
        labels: labels that could be used.
        void_throughout: labels of nothing but void.
        binary: labels of the values 0 and 255, both, and no other.
    """

    name: str
    expected: int
    unlabelled: bool = False
    records: int = 0
    records_in: Counter = field(default_factory=Counter)
    sizes: Counter = field(default_factory=Counter)
    pixels: np.ndarray = field(default_factory=lambda: np.zeros(_VALUES, np.int64))
    images_with: np.ndarray = field(default_factory=lambda: np.zeros(_VALUES, np.int64))
    labels: int = 0
    void_throughout: int = 0
    binary: int = 0

    def add(self, example: Example) -> None:
        """Counts an example in."""
        if example.size is not None:
            self.sizes[example.size] += 1
        if example.pixels is not None:
            values = example.pixels > 0
            self.pixels += example.pixels
            self.images_with += values
            self.labels += 1
            self.void_throughout += bool(values[IGNORE]) and values.sum() == 1
            self.binary += bool(values[0] and values[IGNORE]) and values.sum() == 2

    def void_share(self) -> float:
        """Void pixels among all, 0…1; 0 where there is no pixel."""
        return float(self.pixels[IGNORE] / max(1, self.pixels.sum()))

    def sides(self) -> tuple[list[float], list[float]]:
        """Smallest, median and largest height, and the same of the width."""
        if not self.sizes:
            return [], []
        sizes = np.repeat(list(self.sizes), list(self.sizes.values()), axis=0)
        ranges = [sizes.min(0), np.median(sizes, 0), sizes.max(0)]
        return [float(r[0]) for r in ranges], [float(r[1]) for r in ranges]


@dataclass
class Examination:
    """The result of `examine`.

    Attributes:
        name, class_names, palette: those of the data set.
        splits: the sums over each split examined.
        findings: all that is wrong.
        notes: sentences on what is worth knowing, but need not be wrong.
        samples: examples for the contact sheet.
    """

    name: str
    class_names: tuple[str, ...]
    palette: np.ndarray
    splits: dict[str, SplitReport] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    samples: list[Sample] = field(default_factory=list)

    def weights_split(self) -> str | None:
        """The split whose pixels give the class weights: "train", or the first with a label."""
        labelled = [
            name
            for name, split in self.splits.items()
            if split.pixels[: len(self.class_names)].any()
        ]
        return "train" if "train" in labelled else next(iter(labelled), None)


def examine(
    dataset: PreparedDataset, split: str | None = None, *, samples: int = 24
) -> Examination:
    """Reads and decodes every example, with all cores; shows a progress bar on standard error.

    Memory does not grow with the size of the data, but for about 300 bytes an example.

    Args:
        dataset: from `pipelines.datasets.load`.
        split: the one split to examine; None for all.
        samples: examples to keep for the contact sheet, spread over the splits.

    Returns:
        What was found.

    Raises:
        UsageError: no such split.
    """
    if split is not None and split not in dataset.splits:
        raise UsageError(
            f"{dataset.name!r} has no split {split!r}; it has: {', '.join(dataset.splits)}"
        )
    names = [split] if split else list(dataset.splits)
    result = Examination(dataset.name, dataset.class_names, dataset.palette)
    images = _Images()
    examine_record = _examiner(dataset)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for name in names:
            report = SplitReport(name, dataset.splits[name], name in dataset.unlabelled_splits)
            result.splits[name] = report
            chosen = _spread(report.expected, -(-samples // len(names)))
            records = chain.from_iterable(map(read_records, dataset.files[name]))
            tasks = (
                partial(examine_record, record, name, number in chosen)
                for number, record in enumerate(records)
            )
            done = _in_parallel(pool, _counted(tasks, report), _AHEAD * (os.cpu_count() or 1))
            for example in progress(done, f"{dataset.name} {name}", report.expected):
                report.add(example)
                result.findings += example.findings
                images.add(name, example)
                if example.sample is not None:
                    result.samples.append(example.sample)
            _judge_files(dataset, report, result)
            _judge_split(report, result)
    images.compare(dataset.overlapping_splits, result)
    return result


def _counted(tasks: Iterable[partial], report: SplitReport) -> Iterator[partial]:
    for task in tasks:
        record = task.args[0]
        report.records += record.number is not None
        report.records_in[str(record.path)] += record.number is not None
        yield task


def _in_parallel(pool: ThreadPoolExecutor, tasks: Iterable, ahead: int) -> Iterator[Any]:
    """The results of tasks in their order; never more than `ahead` of them are under way."""
    waiting: deque[Any] = deque()
    for task in tasks:
        waiting.append(pool.submit(task))
        if len(waiting) == ahead:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


def _spread(count: int, wanted: int) -> set[int]:
    """At most `wanted` of the numbers below `count`, evenly spread."""
    return set(np.linspace(0, count - 1, min(count, wanted), dtype=int).tolist())


def _examiner(dataset: PreparedDataset):
    """The function that examines one record; it may be called by many threads at once."""
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
        pixel_digest = _digest(np.array(image.shape).tobytes(), image)
    except UserError as error:
        findings.append(Finding(IMAGES, str(error)))
    try:
        label = _read_label(f"{split}: the label of {image_id!r}", parsed["label"], dataset)
    except UserError as error:
        findings.append(Finding(LABELS, str(error)))
    sample = None
    if image is not None and label is not None:
        if image.shape[:2] != label.shape:
            text = (
                f"{split}: the label of {image_id!r} is {label.shape[1]}x{label.shape[0]} pixels, "
                f"but its image is {image.shape[1]}x{image.shape[0]}"
            )
            findings.append(Finding(SIZES, text))
        elif keep_sample:
            sample = _sample(split, image_id, image, label)
    return Example(
        image_id,
        size=None if image is None else image.shape[:2],
        pixels=None if label is None else np.bincount(label.ravel(), minlength=_VALUES),
        file_digest=_digest(parsed["image"]),
        pixel_digest=pixel_digest,
        findings=tuple(findings),
        sample=sample,
    )


def _digest(*parts) -> bytes:
    digest = hashlib.blake2b(digest_size=16)
    for part in parts:
        digest.update(part)
    return digest.digest()


def _read_label(subject: str, data: bytes, dataset: PreparedDataset) -> np.ndarray:
    """Decodes a label, uint8 `[H, W]`, as `pairs.read_label`; records hold no palette PNGs."""
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
        with Image.open(io.BytesIO(data)) as header:
            if header.mode != "L":
                return False
            values = set(np.unique(np.array(header)).tolist())
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return False
    used = [*range(dataset.num_classes), IGNORE]
    tables = (dataset.palette[used], voc_colour_map()[used])
    grays = [set(np.array(Image.fromarray(table[None]).convert("L")).ravel()) for table in tables]
    return bool(values - {0, IGNORE}) and any(values <= gray | {IGNORE} for gray in grays)


def _sample(split: str, image_id: str, image: np.ndarray, label: np.ndarray) -> Sample:
    height, width = label.shape
    factor = SAMPLE_SIDE / max(height, width)
    size = max(1, round(width * factor)), max(1, round(height * factor))
    small_image = Image.fromarray(image).resize(size, Image.Resampling.BILINEAR)
    small_label = Image.fromarray(label).resize(size, Image.Resampling.NEAREST)
    return Sample(split, image_id, np.array(small_image), np.array(small_label))


def _judge_files(dataset: PreparedDataset, report: SplitReport, result: Examination) -> None:
    """Adds the files that hold more or fewer records than were written into them."""
    name = report.name
    for path, expected in zip(dataset.files[name], dataset.lengths[name], strict=True):
        found = report.records_in[path]
        if found != expected:
            text = (
                f"{name}: {Path(path).name} holds {_count(found, 'example')}, dataset_info.json "
                f"tells of {expected:,}"
            )
            result.findings.append(Finding(COUNTS, text))


def _judge_split(report: SplitReport, result: Examination) -> None:
    """Adds what only the sums over a split tell."""
    name, pixels = report.name, report.pixels
    classes = pixels[: len(result.class_names)]
    if report.unlabelled:
        if classes.any():
            result.notes.append(f"{name} counts as unlabelled, but some of its pixels are not void")
        return
    if report.labels and not classes.any():
        result.findings.append(Finding(BALANCE, f"{name}: every pixel is void (255)"))
    elif classes[0] == classes.sum() and pixels[IGNORE] and report.binary:
        text = (
            f"{name}: all labels hold only 0 and 255: masks of 0 and 255 were taken for index "
            f"masks, in which 255 is void and {result.class_names[1]!r} is 1"
        )
        result.findings.append(Finding(BALANCE, text))
    elif report.binary:
        result.notes.append(f"{name}: only 0 and 255 (void) in {_count(report.binary, 'label')}")
    if 0 < report.void_throughout < report.labels:
        result.notes.append(
            f"{name}: nothing but void in {_count(report.void_throughout, 'label')}"
        )
    unseen = [c for c, count in zip(result.class_names, classes, strict=True) if not count]
    if unseen and classes.any():
        result.notes.append(f"{name}: never seen: {', '.join(unseen)}")


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


class _Images:
    """Which images there are, by their pixels; two digests stand for each."""

    def __init__(self):
        self._by_pixels: dict[bytes, list[tuple[str, str | None, bytes]]] = {}

    def add(self, split: str, example: Example) -> None:
        if example.pixel_digest:
            place = (split, example.image_id, example.file_digest)
            self._by_pixels.setdefault(example.pixel_digest, []).append(place)

    def compare(self, overlapping: Iterable[tuple[str, str]], result: Examination) -> None:
        """Adds leaks to the findings, and other images that occur twice to the notes."""
        declared = {frozenset(pair) for pair in overlapping}
        within: Counter = Counter()
        across: Counter = Counter()
        twins: dict[Any, tuple] = {}
        for places in self._by_pixels.values():
            by_split: dict[str, list[tuple]] = {}
            for place in places if len(places) > 1 else ():
                by_split.setdefault(place[0], []).append(place)
            for split, same in by_split.items():
                if len(same) > 1:
                    within[split] += len(same) - 1
                    twins.setdefault(split, (same[0][1], same[1][1]))
            for splits in combinations(by_split, 2):
                training, held_out = sorted(splits, key=is_held_out)
                if is_held_out(training) == is_held_out(held_out) or frozenset(splits) in declared:
                    across[splits] += 1
                    continue
                for place in by_split[held_out]:
                    text = _describe_leak(place, by_split[training][0])
                    result.findings.append(Finding(LEAKS, text))
        for split, count in within.items():
            first, second = twins[split]
            result.notes.append(
                f"{split}: {_count(count, 'image')} twice or more, such as {first!r}, which is "
                f"{second!r}, too"
            )
        for splits, count in across.items():
            meant = ", as is meant" if frozenset(splits) in declared else ""
            result.notes.append(
                f"{splits[0]} and {splits[1]} share {_count(count, 'image')}{meant}"
            )


def is_held_out(split: str) -> bool:
    """Whether a split is one to measure on, by its name: "val", "test", "test_easy"."""
    return split.split("_")[0].lower() in HELD_OUT


def _describe_leak(first: tuple, second: tuple) -> str:
    same = "the same file" if first[2] == second[2] else "the same pixels in another file"
    return f"{first[0]}: {first[1]!r} is {second[1]!r} of {second[0]}, {same}"

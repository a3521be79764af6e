"""Damages files in hundreds of ways and sends them through preparation, doctor and stream.

`python fuzz.py DIR` writes DIR/outcomes.json and exits with status 0 whatever it finds.
test_fuzz.py runs it as a process of its own: a crash or a hang is one failure, not the end of all.
"""

import dataclasses
import io
import json
import resource
import struct
import sys
import zlib
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tensorflow as tf
from miniatures import encoded, noise, write_pairs
from PIL import Image

from pipelines import datasets
from pipelines.base import decoding
from pipelines.base.errors import UserError
from pipelines.building import folders, image_label
from pipelines.examination.examine import examine
from pipelines.stream import crops, faults, record_order, segmentation

SIZE = (40, 56)
IMAGES = {
    "jpeg": {"format": "JPEG", "quality": 90},
    "jpeg-444": {"format": "JPEG", "quality": 90, "subsampling": 0},
    "jpeg-progressive": {"format": "JPEG", "quality": 90, "progressive": True},
    "jpeg-gray": {"format": "JPEG", "quality": 90},
    "png": {"format": "PNG"},
    "png-gray": {"format": "PNG"},
    "png-palette": {"format": "PNG"},
}
LABELS = ("label", "label-palette")
SUBJECTS = (*IMAGES, *LABELS)
KINDS = ("truncated", "flipped", "resized", "empty", "huge", "appended", "exchanged")
# What can happen to a record file; "resized" has records too few or too many.
RECORD_KINDS = ("truncated", "flipped", "resized", "empty", "appended", "exchanged")
HUGE = ((60000, 60000), (20000, 20000), (65500, 8), (5000, 5000))
REPEATS = 4  # of each kind and subject: a class each, and there are 255
RECORD_REPEATS = 8
CLASSES = tuple(f"c{i}" for i in range(len(KINDS) * len(SUBJECTS) * REPEATS))
STREAM = {"crop": (32, 32), "scale": (0.5, 1.5), "jitter": 0.3}


class Case(NamedTuple):
    """A pair with one file damaged; its number is its label, so that no two are alike."""

    number: int
    kind: str
    subject: str
    image: bytes
    label: bytes

    @property
    def name(self) -> str:
        return f"{self.number:03}-{self.kind}-{self.subject}"


def pixels_of(image: bytes) -> np.ndarray:
    return np.array(Image.open(io.BytesIO(image)).convert("RGB"))


def label_map(number: int) -> np.ndarray:
    label = np.full(SIZE, number, np.uint8)
    label[::3, ::2] = 255
    return label


def intact_image(number: int, subject: str) -> bytes:
    image = Image.fromarray(noise(*SIZE, number))
    if subject.endswith("gray"):
        image = image.convert("L")
    if subject.endswith("palette"):
        image = image.quantize(16)
    buffer = io.BytesIO()
    image.save(buffer, **IMAGES[subject])
    return buffer.getvalue()


def intact_label(number: int, palette: bool = False) -> bytes:
    mask = Image.fromarray(label_map(number))
    if palette:
        mask.putpalette(np.random.default_rng(0).bytes(768))  # one for all, else they are refused
    buffer = io.BytesIO()
    mask.save(buffer, format="PNG")
    return buffer.getvalue()


def make_cases(seed: int) -> list[Case]:
    cases = []
    for number in range(len(CLASSES)):
        rng = np.random.default_rng((seed, number))
        kind = KINDS[number % len(KINDS)]
        subject = SUBJECTS[number // len(KINDS) % len(SUBJECTS)]
        image = intact_image(number, subject if subject in IMAGES else "jpeg")
        label = intact_label(number, palette=subject == "label-palette")
        if subject in IMAGES:
            image = damaged(image, kind, rng)
        else:
            label = damaged(label, kind, rng)
        cases.append(Case(number, kind, subject, image, label))
    return cases


def damaged(data: bytes, kind: str, rng: np.random.Generator) -> bytes:
    def reach(size):  # half of the damage is done to the header
        return min(size, 64) if rng.random() < 0.5 else size

    if kind == "truncated":
        return data[: rng.integers(1, reach(len(data)))]
    if kind == "flipped":
        bits = np.unpackbits(np.frombuffer(data, np.uint8))
        bits[rng.choice(8 * reach(len(data)), rng.integers(1, 9), replace=False)] ^= 1
        return np.packbits(bits).tobytes()
    if kind == "resized":
        other = (0, 0)
        while other == (0, 0):
            other = tuple(int(d) for d in rng.integers(-8, 9, 2))
        return with_size(data, SIZE[0] + other[0], SIZE[1] + other[1])
    if kind == "empty":
        return b""
    if kind == "huge":
        return with_size(data, *HUGE[rng.integers(len(HUGE))])
    if kind == "appended":
        return data + rng.bytes(rng.integers(1, 64))
    formats = ("GIF", "BMP", "WEBP", "TIFF", "JPEG" if data.startswith(b"\x89PNG") else "PNG")
    choice = rng.integers(len(formats) + 2)
    if choice < len(formats):
        return encoded(noise(*SIZE, 7), formats[choice])
    return rng.bytes(200) if choice == len(formats) else b"no image at all\n"


def with_size(data: bytes, height: int, width: int) -> bytes:
    """Writes another size into the header, and the checksum that belongs to it."""
    data = bytearray(data)
    if data.startswith(b"\x89PNG"):
        data[16:24] = struct.pack(">II", width, height)
        data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
        return bytes(data)
    place = 2
    while data[place + 1] not in (0xC0, 0xC1, 0xC2):  # to the start of the frame
        place += 2 + int.from_bytes(data[place + 2 : place + 4])
    data[place + 5 : place + 9] = struct.pack(">HH", height, width)
    return bytes(data)


def write_records(path: Path, examples) -> Path:
    """Writes (name, image, label) as they are; nothing is checked."""
    with tf.io.TFRecordWriter(str(path)) as writer:
        for name, image, label in examples:
            values = {"image_id": name.encode(), "image": image, "label": label}
            feature = {
                key: tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))
                for key, value in values.items()
            }
            example = tf.train.Example(features=tf.train.Features(feature=feature))
            writer.write(example.SerializeToString())
    return path


class Fuzz:
    """Runs everything in `folder` and collects what comes of it."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.outcomes = []
        source = folder / "plain"
        write_pairs(source, "ab", [0, 1])
        (source / "classes.txt").write_text("\n".join(CLASSES))
        self.plain = datasets.prepare(
            "image_folder/fuzz", source, folder / "data", accept_findings=True
        )

    def note(self, way: str, kind: str, name: str, outcome: str, text: str = "") -> None:
        outcome = {"way": way, "kind": kind, "name": name, "outcome": outcome, "text": text}
        self.outcomes.append(outcome)

    def dataset(self, paths, lengths) -> datasets.PreparedDataset:
        """A data set "fuzz" over record files, with the split train."""
        paths = tuple(map(str, paths))
        return dataclasses.replace(
            self.plain,
            name="fuzz",
            splits={"train": sum(lengths)},
            files={"train": paths},
            lengths={"train": tuple(lengths)},
            num_bytes={"train": sum(Path(path).stat().st_size for path in paths)},
        )

    def run(self) -> dict:
        before = _peak_mib()
        cases = make_cases(0)
        accepted = self.check_pairs(cases)
        self.check_pairs(make_cases(1))
        self.prepare(cases, accepted)
        refused, seen = self.stream(cases)
        self.doctor(cases)
        self.record_files()
        return {
            "outcomes": self.outcomes,
            "refused": refused,
            "seen": seen,
            "growth_mib": _peak_mib() - before,
        }

    def check_pairs(self, cases) -> set[str]:
        """Preparation's check of a pair; returns the names of those that it takes."""
        accepted = set()
        read = partial(image_label.read_label, class_names=CLASSES)
        for case in cases:
            print(f"pair {case.name}", file=sys.stderr, flush=True)  # the last line at a crash
            pair = folders.Pair(self.folder / "x.jpg", self.folder / "x.png")
            pair.image.write_bytes(case.image)
            pair.label.write_bytes(case.label)
            try:
                _, example = image_label.make_example(pair, read)
            except UserError as error:
                self.note("pair", case.kind, case.name, "refused", str(error))
            except Exception as error:
                self.note("pair", case.kind, case.name, "wrong", repr(error))
            else:
                accepted.add(case.name)
                self.note_right("pair", case, example["image"], example["label"])
        return accepted

    def note_right(self, way, case, image, label) -> None:
        """Notes whether an example that was taken has the right label beside its image."""
        found = decoding.decode_label(label).numpy()
        right = (
            image == case.image
            and np.array_equal(found, label_map(case.number))
            and decoding.decode_image(image).shape[:2] == found.shape
        )
        self.note(way, case.kind, case.name, "accepted" if right else "wrong", "its content")

    def prepare(self, cases, accepted) -> None:
        """The whole of it: the cases as a folder, with and without `skip_errors`."""
        source = self.folder / "source"
        for kind in ("images", "labels"):
            (source / "train" / kind).mkdir(parents=True)
        write_pairs(source / "val", "x", [0])
        (source / "classes.txt").write_text("\n".join(CLASSES))
        for case in cases:
            (source / "train" / "images" / f"{case.name}.jpg").write_bytes(case.image)
            (source / "train" / "labels" / f"{case.name}.png").write_bytes(case.label)
        data_dir = self.folder / "prepared"
        first = min({case.name for case in cases} - accepted)
        try:
            datasets.prepare("image_folder", source, data_dir)
            self.note("prepare", "all", first, "wrong", "nothing was refused")
        except UserError as error:
            right = first in str(error) and not datasets.is_prepared("image_folder", data_dir)
            self.note("prepare", "all", first, "refused" if right else "wrong", str(error))
        prepared = datasets.prepare("image_folder", source, data_dir, skip_errors=True)
        found = {}
        for record in record_order.open_records(list(prepared.files["train"])).map(prepared.parse):
            found[record["image_id"].numpy().decode()] = record
        kept = set()
        for case in cases:
            if case.name not in found:
                self.note("prepare", case.kind, case.name, "skipped")
                continue
            image, label = (found[case.name][key].numpy() for key in ("image", "label"))
            if image == case.image:
                kept.add(case.name)
                self.note_right("prepare", case, image, label)
            else:  # of a form that preparation converts
                right = np.array_equal(decoding.decode_image(image), pixels_of(case.image))
                right &= np.array_equal(decoding.decode_label(label), label_map(case.number))
                outcome = "converted" if right else "wrong"
                self.note("prepare", case.kind, case.name, outcome, "its pixels")
        skipped = {"default train": len(cases) - len(found)}
        if kept != accepted or prepared.skipped != skipped:
            self.note("prepare", "all", "skipped", "wrong", f"{prepared.skipped} not {skipped}")

    def stream(self, cases) -> tuple[list[int], int]:
        """The cases as records, in four files, through the stream that skips errors.

        It has to be the stream of the intact examples, less those whose crop cannot be made:
        recomputed here with eager calls, one by one.

        Returns:
            The positions of those less, and how many positions were looked at.
        """
        lengths = [len(cases) // 4] * 3 + [len(cases) - 3 * (len(cases) // 4)]
        starts = np.cumsum([0, *lengths])
        orders = []
        for name in ("clean", "fuzzed"):
            paths = []
            for i, (start, end) in enumerate(zip(starts, starts[1:], strict=False)):
                examples = [
                    (case.name, case.image, case.label)
                    if name == "fuzzed"
                    else (case.name, intact_image(case.number, "jpeg"), intact_label(case.number))
                    for case in cases[start:end]
                ]
                paths.append(write_records(self.folder / f"{name}-{i}.tfrecord", examples))
            orders.append(self.dataset(paths, lengths))
        clean, fuzzed = orders
        positions = len(cases) + 40  # some of the second epoch
        numbers = [
            int(label[0][label[0] != 255][0])
            for _, label in segmentation.training_batches(
                clean, "train", batch_size=1, seed=3, **STREAM
            ).take(positions)
        ]
        expected, refused = [], []
        for position, number in enumerate(numbers):
            case = cases[number]
            try:
                image, _ = crops.random_crop(
                    case.image, case.label, tf.constant([3, position], tf.int64), **STREAM
                )
                # The label as it should be, not as it is.
                _, label = crops.random_crop(
                    intact_image(number, "jpeg"),
                    intact_label(number),
                    tf.constant([3, position], tf.int64),
                    **STREAM,
                )
                expected.append((case, image.numpy(), label.numpy()))
            except decoding.DecodeError as error:
                refused.append(position)
                self.note("stream", case.kind, case.name, "refused", error.message)
        stream = segmentation.training_batches(
            fuzzed, "train", batch_size=1, seed=3, skip_errors=True, **STREAM
        )
        for (case, image, label), found in zip(
            expected, stream.take(len(expected)).as_numpy_iterator(), strict=True
        ):
            right = np.array_equal(found[0][0], image) and np.array_equal(found[1][0], label)
            self.note("stream", case.kind, case.name, "accepted" if right else "wrong", "a crop")
        try:
            strict = segmentation.training_batches(fuzzed, "train", batch_size=1, **STREAM)
            for _ in strict.take(len(cases)):
                pass
            self.note("stream", "all", "strict", "wrong", "no error")
        except faults.DATA_ERRORS as error:
            text = faults.describe_fault(error)
            self.note("stream", "all", "strict", "refused" if text else "wrong", str(text))
        return refused, positions

    def doctor(self, cases) -> None:
        path = write_records(
            self.folder / "examined.tfrecord", [(c.name, c.image, c.label) for c in cases]
        )
        found = examine(self.dataset([path], [len(cases)]))
        for case in cases:
            texts = [f.text for f in found.findings if repr(case.name) in f.text]
            self.note(
                "doctor", case.kind, case.name, "refused" if texts else "accepted", *texts[:1]
            )

    def record_files(self) -> None:
        """Damaged record files, each beside an intact one."""
        numbers = range(6)
        examples = [(str(n), intact_image(n, "jpeg"), intact_label(n)) for n in range(9)]
        path = write_records(self.folder / "damaged.tfrecord", examples[:6])
        beside = write_records(self.folder / "beside.tfrecord", examples[6:])
        whole = path.read_bytes()
        records = [r.numpy() for r in tf.data.TFRecordDataset(str(path))]
        ends = np.cumsum([0, *(len(record) + 16 for record in records)])
        dataset = self.dataset([path, beside], [6, 3])
        options = {"batch_size": 1, "seed": 5, **STREAM}
        strict = segmentation.training_batches(dataset, "train", **options)
        skipping = segmentation.training_batches(dataset, "train", skip_errors=True, **options)
        clean = list(strict.take(9).as_numpy_iterator())
        order = [int(label[0][label[0] != 255][0]) for _, label in clean]
        kept_files = []
        for kind in RECORD_KINDS:
            for repeat in range(RECORD_REPEATS):
                rng = np.random.default_rng((2, RECORD_KINDS.index(kind), repeat))
                name = f"{kind}-{repeat}"
                print(f"record file {name}", file=sys.stderr, flush=True)
                if kind == "resized":  # cut between two records, or with one too many
                    end = ends[rng.integers(1, len(ends) - 1)]
                    data = whole[:end] if repeat % 2 else whole + whole[:end]
                else:
                    data = damaged(whole, kind, rng)
                path.write_bytes(data)
                kept_files.append(self.folder / f"{name}.tfrecord")
                kept_files[-1].write_bytes(data)
                left = []
                for record in tf.data.TFRecordDataset(str(path)).ignore_errors().take(6):
                    left.append(records.index(record.numpy()))
                expected = [
                    pair
                    for n, pair in zip(order, clean, strict=True)
                    if n not in set(numbers) - set(left)
                ]
                found = list(skipping.take(len(expected)).as_numpy_iterator())
                right = all(
                    np.array_equal(a, b)
                    for one, two in zip(expected, found, strict=True)
                    for a, b in zip(one, two, strict=True)
                )
                self.note("skipping", kind, name, "accepted" if right else "wrong", "its crops")
                try:
                    list(strict.take(9))
                    self.note("strict", kind, name, "accepted")
                except faults.DATA_ERRORS as error:
                    text = faults.describe_fault(error)
                    self.note("strict", kind, name, "refused" if text else "wrong", str(text))
        found = examine(self.dataset(kept_files, [6] * len(kept_files)))
        for file in kept_files:
            texts = [f.text for f in found.findings if file.name in f.text]
            kind, outcome = file.stem.split("-")[0], "refused" if texts else "accepted"
            self.note("examined", kind, file.stem, outcome, *texts[:1])
        for kind, data in (("empty", b""), ("truncated", whole[:50]), ("exchanged", b"x" * 500)):
            path.write_bytes(data)
            try:
                segmentation.training_batches(
                    self.dataset([path], [6]), "train", skip_errors=True, **options
                )
                self.note("nothing-left", kind, kind, "wrong", "no error")
            except UserError as error:
                self.note("nothing-left", kind, kind, "refused", str(error))


def _peak_mib() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


if __name__ == "__main__":
    directory = Path(sys.argv[1])
    (directory / "outcomes.json").write_text(json.dumps(Fuzz(directory).run()))

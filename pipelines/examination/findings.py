"""What an examination finds: of an example, of a split, of a whole data set."""

from collections import Counter
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from pipelines.base.labels import IGNORE

# What findings are about; a report lists them in this order.
RECORDS = "damaged records"
COUNTS = "examples missing or left over"
IMAGES = "images that cannot be used"
LABELS = "labels that cannot be used"
SIZES = "image and label of different size"
LEAKS = "the same image in training and held-out examples"
BALANCE = "splits without a usable label"
KINDS = (RECORDS, COUNTS, IMAGES, LABELS, SIZES, LEAKS, BALANCE)


class Finding(NamedTuple):
    """Something that is wrong: one of `KINDS`, and a sentence that names the example."""

    kind: str
    text: str


class Sample(NamedTuple):
    """An example, scaled for the contact sheet: uint8 `[h, w, 3]` and uint8 `[h, w]`."""

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
        file_digest, pixel_digest: of the image's file and its pixels; empty where there are none.
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
        expected: examples according to dataset_info.json.
        unlabelled: whether its labels are void by definition.
        records_in: records found in each file, damaged ones included, by its path.
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
    records_in: Counter = field(default_factory=Counter)
    sizes: Counter = field(default_factory=Counter)
    pixels: np.ndarray = field(default_factory=lambda: np.zeros(256, np.int64))
    images_with: np.ndarray = field(default_factory=lambda: np.zeros(256, np.int64))
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

    @property
    def records(self) -> int:
        """Records found, damaged ones included."""
        return self.records_in.total()

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
    """The result of `examine`: the sums over each split, all that is wrong, and samples.

    `notes` are sentences on what is worth knowing, but need not be wrong.
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
        number = len(self.class_names)
        labelled = [name for name, split in self.splits.items() if split.pixels[:number].any()]
        return "train" if "train" in labelled else next(iter(labelled), None)

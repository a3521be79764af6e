"""What only the sums over a split show, and images that splits share."""

from collections import Counter
from collections.abc import Iterable
from itertools import combinations, groupby
from operator import itemgetter
from pathlib import Path

from pipelines.base.labels import label_fault, one_class_fault
from pipelines.base.plurals import count_of
from pipelines.building.folders import SPLITS
from pipelines.datasets import PreparedDataset
from pipelines.examination.findings import (
    BALANCE,
    COUNTS,
    LEAKS,
    Examination,
    Example,
    Finding,
    SplitReport,
)

HELD_OUT = (*SPLITS["val"], *SPLITS["test"], "minival", "dev")


def judge_files(dataset: PreparedDataset, report: SplitReport, result: Examination) -> None:
    """Adds the files that hold more or fewer records than were written into them."""
    name = report.name
    for path, expected in zip(dataset.files[name], dataset.lengths[name], strict=True):
        found = report.records_in[path]
        if found != expected:
            text = (
                f"{name}: {Path(path).name} holds {count_of(found, 'example')}, dataset_info.json "
                f"says {expected:,}"
            )
            result.findings.append(Finding(COUNTS, text))


def judge_split(dataset: PreparedDataset, report: SplitReport, result: Examination) -> None:
    """Adds what only the sums over a split tell."""
    name, pixels = report.name, report.pixels
    classes = pixels[: len(result.class_names)]
    if report.unlabelled:
        if classes.any():
            result.notes.append(f"{name} counts as unlabelled, but some of its pixels are not void")
        return
    names = result.class_names
    fault = label_fault(name, pixels, names, index_masks=dataset.index_masks) or one_class_fault(
        name, pixels, names
    )
    # Where labels are lost, what is left may have one class by chance.
    is_whole = report.labels == report.expected
    if fault and report.labels and (report.binary or is_whole or not classes.any()):
        result.findings.append(Finding(BALANCE, fault))
    elif report.binary:
        result.notes.append(f"{name}: only 0 and 255 (void) in {count_of(report.binary, 'label')}")
    if 0 < report.void_throughout < report.labels:
        result.notes.append(
            f"{name}: nothing but void in {count_of(report.void_throughout, 'label')}"
        )
    unseen = [c for c, count in zip(result.class_names, classes, strict=True) if not count]
    if unseen and classes.any():
        result.notes.append(f"{name}: never seen: {', '.join(unseen)}")


class Images:
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
        within: dict[str, list[tuple]] = {}
        across: Counter = Counter()
        for places in self._by_pixels.values():
            by_split = {split: list(same) for split, same in groupby(places, itemgetter(0))}
            for split, same in by_split.items():
                within.setdefault(split, []).extend((same[0][1], twin[1]) for twin in same[1:])
            for splits in combinations(by_split, 2):
                training, held_out = sorted(splits, key=is_held_out)
                if is_held_out(training) == is_held_out(held_out) or frozenset(splits) in declared:
                    across[splits] += 1
                    continue
                for place in by_split[held_out]:
                    text = _describe_leak(place, by_split[training][0])
                    result.findings.append(Finding(LEAKS, text))
        for split, twins in within.items():
            if twins:
                result.notes.append(
                    f"{split}: {count_of(len(twins), 'image')} twice or more, such as "
                    f"{twins[0][0]!r}, which is {twins[0][1]!r}, too"
                )
        for splits, count in across.items():
            meant = ", as intended" if frozenset(splits) in declared else ""
            result.notes.append(
                f"{splits[0]} and {splits[1]} share {count_of(count, 'image')}{meant}"
            )


def is_held_out(split: str) -> bool:
    """Whether a split is one to measure on, by its name: "val", "test", "test_easy"."""
    return split.split("_")[0].lower() in HELD_OUT


def _describe_leak(first: tuple, second: tuple) -> str:
    same = "the same file" if first[2] == second[2] else "the same pixels in another file"
    return f"{first[0]}: {first[1]!r} is {second[1]!r} of {second[0]}, {same}"

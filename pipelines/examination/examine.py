"""Examines every record of a prepared data set, image and label decoded in full."""

from itertools import chain

from pipelines.base.files import check_may_be_read
from pipelines.base.numeric import evenly_spread
from pipelines.base.plurals import count_of
from pipelines.base.progress import progress
from pipelines.building.examples import futures
from pipelines.datasets import PreparedDataset
from pipelines.examination.damaged_records import read_records, read_some
from pipelines.examination.example import examiner
from pipelines.examination.findings import Examination, Sample, SplitReport
from pipelines.examination.judgement import Images, judge_files, judge_split

SAMPLES = 24  # examples on a contact sheet


def examine(
    dataset: PreparedDataset, split: str | None = None, *, samples: int = SAMPLES
) -> Examination:
    """Reads and decodes every example, with all cores; nothing that is damaged stops it.

    Shows a progress bar on standard error. Memory grows by about 300 bytes an example.

    Args:
        dataset: from `pipelines.datasets.load`.
        split: the one split to examine; None for all.
        samples: examples to keep for the contact sheet, spread over the splits.

    Raises:
        UsageError: no such split.
        UserError: a record file may not be read.
    """
    if split is not None:
        dataset.check_split(split)
    names = [split] if split else list(dataset.splits)
    for path in chain.from_iterable(dataset.files[name] for name in names):
        check_may_be_read(path)
    result = Examination(dataset.name, dataset.class_names, dataset.palette)
    result.notes += [
        f"{what}: preparation left out {count_of(count, 'example')} that could not be used"
        for what, count in dataset.skipped.items()
    ]
    images = Images()
    examine_record = examiner(dataset)

    def examine_one(task):
        name, record, is_sample = task
        return record, examine_record(record, name, is_sample)

    for name in names:
        report = SplitReport(name, dataset.splits[name], name in dataset.unlabelled_splits)
        result.splits[name] = report
        chosen = evenly_spread(report.expected, -(-samples // len(names)))
        records = chain.from_iterable(map(read_records, dataset.files[name]))
        tasks = ((name, record, number in chosen) for number, record in enumerate(records))
        done = (future.result() for future in futures(examine_one, tasks))
        for record, example in progress(done, f"{dataset.name} {name}", report.expected):
            if record.number is not None:
                report.records_in[str(record.path)] += 1
            report.add(example)
            result.findings += example.findings
            images.add(name, example)
            if example.sample is not None:
                result.samples.append(example.sample)
        judge_files(dataset, report, result)
        judge_split(dataset, report, result)
    images.compare(dataset.overlapping_splits, result)
    return result


def some_samples(dataset: PreparedDataset, wanted: int = SAMPLES) -> list[Sample]:
    """Examples for a contact sheet, spread over the splits that have labels; nothing else is read.

    Args:
        dataset: from `pipelines.datasets.load`; what is damaged in it is left out.
        wanted: how many.
    """
    names = [name for name in dataset.splits if name not in dataset.unlabelled_splits]
    examine_record, samples = examiner(dataset), []
    for name in names:
        chosen, first = evenly_spread(dataset.splits[name], -(-wanted // len(names))), 0
        for path, length in zip(dataset.files[name], dataset.lengths[name], strict=True):
            if inside := {number - first for number in chosen if 0 <= number - first < length}:
                for record in read_some(path, inside):
                    samples.append(examine_record(record, name, True).sample)
            first += length
    return [sample for sample in samples if sample is not None]

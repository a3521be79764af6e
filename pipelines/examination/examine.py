"""Examines every record of a prepared data set: what the doctor finds out.

Each example is taken apart, its image and its label are decoded in full, and what is wrong is
collected as findings; nothing that is damaged stops the examination.
"""

import os
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import chain
from typing import Any

import numpy as np

from pipelines.base.progress import progress
from pipelines.datasets import PreparedDataset
from pipelines.examination.damaged_records import read_records
from pipelines.examination.example import examiner
from pipelines.examination.findings import Examination, SplitReport
from pipelines.examination.judgement import Images, judge_files, judge_split

_AHEAD = 4  # examples in work for each thread


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
    if split is not None:
        dataset.check_split(split)
    names = [split] if split else list(dataset.splits)
    result = Examination(dataset.name, dataset.class_names, dataset.palette)
    images = Images()
    examine_record = examiner(dataset)
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
            judge_files(dataset, report, result)
            judge_split(report, result)
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

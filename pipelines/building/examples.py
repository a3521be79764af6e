"""How a builder makes its examples: with threads here, or with Apache Beam on many machines."""

import contextlib
import importlib.util
import os
import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from pipelines.base.errors import UsageError, UserError
from pipelines.base.progress import note, progress

# Examples in the making for each thread: enough to keep all busy, few enough for the memory.
AHEAD = 4


def examples(
    list_items: Callable[[], Sequence[Any]],
    make_example: Callable[[Any], tuple[Any, Any]],
    description: str,
    beam: bool = False,
    skipped: dict[str, int] | None = None,
) -> Any:
    """The examples of a split, as `_generate_examples` has to return them.

    Args:
        list_items: returns the items, when the first example is wanted; under Beam on a worker,
            since runners limit the size of a pipeline's description.
        make_example: takes an item, returns the key and the example as `encoding.features` wants
            it, and depends on nothing but its item. Called from many threads; under Beam both
            functions and the items are pickled, and all workers must see the same files.
        description: for the progress bar, "coco_voc train".
        beam: whether to return a `beam.PTransform`; needs the package apache-beam.
        skipped: None, and the first faulty item is the error. Or a dictionary: faulty items are
            named on standard error and left out, and their number is put under `description`.
            Not under Beam.

    Returns:
        An iterator over (key, example) in the items' order, or a `beam.PTransform`.

    Raises:
        UserError: of the first faulty item, or of all with `skipped`: when the iterator is used;
            under Beam as text, when the pipeline runs, see `errors_of_beam`.
    """
    if not beam:
        return _with_threads(list_items, make_example, description, skipped)
    import apache_beam

    return (
        apache_beam.Create([None])
        | "list" >> apache_beam.FlatMap(lambda _: list_items())
        | "share out" >> apache_beam.Reshuffle()
        | "make" >> apache_beam.Map(make_example)
    )


def _with_threads(list_items, make_example, description, skipped) -> Iterator[tuple[str, dict]]:
    items = list_items()
    faults = []
    for future in futures(make_example, progress(items, description)):
        try:
            yield future.result()
        except (UserError, OSError) as error:  # OSError: a file that cannot be read at all
            if skipped is None:
                raise
            note(f"{description}: skipped: {error}")
            faults.append(error)
    if faults:
        skipped[description] = len(faults)
    if faults and len(faults) == len(items):
        raise UserError(
            f"none of the {len(items):,} examples of {description} can be used; the first one: "
            f"{faults[0]}"
        )


def futures(function: Callable[[Any], Any], items: Iterable[Any]) -> Iterator[Future]:
    """What threads make of each item, in the items' order; few items are under way at a time."""
    # Threads help: the work is reading, decoding and encoding, outside of the interpreter's lock.
    threads = os.cpu_count() or 1
    with ThreadPoolExecutor(threads) as pool:
        waiting: deque[Future] = deque()
        for item in items:
            waiting.append(pool.submit(function, item))
            if len(waiting) == AHEAD * threads:
                yield waiting.popleft()
        yield from waiting


def check_beam(options: str) -> None:
    """Checks that Beam is installed and `options` are "NAME=VALUE,…"; imports nothing heavy."""
    for option in options.split(","):
        if not re.fullmatch(r"\w+(=.+)?", option):
            raise UsageError.naming(
                f"{option!r} in {{beam_options}} {options!r} is no option: "
                "runner=DirectRunner,direct_num_workers=4 would be two"
            )
    if importlib.util.find_spec("apache_beam") is None:
        raise UserError.naming(
            "Apache Beam is not installed: leave {beam_options} away to prepare in this process, "
            "or make an environment with it as README.md describes"
        )


def pipeline_options(text: str) -> Any:
    """Beam's `PipelineOptions` from "runner=DirectRunner,direct_num_workers=4"."""
    from apache_beam.options.pipeline_options import PipelineOptions

    return PipelineOptions([f"--{option}" for option in text.split(",")])


@contextlib.contextmanager
def errors_of_beam() -> Iterator[None]:
    """Raises a worker's UserError as it was: Beam adds a note, some runners hand on its text."""
    try:
        yield
    except (RuntimeError, UserError) as error:
        before = "" if isinstance(error, UserError) else "UserError: "
        found = re.search(before + r"(.+) \[while running", str(error))
        if not found:
            raise
        raise UserError(found[1]) from error

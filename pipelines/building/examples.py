"""How a builder makes its examples: with threads here, or with Apache Beam on many machines."""

import contextlib
import importlib.util
import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any

from pipelines.base.environment import cores
from pipelines.base.errors import UsageError, UserError, argument, command_message
from pipelines.base.progress import note, progress

# Examples in the making for each thread: enough to keep all busy, few enough for the memory.
AHEAD = 4
SHOWN = 20  # faults of one error


def examples(
    list_items: Callable[[], Sequence[Any]],
    make_example: Callable[[Any], tuple[Any, Any]],
    description: str,
    beam: bool = False,
    skipped: dict[str, int] | None = None,
    rest: Sequence[tuple[Callable, Callable, str]] = (),
) -> Any:
    """The examples of a split, as `_generate_examples` has to return them.

    Args:
        list_items: returns the items, a UserError in place of a faulty one, when the first example
            is wanted; under Beam on a worker, since runners limit a pipeline's description.
        make_example: takes an item, returns the key and the example as `example_features` wants
            it, and depends on nothing but its item. Called from many threads; under Beam both
            functions and the items are pickled, and all workers must see the same files.
        description: for the progress bar, "coco_voc train".
        beam: whether to return a `beam.PTransform`; needs the package apache-beam.
        skipped: None, and any faulty item is an error. Or a dictionary: faulty items are named on
            standard error and left out, and their number is put under `description`. Not under
            Beam.
        rest: what would be made after this one, to look for more faults where there are some:
            as the first three arguments.

    Returns:
        An iterator over (key, example) in the items' order, or a `beam.PTransform`.

    Raises:
        UserError: of all faulty items, or, with `skipped`, if there are no others: when the
            iterator is used; under Beam of the first, as text, see `errors_of_beam`.
    """
    if not beam:
        return _with_threads(list_items, make_example, description, skipped, rest)
    import apache_beam

    return (
        apache_beam.Create([None])
        | "list" >> apache_beam.FlatMap(lambda _: list_items())
        | "share out" >> apache_beam.Reshuffle()
        | "make" >> apache_beam.Map(partial(_make, make_example))
    )


def collect(function: Callable[[Any], Any], items: Iterable[Any]) -> list[Any]:
    """What a function makes of items; raises `all_faults` of those that it fails on."""
    made, faults = [], []
    for item in items:
        try:
            made.append(function(item))
        except UserError as fault:
            faults.append(fault)
    if faults:
        raise all_faults(faults)
    return made


def all_faults(faults: Iterable[UserError]) -> UserError:
    """One error that counts several, and shows some, at least one with each ending.

    What follows the last ": " is what to do, or the cause. It is said once, then "…" stands for it.
    """
    # Splits may share images.
    texts = list(dict.fromkeys(fault.template for fault in faults))
    if len(texts) == 1:
        return UserError(texts[0])
    endings = [text.rpartition(": ")[2] for text in texts]
    firsts = set({ending: i for i, ending in reversed([*enumerate(endings)])}.values())
    # A fault that is rare must not hide behind twenty that are alike.
    shown = sorted(sorted(range(len(texts)), key=lambda i: i not in firsts)[:SHOWN])
    lines = [texts[i] if i in firsts else f"{texts[i].removesuffix(endings[i])}…" for i in shown]
    some = f"; {SHOWN} of them" if len(texts) > SHOWN else ""
    return UserError("\n  ".join([f"{len(texts):,} faults were found{some}:", *lines]))


def _make(make_example, item):
    if isinstance(item, UserError):
        raise item
    return make_example(item)


def _outcomes(list_items, make_example, description) -> Iterator[Any]:
    """The key and the example of each item, or its fault, in the items' order."""
    items = progress(list_items(), description)
    for future in futures(partial(_make, make_example), items):
        try:
            yield future.result()
        except UserError as error:
            yield error
        except OSError as error:  # a file that cannot be read at all
            yield UserError(f"{error.filename} cannot be read: {error.strerror}")


def _with_threads(
    list_items, make_example, description, skipped, rest
) -> Iterator[tuple[str, dict]]:
    faults: list[UserError] = []
    has_made_one = False
    for made in _outcomes(list_items, make_example, description):
        if isinstance(made, UserError):
            faults.append(made)
            if skipped is not None:
                note(f"{description}: skipped: {command_message(made)}")
        elif skipped is not None or not faults:
            has_made_one = True
            yield made
    if not faults:
        return
    if skipped is None:
        for more in rest:
            faults += (made for made in _outcomes(*more) if isinstance(made, UserError))
        raise all_faults(faults)
    skipped[description] = len(faults)
    if not has_made_one:
        raise UserError(
            f"none of the {len(faults):,} examples of {description} can be used; the first one: "
            f"{faults[0]}"
        )


def futures(function: Callable[[Any], Any], items: Iterable[Any]) -> Iterator[Future]:
    """What threads make of each item, in the items' order; few items are under way at a time."""
    # Threads help: the work is reading, decoding and encoding, outside of the interpreter's lock.
    threads = cores()
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
            raise UsageError(
                f"{option!r} in {argument('beam_options')} {options!r} is no option: "
                "runner=DirectRunner,direct_num_workers=4 would be two"
            )
    if importlib.util.find_spec("apache_beam") is None:
        raise UserError(
            f"Apache Beam is not installed: leave {argument('beam_options')} out to prepare in "
            "this process, or make an environment with it as docs/beyond-one-machine.md describes"
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

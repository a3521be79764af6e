"""Work beside the model: in threads the next images are read, and the last label maps written.

The model stays in the thread that calls it. Threads are enough: decoders, numpy and the libraries
under a model let others run while they compute. Little waits at a time, as images may be large.
"""

import contextlib
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

Item = TypeVar("Item")


@contextlib.contextmanager
def read_ahead(items: Iterable[Item]) -> Iterator[Iterator[Item]]:
    """Gives an iterator over `items` of which a thread makes the next one beforehand.

        with read_ahead(batches) as batches:
            for batch in batches: …

    While the block has an item, one more is made and no other. What the items raise, the iterator
    raises at their place. When the block ends, however it does, the thread ends with the item that
    it is making.
    """
    iterator = iter(items)
    end = object()
    with ThreadPoolExecutor(1) as pool:

        def made() -> Iterator[Item]:
            following = pool.submit(next, iterator, end)
            while (item := following.result()) is not end:
                following = pool.submit(next, iterator, end)
                yield item  # type: ignore[misc]

        yield made()


@contextlib.contextmanager
def done_behind() -> Iterator[Callable[..., None]]:
    """Gives a function that calls functions in a thread, one after the other.

        with done_behind() as behind:
            for image in images:
                behind(write, segment(image))

    It returns once the call before has ended, and raises what that raised. The block ends with the
    last call; if it fails itself, its error is raised.
    """
    called: Future | None = None
    with ThreadPoolExecutor(1) as pool:

        def behind(function: Callable, *arguments: Any) -> None:
            nonlocal called
            if called:
                called.result()
            called = pool.submit(function, *arguments)

        yield behind
        if called:
            called.result()

"""What is said where an image is too large for the memory, the host's or the device's."""

import contextlib
import re
from collections.abc import Iterator

from pipelines.base.errors import UserError, argument

# By name: none of the libraries needs to be imported for it. Others than Python's and TensorFlow's
# errors have no class of their own; "Dst tensor" is an image that does not fit onto the device.
_KINDS = {"MemoryError", "ResourceExhaustedError"}
_PHRASES = re.compile(
    "resource_exhausted|out.of.memory|insufficient memory|alloc_failed|dst tensor is not init"
    "|failed to allocate memory|status: 1, message",
    re.IGNORECASE,
)


@contextlib.contextmanager
def naming_exhausted_memory(message: str) -> Iterator[None]:
    """In its block, running out of memory becomes a `UserError` with this message.

    Of Python's, numpy's, TensorFlow's (oneDNN's among them), JAX's and OpenCV's errors.
    """
    try:
        yield
    except UserError:  # of a server that has too little memory, too: it says so itself
        raise
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        raise UserError(message) from error


def naming_large_image(image: object) -> contextlib.AbstractContextManager[None]:
    """`naming_exhausted_memory` with a message that names an image, by its path or otherwise, and
    the argument `tile`."""
    return naming_exhausted_memory(
        f"{image} is too large for the memory: take tiles, {argument('tile')} 512 512, or smaller "
        "ones"
    )


def is_out_of_memory(error: BaseException) -> bool:
    """Whether a library says by an error that memory is exhausted, not a disk."""
    kinds, text = {kind.__name__ for kind in type(error).__mro__}, str(error)
    return bool(kinds & _KINDS or _PHRASES.search(text)) and "No space left on" not in text

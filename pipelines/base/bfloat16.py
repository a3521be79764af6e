"""Whether this machine computes in bfloat16 by itself, or slowly in other numbers."""

import re
from pathlib import Path

from pipelines.base.environment import GPU_FILES
from pipelines.base.progress import note

_CPU = Path("/proc/cpuinfo")
_UNITS = {"avx512_bf16", "amx_bf16"}


def emulates_bfloat16() -> bool:
    """Whether an x86 CPU without units for bfloat16 is all there is to compute with.

    False where that is not known: on other CPUs, and on systems without /proc/cpuinfo.
    """
    try:
        flags = re.search(r"^flags\s*:(.*)$", _CPU.read_text(), re.M)  # only x86 has this line
    except OSError:
        return False
    has_gpu = any(Path(file).exists() for file in GPU_FILES)
    return flags is not None and not has_gpu and _UNITS.isdisjoint(flags[1].split())


def note_emulation() -> None:
    """Says on standard error that this machine emulates bfloat16, if it does."""
    if emulates_bfloat16():
        note(
            "note: this machine's CPU has no units for bfloat16 (avx512_bf16 or amx_bf16) and "
            "emulates them: expect a model to be many times slower than in float32"
        )

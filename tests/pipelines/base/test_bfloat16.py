"""Which CPUs are said to emulate bfloat16: exactly those of which it is known."""

import pytest

from pipelines.base import bfloat16

X86 = "processor\t: 0\nmodel name\t: a CPU\nflags\t\t: fpu avx512f {} sse2\nbugs\t\t: none\n"
NOTE = (
    "note: this machine's CPU has no units for bfloat16 (avx512_bf16 or amx_bf16) and emulates "
    "them: expect a model to be many times slower than in float32\n"
)


@pytest.mark.parametrize(
    "cpu, emulates",
    [
        (X86.format("avx512_vnni"), True),
        (X86.format("avx512_bf16"), False),
        (X86.format("amx_bf16 amx_tile"), False),
        (X86.format("avx512_bf16_of_another"), True),
        ("processor\t: 0\nFeatures\t: fp asimd\n", False),  # ARM: nothing is known
        ("", False),
        (None, False),  # no such file: not Linux
    ],
)
def test_what_a_cpu_says(tmp_path, monkeypatch, capsys, cpu, emulates):
    monkeypatch.setattr(bfloat16, "_CPU", tmp_path / "cpuinfo")
    monkeypatch.setattr(bfloat16, "GPU_FILES", (str(tmp_path / "gpu"),))
    if cpu is not None:
        (tmp_path / "cpuinfo").write_text(cpu)
    assert bfloat16.emulates_bfloat16() is emulates
    bfloat16.note_emulation()
    assert capsys.readouterr().err == (NOTE if emulates else "")


def test_a_gpu_computes_instead(tmp_path, monkeypatch):
    monkeypatch.setattr(bfloat16, "_CPU", tmp_path / "cpuinfo")
    monkeypatch.setattr(bfloat16, "GPU_FILES", (str(tmp_path / "gpu"),))
    (tmp_path / "cpuinfo").write_text(X86.format("avx2"))
    assert bfloat16.emulates_bfloat16()
    (tmp_path / "gpu").touch()
    assert not bfloat16.emulates_bfloat16()

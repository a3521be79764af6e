"""Hundreds of damaged files: each is refused by name, skipped, or used with the right label."""

import json
import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import fuzz
import pytest
from miniatures import REPOSITORY

pytestmark = pytest.mark.slow

PER_KIND = len(fuzz.SUBJECTS) * fuzz.REPEATS
# What the messages of a way through the project may say. None has the name of an exception in it.
REFUSALS = {
    "pair": r"\S+x\.(jpg|png) (is empty|is neither a JPEG nor a PNG file|is not a PNG file"
    r"|cannot be decoded: it is truncated or damaged|is \d+x\d+ pixels, but its image \S+x\.jpg"
    r" is \d+x\d+)",
    "doctor": r"train: the (image|label) of '\S+' (is empty|is neither a JPEG nor a PNG file"
    r"|is not a PNG file|cannot be decoded: it is truncated or damaged|is a palette PNG, of which"
    r" the stream .*|is \d+x\d+ pixels, but its image is \d+x\d+)",
    "examined": r"train: \S+\.tfrecord holds \d+ examples?, dataset_info\.json says 6"
    r"|\S+\.tfrecord, record \d: (its checksum is wrong: the record is damaged"
    r"|its length is damaged; the rest is out of reach|the file is truncated: it ends at .*)",
    "strict": r"a record file is damaged or missing \((corrupted record at \d+.*"
    r"|truncated record at .*|Input dataset was expected to contain \d elements but .*)\)",
    "nothing-left": r"none of the 6 examples of 'fuzz', split 'train', can be used; python -m"
    r" pipelines\.doctor fuzz --split train tells why",
}


@pytest.fixture(scope="module")
def fuzzed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("fuzz")
    process = subprocess.run(
        [sys.executable, "-X", "faulthandler", Path(fuzz.__file__), folder],
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY), "TF_CPP_MIN_LOG_LEVEL": "3"},
        capture_output=True,
        text=True,
        errors="replace",
        timeout=600,
    )
    assert process.returncode == 0, process.stderr[-3000:]
    content = json.loads((folder / "outcomes.json").read_text())
    return SimpleNamespace(**content, stderr=process.stderr)


def outcomes(fuzzed, way, kind) -> Counter:
    """How often what happened; all that was refused has one of the messages that it may have."""
    found = [o for o in fuzzed.outcomes if (o["way"], o["kind"]) == (way, kind)]
    assert [o for o in found if o["outcome"] == "wrong"] == []
    for outcome in found:
        if outcome["outcome"] == "refused" and way in REFUSALS:
            assert re.fullmatch(REFUSALS[way], outcome["text"], re.DOTALL), outcome
    return Counter(o["outcome"] for o in found)


def test_there_are_500_and_more():
    files = 2 * len(fuzz.KINDS) * PER_KIND + len(fuzz.RECORD_KINDS) * fuzz.RECORD_REPEATS
    assert files >= 500


@pytest.mark.parametrize("kind", fuzz.KINDS)
def test_files_through_preparation(fuzzed, kind):
    checked, prepared = outcomes(fuzzed, "pair", kind), outcomes(fuzzed, "prepare", kind)
    assert checked.total() == 2 * PER_KIND and prepared.total() == PER_KIND
    if kind in ("truncated", "resized", "empty", "huge"):
        assert checked == {"refused": 2 * PER_KIND} and prepared == {"skipped": PER_KIND}
    elif kind == "appended":  # which no decoder looks at
        assert checked == {"accepted": 2 * PER_KIND} and prepared == {"accepted": PER_KIND}
    else:  # some pixels changed; or another image of the same size
        assert checked["refused"] > checked["accepted"] > 0
        assert prepared["skipped"] > prepared["accepted"] > 0
        assert bool(prepared["converted"]) == (kind == "exchanged")  # BMP, TIFF and WebP


def test_preparation_without_skipping_names_a_file_and_leaves_nothing(fuzzed):
    assert outcomes(fuzzed, "prepare", "all") == {"refused": 1}


@pytest.mark.parametrize("kind", fuzz.KINDS)
def test_files_through_the_doctor(fuzzed, kind):
    """Records hold them as they are; the doctor knows what preparation would have refused."""
    found = outcomes(fuzzed, "doctor", kind)
    assert found.total() == PER_KIND
    prepared = {
        o["name"] for o in fuzzed.outcomes if (o["way"], o["outcome"]) == ("prepare", "accepted")
    }
    healthy = {
        o["name"] for o in fuzzed.outcomes if (o["way"], o["outcome"]) == ("doctor", "accepted")
    }
    assert healthy == {name for name in prepared if not name.endswith("label-palette")}


@pytest.mark.parametrize("kind", fuzz.KINDS)
def test_files_through_the_stream(fuzzed, kind):
    found = outcomes(fuzzed, "stream", kind)
    assert found.total() >= PER_KIND  # an epoch and the start of another
    if kind in ("resized", "empty", "huge"):
        assert set(found) == {"refused"}
    else:
        assert found["refused"] > 0


def test_the_stream_without_skipping_ends_in_the_named_error(fuzzed):
    assert outcomes(fuzzed, "stream", "all") == {"refused": 1}


def test_the_stream_counts_what_it_skips(fuzzed):
    said = re.findall(r"^fuzz train: .* so far: (\d+) of (\d+)$", fuzzed.stderr, re.MULTILINE)
    first, second = [tuple(map(int, counts)) for counts in said[:2]]
    examples = len(fuzz.CLASSES)
    assert first[1] <= examples < second[1] <= fuzzed.seen
    for skipped, positions in (first, second):
        assert skipped == sum(position < positions for position in fuzzed.refused)


@pytest.mark.parametrize("kind", fuzz.RECORD_KINDS)
def test_record_files(fuzzed, kind):
    count = fuzz.RECORD_REPEATS
    # All that is left, in the order of the intact stream and with its draws.
    assert outcomes(fuzzed, "skipping", kind) == {"accepted": count}
    assert outcomes(fuzzed, "strict", kind) == {"refused": count}
    assert outcomes(fuzzed, "examined", kind) == {"refused": count}


@pytest.mark.parametrize("kind", ["empty", "truncated", "exchanged"])
def test_skipping_does_not_hang_where_nothing_is_left(fuzzed, kind):
    assert outcomes(fuzzed, "nothing-left", kind) == {"refused": 1}


def test_no_header_takes_much_memory(fuzzed):
    assert fuzzed.growth_mib < 1500  # 60,000 x 60,000 pixels would take 10,000

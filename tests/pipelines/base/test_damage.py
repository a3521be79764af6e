"""Every entry of an archive is compared with its checksum."""

import zipfile

import pytest

from pipelines.base.damage import DAMAGE, check_archive, reason_of


@pytest.mark.parametrize("kind", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_flipped_bit_is_found_wherever_it_is(tmp_path, kind):
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", kind) as archive:
        archive.writestr("first", bytes(range(256)))
        archive.writestr("second", b"0123456789")
    check_archive(path)
    whole = path.read_bytes()
    for place in range(whole.index(b"PK\1\2")):  # contents and what precedes them
        damaged = bytearray(whole)
        damaged[place] ^= 1
        path.write_bytes(damaged)
        try:
            check_archive(path)
        except DAMAGE as error:
            assert reason_of(error)
            continue
        # Dates, versions and lengths, which are read from the directory at the end.
        assert zipfile.ZipFile(path).read("first") == bytes(range(256))
        assert zipfile.ZipFile(path).read("second") == b"0123456789"


def test_the_entry_is_named(tmp_path):
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("first", b"0123456789")
    path.write_bytes(path.read_bytes().replace(b"0123456789", b"0123456780"))
    with pytest.raises(zipfile.BadZipFile, match="^its entry first has another CRC-32"):
        check_archive(path)


def test_reasons_are_one_line():
    assert reason_of(ValueError("a\n  b")) == "a b"
    assert reason_of(EOFError()) == "EOFError"
    assert reason_of(OSError("cannot open the file")) == "cannot open the file"
    assert reason_of(PermissionError(13, "Permission denied", "a.csv")) == "Permission denied"
    assert len(reason_of(ValueError("x" * 1000))) == 300

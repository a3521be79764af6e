"""Finding a set's files: trees, archives, downloads; and archives that are damaged."""

import gzip
import tarfile
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from file_server import FileServer
from miniatures import pack_tar
from tensorflow_datasets.core.download import DownloadManager

from pipelines.base.errors import UserError
from pipelines.base.files import writing_in
from pipelines.building import archives as archives_module
from pipelines.building import downloads
from pipelines.building.archives import Archive, locate

LAYOUT = "\nimages/a.bin\nmasks/a.bin\n"
IMAGES = Archive("images.tar", "images", "http://example.org/images")
MASKS = Archive("masks.tgz", "masks", "http://example.org/masks")
EXTRA = Archive("extra.zip", "extra", "http://example.org/extra", needed=False)
ARCHIVES = (IMAGES, MASKS, EXTRA)


@pytest.fixture
def tree(tmp_path) -> Path:
    """Files of 3,000 bytes that do not compress."""
    for number, name in enumerate(("images/a", "images/b", "masks/a", "masks/b", "extra/a")):
        path = tmp_path / "tree" / f"{name}.bin"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(np.random.default_rng(number).bytes(3000))
    return tmp_path / "tree"


@pytest.fixture
def archives(tree, tmp_path) -> Path:
    folder = tmp_path / "archives"
    folder.mkdir()
    for name, mode in (("images.tar", "w"), ("masks.tgz", "w:gz")):
        with tarfile.open(folder / name, mode) as archive:
            archive.add(tree / name.split(".")[0], name.split(".")[0])
    with zipfile.ZipFile(folder / "extra.zip", "w") as archive:
        archive.write(tree / "extra" / "a.bin", "extra/a.bin")
    return folder


@pytest.fixture
def manager(tmp_path):
    """Makes TFDS's manager as `GeneratorBasedBuilder.download_and_prepare` does."""

    def make(source=None):
        folder = tmp_path / "data" / "downloads"
        return DownloadManager(download_dir=folder, manual_dir=source or folder / "manual")

    return make


def contents(folder) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in Path(folder).rglob("*")
        if path.is_file()
    }


def unpacked(tmp_path) -> list[str]:
    return sorted(path.name for path in (tmp_path / "data/downloads/extracted").iterdir())


def test_a_tree_is_used_where_it_lies(tree, manager, tmp_path):
    found = locate(manager(tree), ARCHIVES, LAYOUT)
    assert found == {"images.tar": tree, "masks.tgz": tree, "extra.zip": tree}
    assert unpacked(tmp_path) == []


def test_archives_are_unpacked_once(archives, tree, manager, tmp_path, capsys):
    found = locate(manager(archives), ARCHIVES, LAYOUT)
    said = capsys.readouterr().err
    for name in ("images.tar", "masks.tgz", "extra.zip"):
        assert f"unpacking {name}: " in said
        inside = name.split(".")[0]
        assert contents(found[name] / inside) == contents(tree / inside)
        assert found[name].parent == tmp_path / "data" / "downloads" / "extracted"
    before = {path: path.stat().st_mtime_ns for path in found.values()}
    assert locate(manager(archives), ARCHIVES, LAYOUT) == found
    assert {path: path.stat().st_mtime_ns for path in found.values()} == before
    assert len(unpacked(tmp_path)) == 3


def test_a_data_directory_by_a_detour(archives, tree, tmp_path):
    """Members are compared with the folder that they are for, however it was named."""
    (tmp_path / "elsewhere").mkdir()
    folder = tmp_path / "elsewhere" / ".." / "data"
    found = locate(DownloadManager(download_dir=folder, manual_dir=archives), ARCHIVES, LAYOUT)
    assert contents(found["extra.zip"] / "extra") == contents(tree / "extra")


def test_trees_and_archives_may_be_mixed(archives, tree, manager):
    (tree / "masks").rename(archives / "masks")
    found = locate(manager(archives), ARCHIVES, LAYOUT)
    assert found["masks.tgz"] == archives and found["images.tar"] != archives


def test_an_archive_that_is_not_needed_may_be_absent(archives, manager):
    (archives / "extra.zip").unlink()
    assert sorted(locate(manager(archives), ARCHIVES, LAYOUT)) == ["images.tar", "masks.tgz"]


def test_another_archive_of_the_same_name_is_unpacked_anew(archives, tree, manager):
    first = locate(manager(archives), ARCHIVES, LAYOUT)["images.tar"]
    (tree / "images" / "c.bin").write_bytes(bytes(20000))
    pack_tar(tree, archives / "images.tar")
    second = locate(manager(archives), ARCHIVES, LAYOUT)["images.tar"]
    assert first != second and (second / "images" / "c.bin").is_file()


def test_all_that_is_missing_is_named_at_once(tmp_path, manager):
    source = tmp_path / "source"
    source.mkdir()
    with pytest.raises(UserError) as caught:
        locate(manager(source), ARCHIVES, LAYOUT)
    assert str(caught.value) == (
        f"{source} has neither these archives nor what is in them: images.tar (from "
        "http://example.org/images), masks.tgz (from http://example.org/masks); expected is\n"
        "images/a.bin\nmasks/a.bin"
    )


def test_with_a_source_nothing_is_downloaded(tree, manager):
    (tree / "masks").rename(tree / "other")
    with FileServer() as server:
        masks = replace(MASKS, url=server.url("masks.tgz"))
        with pytest.raises(UserError, match="neither these archives .*: masks.tgz "):
            locate(manager(tree), (IMAGES, masks, EXTRA), LAYOUT)
        assert server.requests == []


def test_downloads(archives, tree, manager, tmp_path, monkeypatch):
    monkeypatch.setattr(downloads, "PAUSES", (0,))
    files = contents(archives)
    with FileServer(**files) as server:
        server.cuts = [4000]
        served = tuple(
            replace(a, url=server.url(a.file), size=len(files[a.file])) for a in (IMAGES, MASKS)
        )
        found = locate(manager(), (*served, EXTRA), LAYOUT)
        assert sorted(found) == ["images.tar", "masks.tgz"]
        assert contents(found["images.tar"] / "images") == contents(tree / "images")
        asked = [("images.tar", None), ("images.tar", "bytes=4000-"), ("masks.tgz", None)]
        assert server.requests == asked
        assert locate(manager(), (*served, EXTRA), LAYOUT) == found
        assert server.requests == asked
    # What has no open address may be put beside the downloads.
    (tmp_path / "data/downloads/extra.zip").write_bytes(files["extra.zip"])
    found = locate(manager(), (*served, EXTRA), LAYOUT)
    assert contents(found["extra.zip"]) == {"extra/a.bin": (tree / "extra/a.bin").read_bytes()}


def test_a_download_that_fails_names_the_official_page(manager):
    with FileServer() as server:
        archive = replace(IMAGES, url=server.url("images.tar"))
        with pytest.raises(UserError) as caught:
            locate(manager(), (archive,), LAYOUT)
    assert "404" in str(caught.value)
    assert "by hand, from http://example.org/images, and its folder" in str(caught.value)


def test_what_cannot_be_downloaded_is_said_before_anything_is(manager):
    with FileServer() as server:
        images = replace(IMAGES, url=server.url("images.tar"))
        with pytest.raises(UserError, match="these archives nor what is in them: masks.tgz"):
            locate(manager(), (images, MASKS), LAYOUT)
        assert server.requests == []


@pytest.mark.parametrize("name", ["images.tar", "masks.tgz", "extra.zip"])
@pytest.mark.parametrize("length", [0, 1, 500, 1000, 2500])
def test_truncated_archives(archives, manager, tmp_path, name, length):
    path = archives / name
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(UserError) as caught:
        locate(manager(archives), ARCHIVES, LAYOUT)
    assert str(caught.value).startswith(f"{path} is truncated or damaged (")
    assert [file for file in unpacked(tmp_path) if file.startswith((name, "incomplete"))] == []


def test_a_tar_that_is_cut_off_between_two_files(archives, manager, tmp_path):
    """What tarfile takes for a whole one."""
    path = archives / "images.tar"
    with tarfile.open(path) as archive:
        second = archive.getmembers()[2].offset
    data = path.read_bytes()
    for cut in (data[:second], data[: second + 100], data[:second] + b"x" * 512 + data[second:]):
        path.write_bytes(cut)
        with pytest.raises(
            UserError, match="is truncated or damaged .(unexpected end|damaged header|bad)"
        ):
            locate(manager(archives), ARCHIVES, LAYOUT)
    assert unpacked(tmp_path) == []


def test_a_checksum_that_is_wrong(archives, manager):
    """Of a stored, not deflated, image only the checksum at the end tells."""
    path = archives / "masks.tgz"
    data = bytearray(gzip.compress(gzip.decompress(path.read_bytes()), compresslevel=0))
    data[5000] ^= 1
    path.write_bytes(data)
    with pytest.raises(UserError, match="masks.tgz is truncated or damaged .CRC check failed"):
        locate(manager(archives), ARCHIVES, LAYOUT)


def test_an_archive_of_something_else(archives, manager, tmp_path):
    (archives / "masks.tgz").write_bytes((archives / "images.tar").read_bytes())
    with pytest.raises(UserError) as caught:
        locate(manager(archives), ARCHIVES, LAYOUT)
    assert str(caught.value) == (
        f"{archives}/masks.tgz is not the archive from http://example.org/masks: it has no masks"
    )
    assert [name.split(".tar")[0] for name in unpacked(tmp_path)] == ["images"]


def test_an_interrupted_extraction_leaves_nothing(archives, manager, tmp_path, monkeypatch):
    class Bar:
        n = 0

        def __enter__(self):
            return self

        def __exit__(self, *error):
            pass

        def update(self, count):
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(archives_module, "byte_bar", lambda *arguments: Bar())
        with pytest.raises(KeyboardInterrupt):
            locate(manager(archives), ARCHIVES, LAYOUT)
    assert unpacked(tmp_path) == []
    assert len(locate(manager(archives), ARCHIVES, LAYOUT)) == 3


def test_what_a_killed_extraction_left_is_no_archive(archives, manager, tmp_path):
    folder = tmp_path / "data" / "downloads" / "extracted" / "incomplete.x" / "content"
    (folder / "images").mkdir(parents=True)
    found = locate(manager(archives), ARCHIVES, LAYOUT)
    assert len(contents(found["images.tar"])) == 2
    assert not folder.parent.exists()


def test_what_a_living_extraction_writes_is_left(archives, manager, tmp_path):
    folder = tmp_path / "data" / "downloads" / "extracted"
    with writing_in(folder):
        (folder / "incomplete.x").mkdir()
        assert len(locate(manager(archives), ARCHIVES, LAYOUT)) == 3
        assert (folder / "incomplete.x").exists()


def test_an_archive_cannot_write_elsewhere(archives, tree, manager, tmp_path):
    with tarfile.open(archives / "images.tar", "w") as archive:
        archive.add(tree / "images" / "a.bin", "images/../../../../../evil.bin")
    with pytest.raises(UserError, match="images.tar is truncated or damaged .*outside"):
        locate(manager(archives), ARCHIVES, LAYOUT)
    assert not list(tmp_path.rglob("evil.bin"))


def test_an_archive_that_would_fill_the_disk(archives, tree, manager, tmp_path, monkeypatch):
    """Zeros, which compress a thousandfold; counted while they are written."""
    (tree / "masks" / "zeros").write_bytes(bytes(1 << 21))
    with tarfile.open(archives / "masks.tgz", "w:gz") as archive:
        archive.add(tree / "masks", "masks")
    with zipfile.ZipFile(archives / "extra.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("extra/zeros", bytes(1 << 21))
    monkeypatch.setattr(archives_module, "MOST_BYTES", 1 << 20)
    for archive in (MASKS, EXTRA):
        with pytest.raises(UserError) as caught:
            locate(manager(archives), (archive,), LAYOUT)
        assert str(caught.value) == (
            f"{archives}/{archive.file} unpacks to more than 1,048,576 bytes or 2,000,000 files: "
            "if that is right, unpack it by hand"
        )
    monkeypatch.setattr(archives_module, "MOST_FILES", 1)
    with pytest.raises(UserError, match="images.tar unpacks to more than .* bytes or 1 files: if"):
        locate(manager(archives), (IMAGES,), LAYOUT)
    assert unpacked(tmp_path) == []


def test_a_size_in_the_header_is_not_believed(archives, manager, tmp_path):
    path = archives / "extra.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("extra/zeros", bytes(1 << 21))
    data = path.read_bytes()
    path.write_bytes(data.replace((1 << 21).to_bytes(4, "little"), (100).to_bytes(4, "little")))
    with pytest.raises(UserError, match="extra.zip is truncated or damaged .Bad CRC-32"):
        locate(manager(archives), (EXTRA,), LAYOUT)
    assert unpacked(tmp_path) == []


def test_a_zip_with_a_password(archives, manager):
    path = archives / "extra.zip"
    data = bytearray(path.read_bytes())
    data[6] |= 1  # the flag beside the file, and that in the directory at the end
    data[data.index(b"PK\1\2") + 8] |= 1
    path.write_bytes(data)
    with pytest.raises(UserError, match=f"^{path} is locked with a password: unpack it by hand$"):
        locate(manager(archives), ARCHIVES, LAYOUT)


@pytest.mark.parametrize(
    "start, kind",
    [
        (b"7z\xbc\xaf\x27\x1c\0\4", "a 7z archive"),
        (b"Rar!\x1a\7\1\0", "a RAR archive"),
        (b"<!DOCTYPE html><html>", "a web page"),
    ],
)
def test_other_files_under_the_name_of_an_archive(archives, manager, start, kind):
    for archive in (MASKS, EXTRA):
        path = archives / archive.file
        path.write_bytes(start + bytes(1000))
        with pytest.raises(UserError) as caught:
            locate(manager(archives), (archive,), LAYOUT)
        assert str(caught.value) == (
            f"{path} is {kind}, not a zip or tar archive: fetch it again, or unpack it by hand"
        )


def test_the_content_tells_what_an_archive_is(archives, tree, manager):
    (archives / "masks.tgz").rename(archives / "extra.zip")
    with zipfile.ZipFile(archives / "masks.tgz", "w") as archive:
        archive.write(tree / "masks" / "a.bin", "masks/a.bin")
    found = locate(manager(archives), (MASKS, replace(EXTRA, holds="masks")), LAYOUT)
    assert sorted(contents(found["masks.tgz"])) == ["masks/a.bin"]
    assert sorted(contents(found["extra.zip"])) == ["masks/a.bin", "masks/b.bin"]


def test_a_zip_that_lacks_bytes(archives, manager):
    path = archives / "extra.zip"
    path.write_bytes(path.read_bytes()[20:])
    with pytest.raises(UserError, match=f"^{path} is truncated or damaged"):
        locate(manager(archives), (EXTRA,), LAYOUT)


def test_a_zip_whose_directory_knows_no_content(archives, manager):
    """Checksum and compressed size 0, as after a power cut: zipfile reads an empty file."""
    path = archives / "extra.zip"
    data = bytearray(path.read_bytes())
    entry = data.index(b"PK\x01\x02")
    data[entry + 16 : entry + 24] = bytes(8)
    path.write_bytes(data)
    with pytest.raises(UserError, match=f"^{path} is truncated or damaged .*ends early"):
        locate(manager(archives), (EXTRA,), LAYOUT)


def test_a_zip_whose_directory_has_another_name(archives, manager):
    """At a zero zipfile ends the name, and here takes the file for a folder."""
    path = archives / "extra.zip"
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("extra/b.bin", b"content")
    data = path.read_bytes()
    end = data.rindex(b"b.bin")
    path.write_bytes(data[:end] + b"\0" + data[end + 1 :])
    with pytest.raises(UserError, match=f"^{path} is truncated or damaged .*differ"):
        locate(manager(archives), (EXTRA,), LAYOUT)


@pytest.mark.parametrize(
    "names", [[""], ["."], ["extra", "extra/a"], ["extra/a", "extra"], ["extra/" + "x" * 256]]
)
def test_names_that_no_file_can_have(archives, manager, names):
    path = archives / "extra.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            info = zipfile.ZipInfo("x")
            info.filename = name
            archive.writestr(info, b"content")
    with pytest.raises(UserError, match=f"^{path} is truncated or damaged"):
        locate(manager(archives), (EXTRA,), LAYOUT)


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_damaged_zips_of_other_methods(archives, tree, manager, method):
    path = archives / "extra.zip"
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.write(tree / "extra" / "a.bin", "extra/a.bin")
    assert locate(manager(archives), (EXTRA,), LAYOUT)
    data = bytearray(path.read_bytes())
    data[300:1500] = bytes(1200)
    (archives / "other.zip").write_bytes(data)
    with pytest.raises(UserError, match=f"^{archives}/other.zip is truncated or damaged"):
        locate(manager(archives), (replace(EXTRA, file="other.zip"),), LAYOUT)


def test_a_compression_that_python_lacks(archives, manager):
    """Deflate64, which Windows takes for large files."""
    path = archives / "extra.zip"
    data = bytearray(path.read_bytes())
    data[8] = data[data.index(b"PK\1\2") + 10] = 9
    path.write_bytes(data)
    with pytest.raises(UserError) as caught:
        locate(manager(archives), ARCHIVES, LAYOUT)
    assert str(caught.value) == (
        f"{path} cannot be unpacked here (That compression method is not supported): unpack it by "
        "hand"
    )


def test_a_directory_that_hides_files(archives, tree, manager):
    """The length of a comment that the second file has not swallows the third."""
    path = archives / "extra.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for number in range(3):
            archive.writestr(f"extra/{number}", b"x")
    data = bytearray(path.read_bytes())
    second = data.index(b"PK\1\2", data.index(b"PK\1\2") + 1)
    data[second + 32] = 46 + len("extra/2")
    path.write_bytes(data)
    with zipfile.ZipFile(path) as archive:
        assert archive.namelist() == ["extra/0", "extra/1"]
    message = f"^{path} is truncated or damaged .2 of 3 files are listed.: fetch it again"
    with pytest.raises(UserError, match=message):
        locate(manager(archives), (EXTRA,), LAYOUT)

"""Downloads from a local server that breaks off, cannot continue, or has something else."""

import hashlib
import re
import socket
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from file_server import FileServer

from pipelines.base.errors import UserError, as_options
from pipelines.base.locks import claim
from pipelines.building import downloads
from pipelines.building.downloads import download

DATA = np.random.default_rng(0).bytes(3000)
SHA256 = hashlib.sha256(DATA).hexdigest()


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr(downloads, "PAUSES", (0, 0))
    with FileServer(archive=DATA) as server:
        yield server


@pytest.fixture
def path(tmp_path):
    return tmp_path / "downloads" / "a.tar"


def part_of(path):
    return path.with_name("a.tar.part")


def test_a_download(server, path, capsys):
    assert download(server.url("archive"), path, len(DATA), SHA256) == path
    assert path.read_bytes() == DATA
    assert [file.name for file in path.parent.iterdir()] == ["a.tar"]
    assert "a.tar: 100%" in capsys.readouterr().err
    assert server.requests == [("archive", None)]
    download(server.url("archive"), path, len(DATA), SHA256)  # it is there
    assert len(server.requests) == 1


def test_a_file_that_another_process_is_fetching_is_waited_for(server, path, capsys):
    path.parent.mkdir()
    with ThreadPoolExecutor() as pool:
        with claim(path.parent, name=".a.tar.lock"):
            waiting = pool.submit(download, server.url("archive"), path, len(DATA), SHA256)
            while not (said := capsys.readouterr().err):
                assert not waiting.done()
            path.write_bytes(DATA)
        assert waiting.result() == path
    assert said == "a.tar: waits for another process, which is fetching it\n"
    assert server.requests == [] and [*path.parent.iterdir()] == [path]


def test_what_broke_off_elsewhere_is_taken_up(server, path):
    path.parent.mkdir()
    with ThreadPoolExecutor() as pool:
        with claim(path.parent, name=".a.tar.lock"):
            waiting = pool.submit(download, server.url("archive"), path, len(DATA), SHA256)
            part_of(path).write_bytes(DATA[:1000])
        assert waiting.result().read_bytes() == DATA
    assert server.requests == [("archive", "bytes=1000-")]


def test_nothing_but_the_address_is_known(server, path):
    assert download(server.url("archive"), path).read_bytes() == DATA


@pytest.mark.parametrize("resets", [False, True])
def test_a_lost_connection_is_taken_up_in_mid_file(server, path, monkeypatch, resets):
    monkeypatch.setattr(downloads, "CHUNK", 500)  # which is lost where it is not whole
    server.cuts, server.resets = [1000, 500, 0], resets
    download(server.url("archive"), path, len(DATA), SHA256)
    assert path.read_bytes() == DATA
    asked = [asked for _, asked in server.requests]
    assert asked == [None, "bytes=1000-", "bytes=1500-", "bytes=1500-"]


def test_an_interrupt_is_taken_up_by_the_next_call(server, path, monkeypatch):
    monkeypatch.setattr(downloads, "CHUNK", 700)

    class Bar:
        n = 0

        def __enter__(self):
            return self

        def __exit__(self, *error):
            pass

        def update(self, count):
            self.n += count
            if self.n == 1400:
                raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(downloads, "byte_bar", lambda *arguments: Bar())
        with pytest.raises(KeyboardInterrupt):
            download(server.url("archive"), path, len(DATA), SHA256)
    assert not path.exists() and part_of(path).read_bytes() == DATA[:1400]
    download(server.url("archive"), path, len(DATA), SHA256)
    assert path.read_bytes() == DATA and not part_of(path).exists()
    assert [asked for _, asked in server.requests] == [None, "bytes=1400-"]


def test_a_server_that_cannot_continue_starts_over(server, path):
    server.ranges = False
    server.cuts = [2000]
    download(server.url("archive"), path, len(DATA), SHA256)
    assert path.read_bytes() == DATA
    assert [asked for _, asked in server.requests] == [None, "bytes=2000-"]


def test_a_server_that_always_breaks_off(server, path):
    server.ranges = False
    server.cuts = [2000] * 9
    url = server.url("archive")
    with pytest.raises(UserError) as caught, as_options(source="from"):
        download(url, path, len(DATA), SHA256, page="http://example.org/page")
    assert str(caught.value) == (
        f"cannot download {url}: the connection ended after 2,000 of 3,000 bytes: try again later, "
        "2,000 bytes are kept; a.tar can also be fetched by hand, from http://example.org/page, "
        "and its folder given as --from DIR"
    )
    assert len(server.requests) == 4  # the first, and three that brought nothing more
    assert not path.exists()


def test_a_part_that_is_complete_is_only_checked(server, path):
    path.parent.mkdir()
    part_of(path).write_bytes(DATA)
    download(server.url("archive"), path, len(DATA), SHA256)
    assert path.read_bytes() == DATA and server.requests == []


@pytest.mark.parametrize("size", [None, len(DATA)])
def test_a_part_that_is_longer_than_the_file(server, path, size):
    path.parent.mkdir()
    part_of(path).write_bytes(DATA + b"more")
    assert download(server.url("archive"), path, size).read_bytes() == DATA
    assert [asked for _, asked in server.requests] == ["bytes=3004-", None]


def test_a_part_of_another_file(server, path):
    path.parent.mkdir()
    part_of(path).write_bytes(bytes(1000))
    with pytest.raises(UserError, match="what came has the SHA-256 .* was deleted: try again"):
        download(server.url("archive"), path, len(DATA), SHA256)
    assert not part_of(path).exists()
    assert download(server.url("archive"), path, len(DATA), SHA256).read_bytes() == DATA


def test_a_wrong_checksum(server, path):
    url = server.url("archive")
    with pytest.raises(UserError) as caught, as_options(source="from"):
        download(url, path, len(DATA), "0" * 64)
    assert str(caught.value) == (
        f"cannot download {url}: what came has the SHA-256 {SHA256}, not {'0' * 64}, and was "
        f"deleted: try again; a.tar can also be fetched by hand, from {url}, and its folder given "
        "as --from DIR"
    )
    assert list(path.parent.iterdir()) == []


def test_a_wrong_size_is_refused_before_it_comes(server, path):
    with pytest.raises(UserError, match="the file there has 3,000 bytes, not 4,000 as published"):
        download(server.url("archive"), path, 4000)
    assert list(path.parent.iterdir()) == []


def test_a_server_that_tells_no_length(server, path):
    server.lengths = False
    assert download(server.url("archive"), path, len(DATA)).read_bytes() == DATA
    path.unlink()
    server.cuts = [100]
    with pytest.raises(UserError, match="100 bytes came, not 3,000 as published, and was deleted"):
        download(server.url("archive"), path, len(DATA))


def test_a_file_of_another_size_is_there(server, path):
    path.parent.mkdir()
    path.write_bytes(b"abc")
    with pytest.raises(UserError, match=f"^{path} has 3 bytes, not 3,000: delete it$"):
        download(server.url("archive"), path, len(DATA))
    assert path.read_bytes() == b"abc" and server.requests == []


def test_not_found(server, path):
    url = server.url("gone")
    with pytest.raises(UserError) as caught, as_options(source="from"):
        download(url, path)
    assert str(caught.value) == (
        f"cannot download {url}: the server says 404 Not Found; the file may have moved; a.tar can "
        f"also be fetched by hand, from {url}, and its folder given as --from DIR"
    )
    assert len(server.requests) == 1  # not asked again


def test_errors_of_the_server_may_pass(server, path):
    server.statuses = [503, 429]
    assert download(server.url("archive"), path).read_bytes() == DATA
    path.unlink()
    server.statuses = [500] * 9
    with pytest.raises(UserError, match="the server says 500 Internal Server Error: try again lat"):
        download(server.url("archive"), path)


def test_another_range_than_the_one_asked_for(server, path, monkeypatch):
    monkeypatch.setattr(re, "fullmatch", lambda *arguments: ["", "7"])  # in the server
    path.parent.mkdir()
    part_of(path).write_bytes(DATA[:1000])
    with pytest.raises(UserError, match="the server does not go on at byte 1,000 as asked"):
        download(server.url("archive"), path)
    assert part_of(path).read_bytes() == DATA[:1000]


def test_no_answer(path, monkeypatch):
    monkeypatch.setattr(downloads, "PAUSES", (0, 0))
    monkeypatch.setattr(downloads, "TIMEOUT", 0.05)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/archive"
        with pytest.raises(UserError, match=r"no answer \(timed out\): try again later; a.tar"):
            download(url, path)
    with pytest.raises(UserError, match=r"no answer \(.*refused\): try again later; a.tar"):
        download(url, path)

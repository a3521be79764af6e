"""Files that are complete or absent, and what killed writers leave."""

import errno
import json
import math
import os
import socket
import subprocess
import tempfile
from pathlib import Path

import numpy as np
import pytest

from pipelines.base.errors import UsageError, UserError
from pipelines.base.files import (
    check_figures_file,
    check_folder,
    check_target,
    checked_path,
    make_folder,
    read_regular,
    remove_leftovers,
    replacing,
    write_json,
)

HOST = socket.gethostname().replace(".", "_")
DEAD = 2**22 + 1  # more than Linux counts to


@pytest.fixture
def living():
    """The number of a process that lives."""
    with subprocess.Popen(["sleep", "1000"]) as process:
        yield process.pid
        process.kill()


def names(folder) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_replacing_cleans_up_after_an_interrupt(tmp_path):
    with pytest.raises(KeyboardInterrupt), replacing(tmp_path / "a.json") as temporary:
        temporary.write_text("half")
        raise KeyboardInterrupt
    assert not os.listdir(tmp_path)


def leave(folder, living) -> set[str]:
    """What writers have left, and other hidden files; the names of those that must stay."""
    version = folder / f".version-0a.{HOST}-{DEAD}.part"
    version.mkdir()
    (version / "saved_model.pb").write_text("half")
    dead = (f".best.{HOST}-{DEAD}.part.keras", f".a.b.{HOST}-{DEAD}.part")
    stay = {
        f".best.{HOST}-{living}.part.keras",
        f".config.{HOST}-{living}.part.json",
        f".movie.{DEAD}.part",  # as another program calls what it downloads
        ".incomplete-0123456789abcdef",
        ".notes.part.txt",
        ".part.txt",
        ".lock",
    }
    for name in (*dead, *stay):
        (folder / name).write_text("half")
    return stay


def test_the_next_writer_removes_what_the_dead_have_left(tmp_path, living, capsys):
    stay = leave(tmp_path, living)
    with replacing(tmp_path / "metrics.json") as temporary:
        assert temporary.suffix == ".json"
        temporary.write_text("{}")
    assert names(tmp_path) == stay | {"metrics.json"}
    assert capsys.readouterr().err == ""


def test_what_another_machine_may_be_writing_is_named(tmp_path, capsys):
    left = (f".best.elsewhere-{DEAD}.part.keras", f".b.elsewhere-{DEAD}.part")
    for name in left:
        (tmp_path / name).touch()
    remove_leftovers(tmp_path)
    assert names(tmp_path) == set(left)
    advice = "was never finished: delete it unless another machine is at work"
    lines = [f"warning: {tmp_path / name} {advice}" for name in left]
    assert sorted(capsys.readouterr().err.splitlines()) == sorted(lines)
    remove_leftovers(tmp_path, is_held=True)
    assert names(tmp_path) == set()


def test_a_name_that_would_colour_the_terminal(tmp_path, capsys):
    (tmp_path / f".\x1b[31m.elsewhere-{DEAD}.part").touch()
    remove_leftovers(tmp_path)
    assert capsys.readouterr().err.startswith(f"warning: {tmp_path}/.\\x1b[31m.elsewhere-")


def test_another_file_that_fails_inside_is_named(tmp_path):
    lost = tmp_path / "lost.txt"
    with pytest.raises(UserError) as caught, replacing(tmp_path / "a.txt") as temporary:
        temporary.write_text(lost.read_text())
    assert str(caught.value) == (
        f"{tmp_path}/a.txt cannot be written: {lost}: No such file or directory"
    )
    assert names(tmp_path) == set()


@pytest.mark.parametrize(
    "path, fault",
    [
        (None, "must be a string or a Path, got a NoneType"),
        (3, "must be a string or a Path, got a int"),
        ("", "must name a file, got ''"),
        ("a\0b", r"must name a file, got 'a\x00b'"),
    ],
)
def test_what_is_no_path(path, fault):
    with pytest.raises(ValueError) as caught:
        checked_path(path)
    assert str(caught.value) == f"path {fault}"


def test_a_part_of_a_prepared_set_is_no_target(tmp_path):
    """Of such a folder files may be made that are none of its own, as its contact sheet is."""
    for name in ("dataset_info.json", "a-val.tfrecord-00000-of-00001", "contact_sheet.png"):
        (tmp_path / name).write_text("{}")
    for name in ("dataset_info.json", "a-val.tfrecord-00000-of-00001"):
        with pytest.raises(UsageError) as caught:
            check_target(tmp_path / name, "--json")
        assert str(caught.value) == (
            f"--json {tmp_path}/{name} would be written over, and is part of a prepared data set: "
            "name another file"
        )
    (tmp_path / "scores.json").touch()
    for name in ("contact_sheet.png", "scores.json"):
        check_target(tmp_path / name, "--json")


def test_no_folder_has_no_leftovers(tmp_path):
    remove_leftovers(tmp_path / "none")
    with pytest.raises(UserError, match="cannot be written: No such file"):
        with replacing(tmp_path / "none" / "a.txt") as temporary:
            temporary.write_text("a")


def test_a_folder_that_can_be_made_is_not_made(tmp_path):
    check_folder(tmp_path)
    check_folder(tmp_path / "deep" / "run")
    assert names(tmp_path) == set()


def test_a_file_in_place_of_a_folder(tmp_path):
    file = tmp_path / "file"
    file.touch()
    for path, reason in ((file, "File exists"), (file / "deep" / "run", "Not a directory")):
        with pytest.raises(UserError) as caught:
            check_folder(path)
        assert str(caught.value) == f"cannot write to {path}: {file}: Not a directory"
        with pytest.raises(UserError) as caught:
            make_folder(path)
        assert str(caught.value) == f"cannot make the folder {path}: {reason}"


def test_a_file_system_that_takes_nothing(tmp_path, monkeypatch):
    def refuse(dir):
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)
    with pytest.raises(UserError) as caught:
        check_folder(tmp_path / "run")
    assert str(caught.value) == (
        f"cannot write to {tmp_path}/run: {tmp_path}: Read-only file system"
    )


def test_a_folder_that_takes_no_file(tmp_path):
    """As another user's, which is not found out after hours of measuring."""
    with pytest.raises(UserError) as caught:
        check_target(Path("/proc/figures.json"), "--json")
    assert str(caught.value) == "cannot write to /proc: /proc: No such file or directory"


@pytest.mark.parametrize(
    ("name", "kind"), [("fifo", "a FIFO"), ("/dev/stdout", "a device"), ("folder", "a folder")]
)
def test_what_is_no_file_is_not_replaced(tmp_path, name, kind):
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "folder").mkdir()
    path = tmp_path / name
    before = path.lstat()
    with pytest.raises(UsageError) as caught:
        check_target(path, "--json")
    assert str(caught.value) == f"--json {path} is {kind}: name a file"
    with pytest.raises(UserError) as caught, replacing(path) as temporary:
        temporary.write_text("")
    assert str(caught.value) == f"{path} cannot be written: it is {kind}"
    assert os.path.samestat(path.lstat(), before)


def test_a_folder_whose_name_is_no_utf8(tmp_path):
    folder = tmp_path / os.fsdecode(b"gr\xfcn")
    with pytest.raises(UserError) as caught:
        check_folder(folder / "run")
    assert str(caught.value) == (
        f"{tmp_path}/gr\udcfcn/run has bytes that are no UTF-8 in its name: rename it"
    )


def test_a_file_that_the_command_needs(tmp_path):
    """By whatever path it is named, and before it is there."""
    model = tmp_path / "model.keras"
    for file in (model, tmp_path / "none" / ".." / "model.keras", tmp_path / "link"):
        (tmp_path / "link").unlink(missing_ok=True)
        (tmp_path / "link").symlink_to(model)
        with pytest.raises(UsageError) as caught:
            check_target(file, "--json", tmp_path / "other", model)
        assert str(caught.value) == f"--json {file} would be written over: name another file"
    check_target(tmp_path / "figures.json", "--json", model)
    check_target(None, "--json", model)


@pytest.mark.parametrize("content", ["road\ncar\n", "\x89PNG", '{"model": "a"}', "[]", "[3]", "7"])
def test_figures_over_what_are_none(tmp_path, content):
    """Such as a run's configuration, names of classes, annotations or a photograph."""
    file = tmp_path / "file.json"
    file.write_text(content, "latin-1")
    with pytest.raises(UsageError) as caught:
        check_figures_file(file, {"model", "size"})
    assert str(caught.value) == (
        f"--json {file} would be written over, and holds no figures of this command: name another "
        "file"
    )


@pytest.mark.parametrize(
    "content", ["", '{"size": 3, "model": "a", "x": 1}', '[{"model": 1, "size": 2}]']
)
def test_figures_over_earlier_ones(tmp_path, content):
    file = tmp_path / "file.json"
    check_figures_file(file, {"model", "size"})
    file.write_text(content)
    check_figures_file(file, {"model", "size"}, are_listed=content.startswith("["))


def test_figures_of_one_over_a_list(tmp_path):
    file = tmp_path / "file.json"
    file.write_text('[{"model": 1}]')
    check_figures_file(file, {"model"}, are_listed=True)
    with pytest.raises(UsageError, match="holds no figures of this command"):
        check_figures_file(file, {"model"})


def test_a_folder_that_the_command_makes(tmp_path):
    out = tmp_path / "out"
    check_target(out / "figures.json", "--json", made=out)
    with pytest.raises(UserError) as caught:
        check_target(out / "deep" / "figures.json", "--json", made=out)
    assert str(caught.value) == (f"--json {out}/deep/figures.json: there is no folder {out}/deep")


def test_a_file_that_cannot_be_read(tmp_path, monkeypatch):
    """Each has its sentence, that of a missing file perhaps what to do."""
    file, link = tmp_path / "file", tmp_path / "link"
    file.write_bytes(b"abc")
    link.symlink_to("file")
    assert read_regular(file) == read_regular(link, ": fetch it") == b"abc"
    (tmp_path / "broken").symlink_to("gone")
    for path, message in {
        "none": "there is no {}: fetch it",
        "broken": "{} is a broken link: there is no gone",
        "file/inside": "{} cannot be read: Not a directory",
    }.items():
        with pytest.raises(UserError) as caught:
            read_regular(tmp_path / path, ": fetch it")
        assert str(caught.value) == message.format(tmp_path / path)

    def refuse(path):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(type(file), "read_bytes", refuse)
    with pytest.raises(UserError) as caught:
        read_regular(file)
    assert str(caught.value) == f"{file} cannot be read: Permission denied"


def test_json_has_no_nan(tmp_path):
    content = {"mean_iou": math.nan, "of": [0.5, math.nan, ("a", {"b": np.float64("nan")})], "n": 1}
    write_json(tmp_path / "a.json", content)

    def refuse(word):
        raise AssertionError(word)

    found = json.loads((tmp_path / "a.json").read_text(), parse_constant=refuse)
    assert found == {"mean_iou": None, "of": [0.5, None, ["a", {"b": None}]], "n": 1}

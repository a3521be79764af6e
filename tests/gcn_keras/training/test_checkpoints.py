"""Checkpoints: what is written comes back; what is damaged is named and passed over."""

import json
import zipfile

import numpy as np
import pytest

from gcn_keras.training import checkpoints
from gcn_keras.training.checkpoints import Checkpoint
from pipelines.base.errors import UserError, in_options


def make(step: int) -> Checkpoint:
    arrays = {
        "00000/model/p5/kernel": np.arange(6, dtype="float32").reshape(2, 3) + step,
        "00001/optimizer/iterations": np.array(step, "int64"),
    }
    return Checkpoint(step, {"epoch": 2, "history": {"loss": [0.5, float("nan")]}}, arrays)


def found(folder) -> list:
    return list(checkpoints.read_newest(folder))


def test_round_trip(tmp_path):
    path = checkpoints.write(tmp_path / "checkpoints", make(7), keep=2)
    assert path.name == "step-00000007.npz"
    read = checkpoints.read(path)
    assert read.step == 7 and read.state["epoch"] == 2
    np.testing.assert_array_equal(read.state["history"]["loss"], [0.5, np.nan])
    assert list(read.arrays) == list(make(7).arrays)
    for name, array in make(7).arrays.items():
        np.testing.assert_array_equal(read.arrays[name], array, strict=True)


def test_what_the_run_depends_on_comes_back(tmp_path):
    origin = {"class_names": ["a", "b"], "configuration": {"epochs": 3}}
    path = checkpoints.write(tmp_path, make(7)._replace(origin=origin), keep=1)
    read = checkpoints.read(path)
    assert read.origin == origin and read.state.keys() == {"epoch", "history"}


def test_one_from_before_that_was_kept(tmp_path):
    path = tmp_path / "step-00000007.npz"
    state = np.frombuffer(json.dumps({"epoch": 2}).encode(), np.uint8)
    np.savez(path, **{"state.json": state, "00000-model": np.ones(3)})
    read = checkpoints.read(path)
    assert (read.step, read.state, read.origin) == (7, {"epoch": 2}, {})
    assert list(read.arrays) == ["00000-model"]


def test_the_newest_are_kept(tmp_path):
    for step in (3, 5, 20, 100_000_000):  # more digits than the name has room for
        checkpoints.write(tmp_path, make(step), keep=2)
    assert [path.name for path in checkpoints.paths(tmp_path)] == [
        "step-100000000.npz",
        "step-00000020.npz",
    ]
    assert [one.step for one in found(tmp_path)] == [100_000_000]


@pytest.mark.parametrize("keep", [1, 2])
def test_those_that_are_no_past_go(tmp_path, keep):
    """A run whose epochs have become shorter counts fewer steps; and damaged ones are no past."""
    for step in (300, 400):
        checkpoints.write(tmp_path, make(step), keep=2)
    (tmp_path / "step-00000260.npz").write_bytes(b"damaged")
    for step, kept in ((250, [250]), (255, [255, 250][:keep]), (310, [310, 255][:keep])):
        path = checkpoints.write(tmp_path, make(step), keep)
        assert path.exists()
        assert [int(path.stem[5:]) for path in checkpoints.paths(tmp_path)] == kept


def test_other_files_are_left_alone(tmp_path):
    (tmp_path / "step-notes.npz").write_text("mine")
    checkpoints.write(tmp_path, make(1), keep=1)
    assert [one.step for one in found(tmp_path)] == [1]
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "step-00000001.npz",
        "step-notes.npz",
    ]


def test_no_folder_holds_no_checkpoint(tmp_path):
    assert found(tmp_path / "absent") == []


def flip(content: bytes, place: float) -> bytes:
    changed = bytearray(content)
    changed[int(place * len(changed))] ^= 1
    return bytes(changed)


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda content: b"", id="empty"),
        pytest.param(lambda content: content[:-1], id="a byte short"),
        pytest.param(lambda content: content[: len(content) // 2], id="half"),
        pytest.param(lambda content: b"x" * len(content), id="something else"),
        pytest.param(lambda content: content[:200] + bytes(4096) + content[4296:], id="a hole"),
        *[pytest.param(lambda c, p=p: flip(c, p), id=f"a bit at {p}") for p in (0.2, 0.5, 0.8)],
    ],
)
def test_a_damaged_one_is_named_and_the_one_before_it_taken(tmp_path, damage):
    big = {"weights": np.random.default_rng(0).normal(size=5000)}
    checkpoints.write(tmp_path, make(1), keep=3)
    path = checkpoints.write(tmp_path, Checkpoint(2, {}, big), keep=3)
    path.write_bytes(damage(path.read_bytes()))
    error, taken = found(tmp_path)
    assert isinstance(error, UserError)
    assert str(error).startswith(f"the checkpoint {path} is damaged (")
    assert taken.step == 1


@pytest.mark.parametrize(
    ("gone", "reason"),
    [
        ("00001/optimizer/iterations.npy", "1 of 2 arrays are there"),
        ("state.json.npy", "'state.json'"),
    ],
)
def test_an_archive_that_has_lost_an_entry_is_damaged(tmp_path, gone, reason):
    path = checkpoints.write(tmp_path, make(1), keep=1)
    with zipfile.ZipFile(path) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name in entries.keys() - {gone}:
            archive.writestr(name, entries[name])
    with pytest.raises(UserError) as caught:
        checkpoints.read(path)
    assert str(caught.value) == f"the checkpoint {path} is damaged ({reason})"


def test_where_all_are_damaged_all_are_named(tmp_path):
    for step in (1, 2):
        checkpoints.write(tmp_path, make(step), keep=2).write_bytes(b"half")
    with pytest.raises(UserError) as caught:
        list(checkpoints.read_newest(tmp_path))
    assert caught.value.exit_status == 1 and in_options(caught.value.template) == (
        f"no checkpoint in {tmp_path} can be read (step-00000002.npz, step-00000001.npz), and "
        "nothing there was changed: begin a new run in another --out, by --weights from this "
        "one's best.keras"
    )


def test_pickled_objects_are_not_read(tmp_path):
    path = tmp_path / "step-00000001.npz"
    np.savez(path, **{"state.json": np.array([{"a": 1}], dtype=object)})
    with pytest.raises(UserError, match="damaged .*allow_pickle=False"):
        checkpoints.read(path)


def test_a_write_that_fails_leaves_the_former_ones(tmp_path, monkeypatch):
    checkpoints.write(tmp_path, make(1), keep=1)

    def full(file, **arrays):
        file.write(b"some")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", full)
    with pytest.raises(UserError, match="step-00000002.npz cannot be written: No space left"):
        checkpoints.write(tmp_path, make(2), keep=1)
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000001.npz"]

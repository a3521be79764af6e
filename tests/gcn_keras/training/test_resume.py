"""Runs that are killed, asked to stop, starved of disk or of a worker; and what is left of them."""

import json
import os
import random
import re
import shutil
import signal
import time

import keras
import numpy as np
import pytest
from addresses import free_addresses
from small_runs import SMALL, ForkedFit, fit_options, prepare_halves, run

from gcn_keras.inference.legend import Legend
from gcn_keras.training import checkpoints
from pipelines import datasets

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    return prepare_halves(tmp_path_factory.mktemp("resume"))


def options_of(data_dir, out, **options) -> list:
    return [*fit_options(data_dir, out, **options), *SMALL]


@pytest.fixture(scope="module")
def measured(data_dir, tmp_path_factory):
    """The folder of a run of two epochs; tests go on with a copy of it."""
    out = tmp_path_factory.mktemp("measured") / "run"
    status, _, stderr = ForkedFit(options_of(data_dir, out), out.parent).finish()
    assert status == 0, stderr
    return out


def unfinished(measured, out):
    """A copy of that run that is to be measured yet."""
    shutil.copytree(measured, out)
    (out / "metrics.json").unlink()
    return out


def newest(out):
    """The newest checkpoint's path, or None."""
    return next(iter(checkpoints.paths(out / "checkpoints")), None)


def place_of(path) -> tuple[int, int]:
    """Finished epochs, and steps of the next one: all of them before its validation."""
    state = checkpoints.read(path).state
    return state["epoch"], state["step"]


def goes_on_after(epochs, steps) -> str:
    return f"goes on after {epochs} epoch{'s'[epochs == 1 :]} and {steps} step{'s'[steps == 1 :]}"


def weights(path) -> list[np.ndarray]:
    return keras.models.load_model(path, compile=False).get_weights()


def table(out) -> list[str]:
    return (out / "history.csv").read_text().splitlines()


def test_killed_ten_times(data_dir, tmp_path):
    """At random steps; as a checkpoint is written after each, often in the middle of that."""
    draw = random.Random(0)
    common = ["--deterministic", "--jitter", 0.3, "--scale", 0.5, 2, "--checkpoint-steps", 1]
    options = {"epochs": 12, "steps-per-epoch": 8}
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    reference = ForkedFit([*options_of(data_dir, whole, **options), *common], tmp_path)
    again = [*options_of(data_dir, killed, **options), *common, "--resume"]
    reached = []
    for _ in range(10):
        fit, before = ForkedFit(again, tmp_path), newest(killed)
        fit.wait_for(lambda before=before: newest(killed) != before)
        time.sleep(draw.uniform(0, 0.3))
        fit.send(signal.SIGKILL)
        status, _, stderr = fit.finish()
        assert status == -signal.SIGKILL, stderr
        last = newest(killed)
        reached.append(checkpoints.read(last).step)  # whole, whatever happened
    assert reached == sorted(set(reached)) and reached[-1] < 96
    place = place_of(checkpoints.paths(killed / "checkpoints")[1])
    # And the last one is damaged, too.
    content = bytearray(last.read_bytes())
    content[len(content) // 2] ^= 1
    last.write_bytes(content)
    status, stdout, stderr = ForkedFit(again, tmp_path).finish()
    assert status == 0, stderr
    assert f"the checkpoint {last} is damaged (" in stdout and "the one before it" in stdout
    assert goes_on_after(*place) in stdout
    status, _, stderr = reference.finish()
    assert status == 0, stderr
    for name in ("model.keras", "best.keras"):
        for ours, theirs in zip(weights(killed / name), weights(whole / name), strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-6)
    assert table(killed) == table(whole)
    assert not list(killed.rglob("*.part.*"))


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["ctrl-c", "preempted"]
)
def test_asked_to_stop(data_dir, tmp_path, number, status):
    out = tmp_path / "run"
    fit = ForkedFit(options_of(data_dir, out, epochs=1000), tmp_path)
    fit.wait_for((out / "best.keras").exists)
    fit.send(number)
    found, stdout, stderr = fit.finish(120)
    assert found == status, stderr
    assert stderr.endswith("interrupted\n") and "Traceback" not in stderr
    said = re.search(
        rf"stopped after (\d+) epochs? and (\d) steps?: {re.escape(str(out))}/model.keras is "
        rf"saved; go on with: python -m gcn_keras.fit --resume --out {re.escape(str(out))} "
        rf"--no-export --data-dir {re.escape(str(data_dir))} --tensorboard-samples 0\n",
        stdout,
    )
    assert checkpoints.read(newest(out)).step == 2 * int(said[1]) + int(said[2])
    model = keras.models.load_model(out / "model.keras", compile=False)
    assert model.output_shape == (None, None, None, 2)
    names = {path.name for path in out.iterdir()}
    assert {"model.keras", "best.keras", "history.csv", "curves.png"} <= names
    assert "metrics.json" not in names
    assert not [name for name in names if "part" in name]


def test_what_resume_refuses(data_dir, measured, tmp_path):
    done = run("fit", "--resume", "--out", measured, "--data-dir", data_dir, "--no-export")
    assert done.returncode == 0 and f"{measured} is finished: mean IoU " in done.stdout
    out = unfinished(measured, tmp_path / "run")
    for options, message in (
        (
            options_of(data_dir, out),
            "holds a run that is not finished: --resume goes on ",
        ),
        (
            ("--resume", "--out", out, "--epochs", 7),
            "holds a run with epochs = 2, and this one has",
        ),
        (
            ("--resume", "--out", out, "--recipe", "camvid"),
            "--recipe camvid is not that of the run",
        ),
    ):
        refused = run("fit", *options, "--data-dir", data_dir)
        assert refused.returncode == 2 and message in refused.stderr
        assert len(refused.stderr.splitlines()) == 1


def everything(folder) -> dict:
    """What lies in a folder, by name."""
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_other_data_under_the_same_name(data_dir, measured, tmp_path):
    """Prepared again: with the classes the other way round, then with another image."""
    out, data = unfinished(measured, tmp_path / "run"), tmp_path / "data"
    shutil.copytree(data_dir, data)
    before = everything(out)
    again = ["--resume", "--out", out, "--data-dir", data]

    (metadata,) = data.rglob("metadata.json")
    content = metadata.read_text()
    metadata.write_text(json.dumps({**json.loads(content), "class_names": ["right", "left"]}))
    status, _, stderr = ForkedFit([*again, "--accept-changes"], tmp_path).finish()
    assert status == 1 and stderr.splitlines()[-1] == (
        f"error: {out} knows the classes left, right, and 'image_folder' has the same in another "
        "order: right, left; they do not belong together"
    )
    assert everything(out) == before

    shutil.rmtree(data)
    source = shutil.copytree(data_dir.parent / "source", tmp_path / "source")
    shutil.copy(source / "train/images/1.jpg", source / "train/images/0.jpg")
    datasets.prepare("image_folder", source, data)
    status, _, stderr = ForkedFit(again, tmp_path).finish()
    assert status == 1 and stderr.splitlines()[-1] == (
        f"error: since its last checkpoint the run in {out} has changed: split 'train' of "
        "'image_folder' has other records; undo that, or go on all the same with --accept-changes"
    )
    assert everything(out) == before
    status, stdout, stderr = ForkedFit([*again, "--accept-changes"], tmp_path).finish()
    assert status == 0, stderr
    assert "goes on after 2 epochs and 0 steps" in stdout and (out / "metrics.json").is_file()


@pytest.mark.parametrize("gone", ["damaged", "removed"])
def test_without_a_checkpoint_to_go_on_from_nothing_is_overwritten(
    data_dir, measured, tmp_path, gone
):
    out = unfinished(measured, tmp_path / "run")
    found = checkpoints.paths(out / "checkpoints")
    assert len(found) == 2
    for path in found:
        path.write_bytes(b"half") if gone == "damaged" else path.unlink()
    before = everything(out)
    again = ["--resume", "--out", out, "--data-dir", data_dir]
    status, _, stderr = ForkedFit(again, tmp_path).finish()
    assert status == 1 and "Traceback" not in stderr
    said = {
        "damaged": f"no checkpoint in {out}/checkpoints can be read (step-00000004.npz, "
        "step-00000002.npz), and nothing there was changed: begin a new run in another --out, by "
        "--weights from this one's best.keras",
        "removed": f"{out} holds best.keras and no checkpoint to go on from, and nothing there was "
        "changed: begin a new run in another --out, by --weights from that model",
    }
    assert stderr.splitlines()[-1] == f"error: {said[gone]}"
    assert everything(out) == before


def test_a_finished_run_goes_on_for_more_epochs(data_dir, measured, tmp_path):
    """As if it had been begun with them, where the learning rate is constant; and without the file
    of the weights that it started from, in whose place another model's classes lie."""
    start = shutil.copy(measured / "best.keras", tmp_path / "start.keras")
    common = ["--schedule", "constant", "--deterministic", "--weights", start]
    extended, whole = tmp_path / "extended", tmp_path / "whole"
    for out, epochs, options in (
        (whole, 2, common),
        (extended, 1, common),
        (extended, 2, [*common, "--resume"]),
    ):
        if "--resume" in options:
            os.remove(start)
            Legend.from_names(("up", "down")).write(tmp_path / "labels.json")
        given = [*options_of(data_dir, out, epochs=epochs), *options]
        status, stdout, stderr = ForkedFit(given, tmp_path).finish()
        assert status == 0, stderr
    assert "goes on after 1 epoch and 0 steps" in stdout
    for ours, theirs in zip(*(weights(o / "model.keras") for o in (extended, whole)), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-6)
    assert table(extended) == table(whole)
    metrics, wanted = (json.loads((o / "metrics.json").read_text()) for o in (extended, whole))
    assert metrics["configuration"] == wanted["configuration"]
    assert metrics["train_images"] == wanted["train_images"] == 16


def test_a_full_disk(data_dir, measured, tmp_path):
    """A model has room; a checkpoint, with what the optimizer keeps, has not."""
    out = unfinished(measured, tmp_path / "run")
    before, kept = everything(out / "checkpoints"), newest(out)
    model_bytes, checkpoint_bytes = (path.stat().st_size for path in (out / "model.keras", kept))
    assert checkpoint_bytes > 1.5 * model_bytes
    limit = (model_bytes + checkpoint_bytes) // 2
    content = json.loads((out / "config.json").read_text())
    (out / "config.json").write_text(json.dumps(content | {"epochs": 3}))
    again = ["--resume", "--out", out, "--data-dir", data_dir]
    status, _, stderr = ForkedFit(again, tmp_path).finish()
    assert status == 1 and stderr.splitlines()[-1] == (
        f"error: since its last checkpoint the run in {out} has changed: epochs is 3 in "
        f"{out}/config.json and was 2; undo that, or go on all the same with --accept-changes"
    )
    again.append("--accept-changes")
    status, _, stderr = ForkedFit(again, tmp_path, file_bytes=limit).finish()
    assert status == 1 and "Traceback" not in stderr
    assert stderr.splitlines()[-1] == (
        f"error: {out}/checkpoints/step-00000006.npz cannot be written: File too large"
    )
    assert everything(out / "checkpoints") == before


@pytest.mark.parametrize("victim", [0, 1])
def test_a_lost_worker_is_named_and_all_go_on(data_dir, tmp_path, victim):
    out = tmp_path / "run"
    options = [*options_of(data_dir, out, epochs=3000), "--resume", "--strategy", "multiworker"]

    def start_both():
        addresses = free_addresses(2)
        cluster = {"cluster": {"worker": addresses}}
        tasks = [{**cluster, "task": {"type": "worker", "index": i}} for i in (0, 1)]
        return addresses, [
            ForkedFit(options, tmp_path, {**os.environ, "TF_CONFIG": json.dumps(task)})
            for task in tasks
        ]

    addresses, fits = start_both()
    fits[0].wait_for(lambda: newest(out) is not None)
    fits[victim].send(signal.SIGKILL)
    status, _, stderr = fits[1 - victim].finish(60)
    assert status == 1
    assert stderr.splitlines()[-1] == (
        f"error: training stopped: worker {victim} ({addresses[victim]}) does not answer any more; "
        "start all workers again with --resume to go on from the last checkpoint"
    )
    fits[victim].finish()
    before = newest(out)
    place = place_of(before)
    _, fits = start_both()
    fits[0].wait_for(lambda: newest(out) != before)
    # One is told to stop, and all do.
    fits[1].send(signal.SIGTERM)
    (status, stdout, stderr), (other, _, _) = (fit.finish(120) for fit in fits)
    assert (status, other) == (143, 143), stderr
    assert goes_on_after(*place) in stdout
    assert len(table(out)) > place[0]
